"""Saying of which tasks there is no code here."""

import logging
from typing import Final

from backline.task import Registry

log = logging.getLogger("backline.worker")

_MOST: Final = 100
"""It is said of so many: names of tasks come from outside."""


class UnknownTasks:
    """Says once of a task that it is unknown: its jobs are put back, and only seem to wait."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._told: set[str] = set()

    def note(self, task: str) -> None:
        """A job of this task came, and there is no code for it."""
        if task in self._told or len(self._told) >= _MOST:
            return
        self._told.add(task)
        last = task.rpartition(".")[2]
        twins = [name for name in self._registry.names() if name.rpartition(".")[2] == last]
        hint = f"; is it {twins[0]}, imported under another name?" if twins else ""
        log.warning("there is no task %s here, so its jobs are put back%s", task, hint)
