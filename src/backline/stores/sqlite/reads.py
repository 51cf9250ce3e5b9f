"""What only reads: on a connection of its own, never in the writer's queue."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from backline.job import HeldLease, JobId, JobRecord, Lane, Micros, WorkerName
from backline.states import LIVE, TERMINAL, State
from backline.store import Filter, Page, QueueStats, WorkerReport
from backline.stores.sqlite import rows
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.exchange import ExchangeCall
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import dumps, rate, rate_since

_GET: Final = statement("get")
_GET_ROWS: Final = statement("get_rows")
_FIND: Final = {True: statement("find_oldest"), False: statement("find_newest")}
_BOUND: Final = {True: statement("bound_oldest"), False: statement("bound_newest")}
_FIND_FEW: Final = statement("find_few")
_DEAD: Final = {True: statement("dead_oldest"), False: statement("dead_newest")}
_TALLIES: Final = statement("tallies")
_OLDEST_READY: Final = statement("oldest_ready")
_RATES: Final = statement("rates")
_HELD: Final = statement("held")
_OVERDUE: Final = statement("overdue")
_WORKERS: Final = statement("workers")
_PEEK: Final = statement("peek")

FEW: Final = 2_000
"""As many candidates as this are gathered by state and sorted; more are looked for by id."""
STRETCH: Final = 5_000
"""Jobs looked at by id before the next look at whether the page is full."""
MOST_STRETCHES: Final = 20
"""After so many the page goes out as it is: the caller may ask for the next."""

_FIRST: Final = ""
_LAST: Final = "\U0010ffff"
"""Text before and beyond every id."""

_counts: Final = msgspec.json.Decoder(list[tuple[str, str, int]])
_few: Final = msgspec.json.Decoder(list[tuple[str, int]])
_reports: Final = msgspec.json.Decoder(WorkerReport)


class Peeked(NamedTuple):
    """What a look before an exchange found."""

    work: bool
    next_in: Micros | None


class _Tally(NamedTuple):
    """A queue as the counts have it."""

    id: int
    name: str
    paused: bool
    max_depth: int | None
    counts: list[tuple[str, str, int]]

    def total(self, kind: str, lane: str | None = None) -> int:
        return sum(n for k, where, n in self.counts if k == kind and lane in {None, where})


def peek(db: Connection, call: ExchangeCall, now: Micros) -> Peeked:
    """Whether an exchange without acks would find anything to do."""
    params = {
        "demand": dumps([key for key, want in call.demand.items() if want > 0]),
        "names": dumps(sorted({queue for queue, _ in call.demand})),
        "worker": call.worker,
        "call": call.call,
        "now": now,
    }
    [(work, next_in)] = db.rows(_PEEK, params)
    return Peeked(bool(work), next_in)


def get(db: Connection, ids: Sequence[JobId]) -> list[JobRecord | None]:
    """See `backline.store.Store`, as for everything here."""
    wanted = dumps(rows.ids(ids))
    found = {record.id: record for record in map(rows.record, db.rows(_GET, {"ids": wanted}))}
    return [found.get(job_id) for job_id in ids]


def held(db: Connection, worker: WorkerName) -> list[HeldLease]:
    """The leases a worker holds."""
    return [rows.held_lease(row) for row in db.rows(_HELD, {"worker": worker})]


def overdue(db: Connection, limit: int, tick: Micros) -> list[HeldLease]:
    """Leases that are over, the longest over first."""
    params = {"tick": tick, "limit": max(limit, 0)}
    return [rows.held_lease(row) for row in db.rows(_OVERDUE, params)]


def workers(db: Connection, tick: Micros) -> list[WorkerReport]:
    """The reports that are not forgotten, and can be read."""
    found: list[WorkerReport] = []
    for (body,) in db.rows(_WORKERS, {"tick": tick}):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.append(_reports.decode(body))
    return found


def stats(db: Connection, tick: Micros) -> list[QueueStats]:
    """Every queue, by name, all of one moment."""
    tallies, oldest, ended = _snapshot(db, tick)
    return [
        QueueStats(
            queue=tally.name,
            paused=tally.paused,
            max_depth=tally.max_depth,
            counts={state: tally.total(state) for state in State},
            purged=tally.total("purged"),
            cells=tally.total(State.READY, Lane.CELL),
            oldest_ready=oldest.get(tally.id),
            drain_rate=rate(*ended[tally.id], tick) if tally.id in ended else 0.0,
        )
        for tally in tallies
    ]


def _snapshot(
    db: Connection, tick: Micros
) -> tuple[list[_Tally], dict[int, Micros], dict[int, tuple[int, int]]]:
    """The counts, the oldest ready jobs and the rates, all of one moment (I11)."""
    db.run("begin")
    try:
        tallies = _tallies(db)
        oldest = {queue: due for queue, due in db.rows(_OLDEST_READY)}  # noqa: C416
        rates = db.rows(_RATES, {"since": rate_since(tick)})
    finally:
        db.rollback()
    return tallies, oldest, {queue: (ended, first) for queue, ended, first in rates}


def _tallies(db: Connection) -> list[_Tally]:
    return [
        _Tally(queue, rows.text(name), bool(paused), max_depth, _counts.decode(rows.text(counts)))
        for queue, name, paused, max_depth, counts in db.rows(_TALLIES)
    ]


def find(
    db: Connection,
    where: Filter,
    limit: int,
    after: JobId | None,
    *,
    oldest_first: bool,
) -> Page:
    """A page of jobs: gathered by state if the counts say few, else looked for by id."""
    if limit <= 0:
        return Page([], None)
    tallies = [tally for tally in _tallies(db) if where.queue is None or tally.name == where.queue]
    if not tallies:
        return Page([], None)
    if where.states == {State.DEAD}:
        return _find_dead(db, where, limit, after, tallies, oldest_first=oldest_first)
    states = where.states or frozenset(State)
    running = State.RUNNING in states  # these are indexed for all queues together
    candidates = sum(tally.total(state) for tally in tallies for state in states)
    if running and where.queue is not None:
        candidates += sum(tally.total(State.RUNNING) for tally in _tallies(db))
    if candidates <= FEW:
        queues = [tally.id for tally in tallies]
        return _find_few(db, where, limit, after, queues, oldest_first=oldest_first)
    return _find_by_id(db, where, limit, after, tallies, oldest_first=oldest_first)


def _find_few(
    db: Connection,
    where: Filter,
    limit: int,
    after: JobId | None,
    queues: Sequence[int],
    *,
    oldest_first: bool,
) -> Page:
    states = where.states or frozenset(State)
    params: dict[str, object] = {state: state in states for state in LIVE}
    params |= {"queues": dumps(list(queues)), "over": dumps(sorted(states & TERMINAL))}
    found = _few.decode(db.text(_FIND_FEW, params))
    beyond = sorted(
        (
            (job_id, seq)
            for job_id, seq in found
            if after is None or (job_id > after if oldest_first else job_id < after)
        ),
        reverse=not oldest_first,
    )
    jobs: list[JobRecord] = []
    for start in range(0, len(beyond), limit + 1):
        jobs += _records(db, beyond[start : start + limit + 1], where)
        if len(jobs) > limit:
            break
    return _page(jobs, limit)


def _find_dead(
    db: Connection,
    where: Filter,
    limit: int,
    after: JobId | None,
    tallies: Sequence[_Tally],
    *,
    oldest_first: bool,
) -> Page:
    """The dead-letter queue has an index of its own: what people look for among a million."""
    params = {"queue": None if where.queue is None else tallies[0].id, "limit": limit + 1}
    jobs: list[JobRecord] = []
    start = after or (_FIRST if oldest_first else _LAST)
    for _ in range(MOST_STRETCHES):
        found = _few.decode(db.text(_DEAD[oldest_first], {**params, "after": start}))
        jobs += _records(db, found, where)
        if len(found) <= limit or len(jobs) > limit:
            return _page(jobs, limit)
        start = found[-1][0]
    return Page(jobs, start)


def _records(
    db: Connection, found: Sequence[tuple[JobId, int]], where: Filter
) -> Iterator[JobRecord]:
    """The jobs of these rows that match, in the same order."""
    seqs = dumps([seq for _, seq in found])
    records = {record.id: record for record in map(rows.record, db.rows(_GET_ROWS, {"seqs": seqs}))}
    ordered = (records[job_id] for job_id, _ in found if job_id in records)
    return (record for record in ordered if _matches(record, where))


def _find_by_id(
    db: Connection,
    where: Filter,
    limit: int,
    after: JobId | None,
    tallies: Sequence[_Tally],
    *,
    oldest_first: bool,
) -> Page:
    params: dict[str, object] = {
        "queue": None if where.queue is None else tallies[0].id,
        "states": dumps(sorted(where.states)) if where.states else None,
        "task": where.task,
        "tag": where.tag,
    }
    jobs: list[JobRecord] = []
    start, end = (_FIRST, _LAST) if oldest_first else (_LAST, _FIRST)
    start = start if after is None else after
    for _ in range(MOST_STRETCHES):
        bound = db.text(_BOUND[oldest_first], {"after": start, "stretch": STRETCH})
        wanted = limit + 1 - len(jobs)
        stretch = {"after": start, "bound": bound or end, "limit": wanted}
        found = db.rows(_FIND[oldest_first], params | stretch)
        jobs += map(rows.record, found)
        if not bound or len(jobs) > limit:
            return _page(jobs, limit)
        start = bound
    return Page(jobs, start)


def _page(jobs: Sequence[JobRecord], limit: int) -> Page:
    """A page of jobs, of which there is one too many if more follow."""
    page = list(jobs[:limit])
    return Page(page, page[-1].id if len(jobs) > limit else None)


def _matches(record: JobRecord, where: Filter) -> bool:
    return (
        (not where.states or record.state in where.states)
        and (where.queue is None or record.queue == where.queue)
        and (where.task is None or record.task == where.task)
        and (where.tag is None or where.tag in record.tags)
    )
