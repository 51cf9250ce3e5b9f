"""What all parts of a simulated system share, and each process's own way to the store."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backline.job import SECOND, Micros
from backline.store import Store
from backline.testing.clock import VirtualClock
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop
from backline.testing.simulation.history import History


class MachineClock(VirtualClock):
    """The clock of one machine: its wall and its ticks are off those of the store."""

    def __init__(self, base: VirtualClock, seed: str, wall: float, ticks: float) -> None:
        self._base = base
        self._wall_off = round(wall * SECOND)
        self._ticks_off = round(ticks * SECOND)
        super().__init__()
        self.rng = random.Random(seed)

    def now(self) -> Micros:
        return self._base.now() + self._wall_off

    def tick(self) -> Micros:
        return self._base.tick() + self._ticks_off


class Place(Protocol):
    """Where processes are: its way to the store may be cut."""

    cut: bool


@dataclass(eq=False)
class Setting:
    """What all parts of a simulation share."""

    loop: VirtualLoop
    history: History
    store: Store
    lease: Micros
    folder: Path
    rng: random.Random
    faults: StoreFaults
    crashes: float = 0.0
    """How often a worker process dies before it could say hello."""
    max_jobs: int | None = None
    """A worker is replaced after so many."""
    down: bool = False
    """The store is, for everybody."""
    ways: list["Way"] = field(default_factory=list)

    def change(self) -> None:
        """Let every way follow what happened to the places and to the store."""
        for way in self.ways:
            way.follow(self)


class Way(FlakyStore):
    """A process's way to the store, which its place's partition and an outage cut."""

    def __init__(self, setting: Setting, place: Place | None) -> None:
        super().__init__(setting.store, setting.faults, random.Random(setting.rng.getrandbits(64)))
        self._place = place
        self.follow(setting)
        setting.ways.append(self)

    def follow(self, setting: Setting) -> None:
        """Take up what happened to the place and to the store."""
        self.faults = setting.faults
        self.cut = setting.down or (self._place is not None and self._place.cut)

    async def close(self) -> None:
        """Of this process only: the others go on."""
