"""Unique keys as the model has them."""

from dataclasses import dataclass, field

from backline.job import Micros
from backline.states import QUEUED, TERMINAL, State
from backline.testing.kept import Kept


@dataclass
class Holding:
    """A unique key: who holds it, and which living job the holder waits for."""

    holder: Kept
    predecessor: Kept | None = None
    until: Micros = 0
    since: Micros = 0
    """What `max_wait` counts from."""

    def is_free(self, now: Micros) -> bool:
        """The next job may take it."""
        return self.holder.state in TERMINAL and self.until <= now


@dataclass
class KeysModel:
    """Who holds which key, and who waits to."""

    holdings: dict[str, Holding] = field(default_factory=dict)

    def held(self, key: str | None, now: Micros) -> Holding | None:
        """How a key is held; None if the next job may take it, or there is none."""
        held = self.holdings.get(key or "")
        return None if held is None or held.is_free(now) else held

    def take(self, job: Kept, before: Holding | None, now: Micros) -> None:
        """A job is added and has its key from now on, in the place of who held it `before`."""
        if job.request.unique_key is None:
            return
        mine = Holding(job, until=job.window_end, since=now)
        self.holdings[job.request.unique_key] = mine
        if before is not None:
            mine.predecessor = before.predecessor
            if before.holder.state is State.RUNNING:
                mine.predecessor = before.holder
            elif before.holder.state in QUEUED and not before.holder.attempt:
                mine.since = min(before.since, now)
        if job.request.max_wait is not None:
            job.due = min(job.due, max(mine.since + job.request.max_wait, now))
        if mine.predecessor is not None:
            job.state = State.WAITING

    def is_successor(self, job: Kept) -> bool:
        """It waits for a running job that had its key."""
        return any(held.holder is job and held.predecessor for held in self.holdings.values())

    def give_back(self, job: Kept) -> list[Kept]:
        """A job has ended; who waited for it, because of their key."""
        successors: list[Kept] = []
        for held in self.holdings.values():
            if held.predecessor is job:
                held.predecessor = None
                successors.append(held.holder)
            elif held.holder is job and held.predecessor is not None:
                held.holder, held.predecessor = held.predecessor, None
                held.until = held.holder.window_end
        return successors

    def take_back(self, job: Kept, now: Micros) -> None:
        """A job lives again, and has its key again unless another holds it."""
        key = job.request.unique_key
        if key is None:
            return
        held = self.held(key, now)
        if held is None or held.holder is job:
            self.holdings[key] = Holding(job, until=job.window_end, since=now)
