"""The steps of a run: done once, recorded, and not done again."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from backline.batching import Batcher
from backline.clock import Clock
from backline.codec import ResultCodec, result_of
from backline.context import StepContext, SuspendRun, current_step_var
from backline.display import shown
from backline.errors import BacklineError, ConfigError, StoreError
from backline.fanout import check_name
from backline.faults import fault
from backline.job import (
    MAX_STEP_NAME,
    MAX_STEPS,
    SECOND,
    Awaited,
    Backoff,
    JobId,
    LeasedJob,
    Micros,
    Step,
    StepRecord,
)
from backline.outage import Outage
from backline.store import Store
from backline.task import Transactions, name_text
from backline.worker.payload import Payload

T = TypeVar("T")

_RETRIES: Final = Backoff(base=SECOND // 50, cap=SECOND)
_MOST_BYTES: Final = 1024 * 1024
"""Of values in one commit."""
_PATIENCE_S: Final = 1.0
"""How long a run that is told to stop waits for the record of what it has just done."""


class StepRecorder:
    """Records the steps of a worker's runs, and finds those of earlier attempts.

    Steps that are done while others are being recorded share the next commit. A store that is
    away is insisted upon until `close`: what was done must not be forgotten.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self.tick = clock.tick
        self._store = store
        self._clock = clock
        self._closed = False
        self._batcher: Batcher[Step, bool] = Batcher(
            self._record,
            most=_MOST_BYTES,
            weight=lambda step: len(bytes(step.value or b"")) + len(step.name),
            keys=lambda step: (),
            shared=(StoreError,),
        )
        self._recording: set[asyncio.Task[bool]] = set()

    def close(self) -> None:
        """Insist no more: the worker ends."""
        self._closed = True

    async def record(self, step: Step) -> bool:
        """Record a step; False: the lease was no longer held.

        A caller that is cancelled waits a moment all the same: what it did is done, and will be
        done again if that is not known.
        """
        recording = asyncio.get_running_loop().create_task(self._batcher.submit(step))
        self._recording.add(recording)
        recording.add_done_callback(self._recorded)
        try:
            return await asyncio.shield(recording)
        except asyncio.CancelledError:
            if not recording.done():
                await asyncio.wait([recording], timeout=_PATIENCE_S)
            raise

    async def find(self, job_id: JobId) -> list[StepRecord]:
        """The steps that are recorded of a job."""
        [found] = await self._insist("looking for steps", lambda: self._store.steps([job_id]))
        return found

    async def _record(self, steps: Sequence[Step]) -> list[bool]:
        return await self._insist("recording steps", lambda: self._store.record(steps))

    def _recorded(self, recording: asyncio.Task[bool]) -> None:
        self._recording.discard(recording)
        if not recording.cancelled():
            recording.exception()  # its run may be gone, and nobody else asks

    async def _insist(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        outage = Outage(what, self._clock, _RETRIES)
        while True:
            try:
                answer = await call()
            except StoreError as error:
                if self._closed:
                    raise
                await outage.wait(error)
            else:
                outage.over()
                return answer


class RunSteps:
    """The steps of one run: those it has done, and those that earlier attempts have recorded.

    `lost` is called when a record is refused because the lease is not held any more.
    """

    def __init__(
        self,
        lease: LeasedJob,
        recorder: StepRecorder,
        lost: Callable[[], None],
        most: int = MAX_STEPS,
    ) -> None:
        self._lease = lease
        self._recorder = recorder
        self._lost = lost
        self._most = most
        self._known: dict[str, StepRecord] | None = {} if lease.steps == 0 else None
        self._looking = asyncio.Lock()
        self._looked_at: Micros = 0
        self._met: set[str] = set()
        """The names this run has come to."""
        self._sleeps = 0
        self._waits = 0
        self._made: dict[int, tuple[Coroutine[Any, Any, Any], str]] = {}
        """What the task has called and not awaited yet."""
        self._calls = 0

    def awaited(self, what: str, work: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """`work()`, once that is awaited; until then `forgotten` names it."""
        self._calls += 1
        call = self._calls

        async def begin() -> T:
            del self._made[call]
            return await work()

        made = begin()
        self._made[call] = (made, what)
        return made

    def forgotten(self) -> str | None:
        """What was called and never awaited. None of it can begin any more."""
        found: str | None = None
        for made, what in self._made.values():
            if inspect.getcoroutinestate(made) == inspect.CORO_CREATED:
                found = found or what
                made.close()
        return found

    async def step(self, name: str, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        """What `fn(*args)` returned when it was recorded: now, or by an earlier attempt."""
        codec = self._codec(name, fn)
        record = await self._enter(name)
        if record is not None:
            return codec.decode(_value(record))
        done = False
        try:
            value = codec.encode(await self._do(name, fn, args))
            fault("step.before_record")
            await self._record(Step(self._lease.id, self._lease.attempt, name, value))
            fault("step.after_record")
            done = True
        finally:
            if not done:
                self._met.discard(name)  # the task may try it again itself
        return codec.decode(value)

    async def step_within(
        self,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        transactions: Transactions,
        within: object,
    ) -> Any:
        """As `step`, but recorded by the caller's connection, and committed by the caller.

        Whether that happens is not known here: a run may come to it again after a rollback.
        """
        codec, lease = self._codec(name, fn), self._lease
        record = await self._enter(name)
        try:
            if record is not None:
                return codec.decode(_value(record))
            found = await transactions.recorded(lease.id, lease.attempt, name, within)
            if found is not None:
                return codec.decode(found.value)
            value = codec.encode(await self._do(name, fn, args))
            fault("step.before_record")
            await transactions.record(lease.id, lease.attempt, name, value, within)
            fault("step.after_record")
        finally:
            self._met.discard(name)
        return codec.decode(value)

    async def sleep(self, delay: Micros, name: str | None) -> None:
        """Raises SuspendRun unless the sleep is over."""
        self._sleeps += 1
        name = f"sleep {self._sleeps}" if name is None else name
        record = await self._enter(name)
        if record is None:
            lease = self._lease
            raise SuspendRun(delay, Step(lease.id, lease.attempt, name, wake_in=delay))
        if record.wake_in is None or record.awaits is not None:
            raise _taken("sleep", name, _told(record))
        left = self._left(record)
        if left > 0:  # run before its time: cancelled while asleep, say, and redriven
            raise SuspendRun(left, None)

    async def wait_for(
        self, event: str, key: str, of: Any, timeout: Micros, name: str | None
    ) -> Any:
        """The payload of the event, if the wait is over by it, or WaitTimeout; else SuspendRun."""
        self._waits += 1
        name = f"wait {self._waits}" if name is None else name
        awaited = Awaited(check_name(event), _key(key))
        payload = Payload(of, f"event {event} that {self._lease.task} waits for")
        record = await self._enter(name)
        lease = self._lease
        if record is None:
            step = Step(lease.id, lease.attempt, name, wake_in=timeout, awaits=awaited)
            raise SuspendRun(timeout, step)
        if record.awaits != awaited:
            raise _taken("wait", name, _told(record))
        if not record.over:
            left = self._left(record)
            step = Step(lease.id, lease.attempt, name, wake_in=left, awaits=awaited)
            if left > 0:  # the step again, so that an event is met that came since the look
                raise SuspendRun(left, step)
            record = await self._give_up(replace(step, over=True))
        return payload.of(record, awaited)

    async def _give_up(self, step: Step) -> StepRecord:
        """The time of a wait is over: have that recorded, unless the event came first."""
        fault("step.before_record")
        await self._record(step)
        fault("step.after_record")
        found = {record.name: record for record in await self._recorder.find(self._lease.id)}
        return found[step.name]

    def _left(self, record: StepRecord) -> Micros:
        """How long until a sleep is over."""
        return (record.wake_in or 0) - (self._recorder.tick() - self._looked_at)

    def _codec(self, name: str, fn: Callable[..., Any]) -> ResultCodec:
        return result_of(fn, f"the result of step {name!r} of {self._lease.task}")

    async def _enter(self, name: str) -> StepRecord | None:
        """Come to a step; its record, if it has one."""
        _check_name(name)
        known = await self._find()
        if name in self._met:
            raise BacklineError(
                f"step {name!r} of {self._lease.task} comes twice in one run, and is recorded by "
                "its name: number the names, as in f'charge {line}'"
            )
        record = known.get(name)
        if record is None and len(known) + len(self._met - known.keys()) >= self._most:
            raise BacklineError(
                f"{self._lease.task} has recorded {self._most:,} steps, the most a job may have: "
                "do several things in one step, or enqueue a job for a part"
            )
        self._met.add(name)
        return record

    async def _find(self) -> dict[str, StepRecord]:
        async with self._looking:
            if self._known is None:
                found = await self._recorder.find(self._lease.id)
                self._looked_at = self._recorder.tick()
                self._known = {record.name: record for record in found}
        return self._known

    async def _do(self, name: str, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
        token = current_step_var.set(StepContext(self._lease.id, name))
        try:
            value = fn(*args)
            return await value if inspect.isawaitable(value) else value
        finally:
            current_step_var.reset(token)

    async def _record(self, step: Step) -> None:
        if not await self._recorder.record(step):
            self._lost()  # another attempt may be under way: nothing more is done by this one
            await asyncio.sleep(0)  # the cancel comes here, or in the task that waits for this one
            raise asyncio.CancelledError


def _value(record: StepRecord) -> Raw | None:
    if record.wake_at is not None or record.awaits is not None:
        raise _taken("step", record.name, _told(record))
    return record.value


def _taken(what: str, name: str, by: str) -> BacklineError:
    return BacklineError(f"{what} {name!r} is recorded as {by}: give it another name")


def _told(record: StepRecord) -> str:
    if record.awaits is None:
        return "a step" if record.wake_at is None else "a sleep"
    return f"a wait for {record.awaits.name} of key {record.awaits.key!r}"


def _key(key: object) -> str:
    try:
        return name_text(key)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"key= of wait_for: {error}") from None


def _check_name(name: object) -> None:
    fits = isinstance(name, str) and 1 <= len(name) <= MAX_STEP_NAME and name.isprintable()
    if not fits:
        raise BacklineError(
            f"a step's name is 1 to {MAX_STEP_NAME} printable characters, not {shown(name)}"
        )
