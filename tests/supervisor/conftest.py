"""A real supervisor in a process of its own, and jobs that visit the test."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import Raw

from backline.clock import SYSTEM_CLOCK
from backline.job import JobId, JobRecord, JobRequest, Lane, Terms
from backline.states import TERMINAL, State
from backline.store import Hint
from backline.stores.sqlite import SqliteStore

APPS = Path(__file__).parent / "apps"
PATIENCE = 40.0
"""Seconds that a test waits for something that takes one or two."""

SUPERVISE = """
import json, logging, sys
from pathlib import Path
from backline.supervisor.loop import supervise
from backline.supervisor.settings import SupervisorSettings

logging.basicConfig(level="INFO", stream=sys.stdout)
fields = json.loads(sys.argv[1])
sys.exit(supervise(SupervisorSettings(**{**fields, "run_dir": Path(fields["run_dir"])})))
"""


class Visitor(NamedTuple):
    """A job that waits at the test until it is let go, or killed."""

    name: str
    job_id: JobId
    attempt: int
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def let_go(self) -> None:
        """Let the job return."""
        self.writer.write(b".")

    async def gone(self) -> None:
        """Wait until its process is gone, or it has returned."""
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self.reader.read(), PATIENCE)


class Ears:
    """Where jobs call."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Visitor] = asyncio.Queue()
        self._lines: list[asyncio.StreamWriter] = []

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A job calls, or dies while it does."""
        self._lines.append(writer)
        with contextlib.suppress(ConnectionError):
            if call := await reader.readline():
                self._came.put_nowait(Visitor(*json.loads(call), reader, writer))

    async def visitors(self, count: int, within: float = PATIENCE) -> list[Visitor]:
        """The next so many jobs that call. Raises TimeoutError."""
        async with asyncio.timeout(within):
            return [await self._came.get() for _ in range(count)]

    async def let_everybody_go(self) -> None:
        """From now on nobody waits."""
        while True:
            (await self._came.get()).let_go()

    async def hang_up(self) -> None:
        """Let everybody go."""
        for line in self._lines:
            line.close()
        for line in self._lines:
            with contextlib.suppress(ConnectionError):
                await line.wait_closed()


class Site:
    """A directory with a store, a run directory, and supervisors."""

    def __init__(self, path: Path, ears: Ears, ears_path: Path) -> None:
        self.path = path
        self.run_dir = path / "run"
        self.ears = ears
        self.url = f"sqlite:///{path / 'jobs.db'}"
        self.store = SqliteStore(path / "jobs.db")
        self.environment = {
            **os.environ,
            "BACKLINE_URL": self.url,
            "BACKLINE_TEST_EARS": str(ears_path),
        }
        self.supervisors: list[asyncio.subprocess.Process] = []

    async def supervise(
        self,
        *,
        target: str = "kitchen:app",
        within: Sequence[str] = (),
        before: str = "",
        stdout: int | None = None,
        **settings: Any,
    ) -> asyncio.subprocess.Process:
        """Start a supervisor; `within` is a command that runs it, `before` Python to begin with."""
        fields = {"target": target, "run_dir": str(self.run_dir), **settings}
        command = [*within, sys.executable, "-c", before + SUPERVISE, json.dumps(fields)]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=APPS,
            env=self.environment,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
        )
        self.supervisors.append(process)
        return process

    async def end(self, process: asyncio.subprocess.Process) -> tuple[int, str]:
        """Wait for its end; the exit code, and what it wrote to standard error."""
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode is not None
        return process.returncode, errors.decode()

    async def add(
        self,
        task: str,
        *names: str,
        lane: Lane = Lane.MAIN,
        queue: str = "default",
        **terms: Any,
    ) -> list[JobId]:
        """Enqueue jobs of a task, one for each name it is called with (none: one job)."""
        arguments = [json.dumps([[name], {}]) for name in names] or ["[[],{}]"]
        requests = [
            JobRequest(
                id=SYSTEM_CLOCK.new_id(),
                task=f"kitchen.{task}",
                payload=Raw(argument.encode()),
                queue=queue,
                lane=lane,
                terms=Terms(**terms),
            )
            for argument in arguments
        ]
        await self.store.enqueue([requests])
        return [request.id for request in requests]

    async def job(
        self, job_id: JobId, until: Callable[[JobRecord], bool] = lambda job: job.state in TERMINAL
    ) -> JobRecord:
        """The job, once it has ended, or is as `until` wants it."""
        changed = asyncio.Event()
        async with (
            asyncio.timeout(PATIENCE),
            self.store.watch([Hint.WORK, Hint.FINISHED], changed.set),
        ):
            while True:
                changed.clear()
                [job] = await self.store.get([job_id])
                assert job is not None
                if until(job):
                    return job
                with contextlib.suppress(TimeoutError):  # hints may be lost
                    await asyncio.wait_for(changed.wait(), 0.2)

    async def succeeded(self, more: int) -> None:
        """Wait until so many more jobs than by now have succeeded."""
        ended = asyncio.Event()
        enough = await self._successes() + more
        async with asyncio.timeout(PATIENCE), self.store.watch([Hint.FINISHED], ended.set):
            while await self._successes() < enough:
                ended.clear()
                with contextlib.suppress(TimeoutError):  # hints may be lost
                    async with asyncio.timeout(0.2):
                        await ended.wait()

    async def _successes(self) -> int:
        return sum(queue.counts[State.SUCCEEDED] for queue in await self.store.stats())

    async def close(self) -> None:
        for process in self.supervisors:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        await self.store.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    ears, ears_path = Ears(), tmp_path / "ears"
    server = await asyncio.start_unix_server(ears.hear, ears_path)
    site = Site(tmp_path, ears, ears_path)
    await site.store.open()
    try:
        yield site
    finally:
        await site.close()
        await ears.hang_up()
        server.close()
