"""Turns at writing: processes take them in the order in which they come.

SQLite makes a writer that finds the file locked try again and again, and beside two busy
writers an occasional one may wait for a tenth of a second. Here each waits in a kernel
queue: who wants to write locks the gate, then the turn, then opens the gate for the next.
One waits for the turn, the others for the gate, and nobody who comes later passes them.

The locks are advice among ourselves; `begin immediate` still decides. They are `flock`s on
side files, because closing any descriptor of the database itself would drop SQLite's own.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _nothing() -> None:
    """There is nothing to see to."""


class Turns:
    """The two locks beside one database, for one thread of one process."""

    def __init__(self, path: Path) -> None:
        self._gate = _open(Path(f"{path}-gate"))
        try:
            self._turn = _open(Path(f"{path}-turn"))
        except OSError:
            os.close(self._gate)
            raise

    @contextmanager
    def mine(self, before_waiting: Callable[[], None] = _nothing) -> Iterator[None]:
        """Take the turn, and give it up at the end.

        `before_waiting` is called once if somebody else has it, and may raise.
        """
        if not self._free():
            before_waiting()
            self._wait()
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _free(self) -> bool:
        """Take the turn if nobody has it or waits for it."""
        try:
            fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
        except BlockingIOError:
            return False
        return True

    def _wait(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the side files; in the child of a fork this leaves the parent's locks alone,
        and keeping them open there would keep a lock that its dead holder never gave up."""
        os.close(self._gate)
        os.close(self._turn)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough to lock it
