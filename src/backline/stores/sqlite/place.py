"""Where the database file lies: what must be true of it before SQLite may touch it."""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from backline.errors import StoreRefused, StoreUnavailable
from backline.store import Hint

Identity: TypeAlias = tuple[int, int] | None
"""Device and inode of a file; None: there is none."""

_log: Final = logging.getLogger("backline.sqlite")
_WAL: Final = "-wal"
_LOGS: Final = (_WAL, "-shm", "-journal")
_FILES: Final = ("", _WAL, "-shm", "-gate", "-turn", *(f"-{hint}" for hint in Hint))
_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "gfs2", "glusterfs", "gpfs",
        "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs",
        "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.grpcfuse",
        "fuse.juicefs", "fuse.nfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs",
    }
)  # fmt: skip


def check(path: Path) -> None:
    """Raises StoreRefused, naming the remedy, for a place where the file cannot work."""
    folder = path.parent
    if not folder.is_dir():
        raise StoreRefused(f"there is no folder {folder} to keep {path.name} in: make it")
    if path.is_dir():
        raise StoreRefused(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise StoreRefused(f"{path} is no plain file: name another")
    kind = file_system(path, _mounts())
    if kind in _NETWORK:
        raise StoreRefused(
            f"{path} lies on {kind}, a network file system, where SQLite's locks and shared "
            "memory do not hold: put it on a local disk"
        )
    target = path if path.exists() else folder
    if not os.access(target, os.R_OK | os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefused(
            f"{path} cannot be written: give this user write permission on it and its folder"
        )


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that holds `path`, by the text of /proc/self/mountinfo.

    "" if that does not say.
    """
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not rest:
            continue
        point = parts[4].encode().decode("unicode_escape").rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(point) >= len(best):
            best, kind = point, rest.split(" ", 1)[0]
    return kind


def identities(path: Path) -> dict[Path, Identity]:
    """Tells the database and its side files from others that take their names.

    Nobody gives any of them another identity while a connection is open, but who removes or
    replaces files by hand; and one that is not there now may not come later.
    """
    return {file: _identity(file) for file in (Path(f"{path}{end}") for end in _FILES)}


def changed(known: Mapping[Path, Identity]) -> Path | None:
    """The first of the files that is no longer the one that was known."""
    for file, identity in known.items():
        if _identity(file) != identity:
            return file
    return None


def remove_orphans(path: Path, known: Mapping[Path, Identity]) -> None:
    """Remove the logs that a database left behind when it was removed or replaced.

    SQLite would play them into the file that comes next, or fail at them. They are orphans
    if there is no database, or if they are the very ones that were `known` beside another;
    whoever knew them keeps them open meanwhile, so that their inodes mean no other file.
    The caller holds the writers' turn. Raises StoreUnavailable.
    """
    main = _identity(path)
    if main is not None and known.get(path, main) == main:
        return
    for log in (Path(f"{path}{end}") for end in _LOGS):
        found = _identity(log)
        if found is None or (main is not None and known.get(log) != found):
            continue
        try:
            with suppress(FileNotFoundError):
                log.unlink()
        except OSError as error:
            raise StoreUnavailable(
                f"{log} was left behind by a database that was removed or replaced, and cannot "
                f"be removed: {error}"
            ) from error
        _log.warning("%s was left behind by a database that is gone; removed", log)


def _identity(path: Path) -> Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux, or no /proc: nothing can be said
