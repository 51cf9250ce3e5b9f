"""Publishers whose replies are lost, and a deploy that is rolled back, on virtual time.

Two publishers publish the same events through ways that fail, each until it is answered,
while workers of two versions of the code come and go: one that lets `crm` subscribe, one that
lets `audit`. Of what came out of it every event is checked.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from msgspec import json
from msgspec.structs import replace

from backline import App, State, StoreError
from backline.app.say import Say
from backline.clock import Clock
from backline.fanout import Publication, Published
from backline.job import SECOND
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import find_all
from backline.testing.flaky import NO_FAULTS, FlakyStore, StoreFaults
from backline.testing.loop import run
from backline.testing.wrapper import StoreWrapper

FAULTS: Final = StoreFaults(
    refused=0.05, lost=0.15, late=0.05, repeated=0.1, full=0.05, delayed=0.1
)
EVENTS: Final = 45
SEEDS: Final = 2
SETTLED: Final = 75
"""Seconds after its start in which a worker has declared what it has the say about, whatever
others have undone meanwhile: it looks every minute."""
VERSIONS: Final = {"old": ("mail", "crm"), "new": ("mail", "audit")}
"""Who subscribes in each version; both have all three tasks."""
LIVES: Final = (("old", 0, 150), ("new", 50, 300), ("old", 200, 380))
"""Workers: their version, and the seconds in which they live. The last is the rollback."""

Lives: TypeAlias = Sequence[tuple[str, int, int]]
Handle: TypeAlias = Callable[[], Store]
Wrap: TypeAlias = Callable[[Store], Store]


class Race:
    """One store, and all that is done to it."""

    def __init__(
        self, seed: int, clock: VirtualClock, another: Handle, lives: Lives, events: int
    ) -> None:
        self.lives = lives
        self.events = events
        self.rng = random.Random(seed)
        self.clock = clock
        self.store = another()
        self.another = another
        self.faults = FAULTS
        self.answers: defaultdict[int, list[tuple[int, int, list[str]]]] = defaultdict(list)
        """Of each event: when it was sent and answered, in seconds, and who got a job."""
        self.begun = clock.tick()

    def app(self, version: str | None = None) -> App:
        between = self.store.capabilities.between_processes
        handle = self.another() if between else self.store
        way = FlakyStore(handle, self.faults, random.Random(self.rng.getrandbits(64)))
        app = App(store=way, clock=self.clock)
        for name in ("mail", "crm", "audit") if version else ():

            async def task(payload: int) -> int:
                return payload

            declared = app.task(name=name)(task)
            if version and name in VERSIONS[version]:
                app.on("user.*" if name == "mail" else "user.registered")(declared)
        return app

    def now(self) -> int:
        return (self.clock.tick() - self.begun) // SECOND

    async def work(self, version: str, begin: int, end: int) -> None:
        await asyncio.sleep(begin)
        async with AsyncExitStack() as stack:
            while True:
                try:
                    await stack.enter_async_context(self.app(version).worker(grace=1))
                except StoreError:
                    await asyncio.sleep(0.1)
                else:
                    break
            await asyncio.sleep(end - self.now())

    async def publish(self) -> None:
        app = self.app()
        rng = random.Random(self.rng.getrandbits(64))
        await asyncio.sleep(20)  # the first worker has declared by then
        for number in range(self.events):
            await asyncio.sleep(rng.uniform(4, 11))
            sent = self.now()
            while True:
                try:
                    event = await app.apublish("user.registered", number, id=f"event {number}")
                except StoreError:
                    await asyncio.sleep(rng.uniform(0, 2))
                else:
                    break
            self.answers[number].append((sent, self.now(), sorted(event.jobs)))
        await app.aclose()

    async def play(self) -> None:
        await self.store.open()
        works = [self.work(*life) for life in self.lives]
        await asyncio.gather(*works, self.publish(), self.publish())
        self.faults = NO_FAULTS
        async with self.app("old").worker():
            for _ in range(100):
                if all(job.state is State.SUCCEEDED for job in await self.jobs()):
                    return
                await asyncio.sleep(1)
        raise AssertionError("some job does not end")

    async def jobs(self) -> Sequence[Any]:
        return await find_all(self.store, page=1_000)

    async def violations(self) -> list[str]:
        made: Counter[tuple[str, int]] = Counter()
        for job in await self.jobs():
            [[number], _] = json.decode(job.payload)
            made[job.task, number] += 1
        found = [f"{task} got event {n} {count} times" for (task, n), count in made.items()
                 if count > 1]  # fmt: skip
        for number in range(self.events):
            answers = self.answers[number]
            if len({tuple(who) for _, _, who in answers}) != 1:
                found.append(f"event {number} was answered {answers}")
            got = sorted(task for task, n in made if n == number)
            if any(who != got for _, _, who in answers):
                found.append(f"event {number} made jobs of {got}, and was answered {answers}")
            found += self.wrong(number, min(sent for sent, _, _ in answers),
                                min(at for _, at, _ in answers), got)  # fmt: skip
        return found

    def wrong(self, number: int, sent: int, answered: int, got: list[str]) -> list[str]:
        """Who has the say is known but for a while after a worker has come or gone."""
        if "mail" not in got:
            return [f"event {number} is lost to mail, which every version has"]
        ends = [*(begin for _, begin, _ in self.lives[1:]), self.lives[-1][2]]
        for (version, begin, _), until in zip(self.lives, ends, strict=True):
            if begin + SETTLED <= sent and answered < until and set(got) != set(VERSIONS[version]):
                return [f"event {number} at {sent} s made jobs of {got}, not those of {version}"]
        return []


def race(
    seed: int,
    open_store: Callable[[Clock], Store],
    wrap: Wrap = lambda store: store,
    lives: Lives = LIVES,
    events: int = EVENTS,
) -> list[str]:
    """What went wrong."""
    clock = VirtualClock(seed)

    async def main() -> list[str]:
        played = Race(seed, clock, lambda: wrap(open_store(clock)), lives, events)
        await played.play()
        try:
            return await played.violations()
        finally:
            await played.store.close()

    return run(main(), clock=clock)


def in_memory(clock: Clock) -> Store:
    return MemoryStore(clock=clock)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_event_makes_one_job_a_subscription(seed: int) -> None:
    assert race(seed, in_memory) == []


def test_the_same_on_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    def on_a_file(clock: Clock) -> Store:
        return SqliteStore(path, clock=clock, durability="normal")

    assert race(7, on_a_file, lives=[("old", 0, 60)], events=6) == []


class EverySendingIsNew(StoreWrapper):
    """The id is for the logs."""

    sendings = 0

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        self.sendings += 1
        return await super().publish(
            [replace(event, id=f"{event.id} {self.sendings}") for event in events]
        )


class JobByJob(StoreWrapper):
    """A subscriber after the other, each in a commit of its own; the last one may miss."""

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        answers = await super().publish(events)
        for answer in answers:
            if answer.added and len(answer.jobs) > 1 and int(events[0].id[6:]) % 10 == 0:
                lost = answer.jobs[max(answer.jobs)]
                await self._store.cancel([lost])
                await self._store.purge([lost])
        return answers


class NothingIsRemembered(StoreWrapper):
    """The producer's retry is told that nothing was to be done."""

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        answers = await super().publish(events)
        return [answer if answer.added else Published(added=False) for answer in answers]


@pytest.mark.parametrize(
    ("bug", "caught"),
    [
        (EverySendingIsNew, "times"),
        (JobByJob, "made jobs of"),
        (NothingIsRemembered, "was answered"),
    ],
)
def test_a_planted_bug_of_the_store_is_caught(bug: Wrap, caught: str) -> None:
    assert any(caught in text for seed in range(SEEDS) for text in race(seed, in_memory, bug))


def test_a_version_that_undoes_another_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks has the say."""
    monkeypatch.setattr(Say, "is_ours", lambda self, task: True)
    found = [text for seed in range(SEEDS) for text in race(seed, in_memory)]
    assert any("not those of" in text for text in found)
