"""The app's store, for code on any loop."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from backline.app.home import Home
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
from backline.queue import Queue
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


class AppStore:
    """Every method of `Store`, done where the store lives; opens it on first use.

    It is the app's own store: `close` here is `App.aclose`, which opens it again when needed.
    """

    def __init__(self, home: Callable[[], Home], url: str) -> None:
        self._home = home
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        return self._home().peek().capabilities

    async def open(self) -> None:
        async def opened(queue: Queue) -> None:
            del queue  # being at home is to be open

        await self._home().run(opened)

    async def close(self) -> None:
        await self._home().close()

    async def migrate(self) -> int:
        return await self._home().run(lambda queue: queue.store.migrate())

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._home().run(lambda queue: queue.store.enqueue(calls))

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        return await self._home().run(
            lambda queue: queue.store.exchange(worker, call, acks, demand, ttl)
        )

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        return await self._home().run(lambda queue: queue.store.held(worker))

    async def retire(self, worker: WorkerName) -> None:
        await self._home().run(lambda queue: queue.store.retire(worker))

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.extend(leases, ttl))

    async def overdue(self, limit: int) -> list[HeldLease]:
        return await self._home().run(lambda queue: queue.store.overdue(limit))

    async def promote(self, limit: int) -> int:
        return await self._home().run(lambda queue: queue.store.promote(limit))

    async def expire(self, limit: int) -> int:
        return await self._home().run(lambda queue: queue.store.expire(limit))

    async def sweep(self, limit: int) -> int:
        return await self._home().run(lambda queue: queue.store.sweep(limit))

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        return await self._home().run(lambda queue: queue.store.cancel(ids))

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.redrive(ids))

    async def flows(self, ids: Sequence[JobId]) -> list[FlowStats | None]:
        return await self._home().run(lambda queue: queue.store.flows(ids))

    async def cancel_flows(self, ids: Sequence[JobId], limit: int) -> list[int]:
        return await self._home().run(lambda queue: queue.store.cancel_flows(ids, limit))

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.purge(ids))

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        return await self._home().run(lambda queue: queue.store.edit(ids, change))

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.progress(reports))

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.record(steps))

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        return await self._home().run(lambda queue: queue.store.steps(ids))

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        return await self._home().run(lambda queue: queue.store.get(ids))

    async def find(
        self,
        where: Filter,
        *,
        limit: int,
        after: JobId | None = None,
        oldest_first: bool = False,
        payloads: bool = True,
    ) -> Page:
        return await self._home().run(
            lambda queue: queue.store.find(
                where, limit=limit, after=after, oldest_first=oldest_first, payloads=payloads
            )
        )

    async def stats(self) -> list[QueueStats]:
        return await self._home().run(lambda queue: queue.store.stats())

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        await self._home().run(lambda queue: queue.store.configure(settings, declared=declared))

    async def schedules(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Timetable:
        return await self._home().run(
            lambda queue: queue.store.schedules(limit=limit, after=after, names=names)
        )

    async def due_schedules(self, *, limit: int, after: str | None = None) -> Timetable:
        return await self._home().run(
            lambda queue: queue.store.due_schedules(limit=limit, after=after)
        )

    async def arrange(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.arrange(changes))

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.tick(ticks))

    async def subscriptions(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Subscriptions:
        return await self._home().run(
            lambda queue: queue.store.subscriptions(limit=limit, after=after, names=names)
        )

    async def subscribe(self, changes: Sequence[SubscriptionChange]) -> list[bool]:
        return await self._home().run(lambda queue: queue.store.subscribe(changes))

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        return await self._home().run(lambda queue: queue.store.publish(events))

    async def events(self, keys: Sequence[tuple[str, str]]) -> list[KeptEvent | None]:
        return await self._home().run(lambda queue: queue.store.events(keys))

    async def report(self, workers: Sequence[WorkerReport], ttl: Micros) -> None:
        await self._home().run(lambda queue: queue.store.report(workers, ttl))

    async def workers(self) -> list[WorkerReport]:
        return await self._home().run(lambda queue: queue.store.workers())

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Hints reach callers on the store's own loop; others hear none and poll."""
        return self._watch(hints, wake)

    @asynccontextmanager
    async def _watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AsyncIterator[None]:
        async with self._home().borrowed() as store:
            if store is None:
                yield
            else:
                async with store.watch(hints, wake):
                    yield


def as_store(front: AppStore) -> Store:
    """A storefront is a store; the type checker sees to it here."""
    return front
