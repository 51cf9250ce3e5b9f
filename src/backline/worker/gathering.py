"""Where jobs of batch tasks gather, leased but not begun, until they are enough for a call.

Each keeps its lease, which the heartbeat extends as it does for all. None of them takes a
place of those who run: a batch that is complete gets in line like any job.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from backline.clock import Clock
from backline.job import SECOND, Lane
from backline.task import BatchRule, Registry
from backline.worker.batches import BatchRun
from backline.worker.run import Run
from backline.worker.settings import WorkerSettings


def most_held(settings: WorkerSettings, registry: Registry) -> int:
    """How many leases a worker with these tasks may hold at once: the slots of its board."""
    largest = max((task.batch.size for task in registry if task.batch), default=0)
    if settings.lane is Lane.CELL:
        return settings.most_held
    return settings.most_held + settings.concurrency * largest


class Gathering:
    """Makes batches of runs. `go` is called, on the loop, with each that is complete."""

    def __init__(
        self,
        registry: Registry,
        settings: WorkerSettings,
        clock: Clock,
        go: Callable[[BatchRun], None],
    ) -> None:
        self._clock = clock
        self._go = go
        self._alone = settings.lane is Lane.CELL
        self._waits = not (settings.drain or self._alone)
        self._rules: Final[dict[str, BatchRule]] = {
            task.options.queue: task.batch for task in registry if task.batch is not None
        }
        self._groups: dict[str, list[Run]] = {}
        """What gathers, by task."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._hurried: set[str] = set()
        """Tasks whose last batch was complete and found no place: the next goes at once."""

    def add(self, run: Run) -> None:
        """A job of a batch task was leased."""
        self._groups.setdefault(run.lease.task, []).append(run)

    def sort(self) -> None:
        """Let go what is complete, once all that came together was added."""
        for task in list(self._groups):
            self._sort(task)

    def demand(self, shares: Mapping[str, int], free: int, places: int) -> dict[str, int]:
        """How many jobs to ask for, given how many calls of each queue may be asked for.

        Of a batch task so many as `free` calls take, less what has gathered: none is taken
        ahead. At most `places` in all.
        """
        asked: dict[str, int] = {}
        for queue, share in shares.items():
            rule = None if self._alone else self._rules.get(queue)
            if rule is not None:
                share = min(share, free) * rule.size - self._gathered(queue)  # noqa: PLW2901
            share = min(share, places)  # noqa: PLW2901
            if share > 0:
                asked[queue] = share
                places -= share
        return asked

    def take_back(self) -> list[Run]:
        """Let all of them go: they were not started and never will be here."""
        runs = [run for group in self._groups.values() for run in group]
        self._groups.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        return runs

    def hurry(self, task: str) -> None:
        """A batch of this task was given back: its jobs have waited for others before."""
        self._hurried.add(task)

    def _gathered(self, queue: str) -> int:
        return sum(run.lease.queue == queue for group in self._groups.values() for run in group)

    def _sort(self, task: str) -> None:
        group = self._groups[task]
        rule = group[0].task.batch
        assert rule is not None, "a task without batch= does not gather"
        size = 1 if self._alone else rule.size
        while len(group) >= size:
            self._start(task, group[:size])
            group = self._groups[task] = group[size:]
        if not group:
            del self._groups[task]
        elif not self._waits or not rule.wait or task in self._hurried:
            self._due(task)
        elif task not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[task] = loop.call_later(rule.wait / SECOND, self._due, task)

    def _due(self, task: str) -> None:
        """The first one has waited long enough."""
        self._start(task, self._groups.pop(task))

    def _start(self, task: str, runs: Sequence[Run]) -> None:
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()
        self._hurried.discard(task)
        self._go(BatchRun(runs, self._clock.tick()))
