"""What follows the end of a job: pure, and the same whichever store records the end."""

import hashlib
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from backline.clock import drawn_id
from backline.display import clean
from backline.job import (
    AttemptError,
    FollowUp,
    JobId,
    JobRecord,
    JobRequest,
    Micros,
    as_datetime,
)
from backline.states import TERMINAL, State

R = TypeVar("R")

FOLLOWS: Final = "backline-follows"
"""The header of a follow-up that names the job whose end enqueued it."""

_args: Final = msgspec.json.Decoder(tuple[list[Raw], Raw])
_encode: Final = msgspec.json.Encoder().encode


class Outcome(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """How a job ended: what a callback's handler gets.

    As it was in the commit that ended the job; whatever became of the job since.
    `Outcome[Invoice]` has a result of that type, checked when the handler is called.
    """

    id: JobId
    """The job that ended."""
    task: str
    queue: str
    state: State
    """`succeeded`, `dead`, `cancelled` or `expired`."""
    attempts: int
    """How often it was started."""
    enqueued_at: datetime
    finished_at: datetime
    result: R | None = None
    """What it returned, if it succeeded."""
    error: AttemptError | None = None
    """How its last attempt went wrong, unless it succeeded."""
    tags: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """It ran, and returned."""
        return self.state is State.SUCCEEDED


def outcome_of(ended: JobRecord) -> Outcome[Raw]:
    """How a job ended, from its record."""
    well = ended.state is State.SUCCEEDED
    return Outcome(
        id=ended.id,
        task=ended.task,
        queue=ended.queue,
        state=ended.state,
        attempts=ended.attempt,
        enqueued_at=as_datetime(ended.enqueued_at),
        finished_at=as_datetime(ended.finished_at or 0),
        result=ended.result if well else None,
        error=_readable(ended.errors[-1]) if ended.errors and not well else None,
        tags=ended.tags,
    )


def jobs_after(ended: JobRecord) -> list[JobRequest]:
    """What the end of a job enqueues; nothing for a job that has not ended."""
    if ended.state not in TERMINAL:
        return []
    return [
        _job_after(ended, follow_up, place)
        for place, follow_up in enumerate(ended.follow_ups)
        if ended.state in follow_up.on
    ]


def id_of(parent: JobId, redrives: int, place: int, at: Micros) -> JobId:
    """The id of the follow-up in that place of a job which ended then, after so many redrives.

    An end has one id for each of its follow-ups, so one that is recorded again, after a backup
    was restored say, adds nothing as long as the store remembers them.
    """
    text = f"{redrives} {place} {parent}"
    return drawn_id(at // 1_000, hashlib.sha256(text.encode()).digest())


def _readable(error: AttemptError) -> AttemptError:
    """What went wrong, without half characters that no JSON can carry."""
    return replace(
        error,
        kind=clean(error.kind),
        message=clean(error.message),
        traceback=clean(error.traceback),
    )


def _job_after(ended: JobRecord, follow_up: FollowUp, place: int) -> JobRequest:
    job = follow_up.job
    return replace(
        job,
        id=id_of(ended.id, ended.redrives, place, ended.finished_at or 0),
        payload=_with_outcome(ended, job.payload) if follow_up.outcome else job.payload,
        headers={**job.headers, FOLLOWS: ended.id},
        follow_ups=(),
    )


def _with_outcome(ended: JobRecord, payload: Raw) -> Raw:
    try:
        args, kwargs = _args.decode(payload)
    except (msgspec.MsgspecError, RecursionError):
        return payload  # no arguments at all: its worker will say so
    first: list[Any] = [outcome_of(ended), *args]
    return Raw(_encode((first, kwargs)))
