"""Where leased jobs wait in a worker until they run, each kind in a line of its own."""

from collections.abc import Mapping, Sequence
from itertools import chain

from backline.job import Micros
from backline.task import Registry
from backline.worker.batches import BatchCalls, BatchRun
from backline.worker.execute import Middleware
from backline.worker.gathering import Gathering
from backline.worker.run import Run
from backline.worker.runners import LoopRunners, ThreadRunners, Unit
from backline.worker.settings import WorkerSettings
from backline.worker.setup import Handover, RunnerSetup


class Lines:
    """The lines of a worker, and who runs what waits in them. On the worker's loop only."""

    def __init__(
        self,
        setup: RunnerSetup,
        registry: Registry,
        settings: WorkerSettings,
        middleware: Sequence[Middleware],
    ) -> None:
        handover = Handover(setup.finished)
        self._on_loop = bool(middleware)
        self._batches = BatchCalls(setup, handover, middleware)
        self._gathering = Gathering(registry, settings, setup.clock, self._go)
        self._coroutines = LoopRunners(setup, settings.concurrency, middleware, self._batches)
        self._functions = ThreadRunners(setup, handover, self._batches)

    async def close(self) -> None:
        """Cancel what still runs on the loop."""
        self._gathering.take_back()
        await self._coroutines.close()

    def feed(self, runs: Sequence[Run]) -> None:
        """Put runs in line, each in that of its kind."""
        coroutines: list[Unit] = []
        functions: list[Unit] = []
        gathers = False
        for run in runs:
            task = run.task
            if task.batch is not None:
                self._gathering.add(run)
                gathers = True
            elif task.is_async or self._on_loop:
                coroutines.append(run)
            else:
                functions.append(run)
        if coroutines:
            self._coroutines.feed(coroutines)
        if functions:
            self._functions.feed(functions)
        if gathers:
            self._gathering.sort()

    def waiting(self) -> int:
        """How many calls are in line, not started."""
        return self._coroutines.waiting() + self._functions.waiting()

    def calls(self, runs: int) -> int:
        """How many calls are under way, where so many runs are."""
        return self._batches.calls(runs)

    def demand(self, shares: Mapping[str, int], free: int, places: int) -> dict[str, int]:
        """How many jobs to ask each queue for, as `Gathering.demand`."""
        return self._gathering.demand(shares, free, places)

    def abandon(self, run: Run) -> bool:
        """Stop counting on who runs a run that will not end; False: that was known."""
        whole = run.whole
        if not isinstance(whole, BatchRun):
            self._coroutines.abandon(run)
            return True
        if whole.given_up:
            return False
        whole.given_up = True
        self._coroutines.abandon(whole)
        return True

    def late(self, now: Micros, patience: Micros) -> list[Run]:
        """Take back the lines in which the next one has waited for longer than `patience`."""
        late: list[Unit] = []
        for line in (self._coroutines, self._functions):
            oldest = line.oldest()
            if oldest is not None and now - oldest.leased_at > patience:
                late += line.take_back()
        for unit in late:
            if isinstance(unit, BatchRun):
                self._gathering.hurry(unit.task.name)
        return _runs(late)

    def take_back(self) -> list[Run]:
        """Take back whatever has not begun."""
        units = self._coroutines.take_back() + self._functions.take_back()
        return _runs(units) + self._gathering.take_back()

    def _go(self, batch: BatchRun) -> None:
        if batch.task.is_async or self._on_loop:
            self._coroutines.feed([batch])
        else:
            self._functions.feed([batch])


def _runs(units: Sequence[Unit]) -> list[Run]:
    return list(chain.from_iterable(u.runs if isinstance(u, BatchRun) else (u,) for u in units))
