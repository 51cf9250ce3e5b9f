"""Which jobs a store takes: those it can give back as what they were.

Whoever builds a `JobRequest` by hand, or changes one, may put anything in it. What could not
be read again is refused before anything is written, in every store alike: else one such job
would stop the others, in the file or in the memory where all of them are.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Raw, json
from msgspec.structs import replace

from backline.display import safe, shown
from backline.errors import ConfigError, EnqueueError, UnknownParent
from backline.fanout import (
    Publication,
    SubscriptionChange,
    SubscriptionRecord,
    SubscriptionSpec,
    jobs_of,
)
from backline.job import JobId, JobRequest, Lane, Limits, Micros, OnConflict, Rank, Terms
from backline.parents import MOST_PARENTS, After
from backline.schedule import LAST_SLOT, ScheduleChange, ScheduleRecord, job_of
from backline.states import TERMINAL
from backline.store import Call, Edit

_Facts: TypeAlias = tuple[
    JobId, str, str, Lane, Rank, Micros, Micros | None, Micros | None, Micros | None,
    str | None, Micros, OnConflict, dict[str, str], tuple[str, ...], Micros | None, str | None,
    tuple[After, ...], JobId | None, JobId | None,
    Annotated[str, Meta(min_length=1)] | None,
]  # fmt: skip
"""All of a job but its payload, its terms, which many jobs share, and its limits."""

_encode: Final = json.Encoder().encode
_skip: Final = json.Decoder(Raw).decode
_many: Final = json.Decoder(list[_Facts]).decode
_one: Final = json.Decoder(JobRequest).decode
_schedule: Final = json.Decoder(ScheduleRecord).decode
_edit: Final = json.Decoder(Edit).decode
_event: Final = json.Decoder(Publication).decode
_subscription: Final = json.Decoder(SubscriptionSpec).decode
_terms: Final = json.Decoder(list[Terms]).decode
_limits: Final = json.Decoder(list[Limits]).decode
_APART: Final = frozenset({"payload", "follow_ups"})
"""Fields that are looked at on their own."""
_WRONG: Final = (msgspec.MsgspecError, TypeError, ValueError, RecursionError, AttributeError)


class Founded(NamedTuple):
    """Which ids a store knows."""

    known: Collection[JobId]
    """Of jobs, purged ones too, and of groups."""
    readable: Collection[JobId]
    """Of jobs whose results can be read."""


def check(calls: Sequence[Call]) -> None:
    """Raises EnqueueError, naming job and field, for the first job that cannot be stored.

    Costs half a microsecond a job, and a look at each byte of its payload.
    """
    jobs = list(chain.from_iterable(calls))
    try:
        fine = _are_fine(jobs)
    except _WRONG:
        fine = False
    for job in jobs if not fine else [job for job in jobs if job.follow_ups != ()]:
        if complaint := _complaint(job) or _follow_ups_complaint(job):
            name = shown(getattr(job, "task", None))
            raise EnqueueError(f"a job of {name} cannot be stored: {complaint}")
    # What is left differs and means the same: a list of tags, say.


def check_changes(changes: Sequence[ScheduleChange]) -> None:
    """Raises ConfigError for the first schedule that cannot be stored, or is another's.

    Nor is one whose slots could not be enqueued, unless it is paused: that stops it.
    """
    for change in changes:
        schedule = change.schedule
        if schedule is None:
            continue
        try:
            fine = _schedule(_encode(schedule)) == schedule and schedule.name == change.name
        except _WRONG as error:
            complaint = _words(error)
        else:
            complaint = _unusable(schedule) if fine else "it could not be read back as what it is"
        if complaint:
            raise ConfigError(f"schedule {shown(change.name)} cannot be stored: {complaint}")


def check_edit(change: Edit) -> None:
    """Raises EnqueueError for a change that would leave jobs which cannot be stored."""
    try:
        fine = _edit(_encode(change)) == change
        complaint = "" if fine else "it could not be read back as what it is"
    except _WRONG as error:
        complaint = _words(error)
    if complaint:
        raise EnqueueError(f"jobs cannot be stored as {shown(change)} says: {complaint}")


def check_subscriptions(changes: Sequence[SubscriptionChange]) -> None:
    """Raises ConfigError for the first subscription that cannot be stored.

    Nor is one whose jobs could not be, or that has a key: an event would make no job.
    """
    for change in changes:
        if change.spec is None:
            continue
        try:
            change.name.encode()
            complaint = _unfit(change.name, change.spec)
        except _WRONG as error:
            complaint = _words(error)
        if complaint:
            raise ConfigError(f"subscription {shown(change.name)} cannot be stored: {complaint}")


def check_events(events: Sequence[Publication]) -> None:
    """Raises EnqueueError for the first event that cannot be stored."""
    for event in events:
        try:
            _skip(event.payload)
            bytes(event.payload).decode()
            back = _event(_encode(event))
            fine = replace(back, payload=event.payload) == event and type(event.payload) is Raw
            complaint = "" if fine else "it could not be read back as what it is"
            if event.event_ttl <= 0:
                complaint = f"its event_ttl is {event.event_ttl}"
        except _WRONG as error:
            complaint = _words(error)
        if complaint:
            raise EnqueueError(f"an event {shown(event.name)} cannot be stored: {complaint}")


def _unfit(name: str, spec: SubscriptionSpec) -> str:
    """What is wrong with a subscription; empty: nothing."""
    if _subscription(_encode(spec)) != spec:
        return "it could not be read back as what it is"
    if spec.job.unique_key is not None or spec.job.idempotency_key is not None:
        return "its jobs have a unique or an idempotency key, and each event is to make one"
    if _is_tied(spec.job):
        return "its jobs wait for others, or are part of a flow, and each event makes one anew"
    sample = Publication(id="", name="any", at=LAST_SLOT)
    anything = SubscriptionRecord(name=name, spec=replace(spec, patterns=("#",)))
    job = jobs_of(sample, [anything], LAST_SLOT)[name]
    complaint = _complaint(job) or _follow_ups_complaint(job)
    return f"its jobs could not be: {complaint}" if complaint else ""


def _unusable(schedule: ScheduleRecord) -> str:
    """What would be wrong with the jobs of a schedule; empty: nothing."""
    if schedule.spec is None or schedule.paused:
        return ""
    if _is_tied(schedule.spec.job):
        return "its jobs wait for others, or are part of a flow, and each slot makes one anew"
    job = job_of(schedule.name, schedule.spec, LAST_SLOT)
    complaint = _complaint(job) or _follow_ups_complaint(job)
    return f"its jobs could not be: {complaint}" if complaint else ""


def _is_tied(job: JobRequest) -> bool:
    return bool(job.after) or job.group_id is not None


def _are_fine(jobs: Sequence[JobRequest]) -> bool:
    for job in jobs:
        _skip(job.payload)
    facts = [
        (
            job.id, job.task, job.queue, job.lane, job.priority, job.delay, job.run_at,
            job.expires_in, job.expires_at, job.unique_key, job.unique_for, job.on_conflict,
            job.headers, job.tags, job.max_wait, job.idempotency_key,
            job.after, job.flow, job.group, job.fair_key,
        )
        for job in jobs
    ]  # fmt: skip
    terms = list({id(job.terms): job.terms for job in jobs}.values())
    limits = [job.limits for job in jobs if job.limits is not None]
    tied = [job for job in jobs if job.after]
    return (
        _many(_encode(facts)) == facts
        and _terms(_encode(terms)) == terms
        and (not limits or _limits(_encode(limits)) == limits)
        and all(job.id.isascii() and type(job.payload) is Raw for job in jobs)
        and not any(_entangled(job) for job in tied)
    )


def _complaint(job: JobRequest) -> str:
    """What is wrong with a job; empty: nothing."""
    try:
        if type(job.payload) is not Raw:
            return f"its payload is msgspec.Raw, not {shown(job.payload)}"
        _skip(job.payload)
    except _WRONG as error:
        return f"its payload is no JSON: {_words(error)}"
    try:
        back = _one(_encode(job))
    except _WRONG as error:
        return _words(error)
    for field in JobRequest.__struct_fields__:
        given = getattr(job, field)
        if field not in _APART and getattr(back, field) != (
            tuple(given) if field == "tags" else given
        ):
            return f"its {field} is {shown(given)}"
    if entangled := _entangled(job):
        return entangled
    return "" if job.id.isascii() else f"its id is {shown(job.id)}, which is not ASCII"


def _follow_ups_complaint(job: JobRequest) -> str:
    """What is wrong with what is to follow a job that has nothing wrong itself."""
    for each in job.follow_ups:
        if not each.on or not TERMINAL.issuperset(each.on):
            return f"a follow-up of it is on {shown(each.on)}; at least one terminal state is due"
        if each.job.follow_ups:
            return "a follow-up of it has follow-ups of its own"
        if _is_tied(each.job):
            return "a follow-up of it waits for others, or is part of a flow"
        if complaint := _complaint(each.job):
            return f"a follow-up of it: {complaint}"
    return ""


def _entangled(job: JobRequest) -> str:
    """What is wrong with its parents; empty: nothing."""
    if len(job.after) > MOST_PARENTS:
        return (
            f"it waits for {len(job.after):,} jobs, and may for {MOST_PARENTS:,}: put them in a "
            "group, and wait for that"
        )
    parents = {after.parent for after in job.after}
    return "it waits twice for the same job" if len(parents) < len(job.after) else ""


def founded(calls: Sequence[Call], known: Callable[[set[JobId]], Founded]) -> None:
    """Raises UnknownParent for the first job whose parent is neither known nor earlier in its
    call; `known` says of ids what the store has."""
    wanted = {
        job_id
        for call in calls
        for job in call
        if job.after
        for job_id in (job.id, *(after.parent for after in job.after))
    }
    if not wanted:
        return
    found = known(wanted)
    for call in calls:
        earlier: set[JobId] = set()
        for job in call:
            if job.after and job.id not in found.known:
                for after in job.after:
                    has = found.readable if after.result else found.known
                    if after.parent not in has and after.parent not in earlier:
                        raise UnknownParent(job.task, parent=after.parent)
            earlier.add(job.id)
            if job.group_id is not None:
                earlier.add(job.group_id)


def _words(error: BaseException) -> str:
    match error:
        case RecursionError():
            return "nested too deeply"
        case UnicodeEncodeError():
            return "a text with a lone surrogate, which is no Unicode"
        case _:
            return safe(str(error).replace("`", ""), most=200)
