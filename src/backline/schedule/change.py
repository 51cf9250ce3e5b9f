"""What becomes of a schedule when code declares it or people change it: pure.

Each function takes a schedule as it was read and returns what to store in its place. With the
compare-and-set of `Store.arrange` and a second look after a change that came between, that is
all there is to an edit, in every store.

A rule counts from when it was given and from a resume: slots before are never made up for,
whatever the policy for missed ones. What is changed besides the rule leaves the next slot as
it is.

A schedule is past what any clock once showed. Should that have been the year 2075, a person's
edit or resume makes it go on from now; slots that this repeats have the ids they had. What
code declares does not: there it may be the clock of now that is wrong.
"""

from typing import Any, Final

from msgspec.structs import replace

from backline.job import Micros
from backline.schedule.slots import next_slot
from backline.schedule.stored import ScheduleRecord, ScheduleSpec

_FIELDS: Final = ScheduleSpec.__struct_fields__


def created(name: str, spec: ScheduleSpec, now: Micros) -> ScheduleRecord:
    """A schedule that was not there. Raises ConfigError for a rule that cannot work here."""
    return ScheduleRecord(name=name, spec=spec, last=now, next=next_slot(spec.rule, now))


def edited(found: ScheduleRecord, spec: ScheduleSpec, now: Micros) -> ScheduleRecord:
    """The schedule with another spec. Raises ConfigError as `created` does."""
    return _changed(found, spec, now)


def declared(
    found: ScheduleRecord | None, name: str, spec: ScheduleSpec, now: Micros
) -> ScheduleRecord:
    """The schedule after code declared it; `found` itself if that changes nothing.

    Field by field: rule, job and policy each apply when they differ from the last declaration,
    so what an operator made of one stays until that one changes in code.
    """
    if found is None:
        return replace(created(name, spec, now), declared=spec)
    past = max(found.last, now)
    if found.spec is None:
        return replace(_changed(found, spec, past), declared=spec)
    if found.declared == spec:
        return found
    before = found.declared
    news: dict[str, Any] = {
        field: getattr(spec, field)
        for field in _FIELDS
        if before is None or getattr(spec, field) != getattr(before, field)
    }
    return replace(_changed(found, replace(found.spec, **news), past), declared=spec)


def withdrawn(found: ScheduleRecord | None) -> ScheduleRecord | None:
    """The schedule after code that has its task declared none; None: nothing is left of it.

    What people made, changed or paused stays as it is, for them to delete.
    """
    if found is None or found.declared is None:
        return found
    return found if found.paused or found.edited else None


def paused(found: ScheduleRecord) -> ScheduleRecord:
    """The schedule, running nothing until it is resumed."""
    return replace(found, paused=True, next=None)


def resumed(found: ScheduleRecord, now: Micros) -> ScheduleRecord:
    """The schedule, running from now on; `found` itself if it does."""
    if found.paused or found.last > now:
        return _from(replace(found, paused=False), now)
    return found


def _changed(found: ScheduleRecord, spec: ScheduleSpec, past: Micros) -> ScheduleRecord:
    """The schedule with another spec; with another rule, past `past`."""
    new = replace(found, spec=spec)
    same = found.spec is not None and found.spec.rule == spec.rule
    return new if same and found.last <= past else _from(new, past)


def _from(found: ScheduleRecord, past: Micros) -> ScheduleRecord:
    """Nothing up to `past` is to be run any more."""
    if found.paused or found.spec is None:
        return replace(found, last=past, next=None)
    return replace(found, last=past, next=next_slot(found.spec.rule, past))
