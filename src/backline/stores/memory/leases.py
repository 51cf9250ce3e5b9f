"""Who runs what, and until when."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain, islice
from typing import TypeAlias

from backline.job import DAY, Micros, WorkerName
from backline.stores.memory.row import Row

Table: TypeAlias = OrderedDict[int, Row]


class WorkerState:
    """What the store knows of one worker: its leases, its last call, whether it is retired.

    Ticks never step back, so leases of one length are over in the order they were granted
    or extended: a table in that order for each length, merged when somebody asks.
    """

    __slots__ = ("_by_ttl", "call", "granted", "retired", "seen")

    def __init__(self) -> None:
        self.call: int | None = None
        self.granted: list[tuple[Row, int]] = []
        """The job and the attempt of every lease that the last call handed out."""
        self.retired = False
        self.seen: Micros = 0
        self._by_ttl: dict[Micros, Table] = {}

    def grants(self, call: int) -> bool:
        """Whether this call leases jobs.

        Not for a retired worker, nor for a straggler: its sender has gone on to a later call
        and would never run the jobs.
        """
        return not self.retired and (self.call is None or call > self.call)

    def table(self, ttl: Micros) -> Table:
        """Its leases of this length."""
        table = self._by_ttl.get(ttl)
        if table is None:
            table = self._by_ttl[ttl] = OrderedDict()
        return table

    def tables(self) -> list[Table]:
        """All its leases; tables that have become empty are dropped."""
        if not all(self._by_ttl.values()):
            self._by_ttl = {ttl: table for ttl, table in self._by_ttl.items() if table}
        return list(self._by_ttl.values())


class Leases:
    """Every running job, by worker and by the time its lease is over."""

    __slots__ = ("_workers",)

    def __init__(self) -> None:
        self._workers: dict[WorkerName, WorkerState] = {}

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
        tables = () if worker is None else worker.tables()
        return chain.from_iterable(table.values() for table in tables)

    def extend(self, row: Row, tick: Micros, ttl: Micros) -> None:
        """The lease of a running job lasts `ttl` from now."""
        assert row.worker is not None
        self.end(row)
        row.until = tick + ttl
        row.leases = self._workers[row.worker].table(ttl)
        row.leases[row.seq] = row

    @staticmethod
    def end(row: Row) -> None:
        """The job no longer runs."""
        if row.leases is not None:
            del row.leases[row.seq]
            row.leases = None

    def over(self, tick: Micros, limit: int) -> list[Row]:
        """The leases that are over, the longest over first."""
        tables = chain.from_iterable(worker.tables() for worker in self._workers.values())
        found = merge(*(_over(table.values(), tick) for table in tables), key=_until)
        return list(islice(found, max(limit, 0)))

    def forget(self, tick: Micros) -> None:
        """Forget workers that hold nothing and were not heard of for a day."""
        idle = [
            name
            for name, worker in self._workers.items()
            if worker.seen + DAY <= tick and not worker.tables()
        ]
        for name in idle:
            del self._workers[name]


def _over(rows: Iterable[Row], tick: Micros) -> Iterator[Row]:
    for row in rows:
        if row.until > tick:
            return
        yield row


def _until(row: Row) -> Micros:
    return row.until
