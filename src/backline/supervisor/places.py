"""The places for workers: as many as are wanted, each with a worker of its own."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from backline.clock import Clock
from backline.supervisor.crew import Spawner, WorkerSlot
from backline.supervisor.processes import Child

log = logging.getLogger("backline.supervisor")

Do: TypeAlias = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
"""Starts a task that ends with the supervisor."""


class Places:
    """Makes places and gives them up; a worker that has to go finishes what it runs first."""

    def __init__(
        self, spawner: Spawner, clock: Clock, started: Callable[[Child], None], do: Do
    ) -> None:
        self.all: Final[list[WorkerSlot]] = []
        """Every place with a worker that lives or is to live; the same list all the time."""
        self._keeping: dict[WorkerSlot, asyncio.Task[Any]] = {}
        self._spawner = spawner
        self._clock = clock
        self._started = started
        self._do = do
        self._closed = False

    @property
    def kept(self) -> list[WorkerSlot]:
        """Those that are not given up, oldest first."""
        return list(self._keeping)

    def to_renew(self) -> list[WorkerSlot]:
        """Those that are kept; if none is, one is made, to learn which queues new code has."""
        found = self.kept
        if not found:
            self.resize(1)
        return found

    def resize(self, wanted: int) -> None:
        """Keep so many from now on; those that run least are given up first."""
        if self._closed:
            return
        while len(self._keeping) < wanted:
            place = WorkerSlot(self._spawner, self._clock, self._started)
            self.all.append(place)
            self._keeping[place] = self._do(place.keep())
        surplus = len(self._keeping) - wanted
        if surplus > 0:
            newest_first = self.kept[::-1]
            for place in sorted(newest_first, key=_running)[:surplus]:
                self._give_up(place)

    def close(self) -> None:
        """Start nothing any more; who lives is asked to end by somebody else."""
        self._closed = True
        for keeping in self._keeping.values():
            keeping.cancel()

    def _give_up(self, place: WorkerSlot) -> None:
        self._keeping.pop(place).cancel()
        for each in place.children:
            each.ended.add_done_callback(lambda _: self._forget(place))
        child = place.child
        if child is not None and child.alive:
            if child.hello is None:
                child.kill()  # it runs nothing yet
            else:
                child.leave()
                log.info("worker %s is to end when what it runs has ended", child.name)
        self._forget(place)

    def _forget(self, place: WorkerSlot) -> None:
        if place in self.all and not any(child.alive for child in place.children):
            self.all.remove(place)


def _running(place: WorkerSlot) -> int:
    """How many jobs its worker runs; -1: it has none that works."""
    child = place.child
    if child is None or not child.alive or child.hello is None:
        return -1
    return 0 if child.board is None else child.board.running
