"""The scratch files that are attached to callers' connections while an app is isolated.

One for each connection, so that one transaction holds up no other, and for as long as that
connection is open: SQLite detaches no file within a transaction. Rows are of one isolation.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from backline.errors import StoreUnavailable
from backline.job import JobId, Micros
from backline.outbox import tables
from backline.outbox.caller import Caller
from backline.outbox.database import Waiting

_isolations: Final = itertools.count(1)
_files: Final = itertools.count(1)


class Scratch:
    """What was committed in one isolation. Safe from any thread. Implements `Rows`.

    The files are only read here, so a transaction that stays open is in nobody's way; what
    was relayed is remembered in memory.
    """

    def __init__(self) -> None:
        self.isolation: Final = next(_isolations)
        self._lock = threading.Lock()
        self._read_to: dict[Path, int] = {}
        self._waiting: dict[int, Waiting] = {}
        """By the turn in which they were written."""

    def join(self, caller: Caller) -> None:
        """Attach a file to the caller's connection, unless one is."""
        files = {os.fsdecode(name): file for _, name, file in caller.read(tables.FILES)}
        if tables.SCRATCH in files:
            file = Path(os.fsdecode(files[tables.SCRATCH]))
        else:
            file = _new_file()
            caller.change(tables.SCRATCH_ATTACH, str(file))
        with self._lock:
            self._read_to.setdefault(file, 0)

    def waiting(self, limit: int, *, but_for: Collection[str] = ()) -> list[Waiting]:
        """The oldest rows to be moved, in the order they were written, without some queues'."""
        with self._lock:
            for file, read_to in self._read_to.items():
                rows = _read(file, tables.SCRATCH_WAITING, self.isolation, read_to)
                for rowid, turn, queue, job in rows:
                    self._waiting[turn] = Waiting(turn, queue, job.encode())
                    self._read_to[file] = rowid
            found = (row for _, row in sorted(self._waiting.items()) if row.queue not in but_for)
            return list(itertools.islice(found, limit))

    def settle(self, moved: Sequence[int], failed: Sequence[tuple[int, str]], now: Micros) -> None:
        """Forget rows that were moved, and those that cannot be."""
        del now
        with self._lock:
            for turn in [*moved, *(turn for turn, _ in failed)]:
                self._waiting.pop(turn, None)

    def completed(self, job_id: JobId) -> tuple[int, str | None] | None:
        """In which attempt the job completed and with which result; None: it did not."""
        return self._find(tables.SCRATCH_RESULT, job_id)

    def completed_before(self, when: Micros, limit: int) -> list[JobId]:
        """None: completions are kept as long as the isolation."""
        del when, limit
        return []

    def forget(self, ids: Collection[JobId]) -> None:
        """Nothing: completions are kept as long as the isolation."""

    def stepped(self, after: JobId, limit: int) -> list[tuple[JobId, Micros]]:
        """None: steps are kept as long, too."""
        del after, limit
        return []

    def forget_steps(self, ids: Collection[JobId]) -> None:
        """Nothing: steps are kept as long, too."""

    def recorded(self, job_id: JobId, step: str) -> tuple[int, str | None] | None:
        """In which attempt a step was done and what it returned; None: it was not."""
        return self._find(tables.RECORDED, job_id, step)

    def _find(self, sql: str, *of: str) -> tuple[int, str | None] | None:
        """The first row in any of the files."""
        with self._lock:
            files = list(self._read_to)
        for file in files:
            for attempt, value in _read(file, sql, *of):
                return attempt, value
        return None

    def close(self) -> None:
        """Nothing: there is no connection between calls."""

    def remove(self) -> None:
        """Remove the files whose connections are closed; the others go with the process."""
        with self._lock:
            for file in self._read_to:
                # SQLite leaves WAL mode only if nobody else is connected.
                with contextlib.suppress(StoreUnavailable):
                    if _read(file, "pragma journal_mode=delete") == [("delete",)]:
                        file.unlink()
            self._read_to.clear()


def _read(file: Path, sql: str, *parameters: object) -> list[Any]:
    with _connected(file, mode="rw") as connection:
        return connection.execute(sql, parameters).fetchall()


def _new_file() -> Path:
    file = _folder(os.getpid()) / f"{next(_files)}.db"
    with _connected(file, mode="rwc") as connection:
        connection.execute("pragma journal_mode=wal")  # reading never waits for who writes
        for statement in tables.SCRATCH_STEPS:
            connection.execute(statement)
    return file


@contextlib.contextmanager
def _connected(file: Path, *, mode: str) -> Iterator[sqlite3.Connection]:
    try:
        connection = sqlite3.connect(
            f"{file.as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=1
        )
        with contextlib.closing(connection):
            yield connection
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the scratch file {file} of an isolated app: {error}") from error


@cache
def _folder(process: int) -> Path:
    """A folder of this process, which goes with it; a process that is forked has its own."""
    folder = Path(mkdtemp(prefix="backline-isolated-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
