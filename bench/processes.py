"""Worker processes, started as a user starts them, and what they do in how long."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.tally import Tally

ROOT: Final = Path(__file__).parents[1]
LIMIT_S: Final = 120.0
"""How long anything that is waited for may take."""
_STOP_S: Final = 20.0
_LOOK_S: Final = 0.002


class Failure(Exception):
    """A process did not do what was to be measured."""


class Running:
    """A process that was started, with its children."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.top = psutil.Process(popen.pid)
        self._popen = popen
        self._log = log

    def check(self) -> None:
        """Raises Failure, with what it said, if it has ended."""
        if self._popen.poll() is not None:
            said = self._log.read_text(errors="replace")[-2_000:]
            raise Failure(f"a worker ended with {self._popen.returncode}:\n{said}")

    def tree(self) -> list[psutil.Process]:
        """The process and its children, itself first."""
        return [self.top, *self.top.children(recursive=True)]

    def worker(self) -> psutil.Process:
        """The first process that a supervisor started."""
        wait_for(lambda: bool(self.top.children()), "no worker process came", self.check)
        return self.top.children()[0]

    def cpu_s(self) -> float:
        """Processor time of the process and its children, seconds."""
        return sum(cpu_s(process) for process in self.tree())


@contextmanager
def backline(target: str, url: str, folder: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """`backline worker TARGET`, one worker process, every setting its default."""
    command = (sys.executable, "-m", "backline", "worker", target)
    with started(command, folder, {"BACKLINE_URL": url, **env}) as running:
        yield running


@contextmanager
def started(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """A process, told to end (and made to, if it does not) when it is left."""
    path = folder / "worker.log"
    with path.open("wb") as log:
        popen = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log
        )
    try:
        yield Running(popen, path)
    finally:
        popen.send_signal(signal.SIGTERM)
        try:
            popen.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def wait_for(
    done: Callable[[], bool], otherwise: str, check: Callable[[], None], limit: float = LIMIT_S
) -> None:
    """Look until it is so. Raises Failure after `limit` seconds, or what `check` raises."""
    until = time.monotonic() + limit
    while not done():
        check()
        if time.monotonic() > until:
            raise Failure(f"{otherwise} in {limit:g} s")
        time.sleep(_LOOK_S)


class Drained(NamedTuple):
    """How fast jobs were run."""

    rate: float
    """Jobs a second, from the first that finished."""
    cpu_us: float
    """Processor time a job of all its processes, microseconds."""


def drained(running: Running, tally: Tally, jobs: int) -> Drained:
    """Wait until `jobs` have finished. Raises Failure."""
    wait_for(lambda: tally.total() > 0, "no job finished", running.check)
    start, before, cpu = time.perf_counter(), tally.total(), running.cpu_s()
    wait_for(lambda: tally.total() >= jobs, f"{jobs} jobs did not finish", running.check)
    end, spent = time.perf_counter(), running.cpu_s() - cpu
    done = jobs - before
    return Drained(done / (end - start), spent / done * 1e6)


def cpu_s(process: psutil.Process) -> float:
    """Processor time that one process has used, seconds."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
