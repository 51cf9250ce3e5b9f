"""A map under kills, lost replies and pauses makes one job of each item, and no other."""

import asyncio
import gc
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import pytest

from backline import App, FlowStatus, JobContext, StoreError, chain
from backline.faults import hooked
from backline.flow import MapTask, mapping
from backline.job import JobId, JobRequest
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.flaky import NO_FAULTS, FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop
from backline.testing.process import Process, current_process

SEEDS: Final = 8
ITEMS: Final = 200
CHUNK: Final = 4
MOST_KILLS: Final = 15
BAD_DAYS: Final = StoreFaults(refused=0.02, lost=0.04, repeated=0.05, delayed=0.1)


@dataclass
class Seen:
    """What the tasks did, as the outside knows it."""

    jobs: defaultdict[int, set[JobId]] = field(default_factory=lambda: defaultdict(set))
    """Of each item the jobs that came with it."""
    after: set[JobId] = field(default_factory=set)
    early: list[int] = field(default_factory=list)
    """How many items were done when what follows them all ran."""


def an_app(store: Store, clock: VirtualClock, seen: Seen) -> tuple[App, MapTask[...], JobRequest]:
    """A process's app."""
    app = App(store=store, clock=clock)
    app.queue("default", max_depth=20)

    @app.task(name="work", keep="1m", max_attempts=99)
    async def work(job: JobContext, items: list[int]) -> None:
        await asyncio.sleep(0.2)
        for item in items:
            seen.jobs[item].add(job.id)

    @app.map(work, chunk=CHUNK, name="all", max_attempts=99)
    async def everything(after: int | None, most: int) -> AsyncIterator[int]:
        for item in range(0 if after is None else after + 1, most):
            await asyncio.sleep(0.01)
            yield item

    @app.task(name="last", max_attempts=99)
    async def last(job: JobContext) -> None:
        seen.after.add(job.id)
        seen.early.append(len(seen.jobs))

    return app, everything, last.job()


class Life:
    """Two workers at a time, of which one is killed now and then, also in mid-bite."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock()
        self.rng = random.Random(f"maps {seed}")
        self.loop = VirtualLoop(self.clock, seed)
        self.seen = Seen()
        self.inner = MemoryStore(clock=self.clock)
        self.store = FlakyStore(self.inner, BAD_DAYS, self.rng)
        self.kills = 0
        self.boots = 0
        self.deadly = True
        self.living = 0
        self.processes: list[Process] = []

    def run(self) -> None:
        """Raises AssertionError."""
        heard, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            with hooked(self._fault), suppress(BaseExceptionGroup):  # of those the dead left alone
                self.loop.run(self._run())
        finally:
            self.loop.close()
            gc.collect()  # what the killed had open is never closed, and nobody is to hear of it
            sys.unraisablehook = heard

    def boot(self) -> None:
        app, _, _ = an_app(self.store, self.clock, self.seen)

        async def serve() -> None:
            while True:
                with suppress(StoreError):  # it could not be opened
                    async with app.worker(concurrency=3, lease="5s"):
                        await asyncio.Event().wait()
                await asyncio.sleep(1)

        self.boots += 1
        self.living += 1
        process = self.loop.process(f"worker {self.boots}")
        self.processes.append(process)
        process.start(serve())

    async def _run(self) -> None:
        app, everything, last = an_app(self.inner, self.clock, self.seen)
        flow = await app.aenqueue_flow(chain(everything.job(ITEMS), last))
        for _ in range(2_000):
            while self.living < 2:
                self.boot()
            await asyncio.sleep(self.rng.uniform(0.1, 8))
            if await flow.astatus() is not FlowStatus.RUNNING:
                break
        self.store.faults, self.deadly = NO_FAULTS, False
        for process in self.processes:
            process.kill()
        assert await flow.astatus() is FlowStatus.SUCCEEDED
        progress = await flow.aprogress()
        assert progress.added == ITEMS // CHUNK + 2

    def _fault(self, point: str) -> None:
        """Kill the planner's process here, now and then."""
        process = current_process()
        often = point in {"map.after_enqueue", "step.before_record", "step.after_record"}
        if process is None or not process.name.startswith("worker"):
            return
        if (
            self.deadly
            and process.alive
            and self.kills < MOST_KILLS
            and self.rng.random() < (0.2 if often else 0.001)
        ):
            self.kills += 1
            process.kill()
            self.living -= 1


@pytest.fixture(autouse=True)
def small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "BITE", 10)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_item_has_one_job_whoever_dies(seed: int) -> None:
    life = Life(seed)
    life.run()
    assert life.kills
    assert set(life.seen.jobs) == set(range(ITEMS))
    assert {len(jobs) for jobs in life.seen.jobs.values()} == {1}
    assert len(life.seen.after) == 1
    assert set(life.seen.early) == {ITEMS}


def test_new_ids_for_a_bite_that_is_repeated_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: what a crash leaves open is enqueued again, as something new."""
    drawn = random.Random(1)
    monkeypatch.setattr(mapping, "id_of", lambda *_: str(UUID(int=drawn.getrandbits(128))))
    caught = 0
    for seed in range(SEEDS):
        life = Life(seed)
        try:
            life.run()
        except AssertionError:
            caught += 1
        else:
            caught += any(len(jobs) > 1 for jobs in life.seen.jobs.values())
    assert caught > SEEDS // 2
