"""Pages of jobs: which way to them is the shortest, and what of them is read."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from backline.job import JobId, JobRecord
from backline.states import LIVE, TERMINAL, State
from backline.store import Filter, Page
from backline.stores.sqlite import rows
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.reads import tallies
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import dumps

_GET_ROWS: Final = statement("get_rows")
_GET_SMALL: Final = statement("get_small")
_FIND: Final = {True: statement("find_oldest"), False: statement("find_newest")}
_BOUND: Final = {True: statement("bound_oldest"), False: statement("bound_newest")}
_FIND_FEW: Final = statement("find_few")
_FLOW: Final = {True: statement("flow_oldest"), False: statement("flow_newest")}
_DEAD: Final = {True: statement("dead_oldest"), False: statement("dead_newest")}

FEW: Final = 2_000
"""As many candidates as this are gathered by state and sorted; more are looked for by id."""
STRETCH: Final = 5_000
"""Jobs looked at by id before the next look at whether the page is full."""
MOST_STRETCHES: Final = 20
"""After so many the page goes out as it is: the caller may ask for the next."""
WIDEST: Final = 100
"""So many jobs, or a page of them, are read whole at a time to see whether they match."""

_FIRST: Final = ""
_LAST: Final = "\U0010ffff"
"""Text before and beyond every id."""

_found: Final = msgspec.json.Decoder(list[tuple[str, int]])


class Asked(NamedTuple):
    """The arguments of `Store.find`."""

    where: Filter
    limit: int
    after: JobId | None
    oldest_first: bool
    payloads: bool

    @property
    def start(self) -> JobId:
        """The id to begin beyond."""
        return self.after or (_FIRST if self.oldest_first else _LAST)


def find(db: Connection, asked: Asked) -> Page:
    """A page of jobs: gathered by state if the counts say few, else looked for by id."""
    where = asked.where
    if asked.limit <= 0:
        return Page([], None)
    every = tallies(db)
    mine = [tally for tally in every if where.queue in (None, tally.name)]
    if not mine:
        return Page([], None)
    queues = [tally.id for tally in mine]
    if where.flow is not None:
        return _find_along(db, asked, _FLOW, {"flow": where.flow})
    if where.states == {State.DEAD}:
        # The dead-letter queue has an index of its own: what people look for among a million.
        return _find_along(db, asked, _DEAD, {"queue": None if where.queue is None else queues[0]})
    states = where.states or frozenset(State)
    candidates = sum(tally.total(state) for tally in mine for state in states)
    if State.RUNNING in states and where.queue is not None:
        # These are indexed for all queues together.
        candidates += sum(tally.total(State.RUNNING) for tally in every)
    if candidates <= FEW:
        return _find_few(db, asked, queues)
    return _find_by_id(db, asked, queues)


def _find_few(db: Connection, asked: Asked, queues: Sequence[int]) -> Page:
    states = asked.where.states or frozenset(State)
    params: dict[str, object] = {state: state in states for state in LIVE}
    params |= {"queues": dumps(list(queues)), "over": dumps(sorted(states & TERMINAL))}
    found = _found.decode(db.text(_FIND_FEW, params))
    beyond = sorted(
        (
            (job_id, seq)
            for job_id, seq in found
            if (job_id > asked.start if asked.oldest_first else job_id < asked.start)
        ),
        reverse=not asked.oldest_first,
    )
    jobs: list[JobRecord] = []
    for start in range(0, len(beyond), asked.limit + 1):
        jobs += _records(db, beyond[start : start + asked.limit + 1], asked)
        if len(jobs) > asked.limit:
            break
    return _page(jobs, asked.limit)


def _find_along(
    db: Connection, asked: Asked, sql: Mapping[bool, str], given: Mapping[str, object]
) -> Page:
    """Some of the jobs have an index of their own, in the order of ids."""
    limit, start = asked.limit, asked.start
    stretch = limit + 1
    jobs: list[JobRecord] = []
    for _ in range(MOST_STRETCHES):
        params = {**given, "limit": stretch, "after": start}
        found = _found.decode(db.text(sql[asked.oldest_first], params))
        jobs += _records(db, found, asked)
        if len(found) < stretch or len(jobs) > limit:
            return _page(jobs, limit)
        start = found[-1][0]
        stretch = max(stretch, min(2 * stretch, WIDEST))  # few of them match
    return Page(jobs, start)


def _find_by_id(db: Connection, asked: Asked, queues: Sequence[int]) -> Page:
    where, limit, start = asked.where, asked.limit, asked.start
    params: dict[str, object] = {
        "queue": None if where.queue is None else queues[0],
        "states": dumps(sorted(where.states)) if where.states else None,
        "task": where.task,
        "tag": where.tag,
        "rank": None if where.priority is None else -where.priority,
        "from": where.enqueued_from,
        "before": where.enqueued_before,
        "error": where.error,
    }
    jobs: list[JobRecord] = []
    end = _LAST if asked.oldest_first else _FIRST
    for _ in range(MOST_STRETCHES):
        bound = db.text(_BOUND[asked.oldest_first], {"after": start, "stretch": STRETCH})
        wanted = limit + 1 - len(jobs)
        stretch = {"after": start, "bound": bound or end, "limit": wanted}
        found = _found.decode(db.text(_FIND[asked.oldest_first], params | stretch))
        jobs += _records(db, found, asked)
        if len(jobs) > limit or (not bound and len(found) < wanted):
            return _page(jobs, limit)
        # Jobs may have gone between the two looks: then the page is not full yet.
        start = found[-1][0] if len(found) == wanted else bound
    return Page(jobs, start)


def _records(db: Connection, found: Sequence[tuple[JobId, int]], asked: Asked) -> list[JobRecord]:
    """The jobs of these rows that match, in the same order."""
    where = asked.where
    params: dict[str, object] = {"seqs": dumps([seq for _, seq in found])}
    if not asked.payloads:
        params["errors"] = where.error is not None
    cells = db.rows(_GET_ROWS if asked.payloads else _GET_SMALL, params)
    records = {record.id: record for record in map(rows.record, cells)}
    ordered = (records[job_id] for job_id, _ in found if job_id in records)
    matching = [record for record in ordered if _matches(record, where)]
    if asked.payloads or where.error is None:
        return matching
    return [replace(record, errors=()) for record in matching]


def _page(jobs: Sequence[JobRecord], limit: int) -> Page:
    """A page of jobs, of which there is one too many if more follow."""
    page = list(jobs[:limit])
    return Page(page, page[-1].id if len(jobs) > limit else None)


def _matches(record: JobRecord, where: Filter) -> bool:
    return (
        (not where.states or record.state in where.states)
        and where.queue in (None, record.queue)
        and where.task in (None, record.task)
        and (where.tag is None or where.tag in record.tags)
        and where.priority in (None, record.priority)
        and where.flow in (None, record.flow)
        and (where.enqueued_from is None or record.enqueued_at >= where.enqueued_from)
        and (where.enqueued_before is None or record.enqueued_at < where.enqueued_before)
        and (where.error is None or where.says(_newest_error(record)))
    )


def _newest_error(record: JobRecord) -> str | None:
    return record.errors[-1].kind if record.errors else None
