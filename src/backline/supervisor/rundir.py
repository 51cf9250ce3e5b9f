"""The run directory: where supervisors keep their boards, and find those left behind.

Each supervisor has a folder in it, with a lock file that it holds for life and the boards
of its workers. A folder whose lock can be taken belongs to nobody any more: the first to
take it adopts what is in it.
"""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from backline.errors import ConfigError
from backline.job import WorkerName

_LOCK: Final = "lock"
_STORE: Final = "store"
_NEW: Final = ".new-"


class Folder:
    """A supervisor's folder, locked by this process until `close` or its end."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path: Final = path
        self._lock = lock

    @classmethod
    def make(cls, run_dir: Path, name: str) -> Self:
        """A new folder of our own. Raises ConfigError if `run_dir` is not ours alone."""
        _own(run_dir)
        new = run_dir / f"{_NEW}{name}"
        new.mkdir(mode=0o700)
        lock = _try_lock(new)
        if lock is None:
            raise ConfigError(f"{new} is locked by another process")
        path = run_dir / name
        new.rename(path)  # only now, locked, can others see it
        return cls(path, lock)

    def board(self, worker: WorkerName) -> Path:
        """Where the board of a worker is."""
        return self.path / f"{worker}.board"

    def boards(self) -> list[Path]:
        """The board files in it."""
        return sorted(self.path.glob("*.board"))

    def belongs_to(self, url: str) -> None:
        """Note which store the leases on the boards are in; the URL itself stays secret."""
        (self.path / _STORE).write_text(_digest(url))

    @property
    def adoptable(self) -> bool:
        """It is known which store its boards belong to."""
        return (self.path / _STORE).exists()

    def remove(self) -> None:
        """Delete it, and what is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Leave it to whoever adopts it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def abandoned(run_dir: Path, url: str) -> Iterator[Folder]:
    """The folders of supervisors that are gone and worked on this store; each now ours."""
    wanted = _digest(url)
    for path in sorted(run_dir.iterdir()):
        if path.name.startswith(_NEW) or _store_of(path) != wanted:
            continue
        lock = _try_lock(path)
        if lock is not None:
            yield Folder(path, lock)


def _store_of(path: Path) -> str | None:
    try:
        return (path / _STORE).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _digest(url: str) -> str:
    """Names the store: a path means another file in another directory, a server is the same."""
    where = "" if urlsplit(url).netloc else str(Path.cwd())
    return hashlib.sha256(f"{where}\n{url}".encode()).hexdigest()


def _try_lock(path: Path) -> int | None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _own(run_dir: Path) -> None:
    """Make the directory, or see that nobody else can write to it: boards are believed."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = run_dir.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"{run_dir} is not a directory that only you can write to; "
            "remove it or name another as the run directory"
        )
