"""Measuring the load and keeping the crew, over a memory store, with processes that are none."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backline import autoscale
from backline.autoscale import Rules
from backline.errors import ConfigError, StoreUnavailable
from backline.job import SECOND, JobRequest, Lane
from backline.store import Hint, QueueSettings, WorkerReport
from backline.stores.memory import MemoryStore
from backline.supervisor import linux, scaling
from backline.supervisor.places import Places
from backline.supervisor.scaling import Scaler
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.settlement import ProcessExit
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.board import Board

QUEUES = frozenset({"q"})


class FakeChild:
    """What places and the scaler look at in a worker process."""

    def __init__(self, name: str, at: int) -> None:
        self.name = name
        self.pid = -1
        self.started_at = at
        self.ended: asyncio.Future[ProcessExit] = asyncio.get_running_loop().create_future()
        self.board = Board.private(10, name)
        self.hello: Any = SimpleNamespace(concurrency=10)
        self.finished = 0
        self.failure = None
        self.stop_asked = False
        self.left = self.killed = False

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def leave(self) -> None:
        self.left = True

    def kill(self) -> None:
        self.killed = True


class Scene:
    """A scaler between 0 and 4 processes."""

    def __init__(self, low: int = 0) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)
        self.children: list[FakeChild] = []
        spawner: Any = self
        self.places = Places(spawner, self.clock, lambda _: None, self.do)
        self.scaler = Scaler(Rules(low=low, high=4), self.places, self.clock, lambda: True)

    @staticmethod
    def do(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def start(self, lane: Lane) -> Any:
        child = FakeChild(f"w{len(self.children)}", self.clock.tick())
        self.children.append(child)
        return child

    async def add(self, count: int = 1, **fields: Any) -> None:
        jobs = [
            JobRequest(id=self.clock.new_id(), task="t", **{"queue": "q"} | fields)
            for _ in range(count)
        ]
        await self.store.enqueue([jobs])

    async def round(self) -> int:
        """One decision; how many processes there are then."""
        await self.scaler.look()
        await self.scaler.round(self.store, QUEUES, 10)
        await asyncio.sleep(0.01)
        return len(self.places.kept)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            try:
                await main()
            finally:
                self.places.close()

        run(whole(), clock=self.clock)

    async def rounds(self, seconds: int) -> int:
        for _ in range(seconds):
            await self.round()
            await asyncio.sleep(1)
        return len(self.places.kept)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_ready_job_starts_the_first_worker(scene: Scene) -> None:
    async def main() -> None:
        assert await scene.round() == 0
        began = scene.clock.elapsed
        async with scene.store.watch([Hint.WORK], scene.scaler.hint.set):
            looking = asyncio.create_task(scene.round())
            await asyncio.sleep(0.01)
            await scene.add()
            assert await looking == 1
        assert scene.clock.elapsed - began < SECOND // 10

    scene.run(main)


def test_hints_without_jobs_do_not_keep_it_busy(scene: Scene) -> None:
    """Others enqueue in queues that are not ours, all the time."""

    async def main() -> None:
        for _ in range(10):
            scene.scaler.hint.set()
            assert await scene.scaler.round(scene.store, QUEUES, 10) == SECOND // 10

    scene.run(main)


@pytest.mark.parametrize(
    "fields",
    [{"queue": "other"}, {"lane": Lane.CELL}, {"delay": SECOND * 60}, {"queue": "paused"}],
    ids=["not ours", "for a cell", "not due", "paused"],
)
def test_what_no_worker_of_ours_would_take_starts_none(
    scene: Scene, fields: dict[str, Any]
) -> None:
    async def main() -> None:
        await scene.store.configure([QueueSettings(queue="paused", paused=True)])
        await scene.add(5, **fields)
        for _ in range(5):
            await scene.scaler.look()
            await scene.scaler.round(scene.store, QUEUES | {"paused"}, 10)
        assert scene.children == []

    scene.run(main)


def report(**fields: Any) -> WorkerReport:
    given = {
        "worker": "other", "host": "h", "pid": 1, "queues": ("q",), "lane": Lane.MAIN,
        "concurrency": 10, "tasks": (), "started_at": 0, "version": "",
    }  # fmt: skip
    return WorkerReport(**{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "started"),
    [
        ({}, 0),
        ({"running": 10}, 1),
        ({"draining": True}, 1),
        ({"lane": Lane.CELL}, 1),
        ({"queues": ("other",)}, 1),
        ({"concurrency": 0}, 1),
    ],
)
def test_an_idle_worker_elsewhere_is_left_the_job(
    scene: Scene, fields: dict[str, Any], started: int
) -> None:
    async def main() -> None:
        await scene.store.report([report(**fields)], 60 * SECOND)
        await scene.add()
        assert await scene.round() == started

    scene.run(main)


def test_while_the_store_is_away_nothing_changes(scene: Scene) -> None:
    async def main() -> None:
        scene.places.resize(2)
        await asyncio.sleep(0.01)

        async def away() -> Any:
            raise StoreUnavailable("away")

        await scene.rounds(290)
        stats, scene.store.stats = scene.store.stats, away  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await scene.round()
        assert len(scene.places.kept) == 2
        await asyncio.sleep(60)
        scene.store.stats = stats  # type: ignore[method-assign]
        assert await scene.rounds(290) == 2
        assert await scene.rounds(20) == 1

    scene.run(main)


def test_who_runs_least_goes_and_is_there_until_it_has_ended(scene: Scene) -> None:
    async def main() -> None:
        scene.places.resize(3)
        await asyncio.sleep(0.01)
        first, second, third = scene.children
        for child, jobs in ((first, 2), (second, 1), (third, 2)):
            for number in range(jobs):
                child.board.start(f"job-{number}", 1, 0)
        scene.places.resize(2)
        assert [child.left for child in scene.children] == [False, True, False]
        assert (len(scene.places.kept), len(scene.places.all)) == (2, 3)
        second.ended.set_result(ProcessExit(signal=9))
        await asyncio.sleep(60)
        assert (len(scene.places.all), len(scene.children)) == (2, 3)
        third.hello = None
        scene.places.resize(1)
        assert (third.left, third.killed) == (False, True)  # it runs nothing yet
        scene.places.resize(2)
        await asyncio.sleep(0.01)
        assert len(scene.children) == 4

    scene.run(main)


def test_a_crew_that_ends_starts_nobody(scene: Scene) -> None:
    async def main() -> None:
        scene.places.close()
        scene.places.resize(3)
        await asyncio.sleep(1)
        assert scene.children == []

    scene.run(main)


def test_a_worker_that_cannot_start_is_no_reason_for_more(scene: Scene) -> None:
    async def main() -> None:
        scene.places.resize(1)
        await asyncio.sleep(0.01)
        scene.children[0].hello = None
        await scene.add(500)
        assert await scene.rounds(5) == 1

    scene.run(main)


def test_it_says_what_it_decided_and_why(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await scene.add(500)
        with caplog.at_level("INFO"):
            await scene.round()
        told = scene.scaler.standing
        assert (told.low, told.high, told.processes) == (0, 4, 1)
        assert told.why.startswith("jobs wait (500 ready, ")
        assert f"processes 0 -> 1: {told.why}" in caplog.messages

    scene.run(main)


def test_jobs_that_end_and_run_are_measured(scene: Scene) -> None:
    async def main() -> None:
        scene.places.resize(1)
        await asyncio.sleep(0.01)
        board = scene.children[0].board
        for number in range(40):
            slot = board.start(f"job-{number}", 1, 0)
            await scene.scaler.look()
            await asyncio.sleep(1)
            await scene.scaler.look()
            board.finish_other(slot)
            board.clear(slot)
        assert scene.scaler.service == pytest.approx(1, rel=0.1)

    scene.run(main)


def test_without_own_figures_those_of_others_count(scene: Scene) -> None:
    async def main() -> None:
        await scene.store.report([report(running=10, service=2.0)], 60 * SECOND)
        await scene.add()
        await scene.round()
        assert "2 s each" in scene.scaler.standing.why

    scene.run(main)


# What the machine has.

MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 600 kB\n"


def machine(root: Path, limit: str | None = None) -> Path:
    group = root / "sys/fs/cgroup/a/b"
    group.mkdir(parents=True)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text("0::/a/b\n")
    if limit is not None:  # of a group further up
        (group.parent / "memory.max").write_text(limit)
        (group.parent / "memory.current").write_text("300000")
        (group.parent / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
    return root


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, (600 << 10, 1000 << 10)),
        ("max", (600 << 10, 1000 << 10)),
        ("500000", (300_000, 500_000)),
        ("9000000", (600 << 10, 1000 << 10)),
    ],
)
def test_memory_is_the_machines_or_the_control_groups(
    tmp_path: Path, limit: str | None, expected: tuple[int, int]
) -> None:
    assert linux.available_bytes(machine(tmp_path, limit)) == expected


def test_a_kernel_that_does_not_say_is_believed(tmp_path: Path) -> None:
    assert linux.available_bytes(tmp_path) is None
    assert linux.available_bytes() is not None


def test_room_is_what_more_of_the_largest_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "available_bytes", lambda: (500, 1_000))
    assert scaling.room([100, 200, 0]) == 2
    assert scaling.room([0]) is None
    assert scaling.room([]) is None
    monkeypatch.setattr(linux, "available_bytes", lambda: None)
    assert scaling.room([100]) is None


# What can be set.


@pytest.mark.parametrize(
    "fields",
    [
        {"processes": 0},
        {"processes": -1, "max_processes": 3},
        {"processes": 3, "max_processes": 2},
        {"processes": 0, "max_processes": 0},
        {"max_processes": 2, "target_wait": 0},
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SupervisorSettings(target="app:app", **fields)


def test_one_number_is_no_range() -> None:
    assert SupervisorSettings(target="app:app", processes=3).rules is None
    assert SupervisorSettings(target="app:app", processes=3, max_processes=3).rules is None
    rules = SupervisorSettings(target="app:app", processes=0, max_processes=3).rules
    assert rules == Rules(low=0, high=3, target_wait=autoscale.TARGET_WAIT)
