"""Fairness: the turns of jobs that became ready in fair queues."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from backline import fairness
from backline.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backline.stores.memory.queue import QueueState
    from backline.stores.memory.row import Row


class Sharing:
    """Jobs that became ready in fair queues, until they have turns and stand in line."""

    def __init__(self) -> None:
        self._coming: list[tuple[Row, int]] = []
        """Each with its mark: another one says that it has moved on."""

    def join(self, row: Row) -> None:
        """A job became ready."""
        self._coming.append((row, row.mark))

    def settle(self) -> None:
        """Give turns to those that became ready, oldest due first."""
        if not self._coming:
            return
        coming, self._coming = self._coming, []
        rows = [row for row, mark in coming if row.mark == mark and row.state is State.READY]
        rows.sort(key=lambda row: (*_level(row), row.due, row.seq))
        for _, group in groupby(rows, _level):
            level = list(group)
            queue = level[0].queue
            queue.ready[level[0].lane].push_turns(level, queue.weights)


def belong(queue: QueueState, rows: Iterable[Row]) -> None:
    """Jobs came to a queue: with a fair key they make it fair, and each is some tenant's."""
    rows = list(rows)
    queue.fair = queue.fair or any(row.request.fair_key is not None for row in rows)
    for row in rows:
        row.tenant = fairness.tenant_of(row.request.fair_key, fair=queue.fair)


def _level(row: Row) -> tuple[str, str, int]:
    return (row.queue.name, row.lane, row.priority)
