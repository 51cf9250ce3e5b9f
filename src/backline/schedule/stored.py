"""A schedule as stores keep it, and what is written about it: plain data."""

from typing import Final

import msgspec

from backline.job import DAY, JobRequest, Micros
from backline.schedule.due import Missed
from backline.schedule.rule import Rule

_FAR_AHEAD: Final[Micros] = DAY


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of a schedule: when, what, and what becomes of missed slots."""

    rule: Rule
    job: JobRequest
    """What a slot enqueues, but for its id and its `run_at`, which come from the slot."""
    missed: Missed = Missed.SKIP


class ScheduleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule at one moment."""

    name: str
    spec: ScheduleSpec | None
    """None: what is stored cannot be read; it runs nothing until it is edited."""
    declared: ScheduleSpec | None = None
    """What code declared last; None: it was made at run time."""
    version: int = 0
    """Set by the store: another one with each change, and never one that it had before, also
    under the same name after a delete. A tick is no change."""
    paused: bool = False
    last: Micros
    """Every slot up to it is dealt with."""
    ran: Micros | None = None
    """The newest slot that was used; None: none yet."""
    next: Micros | None
    """The slot to be dealt with next; None: it is paused, or no slot will come."""

    @property
    def edited(self) -> bool:
        """It stands in code, and is not what code says: somebody changed it at run time."""
        both = self.declared is not None and self.spec is not None
        return both and self.declared != self.spec

    def is_ahead(self, now: Micros) -> bool:
        """It waits for what a clock once showed that must have been wrong."""
        return self.last - now > _FAR_AHEAD


class ScheduleChange(msgspec.Struct, frozen=True):
    """A write that applies only to the version it was made for."""

    name: str
    version: int
    """That of the schedule as it was read; 0: there was none."""
    schedule: ScheduleRecord | None
    """What it is from now on; None: it is deleted."""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """The use of slots: applies only while `version` and `last` are those of the schedule."""

    schedule: str
    version: int
    last: Micros
    until: Micros
    """The new `last`."""
    next: Micros | None
    ran: Micros | None
    """The newest slot of `jobs`; None: they were all skipped."""
    jobs: tuple[JobRequest, ...]
    """One for each slot, oldest first, with the id that is made from it."""
