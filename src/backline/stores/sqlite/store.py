"""The store of one SQLite file: the methods of the contract, each a line or two."""

import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, Literal, TypeVar

import msgspec

from backline.clock import SYSTEM_CLOCK, Clock
from backline.errors import StoreUnavailable
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
    Subscriptions,
    Timetable,
    WorkerReport,
)
from backline.stores.requests import (
    check,
    check_changes,
    check_edit,
    check_events,
    check_subscriptions,
)
from backline.stores.sqlite import (
    audit,
    configuring,
    driver,
    edits,
    enqueue,
    exchange,
    fanout,
    finding,
    flows,
    moves,
    reads,
    schedules,
    schema,
)
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.exchange import ExchangeCall
from backline.stores.sqlite.session import Session
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction, dumps

T = TypeVar("T")

MOST_IN_VAIN: Final = 1_000
"""Workers of one handle whose last call in vain is remembered."""

_QUOTED: Final = str.maketrans({char: f"%{ord(char):02X}" for char in "%?#"})
"""What would mean something else in a URL."""

_REPORT: Final = statement("report")


_stores: Final["weakref.WeakSet[SqliteStore]"] = weakref.WeakSet()


class SqliteStore:
    """Jobs in one file on this machine, shared by every process that opens it.

    `durability="full"` (the default) survives a power cut with every acknowledged job;
    "normal" survives the crash of any process, and may lose the last commits with the
    power. Safe from any thread and any event loop, and after a fork: a child that uses it
    opens its own connections. `vfs` names a registered SQLite VFS to use for the file.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        durability: Literal["full", "normal"] = "full",
        vfs: str | None = None,
    ) -> None:
        self._given = Path(path)
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - the folder may change later
        self._clock = clock
        self._durability = durability
        self._vfs = vfs
        self._session: Session | None = None
        self._lock = Lock()
        self._pid = os.getpid()
        self._in_vain: dict[WorkerName, int] = {}
        """The last call of each worker that found nothing, and so was not written down."""
        self._audit_at = clock.tick()
        _stores.add(self)

    @property
    def url(self) -> str:
        """What opens the same file again, from the same folder."""
        option = "" if self._durability == "full" else f"?durability={self._durability}"
        return f"sqlite:///{str(self._given).translate(_QUOTED)}{option}"

    @property
    def capabilities(self) -> Capabilities:
        full = self._durability == "full"
        return Capabilities(
            product=f"SQLite {driver.version()}",
            between_processes=True,
            survives="power cut" if full else "process",
        )

    async def open(self) -> None:
        driver.check_version(driver.version())
        session = self._begin(opening=True)
        try:
            await session.open()
        finally:
            with self._lock:
                session.openers -= 1
                in_vain = session.openers == 0 and not session.was_open
                if in_vain and self._session is session:
                    self._session = None
            if in_vain:
                session.leave()

    async def close(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is not None and self._pid == os.getpid():
            await session.close()

    async def migrate(self) -> int:
        await self.open()
        return schema.VERSION

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        check(calls)
        return await self._write(partial(enqueue.enqueue, calls=calls))

    async def exchange(
        self,
        worker: WorkerName,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
    ) -> Exchange:
        asked = ExchangeCall(worker, call, acks, demand, ttl)
        session, work = await self._ready(), partial(exchange.exchange, call=asked)
        if acks:
            answer = await session.write(work)
        else:  # no job waits for the disk: after a power cut there is nobody who runs it
            answer = await session.write(work, partial(self._look, asked), synced=False)
        if answer.jobs and self._session is not None and self._session.wakeups is not None:
            self._session.wakeups.paid()
        return answer

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        return await self._read(partial(reads.held, worker=worker))

    async def retire(self, worker: WorkerName) -> None:
        await self._write(partial(moves.retire, worker=worker))

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        return await self._write(partial(moves.extend, leases=leases, ttl=ttl)) if leases else []

    async def overdue(self, limit: int) -> list[HeldLease]:
        return await self._read(partial(reads.overdue, limit=limit, tick=self._clock.tick()))

    async def promote(self, limit: int) -> int:
        return await self._write(partial(moves.promote, limit=limit))

    async def expire(self, limit: int) -> int:
        return await self._write(partial(moves.expire, limit=limit))

    async def sweep(self, limit: int) -> int:
        gone = await self._write(partial(moves.sweep, limit=limit))
        if self._clock.tick() >= self._audit_at:
            await self._audit()
        return gone

    async def _audit(self) -> None:
        """Count what is otherwise moved without a look, and correct it."""
        # First: if it fails each time, as it does in a damaged file, the sweeps go on between.
        self._audit_at = self._clock.tick() + audit.EVERY
        found = await self._read(audit.look)
        if found is not None:
            await self._write(partial(audit.correct, found=found))

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        return await self._write(partial(moves.cancel, ids=ids)) if ids else []

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._write(partial(moves.redrive, ids=ids)) if ids else []

    async def flows(self, ids: Sequence[JobId]) -> list[FlowStats | None]:
        return await self._read(partial(flows.stats, ids=ids))

    async def cancel_flows(self, ids: Sequence[JobId], limit: int) -> list[int]:
        work = partial(moves.cancel_flows, ids=ids, limit=limit)
        return await self._write(work) if ids else []

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        return await self._write(partial(moves.purge, ids=ids)) if ids else []

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        check_edit(change)
        return await self._write(partial(edits.edit, ids=ids, change=change)) if ids else []

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        return await self._write(partial(moves.progress, reports=reports)) if reports else []

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        return await self._write(partial(moves.record, done=steps)) if steps else []

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        return await self._read(partial(reads.steps, ids=ids, now=self._clock.now()))

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        return await self._read(partial(reads.get, ids=ids))

    async def find(
        self,
        where: Filter,
        *,
        limit: int,
        after: JobId | None = None,
        oldest_first: bool = False,
        payloads: bool = True,
    ) -> Page:
        asked = finding.Asked(where, limit, after, oldest_first, payloads)
        return await self._read(partial(finding.find, asked=asked))

    async def stats(self) -> list[QueueStats]:
        return await self._read(partial(reads.stats, tick=self._clock.tick()))

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        if settings:
            await self._write(partial(configuring.configure, settings=settings, declared=declared))

    async def schedules(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Timetable:
        now = self._clock.now()
        return await self._read(
            partial(schedules.page, limit=limit, after=after, names=names, now=now)
        )

    async def due_schedules(self, *, limit: int, after: str | None = None) -> Timetable:
        now = self._clock.now()
        return await self._read(partial(schedules.due, limit=limit, after=after, now=now))

    async def arrange(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        check_changes(changes)
        return await self._write(partial(schedules.arrange, changes=changes)) if changes else []

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        check([tick.jobs for tick in ticks])
        return await self._write(partial(schedules.tick, ticks=ticks)) if ticks else []

    async def subscriptions(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Subscriptions:
        return await self._read(partial(fanout.page, limit=limit, after=after, names=names))

    async def subscribe(self, changes: Sequence[SubscriptionChange]) -> list[bool]:
        check_subscriptions(changes)
        return await self._write(partial(fanout.subscribe, changes=changes)) if changes else []

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        check_events(events)
        return await self._write(partial(fanout.publish, events=events)) if events else []

    async def events(self, keys: Sequence[tuple[str, str]]) -> list[KeptEvent | None]:
        return await self._read(partial(fanout.kept, keys=keys, now=self._clock.now()))

    async def report(self, workers: Sequence[WorkerReport], ttl: Micros) -> None:
        if workers:
            await self._write(partial(_report, workers=workers, ttl=ttl))

    async def workers(self) -> list[WorkerReport]:
        return await self._read(partial(reads.workers, tick=self._clock.tick()))

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        return self._watch(hints, wake)

    @asynccontextmanager
    async def _watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AsyncIterator[None]:
        wakeups = (await self._ready()).wakeups
        if wakeups is None:
            raise StoreUnavailable(f"{self._path} is closed")
        with wakeups.watching(hints, wake):
            yield

    def __repr__(self) -> str:
        state = "closed" if self._session is None else "open"
        return f"<SqliteStore {self._path} {state}>"

    def _begin(self, *, opening: bool) -> Session:
        """The session of this process, made if need be; others may be about to open it."""
        with self._lock:
            if self._session is None or self._pid != os.getpid():
                full = self._durability == "full"
                self._session = Session(self._path, self.url, self._clock, self._vfs, full=full)
                self._pid = os.getpid()
            self._session.openers += opening
            return self._session

    async def _ready(self) -> Session:
        session = self._session
        if session is None:
            raise StoreUnavailable(f"{self._path} is not open: call `await store.open()`")
        if self._pid == os.getpid() and session.is_lost:
            await session.open()  # whether it can or not, the next call may try again
        elif self._pid != os.getpid() or not session.is_open:
            await self.open()
            return self._begin(opening=False)
        return session

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        return await (await self._ready()).write(work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await (await self._ready()).read(work)

    def _look(self, call: ExchangeCall, db: Connection) -> Exchange | None:
        """What a call without acks brings if there is nothing to do, or None; in the writer's
        thread, so that a call that does bring jobs hops to one thread only."""
        seen = reads.peek(db, call, self._clock.now(), self._clock.tick())
        in_vain = call.call <= self._in_vain.get(call.worker, call.call - 1)
        if seen.work and not in_vain:
            return None
        self._note_in_vain(call.worker, call.call)
        return Exchange([], [], seen.next_in)

    def _note_in_vain(self, worker: WorkerName, call: int) -> None:
        """A repeat of this call must lease nothing either (I5)."""
        last = self._in_vain.pop(worker, call)
        self._in_vain[worker] = max(last, call)
        if len(self._in_vain) > MOST_IN_VAIN:
            del self._in_vain[next(iter(self._in_vain))]

    def _forked(self) -> None:
        """In the child of a fork: everything that is open is the parent's, and so is whatever
        thread held the lock."""
        self._lock = Lock()
        if self._session is not None:
            self._session.abandon()


def _report(tx: Transaction, workers: Sequence[WorkerReport], ttl: Micros) -> None:
    seen = [(worker.worker, msgspec.structs.replace(worker, seen_at=tx.now)) for worker in workers]
    tx.db.run(_REPORT, {"reports": dumps(seen), "forget_tick": tx.tick + ttl})


def _after_fork() -> None:
    for store in tuple(_stores):
        store._forked()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
