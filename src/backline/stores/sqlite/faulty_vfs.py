"""A disk that fails on purpose, for tests: full, broken, or without power at any moment.

    with FaultyVfs("faulty") as disk:
        store = SqliteStore(path, vfs=disk.name)
        ...
        disk.full = True

Everything goes to real files and is logged. From the log, `power_cuts` builds what a disk
would hold had the power gone at any one write: all that was synced before, and of the rest
nothing, or (with a generator of randomness) any part of it, the last write torn in two.
"""

import random
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

import apsw

SECTOR: Final = 512
"""What a disk writes as a whole, or not at all."""


class Write(NamedTuple):
    """Bytes were written to a file."""

    file: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file was cut, or made longer."""

    file: str
    size: int


class Sync(NamedTuple):
    """All that was written to a file is on the disk."""

    file: str


class Delete(NamedTuple):
    """A file was removed; `synced`: and its folder synced."""

    file: str
    synced: bool


class Mark(NamedTuple):
    """The test notes where it was: something was acknowledged."""

    note: str


Event: TypeAlias = Write | Truncate | Sync | Delete | Mark


class FaultyVfs(apsw.VFS):
    """A SQLite VFS over the ordinary one; registered under `name` while inside."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.log: list[Event] = []
        self.full = False
        """Writes that make a file longer fail, as on a disk without room."""
        self.short = False
        """With `full`: the first half of such a write gets through."""
        self.broken = False
        """Every write fails."""
        self.deaf = False
        """Every sync fails."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unregister()

    def mark(self, note: str) -> None:
        """Note in the log that something was acknowledged."""
        self.log.append(Mark(note))

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file that fails as told."""
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Remove a file, and log it."""
        super().xDelete(filename, syncdir)
        self.log.append(Delete(filename, bool(syncdir)))


class _File(apsw.VFSFile):
    def __init__(
        self, disk: FaultyVfs, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        disk = self._disk
        if disk.broken:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
        if disk.full and offset + len(data) > self.xFileSize():
            if disk.short:
                self._put(bytes(data[: len(data) // 2]), offset)
            raise apsw.exception_for(apsw.SQLITE_FULL)
        self._put(bytes(data), offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.log.append(Truncate(self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.deaf:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)
        self._disk.log.append(Sync(self._name))

    def _put(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.log.append(Write(self._name, offset, data))


class PowerCut(NamedTuple):
    """What the disk holds after a cut, and what had been acknowledged before it."""

    files: Mapping[str, bytes]
    marks: tuple[str, ...]


def power_cuts(log: list[Event], rng: random.Random | None = None) -> Iterator[PowerCut]:
    """A cut before each event of the log, and one after the last.

    Without `rng` every write since the last sync of its file is gone. With it each of them
    may have reached the disk or not, and one may be torn between two sectors.
    """
    durable: dict[str, bytearray] = {}
    pending: list[Event] = []
    marks: list[str] = []
    for event in (*log, None):
        if event is None or not isinstance(event, Mark):
            kept = [] if rng is None else _survivors(pending, rng)
            files = {name: bytearray(data) for name, data in durable.items()}
            for survivor in kept:
                _replay(files, survivor)
            yield PowerCut({name: bytes(data) for name, data in files.items()}, tuple(marks))
        match event:
            case None:
                return
            case Mark(note):
                marks.append(note)
            case Delete(file, synced=True):
                pending = [e for e in pending if _file(e) != file]
                durable.pop(file, None)
            case Sync(file):
                for earlier in [e for e in pending if _file(e) == file]:
                    _replay(durable, earlier)
                pending = [e for e in pending if _file(e) != file]
                durable.setdefault(file, bytearray())
            case _:
                pending.append(event)


def _survivors(pending: list[Event], rng: random.Random) -> list[Event]:
    kept = [event for event in pending if rng.random() < 0.5]
    torn = rng.randrange(len(kept)) if kept else -1
    return [_torn(event, rng) if at == torn else event for at, event in enumerate(kept)]


def _torn(event: Event, rng: random.Random) -> Event:
    if not isinstance(event, Write):
        return event
    sectors = rng.randrange(len(event.data) // SECTOR + 1)
    return event._replace(data=event.data[: sectors * SECTOR])


def _file(event: Event) -> str | None:
    return None if isinstance(event, Mark) else event.file


def _replay(files: dict[str, bytearray], event: Event) -> None:
    match event:
        case Write(file, offset, data):
            content = files.setdefault(file, bytearray())
            content.extend(bytes(max(0, offset + len(data) - len(content))))
            content[offset : offset + len(data)] = data
        case Truncate(file, size):
            content = files.setdefault(file, bytearray())
            content.extend(bytes(max(0, size - len(content))))
            del content[size:]
        case Delete(file, _):
            files.pop(file, None)
        case Sync() | Mark():
            pass
