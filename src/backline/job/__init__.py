"""The values that pass between producers, stores and workers.

Times are `Micros`: microseconds, as an integer. Wall times count from 1970 (UTC); ticks
count on a clock that never steps and mean nothing outside their store. Durations are
`Micros` too. Text that is JSON is `Raw`: bytes that pass through unread.

No value here can be part of a cycle, so none is tracked by the garbage collector
(`gc=False`): a worker makes and drops many thousands a second.
"""

from backline.ids import MAX_ID
from backline.job.error import MAX_ERRORS, AttemptError
from backline.job.job import (
    DEFAULT_QUEUE,
    EMPTY_ARGS,
    IDEMPOTENCY,
    MAX_PAYLOAD,
    MAX_PRIORITY,
    MIN_PRIORITY,
    MOST_AT_ONCE,
    REPLACED_KEEP,
    Ack,
    Acked,
    AckState,
    Backoff,
    Charge,
    Enqueued,
    FollowUp,
    HeldLease,
    JobRecord,
    JobRequest,
    Lane,
    Lease,
    LeasedJob,
    Limits,
    OnConflict,
    OnPoison,
    Pacing,
    Progress,
    Refused,
    Terms,
)
from backline.job.step import MAX_STEP_NAME, MAX_STEPS, Awaited, Step, StepRecord
from backline.job.units import (
    DAY,
    EPOCH,
    FARTHEST,
    HOUR,
    MINUTE,
    SECOND,
    JobId,
    Micros,
    Rank,
    WorkerName,
    as_datetime,
)
from backline.job.unpiped import Unpiped

__all__ = [
    "DAY",
    "DEFAULT_QUEUE",
    "EMPTY_ARGS",
    "EPOCH",
    "FARTHEST",
    "HOUR",
    "IDEMPOTENCY",
    "MAX_ERRORS",
    "MAX_ID",
    "MAX_PAYLOAD",
    "MAX_PRIORITY",
    "MAX_STEPS",
    "MAX_STEP_NAME",
    "MINUTE",
    "MIN_PRIORITY",
    "MOST_AT_ONCE",
    "REPLACED_KEEP",
    "SECOND",
    "Ack",
    "AckState",
    "Acked",
    "AttemptError",
    "Awaited",
    "Backoff",
    "Charge",
    "Enqueued",
    "FollowUp",
    "HeldLease",
    "JobId",
    "JobRecord",
    "JobRequest",
    "Lane",
    "Lease",
    "LeasedJob",
    "Limits",
    "Micros",
    "OnConflict",
    "OnPoison",
    "Pacing",
    "Progress",
    "Rank",
    "Refused",
    "Step",
    "StepRecord",
    "Terms",
    "Unpiped",
    "WorkerName",
    "as_datetime",
]
