"""The methods of the contract over a `Table` and its `Leases`."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import Lock
from typing import Final

from backline._version import __version__
from backline.clock import SYSTEM_CLOCK, Clock
from backline.fanout import KeptEvent, Publication, Published, SubscriptionChange
from backline.job import (
    Ack,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    Lease,
    LeasedJob,
    Micros,
    Progress,
    Refused,
    Step,
    StepRecord,
    WorkerName,
)
from backline.schedule import ScheduleChange, Tick
from backline.states import State
from backline.store import (
    Call,
    Cancelling,
    Capabilities,
    Demand,
    Edit,
    Edited,
    Exchange,
    Filter,
    FlowStats,
    Hint,
    Page,
    QueueSettings,
    QueueStats,
    Subscriptions,
    Timetable,
    WorkerReport,
)
from backline.stores.memory import acking, finding, operating
from backline.stores.memory.fanout import Fanout
from backline.stores.memory.follow import follow
from backline.stores.memory.leases import Leases
from backline.stores.memory.lending import Lending, next_in
from backline.stores.memory.reports import Reports
from backline.stores.memory.row import Row
from backline.stores.memory.schedules import Schedules
from backline.stores.memory.table import Table
from backline.stores.memory.waking import wake
from backline.stores.memory.watchers import Watchers
from backline.stores.requests import (
    check,
    check_changes,
    check_edit,
    check_events,
    check_subscriptions,
    founded,
)

_CAPABILITIES: Final = Capabilities(
    product=f"memory {__version__}", between_processes=False, survives="nothing"
)


class MemoryStore:
    """Jobs in this process's memory: the reference for every other store.

    No method suspends, and one lock makes each atomic for every thread and loop of the
    process. Costs are O(log n) a job in the number of jobs, or better; `find` by task or tag
    alone, and a `find` that few jobs match, look at every job.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = Lock()
        self._table = Table()
        self._leases = Leases()
        self._schedules = Schedules()
        self._fanout = Fanout(self._table.firsts)
        self._watchers = Watchers()
        self._reports = Reports()

    @property
    def url(self) -> str:
        """Names the kind of store; opening it again makes another one."""
        return "memory://"

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to disconnect: the jobs stay as long as this object does."""

    async def migrate(self) -> int:
        return 1

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        check(calls)
        with self._lock:
            founded(calls, self._table.founded)
            now, tick = self._clock.now(), self._clock.tick()
            answers = [self._enqueue(call, now, tick) for call in calls]
            follow(self._table, now, tick)
        self._tell()
        return answers

    async def exchange(
        self,
        worker: WorkerName,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
    ) -> Exchange:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            with self._table.flows.together(now, tick):
                acked = [
                    acking.settle(self._table, self._leases, worker, ack, now, tick) for ack in acks
                ]
            wake(self._table, now, tick)
            follow(self._table, now, tick)
            state = self._leases.worker(worker, tick)
            jobs: list[LeasedJob] = []
            if state.call == call and not state.retired:
                jobs = [row.leased() for row, attempt in state.granted if _runs(row, attempt)]
            elif state.grants(call):
                state.call, state.granted = call, []
                jobs = Lending(self._table, worker, state, now, tick, ttl).lend(demand)
                follow(self._table, now, tick)
            self._table.sharing.settle()
            wait = next_in(self._table, demand, now, tick)
        self._tell()
        return Exchange(acked, jobs, wait)

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        with self._lock:
            return [row.held() for row in self._leases.held(worker)]

    async def retire(self, worker: WorkerName) -> None:
        with self._lock:
            self._leases.worker(worker, self._clock.tick()).retired = True

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        with self._lock:
            tick = self._clock.tick()
            rows = [self._running(lease) for lease in leases]
            for row in rows:
                if row is not None:
                    self._leases.extend(row, tick, ttl)
            return [row is not None for row in rows]

    async def overdue(self, limit: int) -> list[HeldLease]:
        with self._lock:
            return [row.held() for row in self._leases.over(self._clock.tick(), limit)]

    async def promote(self, limit: int) -> int:
        with self._lock:
            count = self._table.promote(limit, self._clock.now(), self._clock.tick())
        self._tell()
        return count

    async def expire(self, limit: int) -> int:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            count = self._table.expire(limit, now, tick)
            follow(self._table, now, tick)
        self._tell()
        return count

    async def sweep(self, limit: int) -> int:
        with self._lock:
            tick = self._clock.tick()
            self._leases.forget(tick)
            self._reports.forget(tick)
            now = self._clock.now()
            count = self._table.sweep(limit, now, tick)
            count += self._fanout.forget(limit - count, now)
        self._tell()  # who died and blocked its key may be gone
        return count

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = operating.cancel(self._table, ids, now, tick)
            follow(self._table, now, tick)
        self._tell()
        return answers

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = operating.redrive(self._table, ids, now, tick)
        self._tell()
        return answers

    async def flows(self, ids: Sequence[JobId]) -> list[FlowStats | None]:
        with self._lock:
            return [self._table.flows.stats(flow) for flow in ids]

    async def cancel_flows(self, ids: Sequence[JobId], limit: int) -> list[int]:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = [operating.cancel_flow(self._table, i, limit, now, tick) for i in ids]
            follow(self._table, now, tick)
        self._tell()
        return answers

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = [operating.purge(self._table, job_id, now, tick) for job_id in ids]
        self._tell()
        return answers

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        check_edit(change)
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = operating.edit(self._table, ids, change, now, tick)
        self._tell()
        return answers

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        with self._lock:
            rows = [self._running(report) for report in reports]
            for row, report in zip(rows, reports, strict=True):
                if row is not None:
                    row.progress = report
            return [row is not None for row in rows]

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        with self._lock:
            rows, now = [self._running(step) for step in steps], self._clock.now()
            for row, step in zip(rows, steps, strict=True):
                if row is not None:
                    self._table.firsts.record(row, [step], now)
            self._table.firsts.heard.clear()  # they run: there is nobody to wake
            return [row is not None for row in rows]

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        with self._lock:
            rows, now = [self._table.rows.get(job_id) for job_id in ids], self._clock.now()
            return [
                [] if row is None or row.recorded is None else row.recorded.records(now)
                for row in rows
            ]

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        with self._lock:
            rows = [self._table.rows.get(job_id) for job_id in ids]
            return [None if row is None else row.record() for row in rows]

    async def find(
        self,
        where: Filter,
        *,
        limit: int,
        after: JobId | None = None,
        oldest_first: bool = False,
        payloads: bool = True,
    ) -> Page:
        with self._lock:
            return finding.page(
                self._table, where, limit, after, oldest_first=oldest_first, payloads=payloads
            )

    async def stats(self) -> list[QueueStats]:
        with self._lock:
            tick = self._clock.tick()
            return [queue.stats(tick) for _, queue in sorted(self._table.queues.items())]

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        with self._lock:
            tick = self._clock.tick()
            for wanted in settings:
                self._table.queue(wanted.queue).apply(wanted, tick, declared=declared)
            self._table.hints.add(Hint.WORK)  # a queue may have been resumed
        self._tell()

    async def schedules(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Timetable:
        with self._lock:
            return self._schedules.page(self._clock.now(), limit, after, names)

    async def due_schedules(self, *, limit: int, after: str | None = None) -> Timetable:
        with self._lock:
            return self._schedules.due(self._clock.now(), limit, after)

    async def arrange(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        check_changes(changes)
        with self._lock:
            answers = [self._schedules.change(change) for change in changes]
            if any(answers):
                self._table.hints.add(Hint.SCHEDULE)
        self._tell()
        return answers

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        check([tick.jobs for tick in ticks])
        with self._lock:
            now, clock_tick = self._clock.now(), self._clock.tick()
            founded([tick.jobs for tick in ticks], self._table.founded)
            answers = [self._schedules.tick(tick) for tick in ticks]
            for tick, done in zip(ticks, answers, strict=True):
                self._table.add_call(tick.jobs if done else (), now, clock_tick)
            follow(self._table, now, clock_tick)
        self._tell()
        return answers

    async def subscriptions(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Subscriptions:
        with self._lock:
            return self._fanout.page(limit, after, names)

    async def subscribe(self, changes: Sequence[SubscriptionChange]) -> list[bool]:
        check_subscriptions(changes)
        with self._lock:
            return [self._fanout.change(change) for change in changes]

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        check_events(events)
        with self._lock:
            now, tick = self._clock.now(), self._clock.tick()
            answers = [self._fanout.publish(event, self._table, now, tick) for event in events]
            wake(self._table, now, tick)
        self._tell()
        return answers

    async def events(self, keys: Sequence[tuple[str, str]]) -> list[KeptEvent | None]:
        with self._lock:
            now = self._clock.now()
            return [self._table.firsts.get(key, now) for key in keys]

    async def report(self, workers: Sequence[WorkerReport], ttl: Micros) -> None:
        with self._lock:
            self._reports.take(workers, self._clock.now(), self._clock.tick() + ttl)

    async def workers(self) -> list[WorkerReport]:
        with self._lock:
            return self._reports.current(self._clock.tick())

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        return self._watch(hints, wake)

    @asynccontextmanager
    async def _watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AsyncIterator[None]:
        with self._watchers.watching(hints, wake):
            yield

    def _tell(self) -> None:
        """Pass on what the last commit did; outside of the lock, after the commit."""
        if self._table.hints:
            with self._lock:
                self._table.sharing.settle()
                hints, self._table.hints = self._table.hints, set()
            self._watchers.tell(hints)

    def _enqueue(self, call: Call, now: Micros, tick: Micros) -> list[Enqueued] | Refused:
        table = self._table
        queues = {name: table.queue(name) for name in {job.queue for job in call}}
        bounded = [job for job in call if queues[job.queue].max_depth is not None]
        arriving = Counter(job.queue for job in bounded if table.answered(job, now) is None)
        for name, count in arriving.items():
            queue = queues[name]
            if queue.max_depth is not None and queue.depth + count > queue.max_depth:
                rate = queue.drained.per_second(tick)
                return Refused(name, queue.depth, queue.max_depth, rate)
        return table.add_call(call, now, tick)

    def _running(self, lease: Lease | Progress | Step) -> Row | None:
        row = self._table.rows.get(lease.id)
        return row if row is not None and _runs(row, lease.attempt) else None


def _runs(row: Row, attempt: int) -> bool:
    """`(id, attempt)` is the fencing token: this attempt runs now (I2)."""
    return row.attempt == attempt and row.state is State.RUNNING
