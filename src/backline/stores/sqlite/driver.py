"""The one door to SQLite: a typed connection, and every error of its as one of ours."""

import ctypes
import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import apsw

from backline.errors import StoreError, StoreFull, StoreRefused, StoreUnavailable
from backline.faults import fault
from backline.job import Micros

Params: TypeAlias = Mapping[str, object]
"""Text, integers, floats, bytes and None, by name."""
Row: TypeAlias = tuple[Any, ...]

OLDEST: Final = "3.51.3"
"""Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode (sqlite.org/wal.html, "the
WAL-reset bug")."""
BUSY: Final[Micros] = 5_000_000
"""How long a statement waits for a lock that a stranger to our turns holds."""
_RESTART_BUSY: Final[Micros] = 100_000
_CACHE_KIB: Final = 16 * 1024
_PAGE: Final = 4096
_SYNCED: Final = "pragma synchronous = extra"
_UNSYNCED: Final = "pragma synchronous = normal"
_NOTHING: Final[Params] = {}


def version() -> str:
    """The version of the SQLite that is linked in."""
    return str(apsw.sqlite_lib_version())


def check_version(found: str) -> None:
    """Raises StoreRefused for a SQLite that can corrupt the file."""
    if _parts(found) < _parts(OLDEST):
        raise StoreRefused(
            f"SQLite {found} can corrupt a database in WAL mode; {OLDEST} or later is needed: "
            "upgrade apsw"
        )


class Connection:
    """One connection to one file; used by one thread at a time, and never after a fork."""

    def __init__(self, path: Path, *, vfs: str | None = None, create: bool = False) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        self._path = path
        self._busy = BUSY // 1_000
        self._apsw: apsw.Connection | None = None
        self._synced = True
        try:
            self._apsw = apsw.Connection(str(path), flags=flags, vfs=vfs)
            self._apsw.set_busy_timeout(self._busy)
            self.script(
                f"pragma cache_size = -{_CACHE_KIB}; pragma temp_store = memory;"
                f"{_SYNCED}; pragma wal_autocheckpoint = 0;"
                "pragma trusted_schema = off"
            )
        except apsw.Error as error:
            raise self._translate(error) from error

    def run(self, sql: str, params: Params = _NOTHING) -> int:
        """Run a statement that answers nothing; returns how many rows it changed."""
        connection = self._open()
        try:
            connection.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise self._translate(error) from error
        fault("sqlite.statement")
        return connection.changes()

    def value(self, sql: str, params: Params = _NOTHING) -> Any:
        """The one cell that a statement answers; None if it answers no row."""
        rows = self.rows(sql, params)
        return rows[0][0] if rows else None

    def text(self, sql: str, params: Params = _NOTHING) -> str:
        """The one cell that a statement answers, a blob of text; empty if it answers no row.

        Bytes that are no Unicode are replaced. SQLite keeps them as text all the same, and as
        such apsw could not hand over the row they are in, nor any other of the statement.
        """
        cell = self.value(sql, params)
        return "" if cell is None else bytes(cell).decode(errors="replace")

    def rows(self, sql: str, params: Params = _NOTHING) -> list[Row]:
        """All rows that a statement answers."""
        try:
            found = self._open().execute(sql, params).fetchall()
        except apsw.Error as error:
            raise self._translate(error) from error
        fault("sqlite.statement")
        return found

    def script(self, sql: str) -> None:
        """Run statements separated by semicolons; what they answer is dropped."""
        try:
            self._open().execute(sql).fetchall()
        except apsw.Error as error:
            raise self._translate(error) from error

    def rollback(self) -> None:
        """Undo what is under way, if anything is."""
        if self._apsw is not None and self._apsw.in_transaction:
            self.run("rollback")

    def last_rowid(self) -> int:
        """The rowid of the last row that was inserted."""
        return self._open().last_insert_rowid()

    def on_commit(self, call: Callable[[int], None]) -> None:
        """After every commit, tell how many pages the write-ahead log has."""

        def hook(_connection: apsw.Connection, _name: str, pages: int) -> int:
            call(pages)
            return apsw.SQLITE_OK

        self._open().set_wal_hook(hook)

    @property
    def synced(self) -> bool:
        """Whether a commit is on the disk before it returns; else it is by `sync`, or by the
        next one that is, of any connection. To be set between transactions.

        Synced, so is the folder when a file in it is removed: the rollback journal of the
        first commits, which, had it come back after a power cut, would undo all that followed.
        """
        return self._synced

    @synced.setter
    def synced(self, synced: bool) -> None:
        if synced != self._synced:
            self.script(_SYNCED if synced else _UNSYNCED)
            self._synced = synced

    def sync(self) -> None:
        """Have on the disk what was committed. Raises OSError."""
        log = self._open().filename_wal  # beside the file itself, which `_path` may be a link to
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)  # SQLite has its locks on other files

    def checkpoint(self, *, restart: bool = False) -> None:
        """Copy the write-ahead log into the file, as far as readers let it.

        `restart`: all of it, so that the log begins anew, if readers and others who copy
        make way within a moment. Only for who has the writers' turn.
        """
        mode = apsw.SQLITE_CHECKPOINT_RESTART if restart else apsw.SQLITE_CHECKPOINT_PASSIVE
        connection = self._open()
        try:
            connection.set_busy_timeout(_RESTART_BUSY // 1_000)
            connection.wal_checkpoint("main", mode)
        except apsw.BusyError:
            pass  # another process is at it, or a reader stays; the next commit tries again
        except apsw.Error as error:
            raise self._translate(error) from error
        finally:
            connection.set_busy_timeout(self._busy)

    def close(self, *, lost: bool = False) -> None:
        """Close the connection. Repeated: nothing.

        `lost`: its files may have lost their names, so remove nothing by name, and copy no
        log into the file: the names may be those of another database by now.
        """
        connection, self._apsw = self._apsw, None
        if connection is not None:
            try:
                if lost:
                    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close()
            except apsw.Error as error:
                raise self._translate(error) from error

    def abandon(self) -> None:
        """Never touch this connection again, not even to close it: it is a parent's.

        Closing in the child of a fork could take away the parent's write-ahead log.
        """
        connection, self._apsw = self._apsw, None
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def _open(self) -> apsw.Connection:
        if self._apsw is None:
            raise StoreUnavailable(f"{self._path} is closed")
        return self._apsw

    def _translate(self, error: apsw.Error) -> Exception:
        os_error = 0 if self._apsw is None else self._apsw.system_errno
        return _translate(error, self._path, os_error)


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


_REMEDIES: Final[Mapping[type[apsw.Error], str]] = {
    apsw.NotADBError: "is not a SQLite database: name another file, or move this one away",
    apsw.CorruptError: (
        "is corrupt: restore a backup, or recover what can be read with `sqlite3 FILE .recover`"
    ),
    apsw.FormatError: "is not a SQLite database that this version can read",
    apsw.ReadOnlyError: "cannot be written: give this user write permission on it and its folder",
    apsw.PermissionsError: "may not be opened: give this user permission on it and its folder",
    apsw.AuthError: "may not be opened: give this user permission on it and its folder",
}
_PASSING: Final = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.ProtocolError,
    apsw.InterruptError,
    apsw.NoMemError,
    apsw.SchemaChangeError,
    apsw.CantOpenError,
)


def _translate(error: apsw.Error, path: Path, os_error: int) -> Exception:
    for kind, remedy in _REMEDIES.items():
        if isinstance(error, kind):
            return StoreRefused(f"{path} {remedy} ({error})")
    if isinstance(error, apsw.FullError) or os_error in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"the disk of {path} is full; nothing was written: make room")
    if isinstance(error, apsw.IOError):
        why = f": {os.strerror(os_error)}" if os_error else ""
        return StoreUnavailable(f"{path} could not be read or written{why} ({error})")
    if isinstance(error, _PASSING):
        return StoreUnavailable(f"{path}: {error}")
    if isinstance(error, StoreError):
        return error
    return ValueError(f"{path}: SQLite refused a statement: {error}")
