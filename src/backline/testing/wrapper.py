"""A store that passes every call on: what stands between a store and its caller starts here."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from backline.fanout import KeptEvent, Publication, Published, SubscriptionChange
from backline.job import (
    Ack,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    Lease,
    Micros,
    Progress,
    Refused,
    Step,
    StepRecord,
    WorkerName,
)
from backline.schedule import ScheduleChange, Tick
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
    Store,
    Subscriptions,
    Timetable,
    WorkerReport,
)

T = TypeVar("T")


class StoreWrapper:
    """Passes every call on to `store`.

    A subclass overrides the methods it changes, or `_pass`, through which every call of a
    coroutine method goes except `close`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        return self._store.url

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def open(self) -> None:
        await self._pass("open", self._store.open)

    async def close(self) -> None:
        await self._store.close()

    async def migrate(self) -> int:
        return await self._pass("migrate", self._store.migrate)

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._pass("enqueue", lambda: self._store.enqueue(calls))

    async def exchange(
        self,
        worker: WorkerName,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
    ) -> Exchange:
        return await self._pass(
            "exchange", lambda: self._store.exchange(worker, call, acks, demand, ttl)
        )

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        return await self._pass("held", lambda: self._store.held(worker))

    async def retire(self, worker: WorkerName) -> None:
        await self._pass("retire", lambda: self._store.retire(worker))

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        return await self._pass("extend", lambda: self._store.extend(leases, ttl))

    async def overdue(self, limit: int) -> list[HeldLease]:
        return await self._pass("overdue", lambda: self._store.overdue(limit))

    async def promote(self, limit: int) -> int:
        return await self._pass("promote", lambda: self._store.promote(limit))

    async def expire(self, limit: int) -> int:
        return await self._pass("expire", lambda: self._store.expire(limit))

    async def sweep(self, limit: int) -> int:
        return await self._pass("sweep", lambda: self._store.sweep(limit))

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        return await self._pass("cancel", lambda: self._store.cancel(ids))

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._pass("redrive", lambda: self._store.redrive(ids))

    async def flows(self, ids: Sequence[JobId]) -> list[FlowStats | None]:
        return await self._pass("flows", lambda: self._store.flows(ids))

    async def cancel_flows(self, ids: Sequence[JobId], limit: int) -> list[int]:
        return await self._pass("cancel_flows", lambda: self._store.cancel_flows(ids, limit))

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._pass("purge", lambda: self._store.purge(ids))

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        return await self._pass("edit", lambda: self._store.edit(ids, change))

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        return await self._pass("progress", lambda: self._store.progress(reports))

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        return await self._pass("record", lambda: self._store.record(steps))

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        return await self._pass("steps", lambda: self._store.steps(ids))

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        return await self._pass("get", lambda: self._store.get(ids))

    async def find(
        self,
        where: Filter,
        *,
        limit: int,
        after: JobId | None = None,
        oldest_first: bool = False,
        payloads: bool = True,
    ) -> Page:
        return await self._pass(
            "find",
            lambda: self._store.find(
                where, limit=limit, after=after, oldest_first=oldest_first, payloads=payloads
            ),
        )

    async def stats(self) -> list[QueueStats]:
        return await self._pass("stats", self._store.stats)

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        await self._pass("configure", lambda: self._store.configure(settings, declared=declared))

    async def schedules(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Timetable:
        return await self._pass(
            "schedules", lambda: self._store.schedules(limit=limit, after=after, names=names)
        )

    async def due_schedules(self, *, limit: int, after: str | None = None) -> Timetable:
        return await self._pass(
            "due_schedules", lambda: self._store.due_schedules(limit=limit, after=after)
        )

    async def arrange(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        return await self._pass("arrange", lambda: self._store.arrange(changes))

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        return await self._pass("tick", lambda: self._store.tick(ticks))

    async def subscriptions(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Subscriptions:
        return await self._pass(
            "subscriptions",
            lambda: self._store.subscriptions(limit=limit, after=after, names=names),
        )

    async def subscribe(self, changes: Sequence[SubscriptionChange]) -> list[bool]:
        return await self._pass("subscribe", lambda: self._store.subscribe(changes))

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        return await self._pass("publish", lambda: self._store.publish(events))

    async def events(self, keys: Sequence[tuple[str, str]]) -> list[KeptEvent | None]:
        return await self._pass("events", lambda: self._store.events(keys))

    async def report(self, workers: Sequence[WorkerReport], ttl: Micros) -> None:
        await self._pass("report", lambda: self._store.report(workers, ttl))

    async def workers(self) -> list[WorkerReport]:
        return await self._pass("workers", self._store.workers)

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        return self._store.watch(hints, wake)

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        """Do `call`, the method `name` of the store."""
        return await call()
