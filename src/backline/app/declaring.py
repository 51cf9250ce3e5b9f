"""Telling the store which schedules and subscriptions stand in code, whatever versions of the
code there are: see `backline.app.say`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Final, NamedTuple

from backline.app.arranging import BITE
from backline.app.say import Say
from backline.app.subscribing import declare_subscriptions
from backline.clock import Clock
from backline.display import iso, safe
from backline.duty import Duty
from backline.errors import ConfigError
from backline.job import MINUTE, SECOND, Micros, WorkerName
from backline.schedule import (
    Firing,
    ScheduleChange,
    ScheduleRecord,
    ScheduleSpec,
    change,
    firing,
)
from backline.scheduler import use
from backline.store import Store, Timetable
from backline.task import Registry

log = logging.getLogger(__name__)

AGAIN: Final[Micros] = MINUTE
"""How often a worker looks whether what it declared still stands."""
_NEW: Final[Micros] = 30 * SECOND
"""A worker of which there is no report yet is younger than this; later, its report was lost."""


class Declaring:
    """What an app declares, for as long as its process lives."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._workers: dict[WorkerName, Micros] = {}
        """Those of this app in this process, and the tick at which each began."""
        self._told: dict[str, int] = {}
        """The schedules of which something was said, by name: the version of each then."""

    @asynccontextmanager
    async def running(self, store: Store, worker: WorkerName) -> AsyncIterator[None]:
        """Declare for this worker, at once and again and again, while inside."""

        async def again() -> Micros:
            await self.declare(store)
            return AGAIN + self._clock.rng.randrange(SECOND)

        self._workers[worker] = self._clock.tick()
        duty = Duty("declaring what stands in code", again, self._clock)
        doing = asyncio.create_task(duty.run(), name=duty.name)
        try:
            yield
        finally:
            del self._workers[worker]
            doing.cancel()
            await asyncio.wait([doing])

    async def declare(self, store: Store) -> None:
        """Let the store have what stands in code, as far as this process has the say.

        What operators edited or paused stays. Two reads if nothing is new. Raises StoreError,
        and ConfigError for what cannot be stored.
        """
        await declare_subscriptions(store, self._registry, lambda: self._say(store))
        specs: dict[str, ScheduleSpec | None] = dict.fromkeys(self._registry.names())
        specs.update(self._registry.schedules)
        names = list(specs)
        for at in range(0, len(names), BITE):
            await self._declare(store, {name: specs[name] for name in names[at : at + BITE]})

    async def _declare(self, store: Store, specs: Mapping[str, ScheduleSpec | None]) -> None:
        say: Say | None = None
        stuck: set[str] = set()
        left = dict(specs)
        while left:
            page = await store.schedules(limit=len(left), names=list(left))
            news = [each for each in self._news(left, page) if each.new is not each.found]
            if news and say is None:
                say = await self._say(store)
            news = [each for each in news if say is not None and say.is_ours(each.task)]
            owing = [each for each in news if each.owes(page.now) and each.name not in stuck]
            stuck |= await _settle(store, owing, page.now)
            again = {each.name for each in owing}
            again |= await self._apply(store, [each for each in news if each.name not in again])
            left = {name: spec for name, spec in left.items() if name in again}

    def _news(
        self, specs: Mapping[str, ScheduleSpec | None], page: Timetable
    ) -> Iterator["_Declared"]:
        stored = {schedule.name: schedule for schedule in page.schedules}
        for name, spec in specs.items():
            found = stored.get(name)
            if spec is not None:
                new = change.declared(found, name, spec, page.now)
                yield _Declared(name, spec.job.task, found, new)
            else:
                kept = change.withdrawn(found)
                self._tell_if_edited(kept)
                yield _Declared(name, name, found, kept)

    def _tell_if_edited(self, kept: ScheduleRecord | None) -> None:
        if kept is not None and kept.edited:
            self._tell(
                kept,
                "it stands in the code of its task no more, but was edited: it stays until "
                "somebody deletes it",
            )

    async def _apply(self, store: Store, news: Sequence["_Declared"]) -> set[str]:
        """Write this; the names of those that others changed meanwhile.

        What an operator's edit makes impossible to store is passed over; what code does raises.
        """
        changes = [
            ScheduleChange(each.name, 0 if each.found is None else each.found.version, each.new)
            for each in news
        ]
        try:
            answers = await store.arrange(changes) if changes else []
        except ConfigError as error:
            if len(news) > 1:
                return {name for each in news for name in await self._apply(store, [each])}
            [(_, _, found, new)] = news
            if found is None or new is None or new.spec == new.declared:
                raise
            self._tell(found, f"what code declares cannot be added to what was edited: {error}")
            return set()
        return {made.name for made, done in zip(changes, answers, strict=True) if not done}

    def _tell(self, found: ScheduleRecord, text: str) -> None:
        """Say this of a schedule, once for each state that it is in."""
        if self._told.get(found.name) != found.version:
            self._told[found.name] = found.version
            log.warning("schedule %s: %s", safe(found.name), text)

    async def _say(self, store: Store) -> Say:
        return Say(await store.workers(), self._ours())

    def _ours(self) -> dict[WorkerName, float]:
        """Our workers; when each started, should nothing be reported of it."""
        now = self._clock.tick()
        return {name: inf if now - at < _NEW else -inf for name, at in self._workers.items()}


class _Declared(NamedTuple):
    """A schedule as it was read, and what code makes of it."""

    name: str
    task: str
    found: ScheduleRecord | None
    new: ScheduleRecord | None

    def owes(self, now: Micros) -> bool:
        """It is to have another rule, or none, and slots of the one it has were not used yet."""
        found, new = self.found, self.new
        if found is None or found.spec is None or found.next is None or found.next > now:
            return False
        return new is None or new.spec is None or new.spec.rule != found.spec.rule


async def _settle(store: Store, owing: Sequence[_Declared], now: Micros) -> set[str]:
    """Use what slots are owed, by the policy they had; the names of those that cannot be used.

    A schedule that is withdrawn uses none: it was taken out so that it does not run.
    """
    stuck: set[str] = set()

    def give_up(found: ScheduleRecord | None, why: object) -> None:
        assert found is not None
        assert found.next is not None
        stuck.add(found.name)
        log.warning(
            "schedule %s: slots from %s on were owed when code changed it, and are left out: %s",
            safe(found.name),
            iso(found.next),
            safe(str(why)),
        )

    firings: list[Firing] = []
    for each in owing:
        try:
            due = firing(each.found, now) if each.found is not None else None
        except Exception as error:  # noqa: BLE001 - a damaged row may go wrong in any way
            give_up(each.found, error)
            continue
        if each.new is None:
            give_up(each.found, "it stands in code no more")
        elif due is None:
            stuck.add(each.name)  # damage: `next` has come, and nothing is due
        else:
            firings.append(due)
    await use(store, firings, lambda fired, error: give_up(fired.schedule, error))
    return stuck
