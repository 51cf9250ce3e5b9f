"""Changes of schedules in a store, however many people and processes make them at once."""

from collections.abc import Callable
from typing import Final, TypeAlias

from backline.job import Micros
from backline.schedule import ScheduleChange, ScheduleRecord
from backline.store import Store

Decide: TypeAlias = Callable[[ScheduleRecord | None, Micros], ScheduleRecord | None]
"""What is to stand in the place of what was read at that time; the same object: no change."""

BITE: Final = 500
"""Schedules read or written in one call."""


async def arrange(store: Store, name: str, decide: Decide) -> ScheduleRecord | None:
    """Change one schedule, however many others do so at the same time; what it is then."""
    while True:
        page = await store.schedules(limit=1, names=[name])
        found = next(iter(page.schedules), None)
        new = decide(found, page.now)
        if new is found:
            return found
        version = 0 if found is None else found.version
        [done] = await store.arrange([ScheduleChange(name, version, new)])
        if done:
            return new


async def delete(store: Store, name: str) -> bool:
    """Delete a schedule. False: there was none."""
    deleted: list[str] = []

    def forget(found: ScheduleRecord | None, now: Micros) -> None:
        del now
        if found is not None:
            deleted.append(found.name)

    await arrange(store, name, forget)
    return bool(deleted)


async def every_schedule(store: Store) -> list[ScheduleRecord]:
    """All schedules of a store, by name."""
    found: list[ScheduleRecord] = []
    after: str | None = None
    while True:
        page = await store.schedules(limit=BITE, after=after)
        found += page.schedules
        after = page.after
        if after is None:
            return sorted(found, key=lambda schedule: schedule.name)
