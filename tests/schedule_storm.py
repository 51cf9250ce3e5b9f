"""Five real schedulers on one store, around a change of the clocks, on virtual time.

They are killed, stopped and started anew, their ways to the store fail, and the wall clock is
put to and fro by an hour. What they enqueued is compared with the oracle's minutes.

The whole campaign, as a table: `python -m tests.schedule_storm [first year last year [store]]`.
"""

import asyncio
import logging
import random
import sys
from calendar import timegm
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from unittest.mock import patch
from zoneinfo import ZoneInfo

from tests.schedule_oracle import AROUND, EXPRESSIONS, HOUR, ZONES, changes, moments, pattern

from backline import scheduler
from backline.clock import Clock
from backline.job import SECOND, JobRequest, Micros
from backline.schedule import Cron, Missed, ScheduleChange, ScheduleSpec, change
from backline.scheduler import Scheduler
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import find_all
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop
from backline.testing.process import Process

COUNT: Final = 5
FAULTS: Final = StoreFaults(refused=0.1, lost=0.1, late=0.05, repeated=0.1, delayed=0.2)
LOOK: Final = 60 * SECOND
"""In place of a second: eight hours are long, and what is missed is made up all the same."""
STEP: Final = HOUR
"""How far the wall clock is put wrong, either way, in seconds."""

OpenStore = Callable[[Clock], Store]
Wrap = Callable[[Store], Store]


class Found(NamedTuple):
    """The slots of the oracle, what is wrong with those that made jobs, and what was done."""

    slots: int = 0
    doubled: int = 0
    missed: int = 0
    extra: int = 0
    kills: int = 0
    steps: int = 0
    changes: int = 1

    def __add__(self, other: object) -> "Found":
        """Both together."""
        assert isinstance(other, Found)
        return Found(*map(sum, zip(self, other, strict=True)))

    @property
    def wrong(self) -> int:
        """How many jobs are too many, or not there."""
        return self.doubled + self.missed + self.extra


class Storm:
    """Four hours on either side of a change, with a schedule of each expression."""

    def __init__(
        self, zone: str, at: int, loop: VirtualLoop, open_store: OpenStore, wrap: Wrap
    ) -> None:
        self.zone = zone
        self.change = at
        self.loop = loop
        self.clock = loop.clock
        self.rng = random.Random(f"storm {zone} {at}")
        self.open_store = open_store
        self.wrap = wrap
        self.handles: list[Store] = []
        self.since = self.latest = self.clock.now()
        self.offset = 0.0
        self.kills = self.steps = 0

    async def play(self) -> Found:
        """Blow, let everything come, and compare."""
        self.store = await self.handle()
        await self.arrange()
        with patch.object(scheduler, "LOOK", LOOK):
            await self.blow()
        until = await self.settle()
        found = await self.compare(until)
        for handle in self.handles:
            await handle.close()
        return found

    async def handle(self) -> Store:
        """The store, by a handle of one's own if there may be several."""
        if not self.handles or self.handles[0].capabilities.between_processes:
            self.handles.append(self.open_store(self.clock))
            await self.handles[-1].open()
        return self.handles[-1]

    async def arrange(self) -> None:
        """A schedule for each expression, in its name."""
        for cron in EXPRESSIONS:
            job = JobRequest(id="", task=cron)
            spec = ScheduleSpec(rule=Cron(cron, self.zone), job=job, missed=Missed.ALL)
            new = change.created(cron, spec, self.since)
            assert await self.store.arrange([ScheduleChange(cron, 0, new)]) == [True]

    async def started(self) -> Process:
        process = self.loop.process("scheduler")
        way = FlakyStore(await self.handle(), FAULTS, random.Random(self.rng.random()))
        process.start(Scheduler(self.wrap(way), self.clock).run())
        return process

    async def blow(self) -> None:
        rng = self.rng
        processes = [await self.started() for _ in range(COUNT)]
        end = self.clock.tick() + 2 * AROUND * SECOND
        while self.clock.tick() < end:
            await asyncio.sleep(rng.uniform(0, 900))
            self.latest = max(self.latest, self.clock.now())
            if rng.random() < 0.25:
                self.step(rng.uniform(-STEP, STEP))
            victim = processes.pop(rng.randrange(COUNT))
            match rng.choice(["kill", "stop", "nothing"]):
                case "kill":
                    self.kills += 1
                    victim.kill()
                    victim = await self.started()
                case "stop":
                    victim.pause()
                    self.loop.call_later(rng.uniform(0, 1_800), victim.resume)
            processes.append(victim)
        for process in processes:
            process.kill()

    def step(self, offset: float) -> None:
        """Put the wall clock so many seconds before or behind the true time."""
        self.steps += 1
        self.clock.step_wall(offset - self.offset)
        self.offset = offset
        self.latest = max(self.latest, self.clock.now())

    async def settle(self) -> Micros:
        """Everything that was to come has come; returns until when."""
        await asyncio.sleep(10)  # what is still under way arrives
        self.latest = max(self.latest, self.clock.now())
        self.clock.step_wall((self.latest - self.clock.now()) / SECOND)
        last = Scheduler(self.store, self.clock)
        while await last.fire() == 0:
            pass
        return self.clock.now()

    async def compare(self, until: Micros) -> Found:
        """What was enqueued, with the oracle's minutes."""
        made: defaultdict[str, list[Micros]] = defaultdict(list)
        for job in await find_all(self.store, page=1_000):
            made[job.task].append(job.due)
        around = list(moments(ZoneInfo(self.zone), self.change - AROUND, until // SECOND))
        due = doubled = missed = extra = 0
        for cron in EXPRESSIONS:
            meant = pattern(cron)
            slots = {m.second * SECOND for m in around if meant.due(m)} - {self.since}
            due += len(slots)
            doubled += len(made[cron]) - len({*made[cron]})
            missed += len(slots.difference(made[cron]))
            extra += len({*made[cron]} - slots)
        return Found(due, doubled, missed, extra, self.kills, self.steps)


def storm(zone: str, at: int, open_store: OpenStore, wrap: Wrap = lambda store: store) -> Found:
    """What came of a change of the clocks `at` a second in `zone`."""
    clock = VirtualClock(at, now=(at - AROUND) * SECOND)
    loop = VirtualLoop(clock, at)
    try:
        return loop.run(Storm(zone, at, loop, open_store, wrap).play())
    finally:
        loop.close()


def in_memory(clock: Clock) -> Store:
    """A store that ends with the run."""
    return MemoryStore(clock=clock)


def in_file(path: Path) -> OpenStore:
    """Handles on one file."""
    return lambda clock: SqliteStore(path, clock=clock, durability="normal")


def whole(zone: str, first_year: int, last_year: int, folder: Path | None = None) -> Found:
    """All changes of a zone in these years, or some day if there is none.

    In files in `folder`, if it is given; else in memory.
    """
    found = Found(changes=0)
    some_day = timegm((first_year, 7, 1, 0, 0, 0))
    for at in changes(ZoneInfo(zone), first_year, last_year) or [some_day]:
        file = None if folder is None else folder / f"{zone.replace('/', '-')} {at}.db"
        found += storm(zone, at, in_memory if file is None else in_file(file))
    return found


def main() -> int:
    """Print the table; the exit code says whether anything is wrong."""
    words = sys.argv[1:]
    first, last = (int(word) for word in words[:2] or ("2010", "2012"))
    logging.disable(logging.WARNING)  # the storm is meant to be one
    print(f"{first} to {last}, {COUNT} schedulers, {len(EXPRESSIONS)} expressions a zone")
    print(f"{'':27}{' '.join(f'{name:>8}' for name in Found._fields)}")
    wrong = 0
    with TemporaryDirectory() as folder:
        for store in words[2:] or ("memory", "sqlite"):
            place = None if store == "memory" else Path(folder)
            total = Found(changes=0)
            for zone in ZONES:
                found = whole(zone, first, last, place)
                total += found
                _line(zone, found)
            _line(f"{store}: {len(ZONES)} zones", total)
            wrong += total.wrong
    return 1 if wrong else 0


def _line(name: str, found: Found) -> None:
    print(f"{name:27}{' '.join(f'{number:8,}' for number in found)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
