"""Scaling: measures the load of the queues, and keeps as many workers as it calls for."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from backline import autoscale
from backline.autoscale import Meter, Past, Rules, Sample
from backline.clock import Clock
from backline.duty import rung
from backline.job import SECOND, Lane, Micros, WorkerName
from backline.states import State
from backline.store import QueueStats, Scaling, Store, WorkerReport
from backline.supervisor import linux
from backline.supervisor.enforcer import LOOK
from backline.supervisor.places import Places
from backline.supervisor.processes import Child

log = logging.getLogger("backline.supervisor")

ROUND: Final[Micros] = SECOND
_SOON: Final[Micros] = SECOND // 10
"""How often to look at most while there is no worker, however often the store hints."""
_SPARE: Final = 10
"""One part in so many of the memory is left to others."""


class Scaler:
    """Sees to it that there are as many workers as the rules want.

    While there is none, the first hint at work, or a look a second later, starts one.
    """

    def __init__(
        self, rules: Rules, places: Places, clock: Clock, settled: Callable[[], bool]
    ) -> None:
        """`settled` says whether workers may go: none is being replaced."""
        self.rules: Final = rules
        self.hint: Final = asyncio.Event()
        """Set when the store hints at work."""
        self._places = places
        self._clock = clock
        self._settled = settled
        self._meter = Meter()
        self._ended: dict[WorkerName, int] = {}
        self._past = Past()
        self._why = ""
        self._concurrency = 1
        self._standing: Scaling | None = None
        self._twice = False

    @property
    def service(self) -> float:
        """Seconds that a job takes; 0: nobody knows."""
        return self._meter.service or 0.0

    @property
    def standing(self) -> Scaling:
        """The last decision, for people."""
        if self._standing is None:
            self._standing = self._told("as many as to begin with")
        return self._standing

    async def look(self) -> Micros:
        """Look at the boards; returns when to do it again."""
        boards = {child.name: child.board for child in self._workers() if child.board is not None}
        ended = {name: board.finished for name, board in boards.items()}
        more = sum(max(0, count - self._ended.get(name, 0)) for name, count in ended.items())
        self._ended = ended
        running = sum(board.running for board in boards.values())
        self._meter.look(self._clock.tick(), running, more)
        return LOOK

    async def round(self, store: Store, queues: frozenset[str], slots: int) -> Micros:
        """Decide once; returns when to do it again. Raises StoreError, and nothing changes.

        `slots` are those of a worker, as long as none says how many it has.
        """
        if not self._places.kept:
            # What a hint told of may not have been there to read yet: look twice.
            self._twice = await rung(self.hint, 0 if self._twice else ROUND)
        self._concurrency = max((self._slots(c, slots) for c in self._workers()), default=slots)
        stats, reports = await store.stats(), await store.workers()
        served = [each for each in stats if each.queue in queues and not each.paused]
        self._decide(self._sample(served, self._others(reports, queues), settled=self._settled()))
        return ROUND if self._places.kept else _SOON

    def _decide(self, now: Sample) -> None:
        decision = autoscale.decide(self.rules, self._past, now)
        self._past = decision.past
        told = f"{decision.why} ({autoscale.figures(self.rules, now)})"
        if decision.processes != now.processes:
            log.info("processes %d -> %d: %s", now.processes, decision.processes, told)
            self._places.resize(decision.processes)
            self._standing = self._told(told)
        elif decision.why != self._why:
            log.debug("processes %d: %s", now.processes, told)
            self._standing = self._told(told)
        self._why = decision.why

    def _told(self, why: str) -> Scaling:
        rules, kept = self.rules, len(self._places.kept)
        now = self._clock.now()
        return Scaling(low=rules.low, high=rules.high, processes=kept, why=why, decided_at=now)

    def _sample(
        self, served: Sequence[QueueStats], others: Sequence[WorkerReport], *, settled: bool
    ) -> Sample:
        meter, workers, now = self._meter, self._workers(), self._clock.now()
        oldest = [each.oldest_ready for each in served if each.oldest_ready is not None]
        known = [report.service for report in others if report.service > 0]
        return Sample(
            tick=self._clock.tick(),
            processes=len(self._places.kept),
            working=len(workers),
            concurrency=self._concurrency,
            busy=meter.busy,
            done=meter.done,
            service=meter.service or (sum(known) / len(known) if known else None),
            ready=sum(max(0, each.counts.get(State.READY, 0) - each.cells) for each in served),
            arrivals=sum(each.arrival_rate for each in served),
            oldest=max(0, now - min(oldest)) if oldest else 0,
            elsewhere=sum(each.concurrency for each in others),
            idle_elsewhere=sum(max(0, each.concurrency - each.running) for each in others),
            room=room([linux.resident_bytes(child.pid) for child in workers]),
            settled=settled,
        )

    def _others(
        self, reports: Sequence[WorkerReport], queues: frozenset[str]
    ) -> list[WorkerReport]:
        """The workers of others that take jobs of these queues."""
        ours = {child.name for place in self._places.all for child in place.children}
        return [
            each
            for each in reports
            if each.lane is Lane.MAIN and not each.draining and each.concurrency > 0
            if each.worker not in ours and not queues.isdisjoint(each.queues)
        ]

    def _workers(self) -> list[Child]:
        """Our workers that take jobs."""
        children = [place.child for place in self._places.kept]
        return [each for each in children if each is not None and each.alive and each.hello]

    @staticmethod
    def _slots(child: Child, otherwise: int) -> int:
        return otherwise if child.hello is None else child.hello.concurrency


def room(taken: Sequence[int]) -> int | None:
    """How many more processes the memory has room for, if they are like those that take so
    many bytes each; None: nobody knows."""
    memory = linux.available_bytes()
    if memory is None or not any(taken):
        return None
    available, total = memory
    return (available - total // _SPARE) // max(taken)
