"""Tasks: functions with a name and a policy, and the jobs they make."""

from backline.task.batch import AsyncBatchTask, BatchTask, SyncBatchTask, check_returned
from backline.task.dialects import unknown_option
from backline.task.handle import Job, JobClient
from backline.task.limiting import interval_of, pacing_of
from backline.task.make import make_task, remote_task
from backline.task.names import name_text
from backline.task.options import (
    BatchRule,
    BatchSettings,
    Executor,
    Options,
    TaskOptions,
    TaskSettings,
    check_headers,
)
from backline.task.registry import Registry
from backline.task.retry import Retry
from backline.task.scheduling import SCHEDULE_OPTIONS, job_for, missed_of, rule_of, schedule_of
from backline.task.subscribing import subscription_of
from backline.task.task import AnyTask, AsyncTask, Producer, SyncTask, Task
from backline.task.transactions import Completion, DoneStep, Transactions

__all__ = [
    "SCHEDULE_OPTIONS",
    "AnyTask",
    "AsyncBatchTask",
    "AsyncTask",
    "BatchRule",
    "BatchSettings",
    "BatchTask",
    "Completion",
    "DoneStep",
    "Executor",
    "Job",
    "JobClient",
    "Options",
    "Producer",
    "Registry",
    "Retry",
    "SyncBatchTask",
    "SyncTask",
    "Task",
    "TaskOptions",
    "TaskSettings",
    "Transactions",
    "check_headers",
    "check_returned",
    "interval_of",
    "job_for",
    "make_task",
    "missed_of",
    "name_text",
    "pacing_of",
    "remote_task",
    "rule_of",
    "schedule_of",
    "subscription_of",
    "unknown_option",
]
