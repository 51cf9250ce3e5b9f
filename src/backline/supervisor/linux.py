"""What the kernel offers a parent and its children, and Python's library does not."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_OOM_WORST: Final = 1000

_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, as PID 1 is anyway."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when the thread that forked it ends.

    False: `parent` is gone already.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == parent


def be_killed_before(others: int) -> None:
    """When memory runs out, let the kernel take this process sooner, by `others` points."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError, ValueError):
        path.write_text(str(min(_OOM_WORST, int(path.read_text()) + others)))


def resident_bytes(pid: int) -> int:
    """The memory a process has in RAM; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def processes_with(assignment: str) -> list[int]:
    """The processes that were started with this in their environment, or forked from one."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                if assignment.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def kill_group(pgid: int) -> None:
    """SIGKILL to every process of a group; none left: nothing."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


def kill(pid: int) -> None:
    """SIGKILL; gone already: nothing."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
