"""Background jobs that are not lost."""

from backline._version import __version__
from backline.app import App
from backline.context import JobContext, current_job
from backline.errors import (
    AlreadyCompleted,
    BacklineError,
    Cancel,
    ConfigError,
    EnqueueError,
    InvalidArguments,
    InvalidResult,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobSignal,
    PayloadTooLarge,
    QueueFull,
    ResultError,
    ResultTimeout,
    RetryLater,
    SchemaMismatch,
    Snooze,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UniqueConflict,
    UnknownOption,
)
from backline.job import AttemptError, JobRecord, JobRequest, Progress
from backline.states import State
from backline.store import Cancelling
from backline.task import Job, Retry, Task
from backline.worker.execute import CallNext

__all__ = [
    "AlreadyCompleted",
    "App",
    "AttemptError",
    "BacklineError",
    "CallNext",
    "Cancel",
    "Cancelling",
    "ConfigError",
    "EnqueueError",
    "InvalidArguments",
    "InvalidResult",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "JobRequest",
    "JobSignal",
    "PayloadTooLarge",
    "Progress",
    "QueueFull",
    "ResultError",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "SchemaMismatch",
    "Snooze",
    "State",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "Task",
    "UniqueConflict",
    "UnknownOption",
    "__version__",
    "current_job",
]
