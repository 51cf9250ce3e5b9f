"""The handle a producer gets for a job it enqueued."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from backline.duration import Duration
from backline.errors import ConfigError, JobCancelled, JobExpired, JobFailed, JobNotFound
from backline.job import (
    SECOND,
    AttemptError,
    JobId,
    JobRecord,
    Micros,
    Progress,
    as_datetime,
)
from backline.states import State
from backline.store import Cancelling
from backline.task.dialects import OF_JOB, stranger
from backline.task.options import length

R = TypeVar("R")
T = TypeVar("T")


class JobClient(Protocol):
    """What a handle asks of the app it came from. The coroutines run on any loop."""

    async def afetch(self, job_id: JobId) -> JobRecord | None:
        """The job as the store sees it now, None if unknown or purged."""
        ...

    async def aended(self, job_id: JobId, timeout: float | None) -> JobRecord:
        """Wait until the job has ended. Raises ResultTimeout, JobNotFound."""
        ...

    def decode(self, record: JobRecord) -> Any:
        """What the job returned, typed by its task's annotation. Raises InvalidResult."""
        ...

    async def acancel(self, job_id: JobId) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        ...

    async def aredrive(self, job_id: JobId) -> bool:
        """Make a dead, cancelled or expired job ready again."""
        ...

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from sync code. Raises BacklineError, naming `twin`, on a running loop."""
        ...


class Job(Generic[R]):
    """A job that was enqueued. `R` is what its task returns.

    The properties tell what the last `refresh`, `status` or `result` saw, and never ask the
    store; before the first of them they are those of a job that was just enqueued.
    """

    __slots__ = ("_client", "_task", "accepted", "added", "id", "record")

    def __init__(
        self,
        job_id: JobId,
        task: str,
        client: JobClient,
        *,
        accepted: bool = True,
        added: bool = True,
    ) -> None:
        self.id = job_id
        """The job's id; under a unique key that was taken, the id of the job that holds it, and
        under an idempotency key that was given before, that of the job it was given for."""
        self.accepted = accepted
        """False: its queue was full and sheds, so there is no such job."""
        self.added = added
        """False: nothing was added, because the unique key was taken, the idempotency key was
        given before, or the queue was full."""
        self.record: JobRecord | None = None
        """The job as it was last seen."""
        self._client = client
        self._task = task

    async def arefresh(self) -> JobRecord:
        """Look at the job again. Raises JobNotFound."""
        record = await self._client.afetch(self.id)
        if record is None:
            raise JobNotFound(self.id)
        self.record = record
        return record

    def refresh(self) -> JobRecord:
        """Look at the job again. Raises JobNotFound."""
        return self._client.wait(self.arefresh, "job.arefresh")

    async def astatus(self) -> State:
        """The job's state now. Raises JobNotFound."""
        return (await self.arefresh()).state

    def status(self) -> State:
        """The job's state now. Raises JobNotFound."""
        return self._client.wait(self.astatus, "job.astatus")

    async def aresult(self, timeout: Duration | None = None) -> R:
        """Wait until the job has succeeded, and return what its task returned.

        Waits for `timeout` (seconds, a timedelta, "90s"), or for ever. Raises ResultTimeout
        (the job goes on), JobFailed (it is dead), JobCancelled, JobExpired, JobNotFound,
        InvalidResult if what it returned does not fit the task's annotation, and ConfigError
        for a timeout that is no duration.
        """
        patience = None if timeout is None else _seconds(timeout)
        self.record = record = await self._client.aended(self.id, patience)
        match record.state:
            case State.DEAD:
                raise _failed(record)
            case State.CANCELLED:
                raise JobCancelled(self.id)
            case State.EXPIRED:
                raise JobExpired(self.id)
            case _:
                value: R = self._client.decode(record)
                return value

    def result(self, timeout: Duration | None = None) -> R:
        """Wait until the job has succeeded, and return what its task returned.

        Waits for `timeout` (seconds, a timedelta, "90s"), or for ever. Raises ResultTimeout
        (the job goes on), JobFailed (it is dead), JobCancelled, JobExpired, JobNotFound,
        InvalidResult if what it returned does not fit the task's annotation, and ConfigError
        for a timeout that is no duration.
        """
        return self._client.wait(lambda: self.aresult(timeout), "job.aresult")

    async def acancel(self) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        return await self._client.acancel(self.id)

    def cancel(self) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        return self._client.wait(self.acancel, "job.acancel")

    async def aretry(self) -> bool:
        """Run a dead, cancelled or expired job again, its failures forgotten.

        True: this call did it. False: it was in another state.
        """
        return await self._client.aredrive(self.id)

    def retry(self) -> bool:
        """Run a dead, cancelled or expired job again, its failures forgotten.

        True: this call did it. False: it was in another state.
        """
        return self._client.wait(self.aretry, "job.aretry")

    @property
    def task(self) -> str:
        """The task's name; of a handle made from an id alone, once the job was looked at."""
        return self._task if self.record is None else self.record.task

    @property
    def return_value(self) -> R | None:
        """What the task returned, if the job was last seen succeeded; else None."""
        if self.record is None or self.record.state is not State.SUCCEEDED:
            return None
        value: R = self._client.decode(self.record)
        return value

    @property
    def attempts(self) -> int:
        """How often a worker had taken the job when it was last seen."""
        return 0 if self.record is None else self.record.attempt

    @property
    def errors(self) -> tuple[AttemptError, ...]:
        """How its attempts went wrong, oldest first, when it was last seen."""
        return () if self.record is None else self.record.errors

    @property
    def enqueued_at(self) -> datetime | None:
        """When it was enqueued, by the store's clock; aware, in UTC. None: not looked at yet."""
        return self._time("enqueued_at")

    @property
    def due_at(self) -> datetime | None:
        """When it may start, or might have: its enqueue, `run_at`, the end of a backoff."""
        return self._time("due")

    @property
    def started_at(self) -> datetime | None:
        """When a worker took it last; None: none had when it was last seen."""
        return self._time("started_at")

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; None: it had not when it was last seen."""
        return self._time("finished_at")

    @property
    def progress(self) -> Progress | None:
        """How far it was when it was last seen."""
        return None if self.record is None else self.record.progress

    def _time(self, name: str) -> datetime | None:
        at: Micros | None = None if self.record is None else getattr(self.record, name)
        return None if at is None else as_datetime(at)

    if not TYPE_CHECKING:  # a type checker knows that there is no other attribute

        def __getattr__(self, name: str) -> Any:
            raise stranger(self, name, OF_JOB)

    def __await__(self) -> Any:
        raise TypeError("a Job is not awaitable; write `await job.aresult()`")

    def __repr__(self) -> str:
        state = "not accepted" if not self.accepted else "enqueued"
        return f"<Job {self.task} {self.id} {self.record.state if self.record else state}>"


def _seconds(timeout: Duration) -> float:
    try:
        return length(timeout) / SECOND
    except (TypeError, ValueError) as error:
        raise ConfigError(f"timeout= of result: {error}") from None


def _failed(record: JobRecord) -> JobFailed:
    last = record.errors[-1] if record.errors else AttemptError(record.attempt, "unknown", "")
    return JobFailed(
        record.id,
        attempts=record.attempt,
        kind=last.kind,
        reason=last.message,
        traceback=last.traceback,
    )
