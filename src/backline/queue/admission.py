"""What becomes of a call before and after the store has seen it: pure rules."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from backline.errors import QueueFull, UniqueConflict
from backline.job import Enqueued, JobId, JobRequest, OnConflict, Refused
from backline.limits import retry_after


class OnFull(StrEnum):
    """What an enqueue does when its queue is full."""

    RAISE = "raise"
    WAIT = "wait"
    """Wait until there is room."""
    SHED = "shed"
    """Drop the call and count it: its handles say `accepted == False`."""


class Distinct(NamedTuple):
    """A call without jobs that share an id or a unique key, and how to answer for the rest."""

    requests: list[JobRequest]
    """What the store is asked to add."""
    stands_for: list[int]
    """For each job of the call: the index in `requests` of the one that answers for it."""

    def answers(self, stored: Sequence[Enqueued], call: Sequence[JobRequest]) -> list[Enqueued]:
        """One answer per job of the call, from those of the store."""
        return [
            stored[index]
            if request.id == self.requests[index].id
            else Enqueued(stored[index].id, added=False)
            for request, index in zip(call, self.stands_for, strict=True)
        ]


def distinct(call: Sequence[JobRequest]) -> Distinct:
    """Settle among the jobs of one call what the store would settle between two.

    In the order of the call, as if they came one after the other: a job whose key an earlier
    one has is skipped, or takes the earlier one's place, or (on_conflict="raise") raises
    UniqueConflict, and then nothing was enqueued.
    """
    if len(call) == 1:
        return Distinct(list(call), [0])
    requests: list[JobRequest] = []
    stands_for: list[int] = []
    by_id: dict[JobId, int] = {}
    by_key: dict[str, int] = {}
    for request in call:
        index = by_id.get(request.id)
        if index is None and request.unique_key is not None:
            index = by_key.get(request.unique_key)
            if index is not None:
                _meet(requests, index, request)
        if index is None:
            index = len(requests)
            requests.append(request)
            if request.unique_key is not None:
                by_key[request.unique_key] = index
        by_id[request.id] = index
        stands_for.append(index)
    return Distinct(requests, stands_for)


def _meet(requests: list[JobRequest], index: int, later: JobRequest) -> None:
    """Two jobs of one call have the same key: do what the later one asks for."""
    match later.on_conflict:
        case OnConflict.REPLACE:
            requests[index] = later
        case OnConflict.RAISE:
            raise conflict(later, requests[index].id)
        case OnConflict.SKIP:
            pass


def conflict(request: JobRequest, holder: JobId) -> UniqueConflict:
    """The error for a unique key that `holder` has, without the task's name in the key."""
    key = (request.unique_key or "").removeprefix(f"{request.task}:")
    return UniqueConflict(request.task, unique_key=key, holder=holder)


def queue_full(refused: Refused, call: Sequence[JobRequest]) -> QueueFull:
    """The error for a call that was refused."""
    jobs = sum(request.queue == refused.queue for request in call)
    return QueueFull(
        refused.queue,
        depth=refused.depth,
        max_depth=refused.max_depth,
        retry_after=retry_after(refused.depth, refused.max_depth, jobs, refused.drain_rate),
    )


def never_fits(refused: Refused, call: Sequence[JobRequest]) -> bool:
    """Whether the call is larger than the queue: no waiting helps."""
    return sum(request.queue == refused.queue for request in call) > refused.max_depth
