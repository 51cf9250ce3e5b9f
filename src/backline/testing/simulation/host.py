"""A simulated host: the real supervisor, its real workers, on a way of their own to the store."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backline.clock import Clock
from backline.job import SECOND, Lane, Micros, WorkerName
from backline.store import Store
from backline.supervisor.loop import NoStoreError, Supervisor
from backline.supervisor.recovery import Recovery
from backline.supervisor.rundir import Folder
from backline.supervisor.settings import EXIT_APP, SupervisorSettings
from backline.supervisor.settlement import ProcessExit
from backline.supervisor.upkeep import Upkeep
from backline.task import Registry
from backline.testing.process import Process
from backline.testing.simulation.history import History, What
from backline.testing.simulation.machine import (
    SIGKILL,
    SimulatedChild,
    SimulatedProcesses,
    WorkerLife,
    live_as_worker,
)
from backline.testing.simulation.setting import Setting, Way

CONCURRENCY: Final = 3
GRACE: Final[Micros] = 2 * SECOND
CELLS: Final = 2
CELL_IDLE: Final[Micros] = 5 * SECOND
_LAST_BREATH_S: Final = 0.1
"""A worker may live this much longer than its supervisor."""


class Machine:
    """Some hosts share a run directory: each may adopt what another left."""

    def __init__(self, run_dir: Path, history: History) -> None:
        self.run_dir: Final = run_dir
        self._history = history
        self._workers: dict[WorkerName, WorkerLife] = {}

    def add(self, life: WorkerLife) -> None:
        """A worker process started."""
        self._workers[life.settings.worker] = life

    def close(self) -> None:
        """Let go of what its processes had open."""
        for life in self._workers.values():
            life.close()

    def kill(self, worker: WorkerName) -> None:
        """What is left of a worker, by who adopts its board; gone already: nothing."""
        life = self._workers[worker]
        if life.process.alive:
            self._history.record(What.KILLED, worker, adopted=True)
            life.process.kill()
            life.end.close()


class SimulatedRecovery(Recovery):
    """Settles for the dead, on a machine whose processes are simulated."""

    def __init__(
        self, store: Store, clock: Clock, name: WorkerName, ttl: Micros, machine: Machine
    ) -> None:
        super().__init__(store, clock, name, ttl)
        self._machine = machine

    async def _see_it_gone(self, worker: WorkerName) -> None:
        self._machine.kill(worker)


class SimulatedUpkeep(Upkeep):
    """Upkeep with the simulated machine's recovery."""

    def use(self, recovery: Recovery) -> None:
        """Settle by this one."""
        self._recovery = recovery


class SimulatedSupervisor(Supervisor):
    """The real one, but for signals, processes and how it comes to its store."""

    def __init__(
        self,
        settings: SupervisorSettings,
        clock: Clock,
        name: WorkerName,
        store: Way,
        machine: Machine,
    ) -> None:
        super().__init__(settings, clock=clock)
        self._name = name
        self._store = store
        self._machine = machine
        self.folder: Folder | None = None

    async def work(self, processes: SimulatedProcesses) -> int:
        """As `run`, for a process that has no signals."""
        self._first_word = asyncio.get_running_loop().create_future()
        self.folder = folder = Folder.make(self._run_dir, self._name)
        self._processes = processes
        self._staff(folder)
        try:
            return await self._live(folder)
        finally:
            self._leave(folder)

    def terminate(self) -> None:
        """SIGTERM."""
        (self._quitting if self._stopping.is_set() else self._stopping).set()

    def recycle(self) -> None:
        """SIGHUP."""
        self._asked_to_recycle()

    async def _find_store(self, folder: Folder) -> Store:
        assert self._first_word is not None, "a supervisor that does not run"
        hello = await self._first_word
        if hello is None:
            raise NoStoreError(EXIT_APP)
        folder.belongs_to(hello.url)
        settings, name = self._settings, self._name
        upkeep = SimulatedUpkeep(self._store, hello, settings, self._clock, name)
        upkeep.use(SimulatedRecovery(self._store, self._clock, name, settings.lease, self._machine))
        self._upkeep = upkeep
        return self._store


@dataclass(eq=False)
class SupervisorLife:
    """One supervisor process, from its start to its end."""

    process: Process
    supervisor: SimulatedSupervisor
    processes: SimulatedProcesses
    stopping: bool = False


class Host:
    """Runs a supervisor, which keeps its workers; a few of them side by side for a while."""

    def __init__(
        self, index: int, setting: Setting, clock: Clock, registry: Registry, machine: Machine
    ) -> None:
        self.index: Final = index
        self.cut = False
        self._setting = setting
        self._clock = clock
        self._registry = registry
        self._machine = machine
        self._starts = 0
        self._lives: list[SupervisorLife] = []

    @property
    def lives(self) -> list[SupervisorLife]:
        """The supervisors that live, oldest first."""
        self._lives = [life for life in self._lives if life.process.alive]
        return self._lives

    @property
    def staffed(self) -> bool:
        """There is a supervisor that was not told to stop."""
        return any(not life.stopping for life in self.lives)

    def terminate(self) -> None:
        """SIGTERM to the supervisors that have not had it."""
        for life in self.lives:
            if not life.stopping:
                life.stopping = True
                life.process.call(life.supervisor.terminate)

    def quit(self) -> None:
        """A second SIGTERM to those that are stopping."""
        for life in self.lives:
            if life.stopping:
                life.process.call(life.supervisor.terminate)

    def boot(self) -> None:
        """Start a supervisor."""
        setting = self._setting
        name = self._next_name("supervisor")
        settings = SupervisorSettings(
            target="simulated:app",
            concurrency=CONCURRENCY,
            cells=CELLS,
            cell_idle=CELL_IDLE,
            grace=GRACE,
            lease=setting.lease,
            max_jobs=setting.max_jobs,
            run_dir=self._machine.run_dir,
        )
        process = setting.loop.process(name)
        processes = SimulatedProcesses(
            setting, self._clock, process, self._next_name, self._live_as_worker
        )
        supervisor = SimulatedSupervisor(
            settings, self._clock, name, Way(setting, self), self._machine
        )
        life = SupervisorLife(process, supervisor, processes)
        self._lives.append(life)
        setting.history.record(What.STARTED, name, host=str(self.index))
        process.start(self._supervise(life))

    def worker(self, lane: Lane = Lane.MAIN) -> SimulatedChild | None:
        """The oldest worker of the lane that lives."""
        everybody = (child for life in self.lives for child in life.processes.workers)
        return next(
            (c for c in everybody if c.settings.lane is lane and c.life.process.alive), None
        )

    def kill_worker(self, child: SimulatedChild | None) -> None:
        """End a worker as SIGKILL does; its supervisor sees it."""
        if child is not None:
            for life in self.lives:
                if child in life.processes.workers:
                    life.processes.end(child, SIGKILL)

    def crash(self, process: Process, how: ProcessExit) -> None:
        """A worker process ends by itself, by a signal, if it is one of this host."""
        for life in self.lives:
            child = life.processes.of(process)
            if child is not None:
                life.processes.end(child, how)

    def stop_worker(self) -> None:
        """SIGTERM to a worker, not by its supervisor."""
        child = self.worker()
        if child is not None and child.life.worker is not None:
            child.life.process.call(child.life.worker.stop)

    def kill(self) -> None:
        """End the supervisors, and every worker a moment later: they die with their parent."""
        for life in self.lives:
            self._kill_supervisor(life)
            for child in life.processes.workers:
                wait = self._setting.rng.uniform(0, _LAST_BREATH_S)
                self._setting.loop.call_later(wait, self._kill_orphan, child.life)

    def power_off(self) -> None:
        """End every process at once, and what they had in memory."""
        for life in self.lives:
            self._kill_supervisor(life)
            for child in life.processes.workers:
                self._kill_orphan(child.life)
            if life.supervisor.folder is not None:
                life.supervisor.folder.remove()

    def processes(self, *, whole: bool) -> list[Process]:
        """The worker, or every process of the host."""
        if not whole:
            child = self.worker()
            return [] if child is None else [child.life.process]
        lives = self.lives
        workers = [child.life.process for life in lives for child in life.processes.workers]
        return [*(life.process for life in lives), *workers]

    def pause(self, *, whole: bool) -> list[Process]:
        """Pause the worker, or every process; returns those that were paused now."""
        return self.stand_still(self.processes(whole=whole), whole=whole)

    def stand_still(self, victims: list[Process], *, whole: bool) -> list[Process]:
        """Pause these processes; returns those that were paused now."""
        paused = [each for each in victims if each.alive and not each.paused]
        for process in paused:
            self._setting.history.record(
                What.PAUSED, process.name, host=str(self.index), whole=whole
            )
            process.pause()
        return paused

    def resume(self, processes: list[Process]) -> None:
        """Let paused processes go on, as far as they live."""
        for process in processes:
            if process.alive and process.paused:
                self._setting.history.record(What.RESUMED, process.name, host=str(self.index))
                process.resume()

    def _next_name(self, role: str) -> str:
        """A name for a process, never used before."""
        self._starts += 1
        return f"h{self.index}-{role}-{self._starts}"

    async def _supervise(self, life: SupervisorLife) -> None:
        await life.supervisor.work(life.processes)
        self._setting.history.record(What.STOPPED, life.process.name)
        life.process.kill()

    async def _live_as_worker(self, life: WorkerLife) -> None:
        setting = self._setting
        self._machine.add(life)
        way = Way(setting, self)
        if not await live_as_worker(life, setting, way, self._registry, self._clock):
            self.crash(life.process, ProcessExit(code=1))

    def _kill_supervisor(self, life: SupervisorLife) -> None:
        self._setting.history.record(What.KILLED, life.process.name)
        life.process.kill()
        if life.supervisor.folder is not None:
            life.supervisor.folder.close()  # the kernel gives the lock back

    def _kill_orphan(self, life: WorkerLife) -> None:
        if life.process.alive:
            self._setting.history.record(What.KILLED, life.process.name)
            life.process.kill()
            life.end.close()
