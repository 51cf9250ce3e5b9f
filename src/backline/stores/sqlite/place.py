"""Where the database file lies: what must be true of it before SQLite may touch it."""

import os
from pathlib import Path
from typing import Final

from backline.errors import StoreRefused

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


def identity(path: Path) -> tuple[int, int] | None:
    """Tells one file from another that takes its name; None: there is none."""
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
