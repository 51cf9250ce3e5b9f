"""Fairness as the model has it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from backline.fairness import FIRST, NO_KEY, stride
from backline.job import Micros
from backline.states import State
from backline.store import Demand
from backline.testing.kept import Kept, Share
from backline.testing.queues_model import QueuesModel


@dataclass
class FairnessModel:
    """Turns and ageing. `jobs` answers every job that was not purged."""

    jobs: Callable[[], Iterable[Kept]]
    queues: QueuesModel
    fair: set[str] = field(default_factory=set)
    finishes: dict[Share, int] = field(default_factory=dict)
    """Where the turns of a tenant go on, until nobody is ready at its level."""

    def belong(self, jobs: Iterable[Kept]) -> None:
        """Jobs came to their queues."""
        jobs = list(jobs)
        self.fair |= {job.queue for job in jobs if job.request.fair_key is not None}
        for job in jobs:
            keyless = NO_KEY if job.queue in self.fair else None
            job.tenant = job.request.fair_key or keyless

    def settle(self) -> None:
        """A call is over: who became ready gets a turn, and who left unused turns gives them
        back."""
        for job in self.jobs():
            if job.share is not None and (job.state is not State.READY or job.turn is None):
                self.finishes[job.share] -= self._stride(job.share)
                job.share = None
        ready = [job for job in self.jobs() if job.state is State.READY and job.tenant is not None]
        coming = [job for job in ready if job.turn is None]
        coming.sort(key=lambda job: (job.due, job.seq))
        for level in {job.level for job in coming}:
            there = [job.turn for job in ready if job.level == level and job.share is not None]
            mine = [job for job in coming if job.level == level]
            self._turn(mine, min((turn for turn in there if turn is not None), default=None))

    def _turn(self, coming: Sequence[Kept], first: int | None) -> None:
        if first is None:
            level = coming[0].level
            self.finishes = {at: tag for at, tag in self.finishes.items() if at[0] != level}
        present = FIRST if first is None else first
        for job in coming:
            job.share = share = (job.level, job.tenant or NO_KEY)
            job.turn = max(present, self.finishes.get(share, present))
            self.finishes[share] = job.turn + self._stride(share)

    def _stride(self, share: Share) -> int:
        (queue, _, _), tenant = share
        said = self.queues.said.get(queue)
        weights = {} if said is None or said.weights is UNSET else said.weights
        return stride(weights.get(tenant, 1.0))

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
                job.share = None  # its turn is used
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
