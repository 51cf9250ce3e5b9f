"""Settling what dead workers left, on virtual time over the memory store and real boards."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from backline.errors import StoreUnavailable
from backline.job import SECOND, JobId, JobRecord, JobRequest, Lane, LeasedJob
from backline.states import State
from backline.stores.memory import MemoryStore
from backline.supervisor.recovery import Recovery
from backline.supervisor.rundir import Folder
from backline.supervisor.settlement import Death, ProcessExit
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.board import Board

TTL = 30 * SECOND
WORKER = "host.example-1"
CRASH = Death(ProcessExit(signal=9, peak_kib=1024))
URL = "memory://"


class Scene:
    """A worker that died with four jobs: one leased, one started, one done, one failed."""

    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)
        self.recovery = Recovery(self.store, self.clock, "supervisor-1", TTL)
        self.path = path
        self.outages = 0

    async def die(self) -> list[JobId]:
        requests = [JobRequest(id=self.clock.new_id(), task="t") for _ in range(4)]
        await self.store.enqueue([requests])
        jobs = await self.lease(4)
        board = Board.create(self.path, 8, WORKER)
        board.start(jobs[1].id, jobs[1].attempt, 0)
        board.finish(board.start(jobs[2].id, jobs[2].attempt, 0), b'"served"')
        board.finish_other(board.start(jobs[3].id, jobs[3].attempt, 0))
        board.close()
        return [job.id for job in jobs]

    async def lease(self, count: int, call: int = 1) -> list[LeasedJob]:
        demand = {("default", Lane.MAIN): count}
        return (await self.store.exchange(WORKER, call, [], demand, TTL)).jobs

    async def records(self, ids: list[JobId]) -> list[JobRecord]:
        return [job for job in await self.store.get(ids) if job is not None]

    def fail(self, method: str, times: int) -> None:
        """Let a method of the store fail so many times, after it has done its work."""
        real: Callable[..., Any] = getattr(self.store, method)

        async def call(*args: Any) -> Any:
            answer = await real(*args)
            if self.outages < times:
                self.outages += 1
                raise StoreUnavailable("the reply was lost")
            return answer

        setattr(self.store, method, call)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        run(main(), clock=self.clock)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / f"{WORKER}.board")


def settled(records: list[JobRecord]) -> list[tuple[State, int, int]]:
    return [(job.state, job.losses, job.failures) for job in records]


EXPECTED = [
    (State.READY, 0, 0),
    (State.READY, 1, 0),
    (State.SUCCEEDED, 0, 0),
    (State.READY, 0, 0),
]


def test_each_job_is_settled_at_once_as_the_board_says(scene: Scene) -> None:
    async def main() -> None:
        ids = await scene.die()
        await scene.recovery.settle(WORKER, scene.path, CRASH)
        records = await scene.records(ids)
        assert settled(records) == EXPECTED
        assert records[2].result == Raw(b'"served"')
        assert scene.clock.elapsed == 0
        assert not scene.path.exists()
        assert await scene.lease(4, call=2) == []  # retired: a late call of its own gets none

    scene.run(main)


@pytest.mark.parametrize("method", ["retire", "held", "exchange"])
def test_an_outage_at_any_step_is_ridden_out_and_nothing_is_charged_twice(
    scene: Scene, method: str
) -> None:
    async def main() -> None:
        ids = await scene.die()
        scene.fail(method, times=5)
        await scene.recovery.settle(WORKER, scene.path, CRASH)
        assert scene.outages == 5 or method == "exchange"  # one that was applied is enough
        assert settled(await scene.records(ids)) == EXPECTED

    scene.run(main)


def test_cancelled_in_an_outage_it_leaves_the_board(scene: Scene) -> None:
    async def main() -> None:
        await scene.die()
        scene.fail("held", times=10**9)
        settling = asyncio.create_task(scene.recovery.settle(WORKER, scene.path, CRASH))
        await asyncio.sleep(60)
        settling.cancel()
        await asyncio.wait([settling])
        assert scene.path.exists()

    scene.run(main)


def test_without_a_readable_board_nothing_is_charged(scene: Scene) -> None:
    async def main() -> None:
        ids = await scene.die()
        scene.path.write_bytes(b"torn")
        await scene.recovery.settle(WORKER, scene.path, CRASH)
        assert {(job.state, job.losses) for job in await scene.records(ids)} == {(State.READY, 0)}

    scene.run(main)


def test_a_folder_left_behind_is_adopted_and_removed(tmp_path: Path) -> None:
    folder = Folder.make(tmp_path / "run", "gone")
    scene = Scene(folder.board(WORKER))

    async def main() -> None:
        ids = await scene.die()
        folder.board("never-laid-out").write_bytes(b"")
        await scene.recovery.adopt(folder)
        assert settled(await scene.records(ids)) == EXPECTED
        assert not folder.path.exists()

    scene.run(main)


def test_an_adoption_cut_short_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    folder = Folder.make(tmp_path / "run", "gone")
    folder.belongs_to(URL)
    scene = Scene(folder.board(WORKER))

    async def main() -> None:
        await scene.die()
        scene.fail("held", times=10**9)
        adopting = asyncio.create_task(scene.recovery.adopt(folder))
        await asyncio.sleep(60)
        adopting.cancel()
        await asyncio.wait([adopting])

    scene.run(main)
    again = Folder.make(tmp_path / "run", "next")
    assert folder.path.exists()
    again.remove()


def test_a_board_that_cannot_be_opened_for_now_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for empty, it would let the culprit go, and do again what was done."""
    real, refusals = Board.open, iter([OSError(errno.EMFILE, "Too many open files")] * 2)

    def open_(path: Path) -> Board:
        for refusal in refusals:
            raise refusal
        return real(path)

    async def main() -> None:
        ids = await scene.die()
        monkeypatch.setattr(Board, "open", open_)
        await scene.recovery.settle(WORKER, scene.path, CRASH)
        states = settled(await scene.records(ids))
        assert [state for state, _, _ in states].count(State.SUCCEEDED) == 1
        assert sum(losses for _, losses, _ in states) == 1
        assert not scene.path.exists()

    scene.run(main)
