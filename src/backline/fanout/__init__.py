"""Events: who gets a job for what was published. Pure, and the same in every store.

An event is published under a name of words, `user.registered`. A subscription is a row of the
store: patterns of names, and the template of the job that each matching event adds. So who
publishes need not know, or import, who subscribes.
"""

from backline.fanout.event import Event
from backline.fanout.pattern import check_name, check_pattern, is_exact, matches
from backline.fanout.publishing import MAX_EVENT_ID, job_id, jobs_of
from backline.fanout.stored import (
    EVENT_TTL,
    KeptEvent,
    Publication,
    Published,
    SubscriptionChange,
    SubscriptionRecord,
    SubscriptionSpec,
)

__all__ = [
    "EVENT_TTL",
    "MAX_EVENT_ID",
    "Event",
    "KeptEvent",
    "Publication",
    "Published",
    "SubscriptionChange",
    "SubscriptionRecord",
    "SubscriptionSpec",
    "check_name",
    "check_pattern",
    "is_exact",
    "job_id",
    "jobs_of",
    "matches",
]
