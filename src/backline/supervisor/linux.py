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


def available_bytes(root: Path = Path("/")) -> tuple[int, int] | None:
    """How much memory processes like this one can still have, and of how much: the machine's,
    or that of a control group that bounds it. None: the kernel does not say.
    """
    try:
        told = (root / "proc/meminfo").read_text().splitlines()
        kib = {
            name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in told)
        }
        found = [(kib["MemAvailable"] << 10, kib["MemTotal"] << 10)]
    except (OSError, ValueError, LookupError):
        return None
    with contextlib.suppress(OSError, ValueError, LookupError):
        [ours] = [
            line[3:].lstrip("/")
            for line in (root / "proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        ]
        group = root / "sys/fs/cgroup"
        for each in (group / ours, *(group / parent for parent in Path(ours).parents)):
            found += _left_in(each)
    return min(found)


def _left_in(group: Path) -> list[tuple[int, int]]:
    """What a control group has left, page cache that it can drop included; none: no bound."""
    try:
        most = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return [(most - taken + int(stat["inactive_file"]), most)]
    except (OSError, ValueError, LookupError):  # "max" is no number
        return []


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
