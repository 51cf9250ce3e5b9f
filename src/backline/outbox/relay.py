"""The relay: moves jobs and events from an outbox to the store, once they are committed there.

A row is deleted after the store has committed its job, and the job, or the event, carries the id
it got when it was written: a relay that dies anywhere in between does it again, and that adds
nothing. It remembers no position. Whatever is committed and not set aside is to be moved, whenever
it was committed; what was rolled back was never there.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec

from backline.batching import apart, claims
from backline.clock import Clock, call_in
from backline.duty import Duty
from backline.errors import StoreError, StoreUnavailable
from backline.fanout import Publication
from backline.faults import fault
from backline.job import DAY, MINUTE, SECOND, Enqueued, JobId, JobRequest, Micros, Refused
from backline.outbox import tables
from backline.outbox.outbox import Relayed, Rows
from backline.queue.admission import dispute
from backline.states import State
from backline.store import Store

if TYPE_CHECKING:
    from backline.outbox.database import Waiting

log = logging.getLogger(__name__)

T = TypeVar("T")

BITE: Final = 500
"""At most this many jobs are moved at once."""
FIRST_LOOK: Final[Micros] = SECOND // 100
LONGEST_LOOK: Final[Micros] = SECOND // 4
"""How long a committed job may lie before it is seen."""
FIRST_FULL: Final[Micros] = SECOND // 20
LONGEST_FULL: Final[Micros] = SECOND
"""How long a queue that was full is left alone."""
KEEP: Final[Micros] = 7 * DAY
"""How long a completion is remembered at least; longer while its job may run again."""
SELDOM: Final[Micros] = MINUTE

_GONE: Final = frozenset({State.SUCCEEDED})
"""States in which a job that completed can run no more; nor can one that was purged."""

Readable: TypeAlias = "tuple[Waiting, JobRequest | Publication]"
Fate: TypeAlias = str | Refused | None
"""What became of a row: why it is set aside, that its queue is full, or None: it was moved."""

_job: Final = msgspec.json.Decoder(JobRequest).decode
_event: Final = msgspec.json.Decoder(Publication).decode


class Relay:
    """Moves the jobs of one outbox to one store; belongs to one event loop.

    Any number of them on one outbox do no harm. A job of a queue that is full waits here, and
    holds up no other queue. A job that can never be enqueued (its unique key is taken and
    `on_conflict` is "raise"; its idempotency key stands for other arguments; nobody can read
    it) is set aside in its row, with the reason.
    """

    def __init__(self, outbox: Relayed, store: Store, clock: Clock) -> None:
        self.outbox: Final = outbox
        self._store = store
        self._clock = clock
        self._database: Rows = outbox.open()
        self._thread = clock.executor("backline-relay")
        self._turn = outbox.turn(clock)
        self._hint = asyncio.Event()
        self._closed = False
        self._pause = FIRST_LOOK
        self._stepped_to: JobId = ""
        """The last of the jobs whose steps were looked at."""
        self._moved: list[int] = []
        """Rows whose jobs are in the store and which are still to be deleted."""
        self._full: dict[str, tuple[Micros, Micros]] = {}
        """Queues that were full: until when to leave them alone, and how long that was."""

    async def run(self) -> None:
        """Move jobs until cancelled; rides out every error of store and database."""
        loop = asyncio.get_running_loop()
        stop_listening = self.outbox.listen(lambda: call_in(loop, self._hint.set))
        name = f"relaying {self.outbox.path}"
        duties = [
            Duty(name, self._round, self._clock),
            Duty(f"{name}: forgetting completions", self._forget_round, self._clock),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for duty in duties:
                    group.create_task(duty.run(), name=duty.name)
        finally:
            stop_listening()
            await self.close()

    async def close(self) -> None:
        """Let go of the database and of the thread, for good. Repeated: nothing."""
        if self._closed:
            return
        closing = self._do(self._database.close)
        self._closed = True
        try:
            await closing
        finally:
            self._turn.close()
            self._thread.shutdown(wait=False)

    async def move_all(self) -> int:
        """Move everything that is committed now and can be moved; returns how many rows went.

        Raises StoreError.
        """
        total = 0
        while gone := await self.move():
            total += gone
        return total

    async def move(self) -> int:
        """Move a bite of rows, the oldest first; returns how many wait no more, moved or set
        aside. Raises StoreError.
        """
        await self._settle([])
        fault("relay.before_read")
        rows = await self._do(self._database.waiting, BITE, but_for=self._resting())
        requests, failed = _read(rows)
        fault("relay.before_enqueue")
        full: set[str] = set()
        for batch in apart(requests, _claims):
            # What came later must not overtake what waits for room.
            offered = [pair for pair in batch if pair[0].queue not in full]
            fates = await self._offer(offered) if offered else []
            for (row, _), fate in zip(offered, fates, strict=True):
                if fate is None:
                    self._moved.append(row.seq)
                elif isinstance(fate, Refused):
                    full.add(row.queue)
                else:
                    failed.append((row.seq, fate))
        self._note_full(full)
        gone = len(self._moved) + len(failed)
        fault("relay.after_enqueue")
        await self._settle(failed)
        return gone

    async def forget(self) -> int:
        """Forget a bite of old completions; returns how many. Raises StoreError.

        A completion is as old as `KEEP`, and its job has succeeded or was purged: one that is
        dead, say, may still be run again, and would repeat its effect.
        """
        before = self._clock.now() - KEEP
        ids: list[JobId] = await self._do(self._database.completed_before, before, BITE)
        gone = await self._over(ids)
        if gone:
            await self._do(self._database.forget, gone)
        return len(gone)

    async def forget_steps(self) -> bool:
        """Forget old steps of a bite of the jobs; whether there are more. Raises StoreError.

        As old as completions; the steps of a job that may run again are needed as long as it.
        """
        found = await self._do(self._database.stepped, self._stepped_to, BITE)
        self._stepped_to = found[-1][0] if len(found) == BITE else ""
        before = self._clock.now() - KEEP
        if gone := await self._over([job_id for job_id, at in found if at <= before]):
            await self._do(self._database.forget_steps, gone)
        return self._stepped_to != ""

    async def _over(self, ids: list[JobId]) -> list[JobId]:
        """Those that can run no more."""
        records = await self._store.get(ids) if ids else []
        return [
            job_id
            for job_id, record in zip(ids, records, strict=True)
            if record is None or record.state in _GONE
        ]

    async def _round(self) -> Micros:
        with contextlib.suppress(TimeoutError):
            # `wait_for` forgets that it was cancelled if the hint came just before.
            async with asyncio.timeout(self._pause / SECOND):
                await self._hint.wait()
        if self._hint.is_set():
            self._hint.clear()
            self._pause = FIRST_LOOK  # what was written will be committed in a moment
        else:
            self._pause = min(2 * self._pause, LONGEST_LOOK)
        if self._turn.take():
            try:
                if await self.move():
                    self._pause = FIRST_LOOK
            finally:
                self._turn.give_up()
        return 0

    async def _forget_round(self) -> Micros:
        full = await self.forget() == BITE
        return 0 if await self.forget_steps() or full else SELDOM

    async def _offer(self, batch: Sequence[Readable]) -> list[Fate]:
        """Enqueue the jobs of these rows in one commit, in their order, each by itself.

        Their events are published in another. An error that is no outage is some row's fault: it
        is found by halving.
        """
        jobs = [one for _, one in batch if isinstance(one, JobRequest)]
        events = [one for _, one in batch if isinstance(one, Publication)]
        try:
            answers = iter(await self._store.enqueue([(job,) for job in jobs]) if jobs else [])
            if events:
                await self._store.publish(events)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - it is one row's, and must stop no other
            if len(batch) == 1:
                return [f"{type(error).__name__}: {error}"]
            half = len(batch) // 2
            return [*await self._offer(batch[:half]), *await self._offer(batch[half:])]
        return [_fate(one, next(answers)) if isinstance(one, JobRequest) else None
                for _, one in batch]  # fmt: skip

    async def _settle(self, failed: list[tuple[int, str]]) -> None:
        """Delete what was moved, also before if that failed, and set aside what cannot be."""
        for seq, error in failed:
            log.error("a job in %s (row %d) is set aside: %s", self.outbox.path, seq, error)
        if not self._moved and not failed:
            return
        fault("relay.before_delete")
        await self._do(self._database.settle, self._moved, failed, self._clock.now())
        self._moved = []
        fault("relay.after_delete")

    def _resting(self) -> list[str]:
        now = self._clock.tick()
        return [queue for queue, (until, _) in self._full.items() if until > now]

    def _note_full(self, queues: Iterable[str]) -> None:
        """Leave full queues alone for a while, longer each time; forget those with room."""
        now = self._clock.tick()
        resting = {queue: rest for queue, rest in self._full.items() if rest[0] > now}
        for queue in queues:
            _, before = self._full.get(queue, (0, 0))
            wait = min(2 * before, LONGEST_FULL) or FIRST_FULL
            resting[queue] = (now + wait, wait)
        self._full = resting

    def _do(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> Awaitable[T]:
        """Call the database in its own thread: it may have to wait for other writers."""
        if self._closed:
            raise StoreUnavailable(f"the relay of {self.outbox.path} is closed")
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))


def _read(rows: Sequence["Waiting"]) -> tuple[list[Readable], list[tuple[int, str]]]:
    """The jobs and events of these rows, and what is wrong with those that cannot be read."""
    readable: list[Readable] = []
    failed: list[tuple[int, str]] = []
    for row in rows:
        try:
            event = row.queue == tables.EVENT
            readable.append((row, _event(row.job) if event else _job(row.job)))
        except (ValueError, msgspec.MsgspecError) as error:
            failed.append((row.seq, f"malformed: {error}"))
    return readable, failed


def _claims(readable: Readable) -> set[Hashable]:
    _, request = readable
    return claims([request]) if isinstance(request, JobRequest) else set()


def _fate(request: JobRequest, answer: list[Enqueued] | Refused) -> Fate:
    if isinstance(answer, Refused):
        return answer
    [enqueued] = answer
    error = dispute(request, enqueued)
    return None if error is None else f"conflict: {error}"


@asynccontextmanager
async def relaying(outboxes: Iterable[Relayed], store: Store, clock: Clock) -> AsyncIterator[None]:
    """Relay these outboxes to a store that is open on the running loop, while inside."""
    tasks = [
        asyncio.create_task(Relay(outbox, store, clock).run(), name=f"relay {outbox.path}")
        for outbox in outboxes
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
