"""Rows as values. What somebody wrote into the file by other means is read as far as it
can be, so that one bad row never hides the others."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from backline.display import clean
from backline.job import (
    AttemptError,
    Awaited,
    FollowUp,
    HeldLease,
    JobId,
    JobRecord,
    Lane,
    LeasedJob,
    Limits,
    Micros,
    Progress,
    StepRecord,
    Terms,
)
from backline.parents import Parent
from backline.states import State

T = TypeVar("T")

_terms: Final = msgspec.json.Decoder(Terms)
_DEFAULTS: Final = astuple(Terms())
_headers: Final = msgspec.json.Decoder(Mapping[str, str])
_tags: Final = msgspec.json.Decoder(tuple[str, ...])
_errors: Final = msgspec.json.Decoder(tuple[AttemptError, ...])
_limits: Final = msgspec.json.Decoder(Limits | None)
_progress: Final = msgspec.json.Decoder(Progress | None)
_follow_ups: Final = msgspec.json.Decoder(tuple[FollowUp, ...])
_results: Final = msgspec.json.Decoder(Mapping[JobId, Raw])
_parents: Final = msgspec.json.Decoder(tuple[Parent, ...])
_weights: Final = msgspec.json.Decoder(Mapping[str, float])
_pair: Final = msgspec.json.Decoder(tuple[JobId | None, JobId | None])
_skip: Final = msgspec.json.Decoder(Raw)
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError, TypeError)
"""What decoders raise for what is no JSON, not the right one, nested too deeply, or no text."""
_LANES: Final = frozenset(Lane)
_STATES: Final = frozenset(State)
_lease: Final = msgspec.json.Decoder(LeasedJob)


def leased_job(cells: Sequence[Any]) -> LeasedJob:
    """Raises ValueError, saying which part cannot be read."""
    (
        job_id, attempt, task, queue, lane, failures, losses, releases, terms,
        priority, enqueued_at, due, headers, tags, payload, steps, results,
    ) = cells  # fmt: skip
    _strictly(_skip, payload, "payload")
    lease = LeasedJob(
        _strict_text(job_id, "id"),
        attempt,
        _strict_text(task, "task"),
        _strict_text(queue, "queue"),
        lane,
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
        steps,
        {} if results is None else _strictly(_results, results, "parents' results"),
    )
    try:
        return _lease.decode(msgspec.json.encode(lease))
    except UNREADABLE as error:
        raise ValueError(f"it cannot be read as a job: {error}") from error


def held_lease(cells: Sequence[Any]) -> HeldLease:
    """A lease, as far as it can be read."""
    (
        job_id, attempt, task, queue, lane, failures, losses, releases, terms,
        worker, until, cancel,
    ) = cells  # fmt: skip
    return HeldLease(
        text(job_id),
        attempt,
        text(task),
        text(queue),
        _lane(lane),
        failures,
        losses,
        releases,
        terms_of(terms),
        text(worker),
        until,
        bool(cancel),
    )


def record(cells: Sequence[Any]) -> JobRecord:
    """A row of the view `record`."""
    (
        job_id, state, queue, lane, priority, due, attempt, failures, losses, releases,
        cancel, enqueued_at, started_at, finished_at, expires_at, purge_at, worker, task,
        unique_key, terms, headers, tags, payload, progress, errors, result, limits,
        steps, asleep, follow_ups, redrives, fair_key, after, before, flow, *_,
    ) = cells  # fmt: skip
    flow_id, group_id = (None, None) if flow is None else _leniently(_pair, flow, (None, None))
    return JobRecord(
        id=text(job_id),
        task=text(task),
        queue=text(queue),
        lane=_lane(lane),
        state=_state(state),
        priority=_number(priority),
        payload=raw(payload),
        due=_number(due),
        attempt=_number(attempt),
        failures=_number(failures),
        losses=_number(losses),
        releases=_number(releases),
        terms=terms_of(terms),
        unique_key=None if unique_key is None else text(unique_key),
        headers=_leniently(_headers, headers, {}),
        tags=_leniently(_tags, tags, ()),
        enqueued_at=_number(enqueued_at),
        started_at=_time(started_at),
        finished_at=_time(finished_at),
        expires_at=_time(expires_at),
        purge_at=_time(purge_at),
        worker=None if worker is None else text(worker),
        cancel=bool(cancel),
        result=None if result is None else raw(result),
        errors=_leniently(_errors, errors, ()),
        progress=None if progress is None else _leniently(_progress, progress, None),
        limits=None if limits is None else _leniently(_limits, limits, None),
        steps=_number(steps),
        asleep=bool(asleep),
        follow_ups=() if follow_ups is None else _leniently(_follow_ups, follow_ups, ()),
        redrives=_number(redrives),
        after=() if after is None else _leniently(_parents, after, ()),
        before=_before(before),
        flow=flow_id,
        group=group_id,
        fair_key=None if fair_key is None else text(fair_key),
    )


def _before(cell: bytes | None) -> tuple[JobId, ...]:
    """Who waits for a job, each once."""
    waiting = () if cell is None else _leniently(_tags, cell, ())
    return tuple(dict.fromkeys(waiting))


def step_record(cells: Sequence[Any], now: Micros) -> StepRecord:
    """A step; its value as it stands, for who reads it knows what it is to be."""
    name, attempt, value, recorded_at, wake_at, topic, key, waits, event, event_at = cells
    return StepRecord(
        name=text(name),
        attempt=attempt,
        value=None if value is None else Raw(value),
        recorded_at=recorded_at,
        wake_at=wake_at,
        wake_in=None if wake_at is None else max(0, wake_at - now),
        awaits=None if topic is None or key is None else Awaited(text(topic), text(key)),
        over=waits == 0,
        event_id=None if event is None else text(event),
        event_at=event_at,
    )


def brief(terms: Terms) -> tuple[Any, ...]:
    """The terms as a row has them: without the defaults at their end, which are a third of the
    row of a plain job. So whoever changes a default has to write it into the rows that are there.
    """
    given = astuple(terms)
    count = len(given)
    while count and given[count - 1] == _DEFAULTS[count - 1]:
        count -= 1
    return given[:count]


def terms_of(cell: bytes) -> Terms:
    """The terms; the default ones if they cannot be read, so that the job can be settled."""
    return _leniently(_terms, cell, Terms())


def limits_of(cell: bytes | None) -> Limits:
    """The limits; none if they cannot be read, so that the job can go on."""
    found = None if cell is None else _leniently(_limits, cell, None)
    return Limits() if found is None else found


def weights_of(cell: bytes | None) -> Mapping[str, float]:
    """The weights of a queue; none if they cannot be read, so that its jobs can go on."""
    return {} if cell is None else _leniently(_weights, cell, {})


def dated(error: AttemptError, now: Micros) -> AttemptError:
    """The error with its time, and without half characters that no JSON can carry."""
    return AttemptError(
        error.attempt, clean(error.kind), clean(error.message), clean(error.traceback), now
    )


def ids(given: Sequence[JobId]) -> list[JobId | None]:
    """Ids to look for; None for one with half a character, which no job can have."""
    return [job_id if clean(job_id) == job_id else None for job_id in given]


def text(cell: object) -> str:
    """A cell of text, as far as it can be read."""
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    return "" if cell is None else str(cell)


def _strictly(decoder: msgspec.json.Decoder[T], cell: bytes, part: str) -> T:
    try:
        return decoder.decode(cell)
    except UNREADABLE as error:
        raise ValueError(f"its {part} cannot be read: {error}") from error


def _leniently(decoder: msgspec.json.Decoder[T], cell: bytes, default: T) -> T:
    try:
        return decoder.decode(cell)
    except UNREADABLE:
        return default


def raw(cell: bytes) -> Raw:
    """JSON as it is; what is none, as a JSON string of it."""
    try:
        cell.decode()
        _skip.decode(cell)
    except (*UNREADABLE, AttributeError):
        return Raw(msgspec.json.encode(text(cell)))
    return Raw(cell)


def _strict_text(cell: object, part: str) -> str:
    if not isinstance(cell, bytes):
        raise ValueError(f"its {part} is no text")  # noqa: TRY004 - the row is wrong, not a type
    try:
        return cell.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"its {part} cannot be read: {error}") from error


def _number(cell: object) -> int:
    return cell if isinstance(cell, int) else 0


def _time(cell: object) -> Micros | None:
    return cell if isinstance(cell, int) else None


def _lane(cell: object) -> Lane:
    said = text(cell)
    return Lane(said) if said in _LANES else Lane.MAIN


def _state(cell: object) -> State:
    """A state that there is not counts as dead: the job can be shown, retried and purged."""
    said = text(cell)
    return State(said) if said in _STATES else State.DEAD
