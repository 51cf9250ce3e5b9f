"""What every test of the suite starts from: jobs, acks, a worker without a process."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Raw

from backline.clock import Clock
from backline.job import (
    HOUR,
    SECOND,
    Ack,
    Acked,
    AckState,
    AttemptError,
    Awaited,
    Enqueued,
    JobId,
    JobRecord,
    JobRequest,
    Lane,
    Lease,
    LeasedJob,
    Micros,
    Step,
)
from backline.states import State
from backline.store import Exchange, Filter, QueueStats, Store, WorkerReport

QUEUE: Final = "mail"
TTL: Final[Micros] = 30 * SECOND
MAIN: Final = (QUEUE, Lane.MAIN)
CELL: Final = (QUEUE, Lane.CELL)


def make_job(clock: Clock, **fields: Any) -> JobRequest:
    """A job of the queue `mail`, due now."""
    values: dict[str, Any] = {"id": clock.new_id(), "task": "app.send", "queue": QUEUE}
    return JobRequest(**values | fields)


def make_jobs(clock: Clock, count: int, **fields: Any) -> list[JobRequest]:
    """Several of them, in the order of their ids."""
    return [make_job(clock, **fields) for _ in range(count)]


def ack(lease: Lease, state: AckState, **fields: Any) -> Ack:
    """How the run of `lease` ended."""
    values: dict[str, Any] = {"keep": HOUR}
    return Ack(lease.id, lease.attempt, state, **values | fields)


def done(lease: Lease, result: bytes | None = None, **fields: Any) -> Ack:
    """It succeeded; readable for an hour."""
    raw = None if result is None else Raw(result)
    return ack(lease, State.SUCCEEDED, result=raw, **fields)


def failed(lease: Lease, message: str = "no route", **fields: Any) -> Ack:
    """It failed for good."""
    error = AttemptError(lease.attempt, "OSError", message)
    return ack(lease, State.DEAD, error=error, **fields)


def put_back(lease: Lease, **fields: Any) -> Ack:
    """It goes back to its place in the queue."""
    return ack(lease, State.READY, **fields)


def parked(lease: Lease, awaited: Awaited, delay: Micros, **fields: Any) -> Ack:
    """The job waits for an event, so long at most."""
    name = f"{awaited.name} {awaited.key}"
    step = Step(lease.id, lease.attempt, name, wake_in=delay, awaits=awaited)
    return later(lease, delay, asleep=True, steps=(step,), **fields)


def later(lease: Lease, delay: Micros, **fields: Any) -> Ack:
    """It is due again after `delay`."""
    return ack(lease, State.SCHEDULED, delay=delay, **fields)


def make_report(name: str, **fields: Any) -> WorkerReport:
    """What a worker of that name says of itself."""
    values: dict[str, Any] = {
        "host": "høst",
        "pid": 7,
        "queues": (QUEUE, "film"),
        "lane": Lane.MAIN,
        "concurrency": 10,
        "tasks": ("app.send",),
        "started_at": 5,
        "version": "1",
        "running": 3,
        "restarts": 2,
        "healthy": False,
    }
    return WorkerReport(worker=name, **values | fields)


class BareWorker:
    """A worker reduced to its exchanges; counts its calls as a worker must."""

    def __init__(self, store: Store, name: str = "worker-1", ttl: Micros = TTL) -> None:
        self.store, self.name, self.ttl = store, name, ttl
        self._call = 0
        self._last: tuple[Sequence[Ack], Mapping[tuple[str, Lane], int]] = ((), {})

    async def exchange(
        self, acks: Sequence[Ack] = (), demand: Mapping[tuple[str, Lane], int] | None = None
    ) -> Exchange:
        """A new call."""
        self._call += 1
        self._last = (acks, demand or {})
        return await self.repeat()

    async def repeat(self) -> Exchange:
        """The last call once more: its reply was lost."""
        acks, demand = self._last
        return await self.store.exchange(self.name, self._call, acks, demand, self.ttl)

    async def lease(
        self, count: int = 1, queue: str = QUEUE, lane: Lane = Lane.MAIN
    ) -> list[LeasedJob]:
        """At most `count` jobs."""
        return (await self.exchange((), {(queue, lane): count})).jobs

    async def settle(self, *acks: Ack) -> list[Acked]:
        """Record outcomes and lease nothing."""
        return (await self.exchange(acks)).acks

    async def run_one(self, end: Callable[..., Ack] = done, *args: Any, **fields: Any) -> LeasedJob:
        """Lease the one job that may run now, and record how that ended: `end(lease, ...)`."""
        [lease] = await self.lease(10)
        assert await self.settle(end(lease, *args, **fields)) == [Acked.APPLIED]
        return lease


async def add(store: Store, *jobs: JobRequest) -> list[Enqueued]:
    """Enqueue jobs in one call that no queue refuses."""
    [answer] = await store.enqueue([jobs])
    assert isinstance(answer, list), answer
    return answer


async def get(store: Store, job_id: JobId) -> JobRecord:
    """A job that exists."""
    [record] = await store.get([job_id])
    assert record is not None, f"job {job_id} is gone"
    return record


async def state_of(store: Store, *ids: JobId) -> list[State | None]:
    """The states of jobs; None for those the store does not know."""
    return [None if record is None else record.state for record in await store.get(ids)]


async def stats_of(store: Store, queue: str = QUEUE) -> QueueStats:
    """One queue's statistics."""
    [found] = [stats for stats in await store.stats() if stats.queue == queue]
    return found


async def find_all(store: Store, where: Filter | None = None, page: int = 7) -> list[JobRecord]:
    """Every job, by pages."""
    records: list[JobRecord] = []
    after: JobId | None = None
    while True:
        found = await store.find(where or Filter(), limit=page, after=after)
        records += found.jobs
        after = found.after
        if after is None:
            return records


async def snapshot(store: Store) -> tuple[list[JobRecord], list[QueueStats]]:
    """All that a store shows; two of them are equal when nothing happened in between."""
    return await find_all(store), await store.stats()


async def assert_adds_up(store: Store) -> None:
    """I11: the counts of every queue are the numbers of its jobs."""
    records = await find_all(store)
    for stats in await store.stats():
        mine = [record for record in records if record.queue == stats.queue]
        counted = {state: sum(record.state is state for record in mine) for state in State}
        assert dict(stats.counts) == counted, f"counts of {stats.queue}"
        ready = [record for record in mine if record.state is State.READY]
        assert stats.cells == sum(record.lane is Lane.CELL for record in ready)
        dues = [record.due for record in ready]
        if stats.fair and dues:
            assert stats.oldest_ready in dues
        else:
            assert stats.oldest_ready == min(dues, default=None)
        mine_queued = counted[State.WAITING] + counted[State.SCHEDULED] + counted[State.READY]
        asleep = [record for record in mine if record.asleep]
        assert all(record.state is State.SCHEDULED for record in asleep)
        assert (stats.asleep, stats.depth) == (len(asleep), mine_queued - len(asleep))
