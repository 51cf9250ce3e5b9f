"""Noticing that source files changed, by looking at them twice a second."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from backline.clock import Clock

_PAUSE_S: Final = 0.5
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})
_MOST: Final = 5_000
"""So many files are looked at; whoever has more wants a tool made for it."""

Stamps: TypeAlias = dict[str, tuple[int, int]]


def watch(folder: Path, clock: Clock, changed: Callable[[str], None]) -> None:
    """Call `changed` with the name of a Python file, in a thread, whenever some have changed."""
    before = stamps(folder)
    pause = threading.Event()

    def look() -> None:
        nonlocal before
        while not pause.wait(_PAUSE_S):
            now = stamps(folder)
            name = difference(before, now)
            before = now
            if name is not None:
                changed(name)

    clock.thread("backline-reload", look)


def replace_workers() -> None:
    """Have the supervisor in this process replace its workers one by one."""
    os.kill(os.getpid(), signal.SIGHUP)


def stamps(folder: Path) -> Stamps:
    """When each Python file below `folder` was changed last, and its size."""
    found: Stamps = {}
    for path in _sources(folder):
        try:
            seen = path.stat()
        except OSError:  # just deleted, or a link to nowhere
            continue
        found[str(path.relative_to(folder))] = (seen.st_mtime_ns, seen.st_size)
        if len(found) >= _MOST:
            break
    return found


def difference(before: Stamps, now: Stamps) -> str | None:
    """A file that is new, gone or other than before; None: there is none."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return name
    return None


def _sources(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        yield from (Path(root, name) for name in files if name.endswith(".py"))
