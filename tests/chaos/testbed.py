"""A place for a campaign: one store, supervisors started as a user starts them, and a nemesis.

Nothing here waits for time to pass: it waits for the bell that every noted event rings, for
the store's hints, or for the end of a process, and gives up after `PATIENCE`.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import psutil
from msgspec import Raw
from tests.chaos.apps.recorder import make_ledgers
from tests.chaos.checker import Ledgers, Story
from tests.chaos.history import History

from backline.clock import SYSTEM_CLOCK
from backline.job import JobId, JobRecord, JobRequest, Lane, Terms
from backline.states import TERMINAL
from backline.store import Filter, Hint, QueueSettings
from backline.stores.sqlite import SqliteStore
from backline.supervisor import linux

APPS = Path(__file__).parent / "apps"
PATIENCE = 60.0
"""Seconds that a campaign waits for something that takes one or two."""
_LOOK_AGAIN = 0.1
_MARK = "CHAOS_MARK"


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


class Testbed:
    """A directory with a store, a history, and the supervisors that work there."""

    __test__ = False  # to pytest it looks like a class of tests

    def __init__(self, path: Path, *, store: Path | None = None) -> None:
        self.path = path
        self.mark = uuid.uuid4().hex
        self.database = store or path / "jobs.db"
        self.store = SqliteStore(self.database)
        self.notes = path / "history"
        self.notes.mkdir()
        make_ledgers(self.notes / "ledger.db")
        self.history = History(self.notes)
        self.offered: list[JobId] = []
        self.acknowledged: list[JobId] = []
        self.supervisors: list[SupervisorProcess] = []
        self.rng = random.Random(8)
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("BACKLINE")},
            "BACKLINE_URL": f"sqlite:///{self.database}",
            "CHAOS_HISTORY": str(self.notes),
            "PYTHONPATH": os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")]),
            "PYTHONWARNINGS": "ignore",
            _MARK: self.mark,
        }
        self._changed = asyncio.Event()
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._bell.bind(str(self.notes / "bell"))

    # Crews.

    async def supervise(
        self,
        *options: str,
        run_dir: str = "run",
        app: str = "diner:app",
        within: Sequence[str] = (),
    ) -> SupervisorProcess:
        """`backline worker`, with a run directory of its own or a shared one."""
        runtime = self.path / run_dir
        runtime.mkdir(exist_ok=True, mode=0o700)
        log = self.path / f"supervisor-{len(self.supervisors)}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *within,
                *(sys.executable, "-m", "backline", "worker", app, *options),
                cwd=APPS,
                env={**self.environment, "XDG_RUNTIME_DIR": str(runtime)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=asyncio.subprocess.STDOUT,
            )
        supervisor = SupervisorProcess(process, log)
        self.supervisors.append(supervisor)
        return supervisor

    def kill(self, pid: int) -> None:
        """SIGKILL, and note it first: what it cuts off is what had not ended by then."""
        self.history.note("kill", pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def freeze(self, *pids: int) -> None:
        """SIGSTOP, but not in the middle of a commit: that holds up every writer."""
        while True:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            probe = QueueSettings(queue="probe", max_depth=SYSTEM_CLOCK.tick())
            writing = asyncio.ensure_future(self.store.configure([probe]))
            written, _ = await asyncio.wait([writing], timeout=0.5)
            if written:
                break
            self.thaw(*pids)
            async with asyncio.timeout(PATIENCE):
                await writing
        for pid in pids:
            self.history.note("stop", pid)

    def thaw(self, *pids: int) -> None:
        """SIGCONT."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def leftovers(self) -> list[int]:
        """The processes that were started here and live."""
        return linux.processes_with(f"{_MARK}={self.mark}")

    # Jobs.

    async def add(
        self, task: str, *args: object, count: int = 1, lane: Lane = Lane.MAIN,
        queue: str | None = None, module: str = "diner", **terms: Any,
    ) -> list[JobId]:  # fmt: skip
        """Enqueue jobs in one call; they are acknowledged when this returns."""
        requests = [
            JobRequest(
                id=SYSTEM_CLOCK.new_id(),
                task=f"{module}.{task}",
                payload=Raw(json.dumps([args, {}]).encode()),
                queue=queue or QUEUES.get(task, "default"),
                lane=Lane.CELL if task == "roast" else lane,
                terms=Terms(**terms),
            )
            for _ in range(count)
        ]
        ids = [request.id for request in requests]
        self.offered += ids
        await self.store.enqueue([requests])
        self.acknowledged += ids
        return ids

    async def job(self, job_id: JobId) -> JobRecord:
        """The job, once it has ended."""
        [record] = await self.ended([job_id])
        return record

    async def ended(self, ids: Sequence[JobId], within: float = PATIENCE) -> list[JobRecord]:
        """The jobs, once all of them have ended."""

        async def all_ended() -> list[JobRecord] | None:
            records = [record for record in await self.store.get(ids) if record is not None]
            assert len(records) == len(ids), "an acknowledged job is unknown"
            return records if all(each.state in TERMINAL for each in records) else None

        return await self.until(all_ended, within=within)

    @asynccontextmanager
    async def load(self, *kinds: tuple[str, float], most: int = 40) -> AsyncIterator[None]:
        """Keep so many jobs unfinished while inside; then nothing more is added."""

        async def keep() -> None:
            while True:
                if await self.unfinished() < most // 2:
                    for _ in range(most // 2):
                        task, longest = self.rng.choice(kinds)
                        await self.add(task, self.rng.uniform(0.1, 1.0) * longest)
                await self.changed()

        keeping = asyncio.create_task(keep())
        try:
            yield
            assert not keeping.done(), keeping.exception()
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def unfinished(self) -> int:
        """How many jobs have not ended."""
        queues = await self.store.stats()
        return sum(
            count
            for queue in queues
            for state, count in queue.counts.items()
            if state not in TERMINAL
        )

    # Waiting.

    async def changed(self, within: float = _LOOK_AGAIN) -> None:
        """Wait until a job noted something or the store gave a hint, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._changed.wait()
        self._changed.clear()
        self.history.read()

    async def until(self, condition: Callable[[], Any], *, within: float = PATIENCE) -> Any:
        """What `condition` answers (or awaits) once that is true. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while True:
                self.history.read()
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await self.changed()

    async def nothing_from(self, pids: Sequence[int], seconds: float) -> None:
        """Hold for so long, and see that these processes note nothing."""
        self.history.read()
        before = sum(event.pid in pids for event in self.history.events)
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: None, within=seconds)
        assert sum(event.pid in pids for event in self.history.events) == before

    # The whole story.

    async def quiet(self, within: float = 120.0) -> Story:
        """The story, once every job has ended."""

        async def drained() -> bool:
            return await self.unfinished() == 0

        await self.until(drained, within=within)
        records: dict[JobId, JobRecord] = {}
        after = None
        while True:
            page = await self.store.find(Filter(), limit=500, after=after)
            records |= {record.id: record for record in page.jobs}
            if (after := page.after) is None:
                break
        queues = [queue for queue in await self.store.stats() if queue.queue != "probe"]
        ledgers = Ledgers.read(self.notes / "ledger.db")
        return Story(self.offered, self.acknowledged, records, queues, self.history, ledgers)

    async def leave(self) -> None:
        """End the supervisors as an operator does; no process is left, and the file is whole."""
        for supervisor in self.supervisors:
            if supervisor.process.returncode is None:
                supervisor.process.terminate()
        for supervisor in self.supervisors:
            await supervisor.end()
        assert self.leftovers() == []
        await self.store.close()
        self.is_whole()

    def is_whole(self) -> None:
        """SQLite finds nothing wrong with the file."""
        db = apsw.Connection(str(self.database))
        try:
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        finally:
            db.close()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Testbed"]:
        """Open while inside; whatever happens, no process outlives it."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._bell, self._rung)
        await self.store.open()
        try:
            async with self.store.watch([Hint.WORK, Hint.FINISHED], self._changed.set):
                yield self
        finally:
            for supervisor in self.supervisors:
                with contextlib.suppress(ProcessLookupError):
                    supervisor.process.kill()
            for supervisor in self.supervisors:
                await supervisor.process.wait()
            for pid in self.leftovers():
                self.thaw(pid)
                linux.kill(pid)
            await self.store.close()
            loop.remove_reader(self._bell)
            self._bell.close()

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._bell.recv(16)
        self._changed.set()


QUEUES = {"cook": "soup", "spill_once": "soup", "bake": "bread", "burn": "bread", "roast": "meat"}


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
