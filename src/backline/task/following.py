"""The jobs that a job is to wait for, as people name them."""

from collections.abc import Iterable
from typing import Protocol

from backline.display import shown
from backline.job import JobId, JobRequest
from backline.parents import MOST_PARENTS, On, whole_of


class Named(Protocol):
    """A job that was made, or enqueued."""

    @property
    def id(self) -> JobId: ...


def parents(value: object) -> tuple[JobId, ...]:
    """The ids of the jobs that are named. Raises TypeError, ValueError."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"a list of jobs or their ids is wanted, not {shown(value)}")
    ids: dict[JobId, None] = {}
    for one in value:
        job_id: object = one if isinstance(one, str) else getattr(one, "id", None)
        if isinstance(one, JobRequest):
            job_id = whole_of(one.id, one.group)
        if not isinstance(job_id, str) or not job_id:
            raise TypeError(f"a job, or its id, is wanted, not {shown(one)}")
        ids[str.__str__(job_id)] = None
    if len(ids) > MOST_PARENTS:
        raise ValueError(f"{len(ids):,} are too many (at most {MOST_PARENTS:,}): use a group")
    return tuple(ids)


def parents_on(value: object) -> On:
    """Which ends of them let the job go on. Raises ValueError."""
    if value not in ("stop", "continue"):
        raise ValueError(f"stop or continue is wanted, not {shown(value)}")
    return On.SUCCESS if value == "stop" else On.END
