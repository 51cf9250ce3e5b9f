"""Background jobs that are not lost."""

from typing import TYPE_CHECKING

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
    FlowNotFound,
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
    UnknownParent,
    WaitTimeout,
)
from backline.fanout import Event
from backline.flow import (
    Flow,
    FlowRun,
    FlowStatus,
    Group,
    chain,
    group,
    previous,
    result_of,
    undoable,
    workflow,
)
from backline.follow_up import Outcome
from backline.job import AttemptError, JobRecord, JobRequest, Progress
from backline.states import State
from backline.store import Cancelling, FlowStats
from backline.task import Job, Retry, Task
from backline.worker.execute import CallNext

if not TYPE_CHECKING:  # a type checker knows that there is no other name
    from backline.task.dialects import missing as __getattr__  # noqa: F401 - Python looks for it

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
    "Flow",
    "FlowNotFound",
    "FlowRun",
    "FlowStats",
    "FlowStatus",
    "Group",
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
    "UnknownParent",
    "WaitTimeout",
    "__version__",
    "chain",
    "current_job",
    "current_step",
    "group",
    "previous",
    "result_of",
    "undoable",
    "workflow",
]
