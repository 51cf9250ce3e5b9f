"""The crew: keeps the worker processes that are wanted, and replaces those that end."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from backline.clock import Clock
from backline.display import span
from backline.duty import rung
from backline.job import SECOND, Lane, Micros, WorkerName
from backline.reporting import host
from backline.supervisor.messages import ChildSettings
from backline.supervisor.processes import Child, Processes
from backline.supervisor.restart import RestartHistory, after_death
from backline.supervisor.rundir import Folder
from backline.supervisor.settings import SupervisorSettings

log = logging.getLogger(__name__)

_CELL: Final = "-cell-"
"""In the name of every cell."""

_TRY_AGAIN: Final[Micros] = SECOND
"""How long at least to wait after a worker that has said why it cannot start."""


class Spawner:
    """Starts worker processes: each with a name of its own and a board in our folder."""

    def __init__(
        self, settings: SupervisorSettings, processes: Processes, folder: Folder, clock: Clock
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._folder = folder
        self._clock = clock

    def start(self, lane: Lane) -> Child:
        """Raises OSError if the system has no room for another process."""
        worker = self._name(_CELL if lane is Lane.CELL else "-")
        settings = self._settings
        return self._processes.spawn(
            ChildSettings(
                target=settings.target,
                worker=worker,
                lane=lane,
                board=str(self._folder.board(worker)),
                queues=None if settings.queues is None else dict(settings.queues),
                concurrency=1 if lane is Lane.CELL else settings.concurrency,
                lease=settings.lease,
                grace=settings.grace,
                log_level=settings.log_level,
                log_format=settings.log_format,
                events=settings.events,
            )
        )

    def _name(self, joint: str) -> WorkerName:
        return f"{host()}{joint}{self._clock.rng.getrandbits(48):012x}"


class WorkerSlot:
    """A place for one worker: when its worker ends, another is started.

    `started` is called with each worker as it starts.
    """

    def __init__(self, spawner: Spawner, clock: Clock, started: Callable[[Child], None]) -> None:
        self.child: Child | None = None
        self.restarted: Final = asyncio.Event()
        """Set at each start of a worker."""
        self.history = RestartHistory()
        self._hurry = asyncio.Event()
        self._spawner = spawner
        self._clock = clock
        self._started = started
        self._retired: list[Child] = []
        self._successor: Child | None = None
        self._succeeded: asyncio.Future[None] | None = None

    @property
    def children(self) -> list[Child]:
        """Its worker, and those before it that still finish what they run."""
        self._retired = [each for each in self._retired if each.alive]
        return [*self._retired, *([] if self.child is None else [self.child])]

    def hurry(self) -> None:
        """Start the next worker now instead of after its wait."""
        self._hurry.set()

    def start(self) -> Child:
        """Start a worker beside the one that is here; see `hand_over`. Raises OSError."""
        child = self._spawner.start(Lane.MAIN)
        self._started(child)
        return child

    def hand_over(self, successor: Child) -> None:
        """This is the place's worker from now on; the one before finishes what it runs."""
        if self.child is not None and self.child.alive:
            self._retired.append(self.child)
            self.child.stop(self._clock.tick())
        self.child = self._successor = successor
        if self._succeeded is not None and not self._succeeded.done():
            self._succeeded.set_result(None)
        self.hurry()

    async def keep(self) -> None:
        """Keep a worker here until cancelled."""
        self._hurry.clear()
        while True:
            wait = await self._one_life()
            if wait and self.history.row > 1:
                log.warning("the next worker starts in %s", span(wait))
            await rung(self._hurry, wait)

    async def _one_life(self) -> Micros:
        """Keep one worker until it ends or is succeeded; returns how long to wait then."""
        try:
            child = self.child = self._successor or self.start()
        except OSError as error:
            log.warning("cannot start a worker: %s", error)
            return self._died(lived=0, finished=0)
        self._successor = None
        self._succeeded = asyncio.get_running_loop().create_future()
        self.restarted.set()
        # Not awaited by itself: when nobody keeps the place any more, its end is still its own.
        ends: list[asyncio.Future[Any]] = [child.ended, self._succeeded]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._successor is not None:
            return 0
        if child.stop_asked and child.failure is None:
            log.info("worker %s stopped", child.name)
            return 0
        lived = self._clock.tick() - child.started_at
        wait = self._died(lived=lived, finished=child.finished)
        if child.failure is None:
            log.warning("worker %s %s", child.name, child.ended.result())
            return wait
        log.debug("worker %s cannot start, as was said", child.name)
        return max(wait, _TRY_AGAIN)

    def _died(self, *, lived: Micros, finished: int) -> Micros:
        now = self._clock.tick()
        was_healthy = self.history.healthy
        self.history, wait = after_death(self.history, at=now, lived=lived, finished=finished)
        if was_healthy and not self.history.healthy:
            log.error("unhealthy: five workers in a minute ended before they finished a job")
        return wait


class Cells:
    """The cells: started when jobs wait for one, ended when they have been idle for long."""

    def __init__(
        self,
        spawner: Spawner,
        clock: Clock,
        *,
        limit: int,
        idle: Micros,
        started: Callable[[Child], None],
    ) -> None:
        self.history = RestartHistory()
        self._spawner = spawner
        self._clock = clock
        self._limit = limit
        self._idle = idle
        self._started = started
        self._busy_at: dict[Child, Micros] = {}
        self._not_before: Micros = 0
        self._watching: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._busy_at))

    def close(self) -> None:
        """Start no more."""
        self._limit = 0

    def tend(self, waiting: int) -> None:
        """Start or end cells for so many jobs that wait for one."""
        now = self._clock.tick()
        idle = [cell for cell in self if self._is_idle(cell, now)]
        wanted = cells_wanted(waiting, idle=len(idle), alive=len(self._busy_at), limit=self._limit)
        for _ in range(wanted):
            if now < self._not_before or not self._start():
                break
        if not waiting:
            for cell in idle:
                if now - self._busy_at[cell] > self._idle:
                    cell.leave()  # patiently: it may have taken a job at this very moment

    def _is_idle(self, cell: Child, now: Micros) -> bool:
        """It runs nothing, or has yet to begin: it may take a waiting job."""
        if cell.stopping_since is not None or cell.leaving:
            return False
        if cell.board is not None and cell.board.entries():
            self._busy_at[cell] = now
            return False
        return True

    def _start(self) -> bool:
        try:
            cell = self._spawner.start(Lane.CELL)
        except OSError as error:
            log.warning("cannot start a cell: %s", error)
            self._died(lived=0, good=False)
            return False
        self._busy_at[cell] = self._clock.tick()
        self._started(cell)
        watching = asyncio.get_running_loop().create_task(self._until_its_end(cell))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return True

    async def _until_its_end(self, cell: Child) -> None:
        how = await asyncio.shield(cell.ended)
        del self._busy_at[cell]
        if not (cell.stop_asked or cell.leave_asked):
            log.warning("cell %s %s", cell.name, how)
            lived = self._clock.tick() - cell.started_at
            self._died(lived=lived, good=cell.hello is not None)

    def _died(self, *, lived: Micros, good: bool) -> None:
        """A cell is there to die of its job; only one that could not begin is a bad sign."""
        now = self._clock.tick()
        self.history, wait = after_death(self.history, at=now, lived=lived, finished=int(good))
        self._not_before = now + wait


def cells_wanted(waiting: int, *, idle: int, alive: int, limit: int) -> int:
    """How many cells to start: one a waiting job beyond the idle ones, within the limit."""
    return max(0, min(waiting - idle, limit - alive))
