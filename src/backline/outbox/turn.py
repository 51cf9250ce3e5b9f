"""Turns at relaying: of the relays of one outbox on a host, one moves rows at a time.

It only saves work. A relay whose turn does not come for a while, because the one that has it
stands still, goes on without: moving a job twice adds it once.
"""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Final

from backline.clock import Clock
from backline.job import SECOND, Micros

PATIENCE: Final[Micros] = SECOND // 2


class Turn:
    """A lock that the relays of one outbox share. Not for several threads.

    The lock file lies in the directory for temporary files and is never beside the database:
    that folder is the caller's. Without a database that others can see it is always our turn.
    """

    def __init__(self, database: str | None, clock: Clock) -> None:
        self._clock = clock
        self._waiting_since: Micros | None = None
        self._file = -1
        self._path = None if database is None else _lock_file(database)

    def take(self) -> bool:
        """Whether it is our turn now; never waits."""
        if self._file < 0 and self._path is not None:
            self._file = _open(self._path)
        if self._file < 0 or self._locked():
            self._waiting_since = None
            return True
        now = self._clock.tick()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= PATIENCE

    def give_up(self) -> None:
        """Let another have it. Repeated: nothing."""
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock file; a later `take` opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _lock_file(database: str) -> Path:
    folder = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - see _open
    name = hashlib.sha256(os.fsencode(database)).hexdigest()[:16]
    return folder / f"backline-relay-{os.getuid()}-{name}.lock"


def _open(path: Path) -> int:
    """The lock file, or -1 where there can be none: then everybody has a turn."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except OSError:
        return -1
