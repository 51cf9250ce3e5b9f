"""What a supervisor does with the store: all that workers must not have to do themselves."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Final, Self, TypeGuard

from msgspec.structs import replace

from backline._version import __version__
from backline.clock import Clock
from backline.duty import Duty, rung
from backline.errors import StoreUnavailable
from backline.job import SECOND, Lane, Micros, WorkerName
from backline.outage import Outage
from backline.reaper import Reaper
from backline.reporting import LOOK, Reporter, host
from backline.scheduler import Scheduler
from backline.store import Hint, Store, WorkerReport
from backline.stores import open_store
from backline.supervisor.crew import Cells, WorkerSlot
from backline.supervisor.messages import Hello, Wake
from backline.supervisor.processes import Child
from backline.supervisor.recovery import Recovery
from backline.supervisor.restart import RestartHistory
from backline.supervisor.rundir import abandoned
from backline.supervisor.scaling import Scaler
from backline.supervisor.settings import SupervisorSettings
from backline.worker.heartbeat import Heartbeat
from backline.worker.queue_names import warn_of_strange_queues

log = logging.getLogger(__name__)

_REPORT_START: Final[Micros] = SECOND // 2
"""How often to see whether there is more to report, until every worker has been."""
_ADOPT: Final[Micros] = 2 * SECOND
_TEND: Final[Micros] = SECOND // 10
_TEND_IDLE: Final[Micros] = SECOND


class Upkeep:
    """Heartbeats, reaping, schedules, settling, reports and cells, over an open store."""

    def __init__(
        self, store: Store, hello: Hello, settings: SupervisorSettings, clock: Clock, name: str
    ) -> None:
        self.store: Final = store
        self.hello: Final = hello
        self._settings = settings
        self._clock = clock
        self._heartbeat = Heartbeat(store, clock, settings.lease)
        self._reaper = Reaper(store, clock, f"{name}-reaper", settings.lease)
        self._scheduler = Scheduler(store, clock)
        self._recovery = Recovery(store, clock, name, settings.lease)
        self._kept: set[WorkerName] = set()
        self._name = name
        self._began_at = clock.tick()
        self._reporter = Reporter(store, clock)
        self._queues = frozenset(hello.queues)
        """Of the workers, as far as they have said; while none lives, of those that did."""
        self._hint = asyncio.Event()
        self.scaler: Scaler | None = None
        """To be set before `duties`, by a supervisor that scales."""

    def keep(self, child: Child) -> None:
        """Keep the leases of a worker that said hello. Repeated: nothing.

        If its board cannot be opened for now (no more files), the next call tries again.
        """
        known = child.name in self._kept
        if not known and self._works(child) and child.board is not None:
            self._kept.add(child.name)
            self._heartbeat.add(child.board, lambda: _wake(child))

    async def settle(self, child: Child) -> None:
        """Settle what a worker left that has ended."""
        self._heartbeat.remove(child.name)
        self._kept.discard(child.name)
        await self._recovery.settle(child.name, Path(child.settings.board), child.death)
        await self._reporter.withdraw(child.name)
        child.close()

    def duties(self, run_dir: Path, places: Sequence[WorkerSlot], cells: Cells) -> list[Duty]:
        """What is done round after round, besides keeping and reaping."""

        async def adopt() -> Micros:
            for folder in abandoned(run_dir, self.hello.url):
                await self._recovery.adopt(folder)
            return _ADOPT

        async def report() -> Micros:
            reports = self._reports(places, cells)
            await self._reporter.tell(reports)
            return _REPORT_START if len(reports) < len(places) else LOOK

        async def tend() -> Micros:
            await rung(self._hint, _TEND_IDLE)
            cells.tend(await self._waiting_for_cells(places))
            if not await rung(self._hint, _TEND):
                return 0
            # The first hint may have come before what it told of could be read.
            cells.tend(await self._waiting_for_cells(places))
            return _TEND

        named = {"adopting what dead supervisors left": adopt, "reporting": report}
        if self._settings.cells:
            named["tending the cells"] = tend
        if self.scaler is not None:
            scaler = self.scaler
            named["measuring the load"] = scaler.look
            named["scaling"] = lambda: scaler.round(
                self.store, self._served(places), self.hello.concurrency
            )
        return [Duty(name, round_, self._clock) for name, round_ in named.items()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Keep, reap and fire schedules, and hear of new work, while inside.

        Queues that nobody knows are told once.
        """
        served, named = self.hello.queues, frozenset(self.hello.named)
        async with self.store.watch([Hint.WORK], self._hinted):
            tasks = [
                asyncio.create_task(self._heartbeat.run(), name="heartbeat"),
                asyncio.create_task(self._reaper.run(), name="reaper"),
                asyncio.create_task(self._scheduler.run(), name="scheduler"),
                asyncio.create_task(warn_of_strange_queues(self.store, served, named)),
            ]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await self._reporter.withdraw(self._name)

    def _hinted(self) -> None:
        self._hint.set()
        if self.scaler is not None:
            self.scaler.hint.set()

    def _works(self, child: Child | None) -> TypeGuard[Child]:
        """It lives, and has said hello as a worker of our store."""
        hello = None if child is None or not child.alive else child.hello
        return hello is not None and hello.url == self.hello.url

    async def _waiting_for_cells(self, places: Sequence[WorkerSlot]) -> int:
        """How many jobs wait for a cell in the queues that are served."""
        queues, stats = self._served(places), await self.store.stats()
        return sum(each.cells for each in stats if each.queue in queues and not each.paused)

    def _served(self, places: Sequence[WorkerSlot]) -> frozenset[str]:
        """The queues of the workers that there are now; while none lives, of those that did."""
        hellos = [place.child.hello for place in places if self._works(place.child)]
        served = [hello.queues for hello in hellos if hello is not None]
        if served:
            self._queues = frozenset(chain.from_iterable(served))
        return self._queues

    def _reports(self, places: Sequence[WorkerSlot], cells: Cells) -> list[WorkerReport]:
        workers = [(child, place.history) for place in places for child in place.children]
        everybody = [*workers, *((cell, cells.history) for cell in cells)]
        reports = [
            self._report(child, history.restarts, healthy=history.healthy)
            for child, history in everybody
            if self._works(child)
        ]
        empty = [place for place in places if not any(map(self._works, place.children))]
        failed = any(place.history.row for place in empty)
        if failed or self.scaler is not None:
            own = self._own_report([place.history for place in empty])
            scaling = None if failed or self.scaler is None else self.scaler.standing
            reports.append(replace(own, scaling=scaling))
        return reports

    def _own_report(self, histories: Sequence[RestartHistory]) -> WorkerReport:
        """Of a supervisor whose workers cannot work, or that scales: else nobody would hear
        of it."""
        return WorkerReport(
            worker=self._name,
            host=host(),
            pid=os.getpid(),
            queues=tuple(sorted(self._queues)),
            lane=Lane.MAIN,
            concurrency=0,
            tasks=(),
            started_at=self._clock.now() - (self._clock.tick() - self._began_at),
            version=__version__,
            restarts=sum(history.restarts for history in histories),
            healthy=all(history.healthy for history in histories),
        )

    def _report(self, child: Child, restarts: int, *, healthy: bool) -> WorkerReport:
        board, hello = child.board, child.hello or self.hello
        age = self._clock.tick() - child.started_at
        return WorkerReport(
            worker=child.name,
            host=host(),
            pid=child.pid,
            queues=hello.queues,
            lane=child.settings.lane,
            concurrency=hello.concurrency,
            tasks=hello.tasks,
            started_at=self._clock.now() - age,
            version=__version__,
            running=0 if board is None else board.running,
            restarts=0 if child.settings.lane is Lane.CELL else restarts,
            healthy=healthy and self._heartbeat.healthy,
            draining=child.leaving or child.stopping_since is not None,
            service=0.0 if self.scaler is None else self.scaler.service,
        )


async def open_patiently(url: str, clock: Clock, open_: Callable[..., Store] = open_store) -> Store:
    """The store, open; waits for one that is away. Raises StoreRefused, SchemaMismatch and
    ConfigError: waiting does not help against those.
    """
    store = open_(url, clock=clock)
    outage = Outage("opening the store", clock)
    while True:
        try:
            await store.open()
        except StoreUnavailable as error:
            await outage.wait(error)
        except BaseException:
            await store.close()
            raise
        else:
            return store


def supervisor_name(clock: Clock) -> WorkerName:
    """A name of its own for each start of a supervisor."""
    return f"{host()}-supervisor-{os.getpid()}-{clock.rng.getrandbits(32):08x}"


def _wake(child: Child) -> None:
    child.send(Wake())
