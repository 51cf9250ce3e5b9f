"""Steps the wall clock of a Python process while it runs.

The interpreter loads this by its name, from a folder on PYTHONPATH, before anything reads
a clock. The step, in microseconds, stands in a file that the test writes; the clocks that
never step are left alone, as they are when a machine's clock is set.
"""

import mmap
import os
import struct
import time
from pathlib import Path


def _step(path: Path) -> None:
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    true = time.time_ns
    by = struct.Struct("=q")

    def time_ns() -> int:
        return true() + by.unpack_from(memory)[0] * 1_000

    def seconds() -> float:
        return time_ns() / 1e9

    time.time_ns, time.time = time_ns, seconds


if "CHAOS_WALL_CLOCK" in os.environ:
    _step(Path(os.environ["CHAOS_WALL_CLOCK"]))
