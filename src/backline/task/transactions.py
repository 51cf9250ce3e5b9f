"""What a task needs of its app to take part in a caller's transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Raw

from backline.job import JobId, JobRequest
from backline.task.handle import Job


class Completion(NamedTuple):
    """A job's completion, as committed."""

    result: Raw | None


class DoneStep(NamedTuple):
    """What a step returned that was done in a caller's transaction."""

    value: Raw | None


class Transactions(Protocol):
    """Writes jobs and completions by the caller's connection `within`; commits nothing.

    Whatever is told apart here is told apart by `within`: its database has to be a declared
    outbox. All methods raise ConfigError or StoreRefused, which names the remedy, if it is not.
    """

    def write(self, requests: Sequence[JobRequest], within: object) -> list[Job[Any]]:
        """Write jobs in the caller's transaction; they are enqueued when it commits."""
        ...

    async def awrite(self, requests: Sequence[JobRequest], within: object) -> list[Job[Any]]:
        """The same; `within` may be async too."""
        ...

    def complete(self, job_id: JobId, attempt: int, result: Raw | None, within: object) -> None:
        """Write that the job has completed. Raises AlreadyCompleted."""
        ...

    async def acomplete(
        self, job_id: JobId, attempt: int, result: Raw | None, within: object
    ) -> None:
        """The same; `within` may be async too."""
        ...

    async def recorded(
        self, job_id: JobId, attempt: int, step: str, within: object
    ) -> DoneStep | None:
        """What a step returned that an earlier attempt has done in such a transaction.

        Raises BacklineError if this attempt did it; `within` may be async too.
        """
        ...

    async def record(
        self, job_id: JobId, attempt: int, step: str, value: Raw | None, within: object
    ) -> None:
        """Record a step in the caller's transaction. Raises BacklineError if another run has."""
        ...

    def completion(self, job_id: JobId) -> Completion | None:
        """The completion of the job that a caller's transaction committed. Raises StoreError."""
        ...
