"""What becomes of a call before and after the store has seen it: pure rules."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from backline.errors import EnqueueError, IdempotencyConflict, QueueFull, UniqueConflict
from backline.job import Enqueued, JobId, JobRequest, OnConflict, Refused
from backline.limits import retry_after
from backline.parents import After


class OnFull(StrEnum):
    """What an enqueue does when its queue is full."""

    RAISE = "raise"
    WAIT = "wait"
    """Wait until there is room."""
    SHED = "shed"
    """Drop the call and count it: its handles say `accepted == False`."""


class Distinct(NamedTuple):
    """A call without jobs that share an id or a key, and how to answer for the rest."""

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

    In the order of the call, as if they came one after the other: a job whose unique key an
    earlier one has is skipped, or takes the earlier one's place, or (on_conflict="raise")
    raises UniqueConflict; one that has its idempotency key is skipped, or raises
    IdempotencyConflict. If it raises, nothing was enqueued.
    """
    if len(call) == 1:
        return Distinct(list(call), [0])
    requests: list[JobRequest] = []
    stands_for: list[int] = []
    by_id: dict[JobId, int] = {}
    by_key: dict[str, int] = {}
    by_idempotency: dict[str, int] = {}
    for request in call:
        index = by_id.get(request.id)
        if index is None and request.idempotency_key is not None:
            index = by_idempotency.get(request.idempotency_key)
            if index is not None and requests[index].fingerprint != request.fingerprint:
                raise _mismatch(request, requests[index].id)
        if index is None and request.unique_key is not None:
            index = by_key.get(request.unique_key)
            if index is not None:
                _meet(requests, index, request)
        if index is None:
            index = len(requests)
            requests.append(request)
            if request.unique_key is not None:
                by_key[request.unique_key] = index
            if request.idempotency_key is not None:
                by_idempotency[request.idempotency_key] = index
        by_id[request.id] = index
        stands_for.append(index)
    return Distinct(_all_told(requests, by_id), stands_for)


def _all_told(requests: list[JobRequest], by_id: Mapping[JobId, int]) -> list[JobRequest]:
    """The jobs, after those that stand in for their parents; `by_id` says who does."""
    if len(by_id) == len(requests):  # each job for itself
        return requests
    stand_ins = {job_id: requests[n].id for job_id, n in by_id.items() if requests[n].id != job_id}
    return [_told(one, stand_ins) for one in requests]


def _told(request: JobRequest, stand_ins: Mapping[JobId, JobId]) -> JobRequest:
    """The job, after those that stand in for its parents."""
    if all(after.parent not in stand_ins for after in request.after):
        return request
    edges = {stand_ins.get(after.parent, after.parent): after for after in request.after}
    after = tuple(After(to, edge.on, edge.result) for to, edge in edges.items())
    return msgspec.structs.replace(request, after=after)


def _meet(requests: list[JobRequest], index: int, later: JobRequest) -> None:
    """Two jobs of one call have the same unique key: do what the later one asks for."""
    earlier = requests[index]
    if later.on_conflict is OnConflict.RAISE:
        raise _conflict(later, earlier.id)
    if earlier.idempotency_key != later.idempotency_key:
        # One of them goes to the store, and with it one of the keys: the other would be lost.
        raise EnqueueError(
            f"two jobs of {later.task} in one call have one unique key and different "
            "idempotency keys: enqueue them in two calls"
        )
    if later.on_conflict is OnConflict.REPLACE:
        if later.after:
            raise _conflict(later, earlier.id)  # it may wait for what waits for that one
        requests[index] = later


def dispute(request: JobRequest, stored: Enqueued) -> EnqueueError | None:
    """The error for a job that the store did not add, if that is one."""
    if stored.conflict:
        return _conflict(request, stored.id)
    return _mismatch(request, stored.id) if stored.mismatch else None


def _conflict(request: JobRequest, holder: JobId) -> UniqueConflict:
    key = _own(request.unique_key, request.task)
    return UniqueConflict(request.task, unique_key=key, holder=holder)


def _mismatch(request: JobRequest, holder: JobId) -> IdempotencyConflict:
    key = _own(request.idempotency_key, request.task)
    return IdempotencyConflict(request.task, idempotency_key=key, holder=holder)


def _own(key: str | None, task: str) -> str:
    """A key as its producer gave it, without the task's name."""
    return (key or "").removeprefix(f"{task}:")


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
