"""Fairness as the model has it: turns are told from those of the jobs that are ready."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from backline.fairness import FIRST, NO_KEY, stride
from backline.job import Micros
from backline.states import State
from backline.store import Demand
from backline.testing.kept import Kept
from backline.testing.queues_model import QueuesModel


@dataclass
class FairnessModel:
    """Turns and ageing. `jobs` answers every job that was not purged."""

    jobs: Callable[[], Iterable[Kept]]
    queues: QueuesModel
    fair: set[str] = field(default_factory=set)

    def belong(self, jobs: Iterable[Kept]) -> None:
        """Jobs came to their queues."""
        jobs = list(jobs)
        self.fair |= {job.queue for job in jobs if job.request.fair_key is not None}
        for job in jobs:
            keyless = NO_KEY if job.queue in self.fair else None
            job.tenant = job.request.fair_key or keyless

    def settle(self) -> None:
        """A call is over: who became ready gets a turn, and who was put back goes first."""
        ready = [job for job in self.jobs() if job.state is State.READY and job.tenant is not None]
        coming = [job for job in ready if not job.standing]
        coming.sort(key=lambda job: (job.turn is None, job.due, job.seq))
        there = [job for job in ready if job.standing]
        for level in {job.level for job in coming}:
            self._turn(
                [job for job in coming if job.level == level],
                [job for job in there if job.level == level],
            )
        for job in self.jobs():
            job.standing = job.state is State.READY and job.tenant is not None

    def _turn(self, coming: Sequence[Kept], there: list[Kept]) -> None:
        present = min((job.turn or 0 for job in [*there, *coming] if job.turn), default=FIRST)
        for job in coming:
            turn = present
            if job.turn is None:
                step = stride(self._weight(job))
                mine = [other.turn for other in there if other.tenant == job.tenant]
                turn = max([present, *(last + step for last in mine if last)])
            job.turn = turn
            there.append(job)

    def _weight(self, job: Kept) -> float:
        said = self.queues.said.get(job.queue)
        weights = {} if said is None or said.weights is UNSET else said.weights
        return weights.get(job.tenant or "", 1.0)

    def lease(
        self,
        is_late: Callable[[Kept], bool],
        demand: Demand,
        tick: Micros,
        start: Callable[[Kept], None],
    ) -> list[Kept]:
        """Start those of the ready jobs that are leased, which none is that `is_late`."""
        ready = [job for job in self.jobs() if job.state is State.READY and not is_late(job)]
        leased: list[Kept] = []
        for (queue, lane), count in demand.items():
            if queue in self.queues.paused:
                continue
            mine = [job for job in ready if (job.queue, job.lane) == (queue, lane)]
            found = self.in_order(mine, queue, self.queues.room(queue, count, tick))
            for job in found:
                start(job)
            leased += found
            self.queues.started(queue, len(found), tick)
        return leased

    def in_order(self, jobs: Iterable[Kept], queue: str, room: int) -> list[Kept]:
        """Those of some jobs of a queue that are leased if there is room for so many."""
        said = self.queues.said.get(queue)
        ageing = None if said is None or said.ageing is UNSET else said.ageing
        left = sorted(jobs, key=lambda job: job.position)
        found: list[Kept] = []
        while left and len(found) < room:
            found.append(left[0] if ageing is None else _eldest(left, ageing))
            left.remove(found[-1])
        return found


def _eldest(jobs: Sequence[Kept], ageing: Micros) -> Kept:
    """Of the first jobs of the priorities the one that is as if it had waited longest."""
    heads = {job.priority: job for job in reversed(jobs)}.values()
    return min(heads, key=lambda job: (job.due - job.priority * ageing, -job.priority))
