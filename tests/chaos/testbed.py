"""A place for a campaign: one store, supervisors started as a user starts them, and a nemesis.

Nothing here waits for time to pass: it waits for the bell that every noted event rings, for
the store's hints, or for the end of a process, and gives up after `PATIENCE`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
from msgspec import Raw
from tests.chaos.apps.recorder import make_ledgers
from tests.chaos.checker import Ledgers, Story, Usage
from tests.chaos.history import History, monotonic
from tests.chaos.intake import Cancel, Intake, Snapshot
from tests.chaos.processes import PATIENCE, Footprint, SupervisorProcess

from backline.clock import SYSTEM_CLOCK, Clock
from backline.errors import StoreError, StoreFull
from backline.job import (
    SECOND,
    Backoff,
    JobId,
    JobRecord,
    JobRequest,
    Lane,
    Micros,
    OnConflict,
    Terms,
)
from backline.states import TERMINAL
from backline.store import Cancelling, Hint, QueueSettings, QueueStats
from backline.stores.sqlite import SqliteStore
from backline.supervisor import linux
from backline.testing.conformance.jobs import find_all

APPS = Path(__file__).parent / "apps"
_LOOK_AGAIN = 0.1
_MARK = "CHAOS_MARK"


class Testbed:
    """A directory with a store, a history, and the supervisors that work there."""

    __test__ = False  # to pytest it looks like a class of tests

    def __init__(
        self, path: Path, *, store: Path | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.path = path
        self.clock = clock
        self.mark = uuid.uuid4().hex
        self.database = store or path / "jobs.db"
        self.store = SqliteStore(self.database, clock=clock)
        self.notes = path / "history"
        self.notes.mkdir()
        make_ledgers(self.notes / "ledger.db")
        self.history = History(self.notes)
        self.intake = Intake()
        self.footprints: dict[int, Footprint] = {}
        """What each worker process took when it was first looked at."""
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
        environment: Mapping[str, str] | None = None,
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
                env={
                    **self.environment,
                    "XDG_RUNTIME_DIR": str(runtime),
                    **(environment or {}),
                },
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
        queue: str | None = None, module: str = "diner", delay: Micros = 0,
        unique_key: str | None = None, on_conflict: OnConflict = OnConflict.SKIP, **terms: Any,
    ) -> list[JobId]:  # fmt: skip
        """Enqueue jobs in one call; those that are returned are acknowledged.

        Raises what the store raises; StoreFull says that none of them was added.
        """
        requests = [
            JobRequest(
                id=self.clock.new_id(),
                task=f"{module}.{task}",
                payload=Raw(json.dumps([args, {}]).encode()),
                queue=queue or QUEUES.get(task, "default"),
                lane=Lane.CELL if task == "roast" else lane,
                delay=delay,
                unique_key=unique_key,
                on_conflict=on_conflict,
                terms=Terms(**{"backoff": SHORTLY, **terms}),
            )
            for _ in range(count)
        ]
        ids, intake = [request.id for request in requests], self.intake
        intake.offered += ids
        if delay:
            intake.not_before |= dict.fromkeys(ids, self.clock.now() + delay)
        try:
            [answer] = await self.store.enqueue([requests])
        except StoreFull:
            intake.refuse(ids)
            raise
        assert isinstance(answer, list)
        added = [each.id for each in answer if each.added]
        intake.refuse([each for each in ids if each not in added])
        intake.acknowledged += added
        if unique_key is not None:
            intake.keys |= dict.fromkeys(added, unique_key)
            if on_conflict is OnConflict.REPLACE:
                intake.replacing.update(added)
        return added

    async def cancel(self, job_id: JobId) -> Cancelling:
        """Cancel a job; the answer."""
        asked = monotonic()
        [answer] = await self.store.cancel([job_id])
        self.intake.cancels.append(Cancel(job_id, answer, asked, monotonic()))
        return answer

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
    async def load(
        self, *kinds: tuple[str, float], most: int = 40, mixed: bool = False
    ) -> AsyncIterator[None]:
        """Keep so many jobs unfinished while inside; then no call is under way any more.

        `mixed`: some are delayed, some share unique keys, some are cancelled at random. An
        error of the store is what a producer has to live with: it tries again a little later.
        """

        over = asyncio.Event()

        async def keep() -> None:
            added: list[JobId] = []
            for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
                with contextlib.suppress(StoreError):
                    if await self.unfinished() < most // 2:
                        for _ in range(most // 2):
                            task, longest = self.rng.choice(kinds)
                            added += await self.add(
                                task,
                                self.rng.uniform(0.1, 1.0) * longest,
                                **(self._a_mixture() if mixed else {}),
                            )
                    if mixed and number % 4 == 0 and added:
                        await self.cancel(self.rng.choice(added[-most:]))
                await self.changed()

        keeping = asyncio.create_task(keep())
        try:
            yield
            assert not keeping.done(), keeping.exception()
        finally:
            over.set()  # a call that is cut off may be carried out all the same, and later
            await asyncio.wait([keeping])
        keeping.result()

    def _a_mixture(self) -> dict[str, Any]:
        match self.rng.randrange(8):
            case 0 | 1:
                return {"delay": self.rng.randrange(1, 800_000)}
            case 2:
                how = self.rng.choice([OnConflict.SKIP, OnConflict.REPLACE])
                return {"unique_key": f"key {self.rng.randrange(3)}", "on_conflict": how}
            case _:
                return {}

    async def unfinished(self) -> int:
        """How many jobs have not ended. Also a snapshot for the checker."""
        acknowledged = len(self.intake.acknowledged)
        queues = await self._queues()
        counts = [(state, n) for queue in queues for state, n in queue.counts.items()]
        self.intake.snapshots.append(
            Snapshot(
                counted=sum(n for _, n in counts) + sum(queue.purged for queue in queues),
                smallest=min((n for _, n in counts), default=0),
                least=acknowledged,
                most=len(self.intake.offered),
            )
        )
        return sum(n for state, n in counts if state not in TERMINAL)

    async def _queues(self) -> list[QueueStats]:
        return [queue for queue in await self.store.stats() if queue.queue != "probe"]

    def measure(self) -> None:
        """Look what processes that have settled in take, if it is not known yet."""
        finished = Counter(event.pid for event in self.history.of("end"))
        for supervisor in self.supervisors:
            settled = [each.pid for each in supervisor.workers() if finished[each.pid] > 3]
            pids = [supervisor.pid, *settled] if settled else []
            for pid in set(pids) - set(self.footprints):
                if (taken := Footprint.of(pid)) is not None:
                    self.footprints[pid] = taken

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
        self.history.read()  # again: what ended since it was last read is among the ended
        queues, jobs = await self._kept()
        records = {job.id: job for job in jobs}
        ledgers = Ledgers.read(self.notes / "ledger.db")
        usage = [
            Usage(pid, before, after)
            for pid, before in self.footprints.items()
            if (after := Footprint.of(pid)) is not None
        ]
        log = self.database.with_name(f"{self.database.name}-wal")
        size = log.stat().st_size if log.exists() else 0
        return Story(self.intake, records, queues, self.history, ledgers, usage, size)

    async def _kept(self) -> tuple[list[QueueStats], list[JobRecord]]:
        """The queues and all jobs, with nothing purged between the two looks."""
        queues = await self._queues()
        while True:
            before, jobs = queues, await find_all(self.store, page=500)
            queues = await self._queues()
            if [queue.purged for queue in before] == [queue.purged for queue in queues]:
                return queues, jobs

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


SHORTLY = Backoff(delays=(SECOND // 10, SECOND // 5))
QUEUES = {"cook": "soup", "spill_once": "soup", "bake": "bread", "burn": "bread", "roast": "meat"}
