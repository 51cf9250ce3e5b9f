"""The part of a store that schedules live in; for what holds of every method see
`backline.store.contract`.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from backline.schedule import ScheduleChange, Tick
from backline.store.values import Timetable


class ScheduleStore(Protocol):
    """Which schedules there are, and the use of their slots."""

    async def schedules(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Timetable:
        """A page of schedules, all or those of `names`, in an order of the store's own.

        What follows `after`, which an earlier page answered; a page may hold fewer than `limit`
        and yet not be the last. What is stored and cannot be read has no `spec`.
        """
        ...

    async def due_schedules(self, *, limit: int, after: str | None = None) -> Timetable:
        """A page of those whose `next` slot has come, by the store's clock. Reads only."""
        ...

    async def arrange(self, changes: Sequence[ScheduleChange]) -> list[bool]:
        """Make, change and delete schedules, in their order.

        True: done. False: the schedule is not that version any more, and nothing was changed:
        read it again. Nothing is decided here (see `schedule.change`). A repeat answers False.

        Raises ConfigError for a schedule that could not be read back as what it is, and for
        one, if it is not paused, whose jobs `tick` would refuse: then nothing of the call was
        written.
        """
        ...

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        """Use slots: move the schedule on and enqueue their jobs, in one commit.

        True: done by this call. False: nothing was changed, since the schedule is not what it
        was when it was read: another scheduler was first, a person changed or deleted it, or
        this is a repeat. A full queue refuses none of the jobs; one whose id is known, or
        whose unique key is taken, adds nothing, and the slot counts as used. No two ticks of a
        call are for the same schedule: the caller sees to it.

        Raises EnqueueError as `enqueue` does: then nothing of the call was written.
        """
        ...
