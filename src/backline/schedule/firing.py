"""What a scheduler writes about slots that have come: pure, and the same on every machine."""

import hashlib

from msgspec import Struct
from msgspec.structs import replace

from backline.clock import drawn_id
from backline.job import JobId, JobRequest, Micros
from backline.schedule.due import SLOTS_AT_ONCE, due_slots
from backline.schedule.stored import ScheduleRecord, ScheduleSpec, Tick


class Firing(Struct, frozen=True, kw_only=True):
    """What a look at a schedule came to."""

    schedule: ScheduleRecord
    """As it was read."""
    tick: Tick
    """To be written."""
    left_out: tuple[Micros, Micros] | None = None
    """The first and the last of the slots that were missed and are used no more."""


def firing(found: ScheduleRecord, now: Micros, *, limit: int = SLOTS_AT_ONCE) -> Firing | None:
    """The use of at most `limit` slots that are due; None: nothing is to be written.

    Raises ConfigError for a rule that cannot work here, see `backline.schedule.rule`.
    """
    if found.spec is None or found.paused:
        return None
    due = due_slots(found.spec.rule, found.last, now, found.spec.missed, limit=limit)
    if due.last == found.last and due.next == found.next:
        return None
    tick = Tick(
        schedule=found.name,
        version=found.version,
        last=found.last,
        until=due.last,
        next=due.next,
        ran=due.slots[-1] if due.slots else None,
        jobs=tuple(job_of(found.name, found.spec, slot) for slot in due.slots),
    )
    return Firing(schedule=found, tick=tick, left_out=due.left_out)


def job_of(schedule: str, spec: ScheduleSpec, slot: Micros) -> JobRequest:
    """The job of a slot: the same one whoever makes it, due when the slot is."""
    return replace(spec.job, id=slot_id(schedule, slot), delay=0, run_at=slot + spec.job.delay)


def slot_id(schedule: str, slot: Micros) -> JobId:
    """The id of a slot's job: a UUIDv7 of the slot's time, the rest drawn from both.

    Who uses a slot again, after a backup was restored say, adds nothing as long as the store
    remembers the job.
    """
    return drawn_id(slot // 1_000, hashlib.sha256(f"{slot} {schedule}".encode()).digest())
