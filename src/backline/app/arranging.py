"""Changes of schedules in a store, however many people and processes make them at once."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from backline.job import Micros
from backline.schedule import ScheduleChange, ScheduleRecord, ScheduleSpec, change
from backline.store import Store

Decide: TypeAlias = Callable[[ScheduleRecord | None, Micros], ScheduleRecord | None]
"""What is to stand in the place of what was read at that time; the same object: no change."""

BITE: Final = 500
"""Schedules read or declared in one call."""


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


async def declare_schedules(store: Store, specs: Mapping[str, ScheduleSpec]) -> None:
    """Tell the store which schedules stand in code; an operator's edits stay as they are."""
    left = dict(specs)
    while left:
        bite = dict(list(left.items())[:BITE])
        page = await store.schedules(limit=len(bite), names=list(bite))
        found = {schedule.name: schedule for schedule in page.schedules}
        wanted = {
            name: change.declared(found.get(name), name, spec, page.now)
            for name, spec in bite.items()
        }
        changes = [
            ScheduleChange(name, found[name].version if name in found else 0, new)
            for name, new in wanted.items()
            if new is not found.get(name)
        ]
        answers = await store.arrange(changes) if changes else []
        again = {made.name for made, done in zip(changes, answers, strict=True) if not done}
        left = {name: spec for name, spec in left.items() if name in again or name not in bite}
