"""Background jobs that are not lost."""

from backline._version import __version__
from backline.app import App, PublishedEvent, Schedule
from backline.batch import Batch, BatchItem
from backline.context import JobContext, StepContext, current_job, current_step
from backline.errors import (
    AlreadyCompleted,
    BacklineError,
    Cancel,
    ConfigError,
    EnqueueError,
    IdempotencyConflict,
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
    ScheduleNotFound,
    SchemaMismatch,
    Snooze,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UniqueConflict,
    UnknownOption,
)
from backline.fanout import Event
from backline.follow_up import Outcome
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
    "Batch",
    "BatchItem",
    "CallNext",
    "Cancel",
    "Cancelling",
    "ConfigError",
    "EnqueueError",
    "Event",
    "IdempotencyConflict",
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
    "Outcome",
    "PayloadTooLarge",
    "Progress",
    "PublishedEvent",
    "QueueFull",
    "ResultError",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Schedule",
    "ScheduleNotFound",
    "SchemaMismatch",
    "Snooze",
    "State",
    "StepContext",
    "StoreError",
    "StoreFull",
    "StoreRefused",
    "StoreUnavailable",
    "Task",
    "UniqueConflict",
    "UnknownOption",
    "__version__",
    "current_job",
    "current_step",
]
