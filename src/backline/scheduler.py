"""The scheduler: fires the slots of schedules that have come.

Every supervisor and every embedded worker runs one; any number of them on one store do no
harm, and none is the leader. It keeps no plan: each look asks the store what is due, and each
write names what it read, so one that was stopped for an hour fires nothing that was changed
meanwhile. It needs no user code: what a slot enqueues is in the store.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from backline.clock import Clock
from backline.display import iso, safe
from backline.duty import Duty
from backline.errors import ConfigError, EnqueueError, StoreError
from backline.faults import fault
from backline.job import SECOND, Micros
from backline.outage import Outage
from backline.schedule import Firing, ScheduleRecord, firing
from backline.store import Hint, Store

log = logging.getLogger(__name__)

LOOK: Final[Micros] = SECOND
"""The longest wait while a slot is to come: the wall clock may be put forward, and hints of
an edit may be lost."""
SELDOM: Final[Micros] = 5 * SECOND
"""The longest wait while none is."""
SPREAD: Final[Micros] = SECOND // 50
"""Schedulers look at a slot so far apart, at random: who comes later finds it used, and writes
nothing."""
CHECK: Final[Micros] = 600 * SECOND
"""How often to look through all schedules for those that wait for a clock of the past."""
BITE: Final = 500
"""At most this many schedules a look, and about as many jobs a write, so that no other caller
of the store waits long."""
_NAMED: Final = 10
"""Of so many schedules a write is told what it left out, if it is of many."""


class Scheduler:
    """Fires slots as they come, by the store's clock."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._changed = asyncio.Event()
        self._wait: Micros = 0
        self._damaged: dict[str, int] = {}
        """The schedules that cannot work, by name: the version of which that was said. Each is
        written by itself from then on, so that it holds up no other."""
        self._ahead: set[str] = set()
        """The schedules that wait for a clock of the past, of which that was said."""
        self._check_at: Micros = clock.tick()
        self._duty = Duty("firing schedules", self._round, clock)

    @property
    def healthy(self) -> bool:
        """The last look reached the store."""
        return self._duty.failures == 0

    async def run(self) -> None:
        """Fire slots until cancelled."""
        deaf = Outage("hearing of schedules", self._clock)
        while True:
            try:
                async with self._store.watch([Hint.SCHEDULE], self._changed.set):
                    deaf.over()
                    await self._duty.run()
            except StoreError as error:  # it went while we began to listen
                await deaf.wait(error)

    async def fire(self) -> Micros:
        """Use every slot that has come; returns how long until the next look at the latest.

        Raises StoreError; what was used until then is used.
        """
        after: str | None = None
        waits: list[Micros] = []
        while True:
            page = await self._store.due_schedules(limit=BITE, after=after)
            firings: list[Firing] = []
            for found in page.schedules:
                if (due := self._firing(found, page.now)) is not None:
                    firings.append(due)
                    await asyncio.sleep(0)  # a backlog takes its time, and others wait here
            used = await use(self._store, firings, self._refused, alone=set(self._damaged))
            for fired in used:
                self._damaged.pop(fired.schedule.name, None)
                if fired.tick.next is not None:
                    waits.append(max(0, fired.tick.next - page.now))
            after = page.after
            if after is None:
                break
        if page.next_in is not None:
            waits.append(page.next_in)
        return min(LOOK, *waits) if waits else SELDOM

    async def check(self) -> None:
        """Complain, once each, of the schedules that a clock far ahead has stopped.

        Raises StoreError.
        """
        after: str | None = None
        while True:
            page = await self._store.schedules(limit=BITE, after=after)
            for found in page.schedules:
                if found.paused or not found.is_ahead(page.now):
                    self._ahead.discard(found.name)
                elif found.name not in self._ahead:
                    self._ahead.add(found.name)
                    log.error(
                        "schedule %s runs nothing until %s, since the store's clock once showed "
                        "that: resume it, and it goes on from now",
                        safe(found.name),
                        iso(found.last),
                    )
            after = page.after
            if after is None:
                return

    async def _round(self) -> Micros:
        if self._wait:
            # Not `wait_for`, which in Python 3.11 may swallow a cancel that comes with the hint.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait / SECOND):
                    await self._changed.wait()
        self._changed.clear()
        self._wait = 0  # after an error the duty waits
        self._wait = await self.fire() + self._clock.rng.randrange(SPREAD)
        if self._clock.tick() >= self._check_at:
            await self.check()
            self._check_at = self._clock.tick() + CHECK
        return 0

    def _firing(self, found: ScheduleRecord, now: Micros) -> Firing | None:
        """What to write about a schedule; one that cannot work stops no other."""
        if found.spec is None:
            self._complain(found, "until it is edited: what is stored of it cannot be read")
            return None
        try:
            return firing(found, now)
        except Exception as error:  # noqa: BLE001 - a damaged row may go wrong in any way
            why = str(error) if isinstance(error, ConfigError) else repr(error)
            self._complain(found, f"on this host: {why}")
            return None

    def _refused(self, fired: Firing, error: Exception) -> None:
        until = "until it is edited" if isinstance(error, EnqueueError) else "for now"
        self._complain(fired.schedule, f"{until}: {str(error) or repr(error)}")

    def _complain(self, found: ScheduleRecord, why: str) -> None:
        if self._damaged.get(found.name) != found.version:
            self._damaged[found.name] = found.version
            log.error("schedule %s runs nothing %s", safe(found.name), why)


async def use(
    store: Store,
    firings: Sequence[Firing],
    refused: Callable[[Firing, Exception], None],
    *,
    alone: Collection[str] = (),
) -> list[Firing]:
    """Write these firings in bites; returns what the store took, used before or not.

    It does not take a schedule whose jobs cannot be stored: `refused` is told, and the others
    go on. Those of the names `alone` are written last, each by itself. Raises StoreError.
    """
    taken: list[Firing] = []
    for bite in _bites(firings, alone):
        taken += await _use(store, bite, refused)
    return taken


async def _use(
    store: Store, bite: Sequence[Firing], refused: Callable[[Firing, Exception], None]
) -> list[Firing]:
    fault("scheduler.before_tick")
    try:
        answers = await store.tick([fired.tick for fired in bite])
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - what stores refuse to write, and damage
        if len(bite) == 1:
            refused(bite[0], error)
            return []
        return [taken for one in bite for taken in await _use(store, [one], refused)]
    out = [fired for fired, done in zip(bite, answers, strict=True) if done and fired.left_out]
    for fired in out[:_NAMED]:
        log.warning(
            "schedule %s: slots from %s to %s were missed and left out",
            safe(fired.schedule.name),
            *map(iso, fired.left_out or ()),
        )
    if len(out) > _NAMED:
        log.warning("slots of %d more schedules were missed and left out", len(out) - _NAMED)
    return list(bite)


def _bites(firings: Sequence[Firing], alone: Collection[str]) -> Iterator[list[Firing]]:
    """The firings in writes of about `BITE` jobs; those of the names `alone` last, each in one."""
    bite: list[Firing] = []
    jobs = 0
    for each in firings:
        if each.schedule.name in alone:
            continue
        bite.append(each)
        jobs += max(1, len(each.tick.jobs))
        if jobs >= BITE:
            yield bite
            bite, jobs = [], 0
    if bite:
        yield bite
    yield from ([each] for each in firings if each.schedule.name in alone)
