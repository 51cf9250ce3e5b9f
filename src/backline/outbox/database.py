"""Backline's own connection to a caller's database, for the relay and the commands.

It is made by Python's sqlite3, as the caller's most likely are, and never by the SQLite that
the store brings: two copies of SQLite on one file in one process undo each other's locks.
Reads see only what is committed. The journal mode and all other settings are the caller's.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from backline.errors import StoreRefused, StoreUnavailable
from backline.job import JobId, Micros
from backline.outbox import tables

PATIENCE_S: Final = 5.0
"""How long a write waits for other writers of the database."""


class Waiting(NamedTuple):
    """A row of the outbox."""

    seq: int
    queue: str
    job: bytes


class Failed(NamedTuple):
    """A row that could not be moved and was set aside."""

    job_id: JobId
    error: str


class Database:
    """One connection to one database; belongs to one thread at a time.

    Raises StoreUnavailable for what may pass, StoreRefused for what will not.
    """

    def __init__(self, path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._patience_s = patience_s
        self._connection: sqlite3.Connection | None = None

    def migrate(self) -> int:
        """Make the tables, or bring them to this version; returns its number.

        Repeated: nothing. Safe from many processes at once. Makes the database if need be.
        """
        with closing(self._connect(create=True)) as own, self._writing(own) as connection:
            connection.execute(tables.MAKE_VERSION)
            found = _version(connection)
            self._must_not_be_newer(found)
            for number, step in enumerate(tables.STEPS[found:], found + 1):
                for statement in step:
                    connection.execute(statement)
                connection.execute(tables.NOTE_VERSION, (number,))
        return tables.VERSION

    def waiting(self, limit: int, *, but_for: Collection[str] = ()) -> list[Waiting]:
        """The oldest rows to be moved, in the order of their commits, without some queues'."""
        rows = self._read(tables.WAITING, msgspec.json.encode(list(but_for)).decode(), limit)
        return [Waiting(seq, queue, _bytes(job)) for seq, queue, job in rows]

    def settle(self, moved: Sequence[int], failed: Sequence[tuple[int, str]], now: Micros) -> None:
        """Delete rows that were moved, and set those aside that cannot be; one commit."""
        with self._writing(self._opened()) as connection:
            connection.executemany(tables.DELETE, [(seq,) for seq in moved])
            rows = [(error, now, seq) for seq, error in failed]
            connection.executemany(tables.SET_ASIDE, rows)

    def failed(self, limit: int) -> list[Failed]:
        """Rows that were set aside, the oldest first."""
        return [Failed(job_id, error) for job_id, error in self._read(tables.FAILED, limit)]

    def count_failed(self) -> int:
        """How many rows were set aside."""
        [(count,)] = self._read(tables.COUNT_FAILED)
        return int(count)

    def backlog(self, limit: int) -> tuple[int, Micros | None]:
        """How many rows are to be moved (at most `limit`), and when the oldest was written."""
        [(count, oldest)] = self._read(tables.OLDEST, limit)
        return count, oldest

    def try_again(self) -> int:
        """Let the rows that were set aside be moved again; returns how many."""
        with self._writing(self._opened()) as connection:
            return connection.execute(tables.TRY_AGAIN).rowcount

    def completed(self, job_id: JobId) -> tuple[int, bytes | None] | None:
        """In which attempt the job completed and with which result; None: it did not."""
        rows = self._read(tables.COMPLETED, job_id)
        if not rows:
            return None
        [(attempt, result)] = rows
        return attempt, None if result is None else _bytes(result)

    def completed_before(self, when: Micros, limit: int) -> list[JobId]:
        """Jobs that completed no later than `when`, the oldest first."""
        return [job_id for (job_id,) in self._read(tables.COMPLETED_BEFORE, when, limit)]

    def forget(self, ids: Collection[JobId]) -> None:
        """Delete these jobs from the inbox."""
        with self._writing(self._opened()) as connection:
            connection.executemany(tables.FORGET, [(job_id,) for job_id in ids])

    def stepped(self, after: JobId, limit: int) -> list[tuple[JobId, Micros]]:
        """Jobs that did steps, in the order of their ids, and when each did its last."""
        return [(job_id, at) for job_id, at in self._read(tables.STEPPED, after, limit)]

    def forget_steps(self, ids: Collection[JobId]) -> None:
        """Delete the steps of these jobs."""
        with self._writing(self._opened()) as connection:
            connection.executemany(tables.FORGET_STEPS, [(job_id,) for job_id in ids])

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read(self, sql: str, *parameters: object) -> list[Any]:
        connection = self._opened()
        with self._explained():
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _writing(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._explained():
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def _opened(self) -> sqlite3.Connection:
        """The connection, to a database that has the tables of this version."""
        if self._connection is not None:
            return self._connection
        connection = self._connect(create=False)
        try:
            with self._explained():
                found = _version(connection)
            self._must_not_be_newer(found)
            self._must_not_be_older(found)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        mode = "rwc" if create else "rw"
        with self._explained():
            return sqlite3.connect(
                f"{self._path.as_uri()}?mode={mode}",
                uri=True,
                timeout=self._patience_s,
                isolation_level=None,
                check_same_thread=False,
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            self.close()  # the file may be another one by now
            if "no such table: backline_" in str(error):
                raise StoreRefused(tables.missing(self._path)) from error
            raise StoreUnavailable(f"the outbox in {self._path}: {error}") from error

    def _must_not_be_newer(self, found: int) -> None:
        if found > tables.VERSION:
            raise StoreRefused(
                f"the outbox in {self._path} has version {found}, this Backline knows "
                f"{tables.VERSION}: upgrade this process"
            )

    def _must_not_be_older(self, found: int) -> None:
        if found < tables.VERSION:
            raise StoreRefused(tables.missing(self._path))


def _version(connection: sqlite3.Connection) -> int:
    try:
        [(found,)] = connection.execute(tables.READ_VERSION).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return 0
        raise
    return found or 0


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
