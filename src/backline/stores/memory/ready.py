"""Jobs in the order in which they are to go on."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING

from backline.job import Micros
from backline.stores.memory.line import Line

if TYPE_CHECKING:
    from backline.stores.memory.row import Row


class Ready:
    """Jobs by priority, then due time, then order of enqueue: those of one (queue, lane) that
    are ready, or those that wait for the same thing."""

    __slots__ = ("_levels", "_order")

    def __init__(self) -> None:
        self._levels: dict[int, Line[Row]] = {}
        self._order: list[tuple[int, Line[Row]]] = []

    def push(self, row: Row) -> None:
        """Put a job in its place: priority, then due time, then order of enqueue."""
        priority = row.priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Line()
            insort(self._order, (-priority, level), key=lambda entry: entry[0])
        row.line = level
        level.push(row.due, row.seq, row)

    def pop(self) -> Row | None:
        """Take out the first job."""
        for _, level in self._order:
            row = level.pop()
            if row is not None:
                row.line = None
                return row
        return None

    def first(self) -> Row | None:
        """The first job; it stays."""
        for _, level in self._order:
            row = level.first()
            if row is not None:
                return row
        return None

    def oldest(self) -> Micros | None:
        """When the job that has waited longest became due."""
        dues = [due for _, level in self._order if (due := level.due()) is not None]
        return min(dues, default=None)

    def __len__(self) -> int:
        return sum(len(level) for _, level in self._order)
