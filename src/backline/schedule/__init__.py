"""When schedules run: pure rules over instants, for every scheduler and every store.

A rule names *slots*, the instants at which a job is due. Any scheduler on any machine finds
the same ones, so a store can see to it that each is used once: nothing here counts from when
a process started or from when it looked.

`cron` and `every` check what people write and make a `Rule`, which is plain data; `next_slot`
finds its next slot, `due_slots` what to do about those that have come, `in_words` says it to
people. `ScheduleRecord` is one as stores keep it; what an edit makes of it is in `change`. No slot
lies before 1970 or after the year 9900.

All schedulers of a store need the same time zone files: where governments change their clocks
at short notice, two versions of the files have different slots.
"""

from backline.schedule.declare import cron, every
from backline.schedule.due import GRACE, MOST_MISSED, SLOTS_AT_ONCE, Due, Missed, due_slots
from backline.schedule.firing import Firing, firing, job_of, slot_id
from backline.schedule.rule import Cron, Every, Rule
from backline.schedule.slots import LAST_SLOT, next_slot
from backline.schedule.stored import (
    ScheduleChange,
    ScheduleRecord,
    ScheduleSpec,
    Tick,
)
from backline.schedule.words import in_words

__all__ = [
    "GRACE",
    "LAST_SLOT",
    "MOST_MISSED",
    "SLOTS_AT_ONCE",
    "Cron",
    "Due",
    "Every",
    "Firing",
    "Missed",
    "Rule",
    "ScheduleChange",
    "ScheduleRecord",
    "ScheduleSpec",
    "Tick",
    "cron",
    "due_slots",
    "every",
    "firing",
    "in_words",
    "job_of",
    "next_slot",
    "slot_id",
]
