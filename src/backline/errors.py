"""Every error Backline raises, and the signals a task raises to steer its own job.

BacklineError
├── ConfigError            what the code or the command line declares cannot work
│   └── UnknownOption      (also a TypeError) not an option of ours; names the one that is
├── EnqueueError           the job was not enqueued
│   ├── InvalidArguments   (also a TypeError) the arguments do not fit the task
│   ├── PayloadTooLarge
│   ├── QueueFull
│   ├── UnknownParent
│   └── UniqueConflict
├── ScheduleNotFound       the store has no schedule of that name
├── FlowNotFound           the store has no flow of that id
├── ResultError            `job.result()` has no value to return
│   ├── JobNotFound
│   ├── JobFailed          the job is dead
│   ├── JobCancelled
│   ├── JobExpired
│   └── ResultTimeout      (also a TimeoutError) it has not ended yet
├── WaitTimeout            (also a TimeoutError) `job.wait_for`: the event did not come
├── InvalidResult          (also a TypeError) the return value does not fit its annotation
├── AlreadyCompleted       raised by `job.complete`: an earlier run committed its effect
└── StoreError
    ├── StoreUnavailable   may pass: the call may or may not have been applied
    │   └── StoreFull      the disk is full; the call was not applied
    ├── StoreRefused       the store cannot be used as it is; says what to change
    └── SchemaMismatch     the store was migrated by another version of Backline

JobSignal                  raised by a task on purpose; not an error
├── Snooze                 run me again later; costs no attempt
├── RetryLater             this attempt failed; wait this long before the next
└── Cancel                 stop here, for good
"""

from typing import Final

from backline.duration import Duration, micros

_MOST_SHOWN: Final = 60
_IDLE: Final = {
    "ready": ": no worker has taken it; `backline doctor` says why, "
    "`backline worker module:app` starts one",
    "scheduled": ": it waits for its time, for a retry, or for a worker that knows its task; "
    "`backline doctor` says if none does",
}
"""Why a job in this state does not run, and who knows more."""


class BacklineError(Exception):
    """The root of every error of this library."""


class ConfigError(BacklineError):
    """What the code or the command line declares cannot work."""


class UnknownOption(ConfigError, TypeError):
    """An option that Backline does not have."""


class EnqueueError(BacklineError):
    """The job was not enqueued.

    Nor was any other of the same call, unless it is a UniqueConflict that the store found:
    then all the others were.
    """


class InvalidArguments(EnqueueError, TypeError):
    """The arguments do not fit the task's signature, or would not survive the way to it."""


class PayloadTooLarge(EnqueueError):
    """The arguments are larger than a job may carry. Store them elsewhere and pass a key."""

    def __init__(self, task: str, *, size: int, limit: int) -> None:
        super().__init__(
            f"the arguments of {task} take {size:,} bytes; a job carries at most {limit:,}. "
            "Store them elsewhere and pass a key"
        )
        self.task, self.size, self.limit = task, size, limit


class QueueFull(EnqueueError):
    """The queue holds `depth` jobs and admits `max_depth`; none of the call was enqueued.

    `retry_after` is how many seconds the queue needs to make room at its present pace, or
    None if nothing has left it lately. Wait and retry, or shed the load.
    """

    def __init__(
        self, queue: str, *, depth: int, max_depth: int, retry_after: float | None = None
    ) -> None:
        when = "" if retry_after is None else f"; try again in {retry_after:.1f} s"
        super().__init__(f"queue {queue!r} is full: {depth} of {max_depth} jobs{when}")
        self.queue, self.depth, self.max_depth = queue, depth, max_depth
        self.retry_after = retry_after


class UnknownParent(EnqueueError):
    """A job is to run after `parent`, and the store does not know such a job or group.

    It was never enqueued, is later in the same call, or was purged more than a day ago (or
    ever, if its result is asked for). Enqueue the two together, the parent first.
    """

    def __init__(self, task: str, *, parent: str) -> None:
        if not parent:
            super().__init__(
                f"a job of {task} has previous among its arguments: the result of the step before "
                "it in a chain, so make it one, or use result_of(job)"
            )
        else:
            super().__init__(
                f"a job of {task} is to run after {_shown(parent)}, which this store does not "
                "know: enqueue the two together, the parent first"
            )
        self.task, self.parent = task, parent


class UniqueConflict(EnqueueError):
    """A live job holds the unique key, and `on_conflict` is "raise".

    Of an `enqueue_many` all the other jobs were enqueued, unless the two that have the same
    key were both in the call: then none was.
    """

    def __init__(self, task: str, *, unique_key: str, holder: str) -> None:
        super().__init__(f"{task} is already enqueued under the key {unique_key!r}: job {holder}")
        self.task, self.unique_key, self.holder = task, unique_key, holder


class IdempotencyConflict(EnqueueError):
    """The idempotency key was given before, for a job with other arguments: `holder`.

    Of an `enqueue_many` all the other jobs were enqueued, unless the two that have the same
    key were both in the call: then none was.
    """

    def __init__(self, task: str, *, idempotency_key: str, holder: str) -> None:
        super().__init__(
            f"{task} was enqueued under the idempotency key {idempotency_key!r} with other "
            f"arguments: job {holder}; another request needs another key"
        )
        self.task, self.idempotency_key, self.holder = task, idempotency_key, holder


class ScheduleNotFound(BacklineError):
    """The store has no schedule of that name; `name` is the one that was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {_shown(name)}")
        self.name = name


class FlowNotFound(BacklineError):
    """The store has no flow `flow`: never enqueued here, or all its jobs were purged."""

    def __init__(self, flow: str) -> None:
        super().__init__(f"flow {_shown(flow)} is not known to this store")
        self.flow = flow


class ResultError(BacklineError):
    """The job has no result to return; `job_id` says which job."""

    def __init__(self, job_id: str, message: str) -> None:
        super().__init__(f"job {_shown(job_id)} {message}")
        self.job_id = job_id


def _shown(job_id: str) -> str:
    """An id as it is; what cannot be one, on one line and cut."""
    if len(job_id) <= _MOST_SHOWN and job_id.isprintable() and job_id.strip():
        return job_id
    return repr(job_id) if len(job_id) <= _MOST_SHOWN else f"{job_id[:_MOST_SHOWN]!r}..."


class JobNotFound(ResultError):
    """The store does not know the job: never enqueued here, or purged after its `keep`."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "is not known to this store (purged, or never enqueued here)")


class JobFailed(ResultError):
    """The job is dead. `kind`, `reason` and `traceback` describe its last attempt."""

    def __init__(
        self, job_id: str, *, attempts: int, kind: str, reason: str, traceback: str = ""
    ) -> None:
        runs = f"{attempts} attempt{'' if attempts == 1 else 's'}"
        super().__init__(job_id, f"is dead after {runs}: {kind}: {reason}")
        self.attempts, self.kind, self.reason, self.traceback = attempts, kind, reason, traceback


class JobCancelled(ResultError):
    """The job was cancelled."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "was cancelled")


class JobExpired(ResultError):
    """No worker started the job before its `expires`."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id, "expired before a worker started it")


class ResultTimeout(ResultError, TimeoutError):
    """The job has not ended within `timeout`; it goes on all the same."""

    def __init__(self, job_id: str, *, timeout: float, state: str) -> None:
        super().__init__(job_id, f"is still {state} after {timeout:g} s{_IDLE.get(state, '')}")
        self.timeout, self.state = timeout, state


class WaitTimeout(BacklineError, TimeoutError):
    """No such event was published in the time that a task waited for it.

    That is recorded: later attempts of the job get the same, so one that does not catch it is
    dead.
    """

    def __init__(self, event: str, key: str) -> None:
        super().__init__(f"no event {event} of key {key!r} came in time")
        self.event, self.key = event, key


class InvalidResult(BacklineError, TypeError):
    """What a task returned does not fit its annotation, or cannot be kept as JSON."""


class AlreadyCompleted(BacklineError):
    """An earlier run of the job committed its effect: roll this transaction back.

    Let it pass out of the task: the worker acks the stored result.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(f"an earlier run of job {job_id} has committed its effect")
        self.job_id = job_id


class StoreError(BacklineError):
    """The store did not do what it was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached for now; the call may or may not have been applied.

    Safe to repeat: every method of the contract may be called again after this.
    """


class StoreFull(StoreUnavailable):
    """The disk (or the memory) of the store is full; the call was not applied."""


class StoreRefused(StoreError):
    """The store cannot be used as it is; the message says what to change."""


class SchemaMismatch(StoreError):
    """The store has another version's schema."""

    def __init__(self, url: str, *, found: int, wanted: int) -> None:
        remedy = (
            "run `backline migrate`"
            if found < wanted
            else "it was migrated by a newer Backline: upgrade this process"
        )
        super().__init__(f"{url} has schema {found}, this version needs {wanted}: {remedy}")
        self.url, self.found, self.wanted = url, found, wanted


class JobSignal(Exception):
    """Raised by a task to say how its run ends; not an error."""


class Snooze(JobSignal):
    """Run the job again after `delay`; costs no attempt and is no failure.

    Raises ValueError or TypeError for a delay that is no duration.
    """

    def __init__(self, delay: Duration) -> None:
        super().__init__(f"snoozed for {delay}")
        micros(delay)
        self.delay = delay


class RetryLater(JobSignal):
    """Count this attempt as failed, and wait `delay` before the next one.

    Raises ValueError or TypeError for a delay that is no duration.
    """

    def __init__(self, delay: Duration, reason: str = "the task asked for a retry") -> None:
        super().__init__(reason)
        micros(delay)
        self.delay, self.reason = delay, reason


class Cancel(JobSignal):
    """Cancel the job: no further attempt."""

    def __init__(self, reason: str = "the task cancelled its own job") -> None:
        super().__init__(reason)
        self.reason = reason
