"""A queue and worker processes on virtual time, scaled by the real policy and meter.

Run it to read what the policy does: `python -m tests.scaling`.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from backline import autoscale
from backline.autoscale import Meter, Past, Rules, Sample
from backline.job import HOUR, MINUTE, SECOND, Micros
from backline.store import ARRIVALS_SPAN
from backline.stores.memory.rate import Rate

LOOK: Final[Micros] = SECOND // 4
START: Final[Micros] = SECOND
"""How long a process takes to start."""


@dataclass(frozen=True, slots=True)
class Move:
    """The policy changed its mind."""

    at: float
    before: int
    after: int
    why: str
    offered: float
    """The load at that moment, in slots, as nobody but the simulation knows it."""


@dataclass(kw_only=True)
class Load:
    """What comes, and what it takes."""

    name: str
    arrivals: Callable[[float], float]
    """Jobs per second at a second."""
    minutes: float = 10
    service: float = 0.1
    """Seconds a job takes when nothing holds it up."""
    bottleneck: Callable[[float], float] = lambda _: math.inf
    """Jobs per second that get done at most, however many run."""
    away: tuple[float, float] = (0, 0)
    """From when to when the store does not answer."""
    wall: Callable[[float], float] = lambda _: 0.0
    """Seconds by which the wall clock is off."""
    room: int | None = None
    low: int = 1
    high: int = 8
    concurrency: int = 10
    supervisors: int = 1


@dataclass
class Crew:
    """The processes of one supervisor."""

    processes: int
    past: Past = field(default_factory=Past)
    meter: Meter = field(default_factory=Meter)
    ready_at: list[Micros] = field(default_factory=list)
    """When those that were started work."""
    running: int = 0
    progress: float = 0.0
    moves: list[Move] = field(default_factory=list)

    def working(self, tick: Micros) -> int:
        starting = sum(at > tick for at in self.ready_at)
        return max(0, self.processes - starting)


class Simulation:
    """One load, from its beginning to its end."""

    def __init__(self, load: Load, seed: int = 1) -> None:
        self.load = load
        self.rng = random.Random(seed)
        self.rules = Rules(low=load.low, high=load.high)
        self.tick: Micros = HOUR
        self.crews = [Crew(max(load.low, 1)) for _ in range(load.supervisors)]
        self.line: deque[tuple[Micros, int]] = deque()
        """(since when, how many jobs that wait)."""
        self.arrived = Rate()
        self.waits: list[tuple[float, float]] = []
        """(second, how long the oldest had waited)."""

    @property
    def second(self) -> float:
        return (self.tick - HOUR) / SECOND

    @property
    def ready(self) -> int:
        return sum(count for _, count in self.line)

    @property
    def moves(self) -> list[Move]:
        return [move for crew in self.crews for move in crew.moves]

    @property
    def processes(self) -> int:
        return sum(crew.processes for crew in self.crews)

    def run(self) -> "Simulation":
        looks = int(self.load.minutes * MINUTE / LOOK)
        for look in range(looks):
            self.tick += LOOK
            self._arrive()
            for crew in self.crews:
                self._work(crew)
            if look % 4 == 3:
                self.waits.append((self.second, self.oldest / SECOND))
                away, back = self.load.away
                for crew in self.crews:
                    if not away <= self.second < back:
                        self._decide(crew)
        return self

    @property
    def oldest(self) -> Micros:
        return self.tick - self.line[0][0] if self.line else 0

    def _arrive(self) -> None:
        count = _poisson(self.rng, self.load.arrivals(self.second) * LOOK / SECOND)
        for _ in range(count):
            self.arrived.add(self.tick)
        if count:
            self.line.append((self.tick, count))

    def _work(self, crew: Crew) -> None:
        """What a quarter of a second gets done: a slot may end several jobs in it."""
        load, crews = self.load, self.crews
        slots = crew.working(self.tick) * load.concurrency
        away, back = load.away
        here = crew.running + (0 if away <= self.second < back else self.ready)
        pace = min(slots / load.service, here / max(load.service, LOOK / SECOND))
        bound = load.bottleneck(self.second) / len(crews)
        crew.progress += min(pace, bound) * LOOK / SECOND
        ended = min(int(crew.progress), here)
        crew.progress = crew.progress - ended if here > ended else 0.0
        taken = min(here, slots + ended) - crew.running
        self._take(max(taken, 0))
        crew.running += max(taken, 0) - ended
        busy = min(slots, here) if pace > bound else pace * load.service
        # The mean of what a look would see.
        seen = int(busy) + (self.rng.random() < busy % 1)
        crew.meter.look(self.tick, seen, ended)

    def _take(self, count: int) -> None:
        while count and self.line:
            since, waiting = self.line.popleft()
            if waiting > count:
                self.line.appendleft((since, waiting - count))
            count -= min(count, waiting)

    def _decide(self, crew: Crew) -> None:
        load = self.load
        elsewhere = (self.processes - crew.processes) * load.concurrency
        off = int(load.wall(self.second) * SECOND)
        now = Sample(
            tick=self.tick,
            processes=crew.processes,
            working=crew.working(self.tick),
            concurrency=load.concurrency,
            busy=crew.meter.busy,
            done=crew.meter.done,
            service=crew.meter.service,
            ready=self.ready,
            arrivals=self.arrived.per_second(self.tick, ARRIVALS_SPAN),
            oldest=max(0, self.oldest + off) if self.line else 0,
            elsewhere=elsewhere,
            idle_elsewhere=elsewhere - sum(c.running for c in self.crews if c is not crew),
            room=load.room,
        )
        decision = autoscale.decide(self.rules, crew.past, now)
        crew.past = decision.past
        if decision.processes != crew.processes:
            offered = load.arrivals(self.second) * load.service
            crew.moves.append(
                Move(self.second, crew.processes, decision.processes, decision.why, offered)
            )
            started = max(0, decision.processes - crew.processes)
            crew.ready_at = [at for at in crew.ready_at if at > self.tick]
            crew.ready_at += [self.tick + START] * started
            crew.processes = decision.processes


def _poisson(rng: random.Random, mean: float) -> int:
    """By the normal law where the mean is large."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, left = 0, rng.expovariate(1)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1)
    return count


def _bursts(second: float) -> float:
    return 2_000.0 if second % 120 < 1 else 1.0


def _diurnal(second: float) -> float:
    """A day in an hour."""
    return 200 * (1 - math.cos(second * 2 * math.pi / 3_600))


def _sawtooth(second: float) -> float:
    """Around what one process takes at its busiest."""
    return 79 + 30 * (second % 20 - 10) / 10


def _square(second: float) -> float:
    """On and off, faster than the window."""
    return 300 if second % 40 < 20 else 40


LOADS: Final = (
    Load(name="steady", arrivals=lambda _: 230, minutes=30),
    Load(name="step", arrivals=lambda s: 20 if s < 60 else 400, minutes=20),
    Load(name="step down", arrivals=lambda s: 400 if s < 180 else 20, minutes=20),
    Load(name="bursts", arrivals=_bursts, minutes=30),
    Load(name="diurnal", arrivals=_diurnal, minutes=120),
    Load(name="sawtooth", arrivals=_sawtooth, minutes=30),
    Load(name="square", arrivals=_square, minutes=30),
    Load(name="dead bottleneck", arrivals=lambda s: 100 if s < 900 else 5, minutes=30,
         bottleneck=lambda _: 40),
    Load(name="stall", arrivals=lambda _: 60, minutes=30,
         bottleneck=lambda s: 0 if 120 <= s < 240 else math.inf),
    Load(name="outage", arrivals=lambda _: 230, minutes=30, away=(300, 420)),
    Load(name="clock steps", arrivals=lambda _: 230, minutes=20,
         wall=lambda s: 3_600 if 300 < s < 600 else -3_600 if s > 600 else 0),
    Load(name="long jobs", arrivals=lambda s: 0.5 if s < 600 else 0, minutes=40, service=60),
    Load(name="to zero", arrivals=lambda s: 50 if s % 1_200 < 60 else 0, minutes=60, low=0),
    Load(name="no memory", arrivals=lambda s: 20 if s < 60 else 400, room=0),
    Load(name="two supervisors", arrivals=lambda s: 20 if s < 60 else 400, minutes=20,
         supervisors=2),
)  # fmt: skip


def row(simulation: Simulation) -> str:
    """A load, how it was met, and every move."""
    load = simulation.load
    waits = sorted(wait for _, wait in simulation.waits)
    moves = " ".join(f"{move.at:.0f}s:{move.before}>{move.after}" for move in simulation.moves)
    return (
        f"{load.name:16} {load.minutes:5g} {len(simulation.moves):5}  "
        f"{waits[len(waits) * 95 // 100]:6.1f} {waits[-1]:6.1f}  {moves}"
    )


def main(loads: Iterable[Load] = LOADS) -> None:
    """A table to read."""
    print(f"{'load':16} {'min':>5} {'moves':>5}  {'p95 s':>6} {'max s':>6}  when")
    for load in loads:
        print(row(Simulation(load).run()))


if __name__ == "__main__":
    main()
