"""What only reads: on a connection of its own, never in the writer's queue."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from backline.job import (
    HeldLease,
    JobId,
    JobRecord,
    Lane,
    Micros,
    Pacing,
    StepRecord,
    WorkerName,
)
from backline.states import State
from backline.store import ARRIVALS_SPAN, QueueStats, WorkerReport
from backline.stores.sqlite import rows
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.exchange import ExchangeCall
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import dumps, rate, rate_since

_GET: Final = statement("get")
_TALLIES: Final = statement("tallies")
_OLDEST_READY: Final = statement("oldest_ready")
_RATES: Final = statement("rates")
_HELD: Final = statement("held")
_OVERDUE: Final = statement("overdue")
_WORKERS: Final = statement("workers")
_PEEK: Final = statement("peek")
_STEPS: Final = statement("steps")

_STILL: Final = (0.0, 0.0)

_counts: Final = msgspec.json.Decoder(list[tuple[str, str, int]])
_reports: Final = msgspec.json.Decoder(WorkerReport)


class Peeked(NamedTuple):
    """What a look before an exchange found."""

    work: bool
    next_in: Micros | None


class Tally(NamedTuple):
    """A queue as the counts have it."""

    id: int
    name: str
    paused: bool
    max_depth: int | None
    concurrency: int | None
    pacing: Pacing | None
    fair: bool
    weights: Mapping[str, float]
    ageing: Micros | None
    counts: list[tuple[str, str, int]]

    def total(self, kind: str, lane: str | None = None) -> int:
        """How many jobs of a state there are, or of those in a lane."""
        return sum(n for k, where, n in self.counts if k == kind and lane in {None, where})


def peek(db: Connection, call: ExchangeCall, now: Micros, tick: Micros) -> Peeked:
    """Whether an exchange without acks would find anything to do."""
    params = {
        "demand": dumps([key for key, want in call.demand.items() if want > 0]),
        "names": dumps(sorted({queue for queue, _ in call.demand})),
        "worker": call.worker,
        "call": call.call,
        "now": now,
        "tick": tick,
    }
    [(work, *waits)] = db.rows(_PEEK, params)
    return Peeked(bool(work), min((wait for wait in waits if wait is not None), default=None))


def get(db: Connection, ids: Sequence[JobId]) -> list[JobRecord | None]:
    """See `backline.store.Store`, as for everything here."""
    wanted = dumps(rows.ids(ids))
    found = {record.id: record for record in map(rows.record, db.rows(_GET, {"ids": wanted}))}
    return [found.get(job_id) for job_id in ids]


def steps(db: Connection, ids: Sequence[JobId], now: Micros) -> list[list[StepRecord]]:
    """The recorded steps of each job, in their order."""
    found: defaultdict[JobId, list[StepRecord]] = defaultdict(list)
    for job_id, *cells in db.rows(_STEPS, {"ids": dumps(rows.ids(list(dict.fromkeys(ids))))}):
        found[rows.text(job_id)].append(rows.step_record(cells, now))
    return [list(found[job_id]) if job_id in found else [] for job_id in ids]


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
    counted, oldest, rates = _snapshot(db, tick)
    return [
        QueueStats(
            queue=tally.name,
            paused=tally.paused,
            max_depth=tally.max_depth,
            counts={state: tally.total(state) for state in State},
            purged=tally.total("purged"),
            cells=tally.total(State.READY, Lane.CELL),
            oldest_ready=oldest.get(tally.id),
            drain_rate=rates.get(tally.id, _STILL)[0],
            arrival_rate=rates.get(tally.id, _STILL)[1],
            concurrency=tally.concurrency,
            pacing=tally.pacing,
            asleep=tally.total("asleep"),
            fair=tally.fair,
            weights=tally.weights,
            ageing=tally.ageing,
        )
        for tally in counted
    ]


def _snapshot(
    db: Connection, tick: Micros
) -> tuple[list[Tally], dict[int, Micros], dict[int, tuple[float, float]]]:
    """The counts, the oldest ready jobs and the rates (of ends and of arrivals), all of one
    moment (I11)."""
    db.run("begin")
    try:
        counted = tallies(db)
        oldest = {queue: due for queue, due in db.rows(_OLDEST_READY)}  # noqa: C416
        rates = db.rows(_RATES, {"since": rate_since(tick)})
    finally:
        db.rollback()
    return (
        counted,
        oldest,
        {
            queue: (rate(ended, first, tick), rate(arrived, began, tick, ARRIVALS_SPAN))
            for queue, ended, first, arrived, began in rates
        },
    )


def tallies(db: Connection) -> list[Tally]:
    """Every queue with its counts, in one statement."""
    return [
        Tally(
            queue,
            rows.text(name),
            bool(paused),
            max_depth,
            concurrency,
            None if interval is None else Pacing(interval, burst or 1),
            bool(fair),
            rows.weights_of(weights),
            ageing,
            _counts.decode(rows.text(counts)),
        )
        for (
            queue,
            name,
            paused,
            max_depth,
            concurrency,
            interval,
            burst,
            fair,
            weights,
            ageing,
            counts,
        ) in db.rows(_TALLIES)
    ]
