"""A simulated machine: a supervisor that keeps workers, on a way of its own to the store."""

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backline.clock import Clock
from backline.job import SECOND, Lane, Micros, WorkerName
from backline.reaper import Reaper
from backline.store import Store
from backline.supervisor.recovery import Recovery
from backline.supervisor.settlement import Death, ProcessExit
from backline.task import Registry
from backline.testing.clock import VirtualClock
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop
from backline.testing.process import Process
from backline.testing.simulation.history import History, What
from backline.testing.simulation.plan import QUEUES
from backline.worker.board import Board
from backline.worker.heartbeat import Heartbeat
from backline.worker.loop import Worker
from backline.worker.settings import WorkerSettings

KILLED: Final = Death(ProcessExit(signal=9))
CONCURRENCY: Final = 3
PREFETCH: Final = 8
GRACE: Final[Micros] = 2 * SECOND
RESTART: Final[Micros] = SECOND // 4


class HostClock(VirtualClock):
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


@dataclass(eq=False)
class Setting:
    """What all hosts of a simulation share."""

    loop: VirtualLoop
    history: History
    store: Store
    lease: Micros
    folder: Path
    rng: random.Random
    faults: StoreFaults
    down: bool = False
    """The store is, for everybody."""
    ways: list["Way"] = field(default_factory=list)


class Way(FlakyStore):
    """A process's way to the store, which its host's partition and an outage cut."""

    def __init__(self, setting: Setting, host: "Host | None") -> None:
        super().__init__(setting.store, setting.faults, random.Random(setting.rng.getrandbits(64)))
        self.host = host
        self.follow(setting)
        setting.ways.append(self)

    def follow(self, setting: Setting) -> None:
        """Take up what happened to the host and to the store."""
        self.faults = setting.faults
        self.cut = setting.down or (self.host is not None and self.host.cut)


@dataclass(eq=False)
class Life:
    """One worker process, from its start to its end."""

    name: WorkerName
    process: Process
    worker: Worker
    board: Path
    ended: asyncio.Future[Death]


class Seat:
    """A place for one worker: when it ends it is settled, and another is started."""

    def __init__(self, host: "Host", lane: Lane) -> None:
        self.lane = lane
        self.life: Life | None = None
        self._host = host

    async def keep(self, heartbeat: Heartbeat, recovery: Recovery) -> None:
        """What a supervisor does for one worker, for ever."""
        while True:
            self.life = life = self._start(heartbeat)
            death = await life.ended
            heartbeat.remove(life.name)
            await recovery.settle(life.name, life.board, death)
            await asyncio.sleep(RESTART / SECOND)

    def kill(self) -> None:
        """End the worker as SIGKILL does; its supervisor sees it."""
        life = self.life
        if life is not None and life.process.alive:
            self._host.setting.history.record(What.KILLED, life.name)
            life.process.kill()
            if not life.ended.done():
                life.ended.set_result(KILLED)

    def stop(self, *, at_once: bool) -> None:
        """Tell the worker to stop, as SIGTERM does (twice: at once)."""
        life = self.life
        if life is not None:
            life.process.call(life.worker.quit if at_once else life.worker.stop)

    def _start(self, heartbeat: Heartbeat) -> Life:
        host, setting = self._host, self._host.setting
        name = host.name(self.lane.value)
        process = setting.loop.process(name)
        settings = WorkerSettings(
            name=name,
            queues=dict.fromkeys(QUEUES, 1),
            lane=self.lane,
            concurrency=1 if self.lane is Lane.CELL else CONCURRENCY,
            max_prefetch=0 if self.lane is Lane.CELL else PREFETCH,
            lease=setting.lease,
            grace=GRACE,
        )
        path = setting.folder / f"{name}.board"
        board = Board.create(path, settings.most_held, name)
        way = Way(setting, host)
        worker = Worker(way, host.registry, settings, clock=host.clock, board=board)
        life = Life(name, process, worker, path, setting.loop.create_future())
        heartbeat.add(Board.open(path), lambda: process.call(worker.wake))
        setting.history.record(What.STARTED, name, host=host.index, lane=self.lane.value)
        process.start(self._work(life))
        return life

    async def _work(self, life: Life) -> None:
        await life.worker.run()
        self._host.setting.history.record(What.STOPPED, life.name)
        life.ended.set_result(Death(ProcessExit(code=0), ours=True))


class Host:
    """One machine. `boot` starts its supervisor, which starts its workers."""

    def __init__(
        self,
        index: int,
        setting: Setting,
        clock: Clock,
        registry: Registry,
        lanes: tuple[Lane, ...],
    ) -> None:
        self.index = index
        self.setting = setting
        self.clock = clock
        self.registry = registry
        self.cut = False
        self.seats: list[Seat] = []
        self._lanes = lanes
        self._starts = 0
        self.supervisor: Process | None = None

    def name(self, role: str) -> str:
        """A name for a process, never used before."""
        self._starts += 1
        return f"h{self.index}-{role}-{self._starts}"

    def boot(self, *, adopt: bool = False) -> None:
        """Start the supervisor; with `adopt`, it settles what its predecessor left first."""
        setting = self.setting
        name = self.name("supervisor")
        process = self.supervisor = setting.loop.process(name)
        way = Way(setting, self)
        heartbeat = Heartbeat(way, self.clock, setting.lease)
        recovery = Recovery(way, self.clock, name, setting.lease)
        reaper = Reaper(way, self.clock, f"{name}-reaper", setting.lease)
        left = [seat.life for seat in self.seats if seat.life is not None] if adopt else []
        self.seats = [Seat(self, lane) for lane in self._lanes]
        setting.history.record(What.STARTED, name, host=self.index)
        process.start(heartbeat.run())
        process.start(reaper.run())
        for life in left:
            process.start(recovery.settle(life.name, life.board, Death(ProcessExit())))
        for seat in self.seats:
            process.start(seat.keep(heartbeat, recovery))

    def kill(self) -> None:
        """End every process of the machine; nobody here sees it."""
        for process in self._processes():
            if process.alive:
                self.setting.history.record(What.KILLED, process.name)
                process.kill()

    def seat(self, lane: Lane) -> Seat:
        """The first place for a worker of the lane, else the first one."""
        return next((seat for seat in self.seats if seat.lane is lane), self.seats[0])

    def pause(self, *, whole: bool) -> list[Process]:
        """Pause the worker, or every process; returns those that were paused now."""
        victims = self._processes() if whole else self._workers(Lane.MAIN)
        paused = [each for each in victims if each.alive and not each.paused]
        for process in paused:
            self.setting.history.record(What.PAUSED, process.name, host=self.index, whole=whole)
            process.pause()
        return paused

    def resume(self, processes: list[Process]) -> None:
        """Let paused processes go on, as far as they live."""
        for process in processes:
            if process.alive and process.paused:
                self.setting.history.record(What.RESUMED, process.name, host=self.index)
                process.resume()

    def _workers(self, lane: Lane) -> list[Process]:
        return [
            seat.life.process for seat in self.seats if seat.life is not None and seat.lane is lane
        ]

    def _processes(self) -> list[Process]:
        own = [] if self.supervisor is None else [self.supervisor]
        return [*own, *self._workers(Lane.MAIN), *self._workers(Lane.CELL)]
