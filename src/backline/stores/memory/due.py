"""The scheduled jobs of all queues, by due time."""

from collections.abc import Mapping
from heapq import heapify, heappop, heapreplace

from backline.job import Micros
from backline.stores.memory.queue import QueueState
from backline.stores.memory.row import Row


def pop_due(queues: Mapping[str, QueueState], limit: int, now: Micros) -> list[Row]:
    """Take the jobs whose time has come out of their lines, earliest first; at most `limit`."""
    lines = [
        (due, name) for name, queue in queues.items() if (due := queue.scheduled.due()) is not None
    ]
    heapify(lines)
    rows: list[Row] = []
    while lines and lines[0][0] <= now and len(rows) < limit:
        name = lines[0][1]
        line = queues[name].scheduled
        row = line.pop()
        if row is not None:
            row.line = None
            rows.append(row)
        due = line.due()
        heapreplace(lines, (due, name)) if due is not None else heappop(lines)
    return rows
