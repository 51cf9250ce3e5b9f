"""Tasks: functions with a name and a policy, and the jobs they make."""

from backline.task.dialects import unknown_option
from backline.task.handle import Job, JobClient
from backline.task.limiting import interval_of, pacing_of
from backline.task.options import (
    Executor,
    Options,
    TaskOptions,
    TaskSettings,
    check_headers,
    name_text,
)
from backline.task.registry import Registry
from backline.task.retry import Retry
from backline.task.scheduling import SCHEDULE_OPTIONS, job_for, missed_of, rule_of, schedule_of
from backline.task.task import AnyTask, AsyncTask, Producer, SyncTask, Task, make_task, remote_task
from backline.task.transactions import Completion, Transactions

__all__ = [
    "SCHEDULE_OPTIONS",
    "AnyTask",
    "AsyncTask",
    "Completion",
    "Executor",
    "Job",
    "JobClient",
    "Options",
    "Producer",
    "Registry",
    "Retry",
    "SyncTask",
    "Task",
    "TaskOptions",
    "TaskSettings",
    "Transactions",
    "check_headers",
    "interval_of",
    "job_for",
    "make_task",
    "missed_of",
    "name_text",
    "pacing_of",
    "remote_task",
    "rule_of",
    "schedule_of",
    "unknown_option",
]
