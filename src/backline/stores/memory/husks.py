"""What is remembered of purged jobs, for a day, so that late repeats of calls change nothing."""

from heapq import heappop, heappush
from typing import NamedTuple

from backline.job import DAY, JobId, Micros, WorkerName
from backline.states import State
from backline.stores.memory.row import Row


class Husk(NamedTuple):
    """A job that was purged."""

    attempt: int
    worker: WorkerName | None
    state: State


class Husks:
    """Purged jobs by id, and by when they are forgotten."""

    def __init__(self) -> None:
        self._husks: dict[JobId, Husk] = {}
        self._forgetting: list[tuple[Micros, JobId]] = []

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._husks

    def get(self, job_id: JobId) -> Husk | None:
        """What is remembered of that job; None: it is not, or not purged."""
        return self._husks.get(job_id)

    def add(self, row: Row, now: Micros) -> None:
        """The job is purged."""
        self._husks[row.id] = Husk(row.attempt, row.worker, row.state)
        heappush(self._forgetting, (now + DAY, row.id))

    def forget(self, limit: int, now: Micros) -> int:
        """Drop at most `limit` whose day is over; how many."""
        count = 0
        while count < limit and self._forgetting and self._forgetting[0][0] <= now:
            del self._husks[heappop(self._forgetting)[1]]
            count += 1
        return count
