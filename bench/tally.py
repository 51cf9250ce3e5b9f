"""What worker processes did, told through a memory-mapped file: counting costs no lock.

A cell is a 64-bit integer. Each thread that counts has one of its own; then come the marks
that steer the task which burns Python, and a list of latencies.
"""

import mmap
import threading
import time
from itertools import count
from pathlib import Path
from typing import Final, Self

THREADS: Final = 256
LATENCIES: Final = 4096
_BURNING: Final = THREADS
_ENOUGH: Final = THREADS + 1
_TAKEN: Final = THREADS + 2
_FIRST: Final = THREADS + 3
_SIZE: Final = 8 * (_FIRST + LATENCIES)


class Tally:
    """One file of counts. One process counts at a time; any number may look."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")
        self._mine = threading.local()
        self._free = count()

    @classmethod
    def make(cls, path: Path) -> Self:
        """A fresh file, all zero."""
        path.write_bytes(bytes(_SIZE))
        return cls(path)

    def hit(self) -> None:
        """Count one; from any thread."""
        try:
            cell: int = self._mine.cell
        except AttributeError:
            cell = self._mine.cell = next(self._free) % THREADS
        self._cells[cell] += 1

    def total(self) -> int:
        """How often `hit` was called."""
        return sum(self._cells[:THREADS])

    def burn(self, limit: float) -> None:
        """Be busy with Python until `enough`, at most `limit` seconds."""
        until = time.monotonic() + limit
        self._cells[_BURNING] = 1
        spins = 0
        while not self._cells[_ENOUGH] and time.monotonic() < until:
            for step in range(1_000):
                spins += step * step % 7
        self._cells[_BURNING] = 0

    @property
    def burning(self) -> bool:
        """A call of `burn` is under way."""
        return bool(self._cells[_BURNING])

    def enough(self) -> None:
        """End `burn`, in whichever process it runs."""
        self._cells[_ENOUGH] = 1

    def arrived(self, sent_ns: int) -> None:
        """Note how long ago `sent_ns` was, on the machine's monotonic clock."""
        at = self._cells[_TAKEN]
        self._cells[_FIRST + at % LATENCIES] = time.monotonic_ns() - sent_ns
        self._cells[_TAKEN] = at + 1

    @property
    def arrivals(self) -> int:
        """How often `arrived` was called."""
        return self._cells[_TAKEN]

    def arrived_since(self, arrivals: int) -> bool:
        """`arrived` was called since there were so many."""
        return self._cells[_TAKEN] > arrivals

    def latencies_ms(self) -> list[float]:
        """What was noted, oldest first."""
        taken = min(self._cells[_TAKEN], LATENCIES)
        return [ns / 1e6 for ns in self._cells[_FIRST : _FIRST + taken]]
