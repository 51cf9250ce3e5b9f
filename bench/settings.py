"""How much is measured, and where the files go."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = "BENCH_DIR"


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int
    drained: int
    """Jobs in a drain of ours."""
    grouped: int
    """Jobs of a group, and its continuation."""
    drained_by_peer: int
    enqueued: int
    callers: int = 100
    by_caller: int
    """Jobs that each concurrent caller enqueues."""
    pings: int
    idle_s: float
    kept: int
    """Jobs of the large databases."""
    starts: int
    """Fresh processes whose import is timed."""


FULL: Final = Size(
    rounds=5,
    drained=50_000,
    grouped=100_000,
    drained_by_peer=5_000,
    enqueued=50_000,
    by_caller=100,
    pings=300,
    idle_s=30.0,
    kept=1_000_000,
    starts=15,
)
QUICK: Final = Size(
    rounds=1,
    drained=4_000,
    grouped=8_000,
    drained_by_peer=500,
    enqueued=5_000,
    by_caller=10,
    pings=30,
    idle_s=3.0,
    kept=20_000,
    starts=3,
)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for databases, gone afterwards; below $BENCH_DIR, else on the system's disk.

    The default is not /tmp, which is memory on many machines.
    """
    parent = os.environ.get(FOLDER) or "/var/tmp"
    with tempfile.TemporaryDirectory(prefix="backline-bench-", dir=parent) as folder:
        yield Path(folder)
