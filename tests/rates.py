"""Workers under a rate, on virtual time: what starts in every window, and how much of the rate.

Real apps with real workers, each on a way of its own to one store, with a backlog that never
ends. The queue is paused, the store goes away, workers are killed, wall clocks are put to and
fro. A start is told by the store's ticks at the commit that leases the job.

The whole campaign, as a table: `python -m tests.rates [store] [case]...`, cases counted from 0.
"""

import asyncio
import logging
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from backline import App
from backline.clock import Clock
from backline.job import HOUR, SECOND, Ack, Micros, Pacing, WorkerName
from backline.reaper import Reaper
from backline.store import Demand, Exchange, QueueSettings, Store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop
from backline.testing.process import Process
from backline.testing.wrapper import StoreWrapper
from backline.worker import Board, Worker, WorkerSettings, most_held
from backline.worker.heartbeat import Heartbeat

QUEUE: Final = "paced"
KEYS: Final = ("alice", "bob")
WORKERS: Final = 3
TRIP: Final = StoreFaults(delayed=1.0, longest_delay=2_000)
"""Each request and each reply takes up to 2 ms."""
LEASE: Final = 5 * SECOND
TROUBLES: Final = ("pause", "outage", "kill", "kill all", "step")

OpenStore = Callable[[Clock], Store]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is limited, and how."""

    starts: int
    """So many in `per`."""
    per: Micros = SECOND
    burst: int = 1
    weights: Sequence[int] = (1,)
    """Of the jobs, in turn."""
    scope: str = "key"
    """Or `queue`: its jobs need no keys, and weigh nothing."""
    troubles: int = 0
    seconds: int = 60

    def __str__(self) -> str:
        rate = f"{self.starts}/{self.per / SECOND:g}s"
        weights = ",".join(map(str, self.weights))
        return f"{self.scope} {rate} burst {self.burst} weights {weights} troubles {self.troubles}"


class Start(NamedTuple):
    """A lease of a job."""

    tick: Micros
    weight: int


class Figures(NamedTuple):
    """What is to be at most 0, and what at least 0.95."""

    excess: float
    """Of starts over rate x window + burst, in the window where it is most."""
    share: float
    """Of the rate, while nothing was in the way; the burst of the beginning is not counted."""
    worst: float
    """The same of the worst stretch between two troubles."""
    started: int


class Ledger(StoreWrapper):
    """Writes down what is leased, also when its worker does not live to hear of it."""

    def __init__(self, store: Store, clock: Clock, starts: dict[str, list[Start]]) -> None:
        super().__init__(store)
        self._clock = clock
        self._starts = starts
        self._seen: set[tuple[str, int]] = set()
        self._outside = copy_context()

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        async def there() -> Exchange:
            answer = await self._store.exchange(worker, call, acks, demand, ttl)
            for job in answer.jobs:
                if (job.id, job.attempt) not in self._seen:  # else the answer is repeated
                    self._seen.add((job.id, job.attempt))
                    key, _, weight = job.task.partition(" ")
                    self._starts[key].append(Start(self._clock.tick(), int(weight)))
            return answer

        loop = asyncio.get_running_loop()
        return await loop.create_task(there(), context=self._outside.copy())


@dataclass
class Race:
    """One case on one store."""

    case: Case
    seed: int
    clock: VirtualClock
    loop: VirtualLoop
    open_store: OpenStore
    starts: dict[str, list[Start]] = field(default_factory=lambda: defaultdict(list))
    stretches: list[tuple[Micros, Micros]] = field(default_factory=list)
    """Ticks from which and to which nothing was in the way."""
    handles: list[Store] = field(default_factory=list)
    ways: list[FlakyStore] = field(default_factory=list)
    lives: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"rates {self.seed}")
        self.calm_since: Micros = 0
        self.cut = False

    async def handle(self) -> Store:
        """The store, by a handle of one's own if there may be several."""
        if not self.handles or self.handles[0].capabilities.between_processes:
            self.handles.append(self.open_store(self.clock))
            await self.handles[-1].open()
        return self.handles[-1]

    async def app(self) -> App:
        """The code of a worker."""
        case, ledger = self.case, Ledger(await self.handle(), self.clock, self.starts)
        way = FlakyStore(ledger, TRIP, random.Random(self.rng.getrandbits(64)))
        way.cut = self.cut
        self.ways.append(way)
        app = App(store=way, clock=self.clock)
        rate = f"{case.starts}/{case.per // SECOND}s"
        for key, weight in product(KEYS, sorted({*case.weights})):

            async def work(number: int) -> None:
                await asyncio.sleep(number % 7 / 200)

            of_key = {"rate": rate, "burst": case.burst, "rate_key": key, "weight": weight}
            options = of_key if case.scope == "key" else {}
            app.task(name=f"{key} {weight}", queue=QUEUE, **options)(work)
        return app

    async def boot(self) -> None:
        """Start a worker's process."""
        name = f"worker {len(self.lives)}"
        app, process = await self.app(), self.loop.process(name)
        way = self.ways[-1]
        settings = WorkerSettings(name=name, queues={QUEUE: 1}, concurrency=20, lease=LEASE)
        board = Board.private(most_held(settings, app.registry), name)
        worker = Worker(way, app.registry, settings, clock=self.clock, board=board)
        heartbeat = Heartbeat(way, self.clock, LEASE)
        heartbeat.add(board, worker.wake)
        reaper = Reaper(way, self.clock, f"{name} reaper", LEASE)

        for duty in (worker.run(), heartbeat.run(), reaper.run()):
            process.start(duty)
        self.lives.append(process)

    async def play(self) -> None:
        """Work, through all the troubles."""
        self.store = await self.handle()
        await self.enqueue()
        if self.case.scope == "queue":
            interval = -(-self.case.per // self.case.starts)
            pacing = Pacing(interval, self.case.burst)
            await self.store.configure([QueueSettings(queue=QUEUE, pacing=pacing)])
        for _ in range(WORKERS):
            await self.boot()
        self.calm_since = begun = self.clock.tick()
        end = begun + self.case.seconds * SECOND
        room = self.case.seconds / (self.case.troubles + 1)
        for number in range(self.case.troubles):
            at = begun + round(room * (number + 1) * SECOND)
            await asyncio.sleep(max(0, at - self.clock.tick()) / SECOND)
            await self.trouble(TROUBLES[number % len(TROUBLES)])
        await asyncio.sleep((end - self.clock.tick()) / SECOND)
        self.disturbed()

    async def enqueue(self) -> None:
        """More than can start."""
        case, app = self.case, await self.app()
        most = case.starts * case.seconds * SECOND // case.per + case.burst + 100
        most //= sum(case.weights) / len(case.weights)
        tasks = {task.name: task for task in app.registry}
        jobs = [
            tasks[f"{key} {case.weights[number % len(case.weights)]}"].job(number)
            for number in range(int(most))
            for key in KEYS
        ]
        await self.store.enqueue([jobs])
        for key in KEYS:
            self.starts[key]

    async def trouble(self, kind: str) -> None:
        """Let something be in the way for a while."""
        length = self.rng.uniform(2, 12)
        match kind:
            case "pause":
                self.disturbed()
                await self.store.configure([QueueSettings(queue=QUEUE, paused=True)])
                await asyncio.sleep(length)
                await self.store.configure([QueueSettings(queue=QUEUE, paused=False)])
                self.calm_since = self.clock.tick()
            case "outage":
                self.disturbed()
                self.reach(cut=True)
                await asyncio.sleep(length)
                self.reach(cut=False)
                self.calm_since = self.clock.tick()
            case "kill":
                self.rng.choice(self.alive).kill()
                await asyncio.sleep(length)
                await self.boot()
            case "kill all":
                self.disturbed()
                for process in self.alive:
                    process.kill()
                await asyncio.sleep(length)
                self.calm_since = self.clock.tick()
                for _ in range(WORKERS):
                    await self.boot()
            case _:
                self.clock.step_wall(self.rng.uniform(-1, 1) * HOUR / SECOND)

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.lives if process.alive]

    def reach(self, *, cut: bool) -> None:
        """Whether the store is away, for all."""
        self.cut = cut
        for way in self.ways:
            way.cut = cut

    def disturbed(self) -> None:
        """A stretch is over."""
        self.stretches.append((self.calm_since, self.clock.tick()))

    def figures(self) -> Figures:
        """Over all keys: the worst. Those of a queue count together."""
        limited = [sorted(chain(*self.starts.values()))]
        if self.case.scope == "key":
            limited = [sorted(starts) for starts in self.starts.values()]
        figures = [figures_of(self.case, starts, self.stretches) for starts in limited]
        return Figures(
            max(each.excess for each in figures),
            min(each.share for each in figures),
            min(each.worst for each in figures),
            sum(each.started for each in figures),
        )


def figures_of(
    case: Case, starts: Sequence[Start], stretches: Sequence[tuple[Micros, Micros]]
) -> Figures:
    """What one key did; its starts in their order."""
    calm = [
        (sum(start.weight for start in starts if since <= start.tick < until), until - since)
        for since, until in stretches
    ]
    ideal = case.starts / case.per
    shares = [done / (ideal * length) for done, length in calm]
    shares[0] -= case.burst / (ideal * calm[0][1])
    whole = sum(length for _, length in calm)
    share = (sum(done for done, _ in calm) - case.burst) / (ideal * whole)
    return Figures(excess(case, starts), share, min(shares), len(starts))


def excess(case: Case, starts: Sequence[Start]) -> float:
    """The most that any window has above rate x window + burst, all windows looked at.

    One from a start to a start holds as many as any wider one, and allows the least: of the
    pairs, the first is best where what was used less what was allowed until then is least.
    Counted in whole microseconds, so that nothing is rounded.
    """
    used = 0
    least: int | None = None
    most = -case.burst * case.per
    for tick, weight in starts:
        allowed = tick * case.starts
        before = used * case.per - allowed
        least = before if least is None else min(least, before)
        used += weight
        most = max(most, used * case.per - allowed - least - case.burst * case.per)
    return most / case.per


def race(case: Case, open_store: OpenStore, seed: int = 0) -> Figures:
    """Play a case, and measure."""
    clock = VirtualClock(seed)
    loop = VirtualLoop(clock, seed)
    played = Race(case, seed, clock, loop, open_store)

    async def main() -> Figures:
        await played.play()
        for process in played.alive:
            process.kill()
        for handle in played.handles:
            await handle.close()
        return played.figures()

    try:
        return loop.run(main())
    finally:
        loop.close()


def in_memory(clock: Clock) -> Store:
    """A store that ends with the run."""
    return MemoryStore(clock=clock)


def in_file(path: Path) -> OpenStore:
    """Handles on one file."""
    return lambda clock: SqliteStore(path, clock=clock, durability="normal")


def cases() -> Iterator[Case]:
    """The whole campaign, for each store."""
    paces = [(1, 1), (2, 3), (5, 1), (7, 3), (20, 5), (100, 21)]
    for (starts, burst), scope in product(paces, ("key", "queue")):
        seconds = 300 if starts < 20 else 150
        yield Case(starts=starts, burst=burst, scope=scope, seconds=seconds // 3)
        yield Case(starts=starts, burst=burst, scope=scope, seconds=seconds, troubles=5)
    for weights in ((3, 1, 2), (10,), (1, 10, 1, 1)):
        yield Case(starts=20, burst=15, weights=weights, troubles=5, seconds=200)
    yield Case(starts=100, per=60 * SECOND, burst=2, troubles=5, seconds=300)
    yield Case(starts=1_000, burst=201, seconds=10)


def main() -> int:
    """Print the table; the exit code says whether all of it is as it should be."""
    stores = [word for word in sys.argv[1:] if not word.isdigit()] or ["memory", "sqlite"]
    chosen = {int(word) for word in sys.argv[1:] if word.isdigit()}
    bad = 0
    logging.disable(logging.WARNING)  # outages are said again and again
    print(f"{'':57} {'starts':>8} {'excess':>8} {'share':>7} {'worst':>7}")
    with TemporaryDirectory() as folder:
        for number, case in enumerate(cases()):
            for store in stores if number in chosen or not chosen else ():
                path = Path(folder) / f"{number}.db"
                found = race(case, in_memory if store == "memory" else in_file(path), number)
                ok = found.excess <= 0 and found.share >= 0.95
                bad += not ok
                print(
                    f"{store:7}{case!s:50} {found.started:8,} {found.excess:8.3f} "
                    f"{found.share:7.1%} {found.worst:7.1%}{'' if ok else '  <-'}",
                    flush=True,
                )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
