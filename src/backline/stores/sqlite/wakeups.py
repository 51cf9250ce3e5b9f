"""Wake-ups: telling whoever waits, in any process, that a commit made work or ended jobs.

A commit that did so writes a few bytes to a side file of the database, one for each kind of
hint; some hints come when it is under way already, and then once more. Watchers of other
processes see that by inotify, on their own event loop: no thread, and no CPU while nothing
happens. Where there is no inotify, they look at the file's time, more and more seldom while
nothing happens. Watchers of the same process are told directly; that alone serves the
simulation, whose loop has no I/O.

A hint costs its receiver a look at the database, so a busy neighbour must not spin an idle
worker: the first hints go through at once, a stream of them at `PACE` a second; `paid` gives
the allowance back when a hint was of use.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final, TypeAlias
from weakref import WeakSet

from backline.store import Hint
from backline.stores.loops import call_soon

Wake: TypeAlias = Callable[[], None]
Stamps: TypeAlias = tuple[bytes, ...]
"""Of each file that is watched: which commit of which process wrote to it last."""

PACE: Final = 25.0
"""Hints a second that a watcher is woken by when none of them is of use."""
BURST: Final = 5.0
"""Hints that a watcher which was left alone for a while is woken by at once."""
SOONEST_POLL: Final = 0.002
LATEST_POLL: Final = 0.1

_IN_MODIFY: Final = 0x0000_0002
_IN_GONE: Final = 0x0000_0004 | 0x0000_0400 | 0x0000_0800
"""IN_ATTRIB (a name was removed), IN_DELETE_SELF, IN_MOVE_SELF."""
_NONBLOCK_CLOEXEC: Final = os.O_NONBLOCK | os.O_CLOEXEC
_STAMP: Final = struct.Struct("<qq")
_LEAST_READ: Final = 4096


class Wakeups:
    """The hints of one database, for one handle of one process."""

    def __init__(self, path: Path, token: int) -> None:
        """`token` tells this process from all others, in other containers too."""
        self._token = token
        _tokens.add(token)
        self._files = {hint: Path(f"{path}-{hint}") for hint in Hint}
        self._descriptors = _open_all(self._files)
        self._key = os.path.realpath(path)
        self._mine: WeakSet[_Watcher] = WeakSet()
        self._told = 0
        self._under_way = False

    def tell_early(self, hints: Collection[Hint]) -> None:
        """The commit under way will have done this, unless it fails. As `tell`."""
        self._told += 1
        self._under_way = True
        self._pass_on(hints)

    def tell(self, hints: Collection[Hint]) -> None:
        """A commit did this. From one thread at a time, any; never raises."""
        if not self._under_way:
            self._told += 1
        self._under_way = False
        self._pass_on(hints)

    def _pass_on(self, hints: Collection[Hint]) -> None:
        """Under the stamp of the commit: hints that come twice count once."""
        stamp = _STAMP.pack(self._token, self._told)
        for hint in hints:
            with suppress(OSError):  # a hint may be lost
                os.pwrite(self._descriptors[hint], stamp, 0)
        for watcher in _watchers(self._key):
            if not watcher.wanted.isdisjoint(hints):
                watcher.tell(stamp)

    def paid(self) -> None:
        """A wake-up of a watcher of this handle was of use. From any thread."""
        for watcher in tuple(self._mine):
            watcher.allowance = BURST

    @contextmanager
    def watching(self, hints: Collection[Hint], wake: Wake) -> Iterator[None]:
        """Call `wake` on the running loop for `hints`, while inside."""
        files = {hint: self._files[hint] for hint in hints}
        watcher = _Watcher(asyncio.get_running_loop(), frozenset(hints), wake)
        self._mine.add(watcher)
        with _registered(self._key, watcher), _listening(watcher, files):
            try:
                yield
            finally:
                watcher.stop()

    def reopen(self) -> None:
        """Go on with the files that have the names now; watchers follow. Raises OSError."""
        self.close()
        self._descriptors = _open_all(self._files)
        for watcher in _watchers(self._key):
            watcher.follow()

    def close(self) -> None:
        """Tell nobody any more."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}


class _Watcher:
    """Who is to be woken, and how often at most."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wanted: frozenset[Hint], wake: Wake
    ) -> None:
        self.loop = loop
        self.wanted = wanted
        self.allowance = BURST
        self.ear: _Ear | None = None
        self._wake = wake
        self._at = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._afterwards: Wake | None = None
        self._told = False
        self._stopped = False
        self._stamps: Stamps = ()

    def tell(self, stamp: bytes) -> None:
        """From any thread: a commit of this process did something."""
        if self._told or self._stopped:
            return
        self._told = True
        call_soon(self.loop, self.hint, (stamp,))

    def follow(self) -> None:
        """From any thread: other files have the names; what happened meanwhile was unheard."""
        call_soon(self.loop, self._follow)

    def hint(self, stamps: Stamps = ()) -> None:
        """On the loop: wake now, or as soon as the pace allows.

        At once and free of charge if the last hint had the same stamps.
        """
        self._told = False
        if self._timer is not None or self._stopped:
            return
        again, self._stamps = bool(stamps) and stamps == self._stamps, stamps
        if again:
            self._wake()
            return
        now = self.loop.time()
        self.allowance = min(BURST, self.allowance + (now - self._at) * PACE)
        self._at = now
        if self.allowance >= 1.0:
            self._go()
        else:
            wait = (1.0 - self.allowance) / PACE
            self._timer = self.loop.call_later(wait, self._late)

    def put_off(self, listen: Wake) -> bool:
        """On the loop: whether a hint waits for its turn, so that others are not worth
        hearing of before `listen` is called."""
        if self._timer is None:
            return False
        self._afterwards = listen
        return True

    def stop(self) -> None:
        """On the loop: wake no more."""
        self._stopped = True
        self._afterwards = None
        if self._timer is not None:
            self._timer.cancel()

    def _follow(self) -> None:
        if self.ear is not None:
            self.ear.follow()
        self.hint()

    def _late(self) -> None:
        self._timer = None
        listen, self._afterwards = self._afterwards, None
        if listen is not None:
            listen()
        now = self.loop.time()
        self.allowance = max(1.0, self.allowance + (now - self._at) * PACE)
        self._at = now
        self._go()

    def _go(self) -> None:
        self.allowance -= 1.0
        self._wake()


_registry: Final[dict[str, set[_Watcher]]] = {}
_registry_lock: Final = Lock()
_tokens: Final[set[int]] = set()
"""Whose stamps this process need not hear of by inotify: its watchers were told."""


def _forget_parent() -> None:
    """In the child of a fork: the watchers, and who holds their lock, are the parent's."""
    _registry.clear()
    _tokens.clear()
    if _registry_lock.locked():
        _registry_lock.release()


os.register_at_fork(after_in_child=_forget_parent)


@contextmanager
def _registered(key: str, watcher: _Watcher) -> Iterator[None]:
    with _registry_lock:
        _registry.setdefault(key, set()).add(watcher)
    try:
        yield
    finally:
        with _registry_lock:
            _registry[key].discard(watcher)
            if not _registry[key]:
                del _registry[key]


def _watchers(key: str) -> tuple[_Watcher, ...]:
    if key not in _registry:
        return ()
    with _registry_lock:
        return tuple(_registry.get(key, ()))


@contextmanager
def _listening(watcher: _Watcher, files: Mapping[Hint, Path]) -> Iterator[None]:
    """Hear of what other processes write, by inotify or else by looking now and then."""
    descriptor = _inotify(files.values())
    if descriptor is None:
        poll = _Poll(watcher, tuple(files.values()))
        try:
            yield
        finally:
            poll.stop()
        return
    ear = _Ear(descriptor, watcher, tuple(files.values()))
    watcher.ear = ear
    try:
        ear.listen()
        yield
    finally:
        watcher.ear = None
        ear.close()


class _Ear:
    """Hears by inotify; deaf while the watcher could not make use of another hint."""

    def __init__(self, descriptor: int, watcher: _Watcher, files: tuple[Path, ...]) -> None:
        self._descriptor = descriptor
        self._watcher = watcher
        self._files = files
        self._listening = False

    def listen(self) -> None:
        """Hear of what is written from now on, and of what was meanwhile."""
        with suppress(NotImplementedError):  # a simulated loop: there are no other processes
            self._watcher.loop.add_reader(self._descriptor, self._hear)
            self._listening = True

    def follow(self) -> None:
        """Hear of the files that have the names now; those of before fade away unwritten."""
        _add_watches(self._descriptor, self._files)

    def close(self) -> None:
        """Hear no more."""
        self._hush()
        os.close(self._descriptor)

    def _hush(self) -> None:
        if self._listening:
            self._listening = False
            self._watcher.loop.remove_reader(self._descriptor)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self._descriptor, _LEAST_READ)) == _LEAST_READ:
                pass
        stamps = tuple(map(_stamp, self._files))
        if any(_teller(stamp) not in _tokens for stamp in stamps):
            self._watcher.hint(stamps)
        if self._watcher.put_off(self.listen):
            self._hush()


def _stamp(file: Path) -> bytes:
    """Which commit the last hint was of; empty if that cannot be said."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _STAMP.size)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def _teller(stamp: bytes) -> int | None:
    """The token of who wrote a stamp."""
    return _STAMP.unpack(stamp)[0] if len(stamp) == _STAMP.size else None


class _Poll:
    """Looks at the times of the files; the longer nothing happens, the more seldom."""

    def __init__(self, watcher: _Watcher, files: tuple[Path, ...]) -> None:
        self._watcher = watcher
        self._files = files
        self._seen = self._look()
        self._wait = SOONEST_POLL
        self._timer = watcher.loop.call_later(self._wait, self._check)

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        seen = self._look()
        if seen == self._seen:
            self._wait = min(LATEST_POLL, self._wait * 1.5)
        else:
            self._seen, self._wait = seen, SOONEST_POLL
            self._watcher.hint()
        self._timer = self._watcher.loop.call_later(self._wait, self._check)

    def _look(self) -> tuple[int, ...]:
        return tuple(_changed(file) for file in self._files)


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _open_all(files: Mapping[Hint, Path]) -> dict[Hint, int]:
    """Open all of them, or none: whoever cannot open the store tries again and again."""
    descriptors: dict[Hint, int] = {}
    try:
        for hint, file in files.items():
            descriptors[hint] = _open(file)
    except OSError:
        for descriptor in descriptors.values():
            os.close(descriptor)
        raise
    return descriptors


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _inotify(files: Collection[Path]) -> int | None:
    """A descriptor that is readable once one of the files was written or lost its name; None:
    not here."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "inotify_init1"):
        return None
    descriptor: int = library.inotify_init1(_NONBLOCK_CLOEXEC)
    if descriptor < 0:
        return None  # for example, too many instances of this user
    if not _add_watches(descriptor, files):
        os.close(descriptor)
        return None
    return descriptor


def _add_watches(descriptor: int, files: Collection[Path]) -> bool:
    add = ctypes.CDLL(None, use_errno=True).inotify_add_watch
    return all(add(descriptor, os.fsencode(file), _IN_MODIFY | _IN_GONE) >= 0 for file in files)
