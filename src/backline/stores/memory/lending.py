"""Handing out leases: the half of an exchange that gives."""

from typing import Final

from backline import policy
from backline.job import Lane, LeasedJob, Micros, WorkerName
from backline.states import State
from backline.store import Demand
from backline.stores.memory.leases import WorkerState
from backline.stores.memory.queue import QueueState
from backline.stores.memory.row import Row
from backline.stores.memory.table import Table

_EXPIRE_BITE: Final = 1_000


class Lending:
    """One call of a worker that leases jobs."""

    def __init__(
        self,
        table: Table,
        worker: WorkerName,
        state: WorkerState,
        now: Micros,
        tick: Micros,
        ttl: Micros,
    ) -> None:
        self._table = table
        self._worker = worker
        self._now = now
        self._tick = tick
        self._until = tick + ttl
        self._leases = state.table(ttl)
        self._granted = state.granted

    def lend(self, demand: Demand) -> list[LeasedJob]:
        """Lease at most as many jobs of each (queue, lane), in its order."""
        # First, for what waits for one of them may be leased.
        self._table.expire(_EXPIRE_BITE, self._now, self._tick)
        self._table.sharing.settle()
        jobs: list[LeasedJob] = []
        for (name, lane), wanted in demand.items():
            queue = self._table.queues.get(name)
            if queue is None or queue.paused:
                continue
            room = queue.leasable(self._tick)
            jobs += self._take(queue, lane, wanted if room is None else min(wanted, room))
        self._table.lent(self._now, self._tick)
        return jobs

    def _take(self, queue: QueueState, lane: Lane, wanted: int) -> list[LeasedJob]:
        table, now, tick = self._table, self._now, self._tick
        ready = queue.ready[lane]
        jobs: list[LeasedJob] = []
        while len(jobs) < wanted and (row := ready.pop(queue.ageing)) is not None:
            if row.expires_at is not None and row.expires_at <= now and not row.attempt:
                table.move(row, State.EXPIRED, now, tick)
                continue
            table.move(row, State.RUNNING, now, tick)
            row.attempt += 1
            row.worker = self._worker
            row.started_at = now
            row.until = self._until
            try:
                jobs.append(row.leased())
            except (AttributeError, TypeError, ValueError) as error:
                self._bury(row, error)
                continue
            self._leases[row.seq] = row
            row.leases = self._leases
            self._granted.append((row, row.attempt))
        queue.started(tick, len(jobs))
        return jobs

    def _bury(self, row: Row, error: Exception) -> None:
        """The row cannot be read as a job."""
        row.salvage()
        ack = policy.malformed(row.id, row.attempt, row.request.terms, str(error))
        row.settle(ack, self._now)
        self._table.move(row, ack.state, self._now, self._tick, ack.keep)


def next_in(table: Table, demand: Demand, now: Micros, tick: Micros) -> Micros | None:
    """How long until the next job of some queues is due, or may start by a rate."""
    waits: list[Micros | None] = []
    for (name, lane), wanted in demand.items():
        queue = table.queues.get(name)
        if queue is not None:
            waits.append(queue.next_in(lane if wanted > 0 else None, now, tick))
    return min((wait for wait in waits if wait is not None), default=None)
