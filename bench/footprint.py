"""What Backline costs before it does anything: time to import, memory of a worker."""

import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from bench import bare
from bench.processes import Failure, backline
from bench.producing import url
from bench.report import Bar, Finding, absolute
from bench.settings import Size

_TIMED: Final = (
    "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
)
_PAGES_SETTLE_S: Final = 3.0
_SIZE: Final = re.compile(r"^(Rss|Pss):\s+(\d+) kB$", re.MULTILINE)


def run(size: Size, folder: Path) -> list[Finding]:
    """Imports in fresh processes, in turn with the peer's; then one worker's memory."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(size.starts):
        ours.append(_import_ms("backline"))
        theirs.append(_import_ms("huey"))
    spread = f"{size.starts} fresh processes, {min(ours):.0f} to {max(ours):.0f} ms"
    place = folder / "bare"
    place.mkdir()
    with backline(bare.TARGET, url(place), place, {}) as running:
        worker = running.worker()
        time.sleep(_PAGES_SETTLE_S)
        running.check()
        rss, pss = _memory_mib(worker)
        above, above_pss = _memory_mib(running.top)
    memory = f"resident; its share {pss:.0f} MiB; supervisor {above:.0f}, its share {above_pss:.0f}"
    peer = f"import of huey {median(theirs):.0f} ms"
    return [
        absolute("import backline", median(ours), Bar(150, "ms", at_most=True), spread, peer),
        absolute("worker without user code", rss, Bar(60, "MiB", at_most=True), memory),
    ]


def _import_ms(module: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout) * 1_000


def _memory_mib(process: psutil.Process) -> tuple[float, float]:
    """Resident memory, and the process's own share of it (shared pages divided)."""
    found = dict(_SIZE.findall(Path(f"/proc/{process.pid}/smaps_rollup").read_text()))
    if found.keys() != {"Rss", "Pss"}:
        raise Failure(f"/proc/{process.pid}/smaps_rollup does not say what is resident")
    return int(found["Rss"]) / 1024, int(found["Pss"]) / 1024
