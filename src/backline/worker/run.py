"""One run of one job in this worker, from its lease to its recorded outcome."""

from asyncio import CancelledError, current_task
from asyncio import Task as LoopTask
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from backline.context import JobContext, SuspendRun
from backline.errors import BacklineError
from backline.faults import fault
from backline.job import Ack, LeasedJob, Micros, Progress
from backline.policy import Suspended
from backline.task import AnyTask
from backline.worker.steps import RunSteps, StepRecorder

T = TypeVar("T")


class StopReason(Enum):
    """Why a run was told to stop."""

    TIMEOUT = auto()
    CANCEL = auto()
    LOST = auto()
    """Its lease ended, or may end before anybody can renew it."""
    SHUTDOWN = auto()
    BATCH = auto()
    """Another job of its batch made the call stop that they share."""


class Whole(Protocol):
    """The call that a run shares with others."""

    def tell(self, run: "Run", reason: StopReason, now: Micros) -> None:
        """As `Run.tell` of one of the runs."""
        ...

    def returned(self, run: "Run") -> None:
        """The handler returned and said nothing of this run: note why that is no success."""
        ...

    def told(self) -> bool:
        """Whether the call as a whole is to stop; who asks and sees that has heeded it."""
        ...


Report: TypeAlias = Callable[[Progress], None]
Observer: TypeAlias = Callable[["Run"], None]
"""Called on the loop when a job's outcome is known: `run.ack` says which."""


class Run(msgspec.Struct, eq=False, gc=False):
    """A leased job on its way through this worker. Implements `context.RunControl`.

    Not tracked by the garbage collector: `end` drops what could close a cycle.
    """

    lease: LeasedJob
    code: AnyTask | None
    until: Micros
    """The lease is ours until this tick, unless it was renewed."""
    leased_at: Micros
    """Since when it waits; ahead of now: it is to wait a little longer."""
    send: Report
    tick: Callable[[], Micros]
    """The clock that `deadline` is of."""
    recorder: StepRecorder | None = None
    slot: int = -1
    """Where it is on the board; -1: it has not begun."""
    started_at: Micros = 0
    busy: Micros = 0
    """How long it ran."""
    deadline: Micros = 0
    stop: StopReason | None = None
    stopped_at: Micros = 0
    runner: LoopTask[None] | None = None
    """The asyncio Task it is on, if it is on one."""
    call: Future[Any] | None = None
    """What that Task waits for in a thread, where nothing can interrupt it."""
    ack: Ack | None = None
    """Set once: whoever comes later with another outcome is too late."""
    seen: JobContext | None = None
    heeded: bool = False
    """The task looked whether it should stop, and saw that it should."""
    completing: bool = False
    """It tried to complete in a transaction of the caller's, which may have been committed."""
    completed: Raw | None = None
    """The result it gave then."""
    whole: Whole | None = None
    """What runs it, if that is a call of many jobs, which lets go of its runs at its end."""
    cancel: bool = False
    """Of such a run: somebody asked for it to be cancelled, and the others go on."""
    steps: RunSteps | None = None
    """Made when the task comes to its first step."""
    lost: bool = False
    """No step may begin any more: another attempt may be doing it."""
    suspended: Suspended | None = None
    """The task was told to end the run, because it sleeps or waits for an event."""

    @property
    def task(self) -> AnyTask:
        """The task's code; a run whose task is unknown here never gets as far as this."""
        assert self.code is not None
        return self.code

    @property
    def context(self) -> JobContext:
        """What the task sees of this run; made when first asked for."""
        if self.seen is None:
            self.seen = JobContext(self.lease, self)
        return self.seen

    @property
    def given_up(self) -> bool:
        """It was settled before it ended."""
        return self.ack is not None

    def begin(self, now: Micros) -> None:
        """Note that it starts now."""
        self.started_at = now
        self.deadline = now + self.lease.terms.timeout

    def end(self, ack: Ack) -> None:
        """Note how it ended."""
        self.ack = ack
        self.runner = self.call = self.seen = self.steps = None

    def tell(self, reason: StopReason, now: Micros) -> None:
        """Ask the run to stop: cancels a coroutine, raises the flag that threads look at."""
        self.lost |= reason is StopReason.LOST
        if self.stop is not None:
            return
        if self.whole is not None:
            self.whole.tell(self, reason, now)
            return
        self.stop, self.stopped_at = reason, now
        if self.call is not None:
            self.call.cancel()  # does nothing to a call that has begun
        elif self.runner is not None:
            self.runner.cancel()

    def cancelled(self) -> bool:
        told = self.stop is not None or self.cancel
        if self.whole is not None and self.whole.told():
            told = True
        self.heeded = self.heeded or told
        return told

    def time_left(self) -> Micros:
        return self.deadline - self.tick()

    def step(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], within: object
    ) -> Awaitable[Any]:
        steps = self._steps()
        if within is None:
            return steps.awaited("step", lambda: steps.step(name, fn, args))
        transactions = self.task.transactions
        return steps.awaited(
            "step", lambda: steps.step_within(name, fn, args, transactions, within)
        )

    def sleep(self, delay: Micros, name: str | None) -> Awaitable[None]:
        steps = self._steps()
        sleep = partial(self._suspending, "sleep", lambda: steps.sleep(delay, name))
        return steps.awaited("sleep", sleep)

    def wait_for(
        self, event: str, key: str, of: Any, timeout: Micros, name: str | None
    ) -> Awaitable[Any]:
        steps = self._steps()
        wait = partial(
            self._suspending, "wait_for", lambda: steps.wait_for(event, key, of, timeout, name)
        )
        return steps.awaited("wait_for", wait)

    async def _suspending(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        if current_task() is not self.runner:
            raise BacklineError(
                f"job.{what} ends the run, so only the task's own coroutine may call it, not one "
                "that it started beside itself"
            )
        try:
            return await step()
        except SuspendRun as sleeps:
            self.suspended = Suspended(sleeps.delay, sleeps.step)
            raise

    def _steps(self) -> RunSteps:
        if self.steps is None:
            if not self.task.is_async or self.recorder is None:
                raise BacklineError(
                    f"steps are awaited, so {self.lease.task} has to be an async def to have any"
                )
            if self.whole is not None:
                raise BacklineError(f"a job of a batch has no steps: {self.lease.task} has batch=")
            if self.ack is not None:
                raise BacklineError(f"the run of {self.lease.task} has ended: no more steps")
            self.steps = RunSteps(self.lease, self.recorder, self._lose, self.task.most_steps)
        if self.lost:
            raise CancelledError
        return self.steps

    def _lose(self) -> None:
        self.tell(StopReason.LOST, self.tick())

    def complete(self, result: object, within: object) -> None:
        self._completes(result)
        task, lease = self.task, self.lease
        task.transactions.complete(lease.id, lease.attempt, self.completed, within)

    async def acomplete(self, result: object, within: object) -> None:
        self._completes(result)
        task, lease = self.task, self.lease
        await task.transactions.acomplete(lease.id, lease.attempt, self.completed, within)

    def _completes(self, result: object) -> None:
        self.completed = self.task.codec.encode_result(result)
        self.completing = True

    def report(self, progress: Progress) -> None:
        fault("progress.before_report")
        self.send(progress)
        fault("progress.after_report")
