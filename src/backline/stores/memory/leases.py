"""Who runs what, and until when."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice

from backline.job import DAY, JobId, Micros, WorkerName
from backline.stores.memory.row import Row


class WorkerState:
    """What the store knows of one worker: its leases, its last call, whether it is retired."""

    __slots__ = ("call", "granted", "held", "retired", "seen")

    def __init__(self) -> None:
        self.held: dict[JobId, Row] = {}
        self.call: int | None = None
        self.granted: list[tuple[Row, int]] = []
        """The job and the attempt of every lease that the last call handed out."""
        self.retired = False
        self.seen: Micros = 0

    def grants(self, call: int) -> bool:
        """Whether this call leases jobs.

        Not for a retired worker, nor for a straggler: its sender has gone on to a later call
        and would never run the jobs.
        """
        return not self.retired and (self.call is None or call > self.call)


class Leases:
    """Every running job, by worker and by the time its lease is over.

    Ticks never step back, so leases of one length are over in the order they were granted
    or extended: a table in that order for each length, merged when somebody asks.
    """

    __slots__ = ("_by_ttl", "_workers")

    def __init__(self) -> None:
        self._workers: dict[WorkerName, WorkerState] = {}
        self._by_ttl: dict[Micros, OrderedDict[JobId, Row]] = {}

    def worker(self, name: WorkerName, tick: Micros) -> WorkerState:
        """The worker of that name, from now on known for at least a day."""
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = WorkerState()
        worker.seen = tick
        return worker

    def held(self, name: WorkerName) -> Iterable[Row]:
        """The jobs that the worker runs."""
        worker = self._workers.get(name)
        return () if worker is None else worker.held.values()

    def table(self, ttl: Micros) -> OrderedDict[JobId, Row]:
        """The leases of this length."""
        table = self._by_ttl.get(ttl)
        if table is None:
            table = self._by_ttl[ttl] = OrderedDict()
        return table

    def extend(self, row: Row, tick: Micros, ttl: Micros) -> None:
        """The lease lasts `ttl` from now."""
        del self._by_ttl[row.ttl][row.id]
        row.until, row.ttl = tick + ttl, ttl
        self.table(ttl)[row.id] = row

    def end(self, row: Row) -> None:
        """The job no longer runs."""
        del self._by_ttl[row.ttl][row.id]
        if row.worker is not None:
            del self._workers[row.worker].held[row.id]

    def over(self, tick: Micros, limit: int) -> list[Row]:
        """The leases that are over, the longest over first."""
        tables = [_over(table.values(), tick) for table in self._by_ttl.values() if table]
        return list(islice(merge(*tables, key=_until), max(limit, 0)))

    def forget(self, tick: Micros) -> None:
        """Forget workers that hold nothing and were not heard of for a day."""
        idle = [
            name
            for name, worker in self._workers.items()
            if not worker.held and worker.seen + DAY <= tick
        ]
        for name in idle:
            del self._workers[name]
        for ttl in [ttl for ttl, table in self._by_ttl.items() if not table]:
            del self._by_ttl[ttl]


def _over(rows: Iterable[Row], tick: Micros) -> Iterator[Row]:
    for row in rows:
        if row.until > tick:
            return
        yield row


def _until(row: Row) -> Micros:
    return row.until
