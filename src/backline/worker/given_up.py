"""Runs that were given up and go on all the same: what they cost, until they end."""

import logging

from backline.clock import Pool
from backline.worker.run import Run

log = logging.getLogger("backline.worker")


class GivenUp:
    """Runs that ignored being stopped and have not ended yet.

    A coroutine among them costs memory; a function keeps its thread. The pool, of `threads`,
    gets another one for each such function, up to `spare`; of those beyond, each takes a slot
    from the worker, which must ask for that many jobs less.
    """

    def __init__(self, pool: Pool, threads: int, spare: int) -> None:
        self.missing = 0
        """How many slots have no thread."""
        self._pool = pool
        self._threads = threads
        self._spare = spare
        self._runs: set[Run] = set()

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> None:
        """A run was given up."""
        self._runs.add(run)
        self._staff()
        if self.missing:
            log.error(
                "%d jobs that ignored being stopped keep their threads: of %d slots %d are left",
                len(self._runs),
                self._threads,
                max(0, self._threads - self.missing),
            )

    def ended(self, run: Run) -> None:
        """It ended at last. Of a run that was not given up: nothing."""
        if run in self._runs:
            self._runs.remove(run)
            self._staff()

    def _staff(self) -> None:
        kept = sum(not run.task.is_async for run in self._runs)
        self.missing = max(0, kept - self._spare)
        self._pool.resize(self._threads + min(kept, self._spare))
