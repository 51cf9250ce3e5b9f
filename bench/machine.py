"""The machine that measures: what a reader must know to compare."""

import os
import platform
import time
from pathlib import Path
from statistics import median, quantiles

from huey import __version__ as huey_version

from backline import __version__
from backline.stores.sqlite import driver, place

_BLOCK = 4096
_SYNCS = 200
_MOUNTS = Path("/proc/self/mountinfo")


def facts(folder: Path) -> dict[str, str]:
    """What this machine is, by name; `folder` is where the databases go."""
    quick, slow = _sync_ms(folder)
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} in the last minute, before",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Backline": __version__,
        "SQLite": f"{driver.version()}, WAL, synchronous=EXTRA",
        "Huey": huey_version,
        "file system": file_system(folder),
        "write 4 KiB and fdatasync": f"p50 {quick:.2f} ms, p99 {slow:.2f} ms",
    }


def file_system(folder: Path) -> str:
    """Its kind: `tmpfs` would make every comparison with a disk meaningless."""
    return place.file_system(folder, _MOUNTS.read_text()) or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sync_ms(folder: Path) -> tuple[float, float]:
    """p50 and p99 of what every commit waits for, in milliseconds."""
    file = folder / "sync"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    times: list[float] = []
    try:
        for at in range(_SYNCS):
            os.pwrite(descriptor, bytes(_BLOCK), at * _BLOCK)
            start = time.perf_counter()
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - start) * 1_000)
    finally:
        os.close(descriptor)
        file.unlink()
    return median(times), quantiles(times, n=100)[-1]
