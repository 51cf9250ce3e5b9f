"""What workers say of themselves, until it is forgotten."""

from collections.abc import Iterable

from msgspec.structs import replace

from backline.job import Micros, WorkerName
from backline.store import WorkerReport


class Reports:
    """The newest report of each worker."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[WorkerName, tuple[Micros, WorkerReport]] = {}

    def take(self, workers: Iterable[WorkerReport], now: Micros, until: Micros) -> None:
        """Keep what these say now, until that tick."""
        for worker in workers:
            self._by_name[worker.worker] = (until, replace(worker, seen_at=now))

    def current(self, tick: Micros) -> list[WorkerReport]:
        """Those that are not forgotten yet, by name."""
        return [report for _, (until, report) in sorted(self._by_name.items()) if until > tick]

    def forget(self, tick: Micros) -> None:
        """Drop the others."""
        self._by_name = {n: kept for n, kept in self._by_name.items() if kept[0] > tick}
