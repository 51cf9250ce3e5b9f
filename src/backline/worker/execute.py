"""Calling a task, and saying how the call ended."""

import asyncio
import logging
import random
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeAlias

from msgspec import Raw

from backline import duration, errors, policy
from backline.context import JobContext, SuspendRun
from backline.display import clipped, span
from backline.job import SECOND, Ack, AttemptError, Charge, Micros
from backline.policy import Cancelled, Failed, Outcome, Released, Snoozed, Succeeded
from backline.states import State
from backline.task import Completion
from backline.worker.run import Run, StopReason

log = logging.getLogger("backline.worker")

CallNext: TypeAlias = Callable[[], Awaitable[Any]]
Middleware: TypeAlias = Callable[[JobContext, CallNext], Awaitable[Any]]
"""`async def middleware(job, call_next)`: awaits `call_next()` and returns what it returned."""

MAX_MESSAGE: Final = 2_000
MAX_TRACEBACK: Final = 16_000
_OURS: Final = __name__.partition(".")[0]
_PUT_OFF: Final[Micros] = SECOND


class Heeded(Exception):
    """The task was told to stop, saw it, and returned without a result."""


def through(middleware: Sequence[Middleware], job: JobContext, call: CallNext) -> CallNext:
    """Wrap a call in middleware, the first one outermost."""
    for layer in reversed(middleware):

        def wrapped(layer: Middleware = layer, inner: CallNext = call) -> Awaitable[Any]:
            return layer(job, inner)

        call = wrapped
    return call


@dataclass(frozen=True, slots=True)
class Look:
    """Whether a transaction of the caller's completed the job, this run's or an earlier one's.

    Whatever was raised after that commit, the effect is there, and must not be repeated.
    """

    found: Completion | None = None
    known: bool = True


NOTHING: Final = Look()
UNKNOWN: Final = Look(known=False)


def look(run: Run) -> Look:
    """Look whether the job has completed, if the run tried to.

    Blocks, up to a second for each outbox somebody has locked: not on a loop.
    """
    if not run.completing:
        return NOTHING
    try:
        return Look(run.task.transactions.completion(run.lease.id))
    except errors.StoreRefused as error:  # no outbox as it is, so nothing was committed there
        log.warning("job %s cannot have completed: %s", run.lease.id, error)
        return NOTHING
    except Exception as error:  # noqa: BLE001 - whatever it is, the job may have completed
        log.warning("whether job %s has completed is not known: %s", run.lease.id, error)
        return UNKNOWN


def explain(run: Run, error: BaseException, seen: Look = NOTHING) -> Outcome:
    """What a run that raised comes to, whatever its exception does when it is looked at."""
    if seen.found is not None:
        return Succeeded(seen.found.result)
    try:
        return _explain(run, error)
    except BaseException as another:  # noqa: BLE001 - its class may be anything at all
        message = f"{type(another).__name__} while looking at the exception"
        return Failed(AttemptError(run.lease.attempt, "unknown", message))


def _explain(run: Run, error: BaseException) -> Outcome:
    match error:
        case asyncio.CancelledError() | Heeded() if run.stop is not None:
            return stopped(run, run.stop)
        case _ if run.suspended is not None and _only_suspends(error):
            return run.suspended
        case errors.Snooze() | errors.RetryLater() | errors.Cancel():
            return _signalled(run, error)
        case (
            errors.InvalidArguments()
            | errors.PayloadTooLarge()
            | errors.InvalidResult()
            | errors.WaitTimeout()
        ):
            return Failed(describe(run, error), fatal=True)
        case _ if run.stop is StopReason.TIMEOUT:
            return Failed(_timed_out(run))
        case _:
            return Failed(describe(run, error), fatal=not run.task.retry.allows(error))


def returned(run: Run, result: Raw | None) -> Ack:
    """How a run that returned is recorded.

    One that saw `job.cancelled` and then returned nothing did as it was told: its work is not
    done. To call that a success would lose the job.
    """
    if run.suspended is not None:
        raise errors.BacklineError(
            "the task caught what job.sleep or job.wait_for raises, and went on: let SuspendRun "
            "pass"
        )
    if run.steps is not None and (what := run.steps.forgotten()) is not None:
        raise errors.BacklineError(
            f"the task called job.{what}(...) and did not await it, so it was not done: write "
            f"await job.{what}(...)"
        )
    if run.heeded and run.stop is not None and result is None and not run.completing:
        raise Heeded
    return policy.succeeded(run.lease, result)


def raised(run: Run, error: BaseException, rng: random.Random, seen: Look) -> Ack:
    """How a run that raised is recorded; says so in the log, if it was a failure.

    The last failure is an error, with its traceback; one that is retried is not, and has its
    traceback at the level DEBUG alone: a service that is down must not flood the log. The job
    keeps them all.
    """
    ack = settled(run, explain(run, error, seen), rng, known=seen.known)
    if ack.error is not None and ack.charge is Charge.FAILURE:
        lease, what = run.lease, f"{ack.error.kind}: {ack.error.message}".rstrip(": ")
        nth = lease.failures + 1
        if ack.state is State.DEAD:
            text = "job %s (%s) is dead, failure %d: %s"
            log_raised(logging.ERROR, text, lease.id, lease.task, nth, what, error=error)
        else:
            text = "job %s (%s) failed, %d of %d, again in %s: %s"
            most, wait = lease.terms.max_attempts, span(ack.delay)
            shown = error if log.isEnabledFor(logging.DEBUG) else None
            log_raised(logging.INFO, text, lease.id, lease.task, nth, most, wait, what, error=shown)
    return ack


def log_raised(level: int, text: str, *facts: object, error: BaseException | None) -> None:
    """Log it, with the traceback of an error that may do anything when it is looked at."""
    if error is not None:
        try:
            raised = None if _told(error) else (type(error), error, _below_ours(error))
            log.log(level, text, *facts, exc_info=raised)
        except BaseException:  # noqa: BLE001 - raised by the exception, in somebody's handler
            error = None
    if error is None:
        log.log(level, text, *facts)


def stopped(run: Run, reason: StopReason) -> Outcome:
    """What a run that was stopped comes to."""
    match reason:
        case StopReason.TIMEOUT:
            return Failed(_timed_out(run))
        case StopReason.CANCEL:
            return Cancelled()
        case StopReason.LOST | StopReason.SHUTDOWN | StopReason.BATCH:
            # After a lost lease the fence refuses this; if the lease turns out to be ours
            # still (the store was away), the job is free again at once.
            return Released()


def given_up(run: Run, reason: StopReason, rng: random.Random) -> Ack:
    """How a run is recorded that ignored being stopped."""
    return settled(run, stopped(run, reason), rng, known=not run.completing)


def settled(run: Run, outcome: Outcome, rng: random.Random, *, known: bool) -> Ack:
    """Settle, but let no job end as failed or cancelled while it may have completed.

    Put off at no cost, its next run finds out: `complete` says so.
    """
    ack = policy.settle(run.lease, outcome, rng)
    if known or ack.state not in {State.DEAD, State.CANCELLED}:
        return ack
    wait = policy.backoff(run.lease.terms.backoff, run.lease.failures + 1, rng)
    return policy.settle(run.lease, Snoozed(max(_PUT_OFF, wait)), rng)


def describe(run: Run, error: BaseException) -> AttemptError:
    """An exception as data; survives exceptions that cannot be printed."""
    return AttemptError(
        attempt=run.lease.attempt,
        kind=clipped(_text(lambda: _qualified(type(error))), MAX_MESSAGE),
        message=clipped(_text(lambda: str(error)), MAX_MESSAGE),
        traceback=clipped(_text(lambda: _traceback(error)), MAX_TRACEBACK),
    )


def _only_suspends(error: BaseException) -> bool:
    """A task group wraps what is raised in it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(SuspendRun)[1] is None
    return isinstance(error, SuspendRun)


def _signalled(run: Run, signal: errors.JobSignal) -> Outcome:
    try:
        match signal:
            case errors.Snooze(delay=delay):
                return Snoozed(duration.micros(delay))
            case errors.RetryLater(delay=delay):
                return Failed(describe(run, signal), retry_in=duration.micros(delay))
            case _:
                return Cancelled(describe(run, signal))
    except (TypeError, ValueError) as invalid:
        return Failed(describe(run, invalid))


def _timed_out(run: Run) -> AttemptError:
    limit = span(run.lease.terms.timeout)
    return AttemptError(run.lease.attempt, "timeout", f"ran past its time limit of {limit}")


def _qualified(kind: type[BaseException]) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _traceback(error: BaseException) -> str:
    if _told(error):
        return ""
    return "".join(traceback.format_exception(type(error), error, _below_ours(error)))


def _told(error: BaseException) -> bool:
    """Whether its message is all that there is to know: it is ours, about arguments or a result,
    and none of the user's code had a part in it.
    """
    if not isinstance(error, errors.InvalidArguments | errors.InvalidResult):
        return False
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if any(_is_users(frame.f_globals) for frame, _ in traceback.walk_tb(link.__traceback__)):
            return False
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return True


def _is_users(module: Mapping[str, object]) -> bool:
    top = str(module.get("__name__")).partition(".")[0]
    return top != _OURS and top not in sys.stdlib_module_names


def _below_ours(error: BaseException) -> TracebackType | None:
    """Its frames below the worker's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    return frames


def _text(make: Callable[[], str]) -> str:
    try:
        return make().encode("utf-8", "replace").decode()
    except BaseException as error:  # noqa: BLE001 - an exception's own __str__ may do anything
        return f"<{type(error).__name__} while printing the exception>"
