"""Callers' transactions while an app is isolated, for tests.

What is written there goes neither to an outbox nor to an inbox in the caller's database, and
what lies there is not looked at: a test may well run on a database that others use. It goes to
a scratch file of ours that is attached to the caller's connection, so that it is committed and
rolled back with the caller's transaction all the same.
"""

import itertools
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from msgspec import Raw

from backline.clock import Clock
from backline.job import JobId, Micros
from backline.outbox import tables
from backline.outbox.caller import Caller, file_of
from backline.outbox.outbox import Bell, Relayed
from backline.outbox.turn import Turn
from backline.outbox.writer import Outboxes, Recorded, Row, Writer
from backline.task.transactions import Completion

if TYPE_CHECKING:
    from backline.outbox.scratch import Scratch

_turns: Final = itertools.count(1)


class IsolatedOutboxes(Writer):
    """Stands in for the outboxes of an app. Any SQLite database of the caller's will do, also
    one in memory or without our tables, but the app must have declared some outbox.
    """

    def __init__(self, clock: Clock, outside: Outboxes) -> None:
        super().__init__(clock)
        self._outside = outside
        self._outbox = IsolatedOutbox()

    def relayed(self) -> Sequence[Relayed]:
        """The one outbox that is relayed here."""
        return [self._outbox] if self._outside.relayed() else []

    def completion(self, job_id: JobId) -> Completion | None:
        """The completion of a job that was committed in this isolation. Raises StoreError."""
        found = self._outbox.open().completed(job_id)
        if found is None:
            return None
        result = found[1]
        return Completion(None if result is None else Raw(result.encode()))

    def remove(self) -> None:
        """Remove the files that nobody uses any more."""
        self._outbox.remove()

    def _write(self, caller: Caller, rows: Sequence[Row], now: Micros) -> None:
        del now
        scratch = self._joined(caller)
        numbered = [(scratch.isolation, next(_turns), row.queue, row.body) for row in rows]
        caller.change_many(tables.SCRATCH_WRITE, numbered)
        self._outbox.ring()

    def _complete(
        self, caller: Caller, job_id: JobId, attempt: int, result: str | None
    ) -> int | None:
        scratch = self._joined(caller)
        committed = scratch.completed(job_id)  # perhaps by another connection, in another file
        if committed is not None:
            return committed[0]
        if caller.change(tables.SCRATCH_COMPLETE, job_id, attempt, result):
            return None
        [(earlier,)] = caller.read(tables.SCRATCH_COMPLETED, job_id)
        return int(earlier)

    def _recorded(self, caller: Caller, job_id: JobId, step: str) -> Recorded | None:
        found = self._joined(caller).recorded(job_id, step)
        if found is not None:
            return found
        rows = caller.read(tables.SCRATCH_RECORDED, job_id, step)
        return next(((attempt, value) for attempt, value in rows), None)

    def _record(self, caller: Caller, job_id: JobId, step: str, done: Recorded) -> bool:
        self._joined(caller)
        return caller.change(tables.SCRATCH_RECORD, job_id, step, *done) > 0

    def _joined(self, caller: Caller) -> "Scratch":
        if not self._outside.relayed():
            raise self._outside.undeclared(file_of(caller))
        scratch = self._outbox.open()
        scratch.join(caller)
        return scratch


class IsolatedOutbox(Bell):
    """The one outbox of an isolation."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Final = Path("(the transactions of an isolated app)")
        self._lock = threading.Lock()
        self._scratch: Scratch | None = None

    def open(self) -> "Scratch":
        """What was written in this isolation; safe from any thread."""
        with self._lock:
            scratch = self._scratch
            if scratch is None:
                # Python's sqlite3 is loaded only where it is used, not by `import backline`.
                module = import_module("backline.outbox.scratch")
                self._scratch = scratch = cast("Scratch", module.Scratch())
            return scratch

    def remove(self) -> None:
        """Remove the files that nobody uses any more."""
        with self._lock:
            if self._scratch is not None:
                self._scratch.remove()

    def turn(self, clock: Clock) -> Turn:
        """Nobody else can see it, so it is always our turn."""
        return Turn(None, clock)
