"""The processes of a campaign, as the kernel knows them."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from backline.job import Lane
from backline.supervisor import linux

PATIENCE = 60.0
"""Seconds that a campaign waits for something that takes one or two."""


class Footprint(NamedTuple):
    """What a process takes."""

    memory: int
    """Resident bytes."""
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Footprint | None":
        """None: it is gone."""
        try:
            process = psutil.Process(pid)
            return cls(linux.resident_bytes(pid), process.num_fds(), process.num_threads())
        except psutil.Error:
            return None


class WorkerProcess(NamedTuple):
    """A child of a supervisor."""

    pid: int
    name: str
    lane: Lane


class SupervisorProcess:
    """A running `backline worker`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[WorkerProcess]:
        """Its worker processes, as the kernel knows them."""
        found: list[WorkerProcess] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.pid).children():
                with contextlib.suppress(psutil.Error, ValueError, IndexError):
                    settings = json.loads(child.cmdline()[3])
                    lane = Lane(settings["lane"])
                    found.append(WorkerProcess(child.pid, settings["worker"], lane))
        return found

    async def end(self) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


async def backline(*words: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command; its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backline", *words),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def gone(pid: int, within: float = PATIENCE) -> None:
    """Wait until a process has ended, a child of ours or not."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, readable.set)
    try:
        async with asyncio.timeout(within):
            await readable.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


class Pulse:
    """How long this machine let a process of ours wait: what no bound can blame on Backline."""

    def __init__(self) -> None:
        self.worst = 0.0

    @contextlib.contextmanager
    def felt(self) -> Iterator["Pulse"]:
        """Feel it while inside."""
        loop = asyncio.get_running_loop()
        due = loop.time() + 0.02
        timer: asyncio.TimerHandle

        def beat() -> None:
            nonlocal due, timer
            self.worst = max(self.worst, loop.time() - due)
            due = loop.time() + 0.02
            timer = loop.call_at(due, beat)

        timer = loop.call_at(due, beat)
        try:
            yield self
        finally:
            timer.cancel()
