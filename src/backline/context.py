"""What a running task sees of its own job."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple, overload

from backline.display import shown
from backline.duration import Duration, micros
from backline.errors import BacklineError
from backline.job import SECOND, JobId, LeasedJob, Micros, Progress, Step, as_datetime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_NOTE: Final = 1_000


class RunControl(Protocol):
    """What a run can ask of the worker that runs it. Safe to call from any thread."""

    def cancelled(self) -> bool:
        """Somebody asked for the job to be cancelled, its time is up, or its lease is lost."""
        ...

    def report(self, progress: Progress) -> None:
        """Send progress to the store, soon; a later report replaces one not sent yet."""
        ...

    def complete(self, result: object, within: object) -> None:
        """Write in the caller's transaction that the job has completed."""
        ...

    async def acomplete(self, result: object, within: object) -> None:
        """The same; `within` may be async too."""
        ...

    def time_left(self) -> Micros:
        """How long until its time limit is reached; negative once it was."""
        ...

    def step(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], within: object
    ) -> Awaitable[Any]:
        """Do a step, unless it is recorded: in the caller's transaction, if `within` is one."""
        ...

    def sleep(self, delay: Micros, name: str | None) -> Awaitable[None]:
        """End the run, unless the sleep is over."""
        ...

    def wait_for(
        self, event: str, key: str, of: Any, timeout: Micros, name: str | None
    ) -> Awaitable[Any]:
        """End the run, unless the event has come."""
        ...

    @property
    def context(self) -> "JobContext":
        """What the task sees of this run; always the same object."""
        ...


class JobContext:
    """The job that is running: what it is, and how to speak for it.

    A task gets it by annotating its first parameter `JobContext`, or from `current_job()`.
    """

    __slots__ = ("_control", "_lease")

    def __init__(self, lease: LeasedJob, control: RunControl) -> None:
        self._lease = lease
        self._control = control

    @property
    def id(self) -> JobId:
        """The job's id: the same in every attempt, so a good idempotency key."""
        return self._lease.id

    @property
    def attempt(self) -> int:
        """How many times the job was leased, this one included; only grows.

        With `id` it is the fencing token: hand it to systems that can refuse an older one.
        """
        return self._lease.attempt

    @property
    def failures(self) -> int:
        """How often the job failed before this attempt."""
        return self._lease.failures

    @property
    def max_attempts(self) -> int:
        """How many failures make the job dead."""
        return self._lease.terms.max_attempts

    @property
    def task(self) -> str:
        """The task's name."""
        return self._lease.task

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self._lease.queue

    @property
    def priority(self) -> int:
        """-100 to 100; higher runs sooner."""
        return self._lease.priority

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, by the store's clock; aware, in UTC."""
        return as_datetime(self._lease.enqueued_at)

    @property
    def headers(self) -> Mapping[str, str]:
        """What the producer sent beside the arguments, trace context included."""
        return self._lease.headers

    @property
    def tags(self) -> tuple[str, ...]:
        """The producer's labels."""
        return self._lease.tags

    def time_left(self) -> float:
        """How many seconds are left until the run's time limit (`timeout=`); 0 once it is over.

        By a clock that never steps. Safe to call from any thread.
        """
        return max(0, self._control.time_left()) / SECOND

    @property
    def cancelled(self) -> bool:
        """The run should stop: cancelled, out of time, or its lease is lost.

        Async tasks are cancelled and need not look; tasks in threads look now and then, and
        return. A run that saw True here and returns None counts as stopped, not as a success:
        the job is cancelled, retried or handed back as if it had not begun, by why it was told
        to stop. One that returns a value all the same has succeeded.
        """
        return self._control.cancelled()

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the job is. Returns at once; sent at most a few times a second.

        Of the note the first `MAX_NOTE` characters are kept. Raises TypeError, or ValueError
        for a number that is not finite.
        """
        if not isinstance(note, str):
            raise TypeError(f"note= of progress is a str, not {shown(note)}")
        done = _number("done", done)
        total = None if total is None else _number("total", total)
        text = str.__str__(note)[:MAX_NOTE].encode(errors="replace").decode()
        self._control.report(Progress(self._lease.id, self._lease.attempt, done, total, text))

    @overload
    def step(
        self, name: str, fn: Callable[[*Ts], Awaitable[T]], *args: *Ts, within: object = None
    ) -> Awaitable[T]: ...
    @overload
    def step(
        self, name: str, fn: Callable[[*Ts], T], *args: *Ts, within: object = None
    ) -> Awaitable[T]: ...
    def step(
        self, name: str, fn: Callable[[*Ts], Any] | None = None, *args: *Ts, within: object = None
    ) -> Awaitable[Any]:
        """Await it: calls `fn(*args)`, records what it returned under `name`, and returns that.

        Once recorded it is not done again: every later attempt of the job, and a redrive, gets
        the recorded value. What comes back has been through JSON, in the first run too: typed by
        the return annotation of `fn`, else plain. A failure is not recorded and fails the run as
        ever, unless the task catches it; it may then come to the same name again.

        A crash after the effect of `fn` and before its record repeats the effect: hand
        `current_step().key` to the outside as its idempotency key. `fn` may be a coroutine
        function or a plain one, which runs on the loop: for one that blocks,
        `job.step("resize", asyncio.to_thread, resize, path)`.

        With `within`, an open connection or session on the database of an `app.outbox`, the
        record is written there, in your own transaction: what `fn` does in it and the record
        commit together, or neither does.

        Only for `async def` tasks. Names are unique within a run. A run whose lease turns out to
        be lost is cancelled here. Raises BacklineError; InvalidResult for a value that cannot be
        kept, or whose annotation has changed; what `fn` raises.
        """
        if callable(name):
            raise TypeError(
                f"step takes a name before the function {shown(name)}: write "
                'job.step("charge", charge, order)'
            )
        if not callable(fn):
            raise TypeError(
                f"step takes a function and its arguments, not {shown(fn)}: write "
                'job.step("charge", charge, order), without the call'
            )
        return self._control.step(name, fn, args, within)

    def sleep(self, delay: Duration, *, name: str | None = None) -> Awaitable[None]:
        """Await it: ends the run, and the job comes back after `delay`, at no cost.

        While it sleeps the job takes no slot and does not count in its queue's depth. The next
        run starts the task anew; steps that are recorded are not done again, and a sleep that is
        over is passed. It is recorded as the step `name`, if none is given "sleep 1" for the
        first one in the run, "sleep 2", and so on: name those in code that will change.

        Only for `async def` tasks, and in the task's own coroutine. The run ends by an exception
        that `except Exception` lets pass. Raises BacklineError; ValueError or TypeError for a
        delay that is no duration.
        """
        return self._control.sleep(micros(delay), name)

    @overload
    def wait_for(
        self, event: str, of: type[T], *, key: str, timeout: Duration, name: str | None = None
    ) -> Awaitable[T]: ...
    @overload
    def wait_for(
        self, event: str, *, key: str, timeout: Duration, name: str | None = None
    ) -> Awaitable[Any]: ...
    def wait_for(
        self, event: str, of: Any = Any, *, key: str, timeout: Duration, name: str | None = None
    ) -> Awaitable[Any]:
        """Await it: the payload of the first event that is published under this name and key.

        One that was published before counts, for its `event_ttl`. Else the run ends, and the job
        comes back when the event does, or after `timeout`; meanwhile it costs as little as in a
        sleep, and all that is said of `sleep` holds. What comes of it is recorded as the step
        `name`, if none is given "wait 1", "wait 2", and so on, and is the same in every later
        attempt, whatever is published.

        The payload is of the type `of`, or an `Event` with all that is known of it (`Event`, or
        `Event[Payment]`); without one, plain. Raises WaitTimeout if no event came: a task that
        does not catch it is dead; ConfigError for what is no name or no key of an event;
        BacklineError; InvalidResult for a payload that does not fit; ValueError or TypeError for
        a timeout that is no duration.
        """
        return self._control.wait_for(event, key, of, micros(timeout), name)

    def complete(self, *, within: object, result: object = None) -> None:
        """Complete the job in your own transaction: its effect and `result` commit together.

        `within` is an open connection or session on the database of an `app.outbox`. Call it
        once, as the last thing before the commit, and return nothing (or `result`). However
        the run ends after the commit, the job has succeeded. Until then it has not.

        Raises AlreadyCompleted if an earlier run has committed: let it pass, so that the
        transaction is rolled back, and the job succeeds with the earlier run's result. Raises
        InvalidResult, ConfigError, StoreRefused (which name the remedy), and what the driver
        raises.
        """
        self._control.complete(result, within)

    async def acomplete(self, *, within: object, result: object = None) -> None:
        """As `complete`; `within` may be one of SQLAlchemy's async connections or sessions."""
        await self._control.acomplete(result, within)

    def __repr__(self) -> str:
        lease = self._lease
        return f"<JobContext {lease.task} {lease.id} attempt {lease.attempt}>"


def _number(name: str, given: float) -> float:
    try:
        number = float(given)
    except (TypeError, ValueError):  # of a str that is no number, the latter
        raise TypeError(f"{name}= of progress is a number, not {shown(given)}") from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}= of progress is a finite number, not {shown(given)}")
    return number


class SuspendRun(BaseException):
    """Ends a run whose job goes on later. Raised by `job.sleep` and `job.wait_for`: let it pass."""

    def __init__(self, delay: Micros, step: Step | None) -> None:
        super().__init__("the job sleeps")
        self.delay = delay
        self.step = step
        """The record of the sleep, or of the wait; None: it is recorded."""


class StepContext:
    """The step that is being done: what `current_step()` gives."""

    __slots__ = ("_job_id", "name")

    def __init__(self, job_id: JobId, name: str) -> None:
        self._job_id = job_id
        self.name = name

    @property
    def key(self) -> str:
        """The job's id and the step's name, as `id:name`: the same in every attempt, so the
        idempotency key to hand to the outside.
        """
        return f"{self._job_id}:{self.name}"

    def __repr__(self) -> str:
        return f"<StepContext {self.key}>"


class Running:
    """The cell of `current_run`: what the runner that owns it runs at the moment.

    The context variable is set once a runner, and the run is put in here: setting the
    variable anew for every job would cost more, and would hide a task's own changes.
    """

    __slots__ = ("in_batch", "run")

    def __init__(self, run: RunControl | None = None, *, in_batch: bool = False) -> None:
        self.run = run
        self.in_batch = in_batch
        """It calls the handler of many jobs."""

    @property
    def busy(self) -> bool:
        """Whatever is called here, is called by a job."""
        return self.run is not None or self.in_batch


current_run: Final[ContextVar[Running]] = ContextVar("backline_current_run")


current_step_var: Final[ContextVar[StepContext]] = ContextVar("backline_current_step")


def current_step() -> StepContext:
    """The step this code is done in. Raises BacklineError outside of a step."""
    step = current_step_var.get(None)
    if step is None:
        raise BacklineError(
            "current_step() was called outside of a step: call it in what job.step calls"
        )
    return step


def current_job() -> JobContext:
    """The job this code runs in. Raises BacklineError outside of a job."""
    running = current_run.get(None)
    if running is not None and running.in_batch:
        raise BacklineError("this code runs many jobs at once: that of an item is item.job")
    if running is None or running.run is None:
        raise BacklineError("current_job() was called outside of a running job")
    return running.run.context
