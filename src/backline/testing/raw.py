"""A way to a store's rows past the store, so that a suite can check writes and reads apart."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from backline.job import JobId, JobRecord

RAW_FIELDS: Final = (
    "id",
    "task",
    "queue",
    "lane",
    "state",
    "priority",
    "payload",
    "due",
    "attempt",
    "failures",
    "losses",
    "releases",
    "unique_key",
    "enqueued_at",
    "started_at",
    "finished_at",
    "expires_at",
    "purge_at",
    "worker",
    "cancel",
    "result",
)
"""The fields of a `JobRecord` that `RawAccess.read` answers: those that are one plain value."""


class RawAccess(Protocol):
    """Rows as they are kept. It must not use the code of the store it looks behind.

    A store's own tests bring it: for SQL a statement of its own, for memory the tables.
    """

    def read(self, job_id: JobId) -> Mapping[str, Any] | None:
        """`RAW_FIELDS` of a job by name, as str, int, bool, bytes or None; None: no row."""
        ...

    def write(self, record: JobRecord) -> None:
        """Plant a job that is not there yet and that no worker runs, with all that belongs to
        it (counts, indexes), as if the store had brought it to this point."""
        ...

    def corrupt(self, job_id: JobId, field: str, value: bytes) -> None:
        """Damage one field of a job: it now holds `value`, which cannot be read back.

        The suite damages `terms` and `headers`.
        """
        ...

    def corrupt_schedule(self, name: str, value: bytes) -> None:
        """Damage what a schedule runs and when: it is now `value`, which cannot be read back."""
        ...

    def corrupt_subscription(self, name: str, value: bytes) -> None:
        """Damage what a subscription gets: it is now `value`, which cannot be read back."""
        ...
