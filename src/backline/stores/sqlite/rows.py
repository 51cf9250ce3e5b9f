"""Rows as values. What somebody wrote into the file by other means is read as far as it
can be, so that one bad row never hides the others."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from backline.job import (
    AttemptError,
    HeldLease,
    JobRecord,
    Lane,
    LeasedJob,
    Micros,
    Progress,
    Terms,
)
from backline.states import State

T = TypeVar("T")

_terms: Final = msgspec.json.Decoder(Terms)
_headers: Final = msgspec.json.Decoder(Mapping[str, str])
_tags: Final = msgspec.json.Decoder(tuple[str, ...])
_errors: Final = msgspec.json.Decoder(tuple[AttemptError, ...])
_progress: Final = msgspec.json.Decoder(Progress | None)
_any: Final = msgspec.json.Decoder()
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoders raise for what is no JSON, not the right one, or nested too deeply."""


def leased_job(cells: Sequence[Any]) -> LeasedJob:
    """Raises ValueError or MsgspecError, saying which part cannot be read."""
    (
        job_id, attempt, task, queue, lane, failures, losses, releases, terms,
        priority, enqueued_at, due, headers, tags, payload,
    ) = cells  # fmt: skip
    _strictly(_any, payload, "payload")
    return LeasedJob(
        job_id,
        attempt,
        task.decode(),
        queue,
        Lane(lane),
        failures,
        losses,
        releases,
        _strictly(_terms, terms, "terms"),
        priority,
        enqueued_at,
        due,
        _strictly(_headers, headers, "headers"),
        _strictly(_tags, tags, "tags"),
        Raw(payload),
    )


def held_lease(cells: Sequence[Any]) -> HeldLease:
    """A lease; terms that cannot be read are the default ones, so that it can be settled."""
    (
        job_id, attempt, task, queue, lane, failures, losses, releases, terms,
        worker, until, cancel,
    ) = cells  # fmt: skip
    return HeldLease(
        job_id,
        attempt,
        _text(task),
        queue,
        Lane(lane),
        failures,
        losses,
        releases,
        _leniently(_terms, terms, Terms()),
        worker,
        until,
        bool(cancel),
    )


def record(cells: Sequence[Any]) -> JobRecord:
    """A row of the view `record`."""
    (
        job_id, state, queue, lane, priority, due, attempt, failures, losses, releases,
        cancel, enqueued_at, started_at, finished_at, expires_at, purge_at, worker, task,
        unique_key, terms, headers, tags, payload, progress, errors, result, *_,
    ) = cells  # fmt: skip
    return JobRecord(
        id=job_id,
        task=_text(task),
        queue=queue,
        lane=Lane(lane),
        state=State(state),
        priority=priority,
        payload=_raw(payload),
        due=due,
        attempt=attempt,
        failures=failures,
        losses=losses,
        releases=releases,
        terms=_leniently(_terms, terms, Terms()),
        unique_key=unique_key,
        headers=_leniently(_headers, headers, {}),
        tags=_leniently(_tags, tags, ()),
        enqueued_at=enqueued_at,
        started_at=started_at,
        finished_at=finished_at,
        expires_at=expires_at,
        purge_at=purge_at,
        worker=worker,
        cancel=bool(cancel),
        result=None if result is None else _raw(result),
        errors=_leniently(_errors, errors, ()),
        progress=None if progress is None else _leniently(_progress, progress, None),
    )


def dated(error: AttemptError, now: Micros) -> AttemptError:
    """The error with its time, and without half characters that no JSON can carry."""
    return AttemptError(
        error.attempt, clean(error.kind), clean(error.message), clean(error.traceback), now
    )


def clean(text: str) -> str:
    """The text, any surrogate in it replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _strictly(decoder: msgspec.json.Decoder[T], cell: bytes, part: str) -> T:
    try:
        return decoder.decode(cell)
    except _UNREADABLE as error:
        raise ValueError(f"its {part} cannot be read: {error}") from error


def _leniently(decoder: msgspec.json.Decoder[T], cell: bytes, default: T) -> T:
    try:
        return decoder.decode(cell)
    except _UNREADABLE:
        return default


def _raw(cell: bytes) -> Raw:
    """JSON as it is; what is none, as a JSON string of it."""
    try:
        _any.decode(cell)
    except _UNREADABLE:
        return Raw(msgspec.json.encode(_text(cell)))
    return Raw(cell)


def _text(cell: bytes) -> str:
    return cell.decode(errors="replace")
