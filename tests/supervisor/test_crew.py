"""Keeping workers and cells, on virtual time, with processes that are none."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from backline.job import SECOND, Lane, Micros
from backline.supervisor.crew import Cells, WorkerSlot
from backline.supervisor.settlement import ProcessExit
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

CRASH = ProcessExit(signal=11)


class FakeBoard:
    def __init__(self) -> None:
        self.running: list[str] = []

    def entries(self) -> list[str]:
        return self.running


class FakeChild:
    """What a place and the cells look at in a worker process."""

    def __init__(self, lane: Lane, at: Micros) -> None:
        self.name = "w"
        self.lane = lane
        self.started_at = at
        self.ended: asyncio.Future[ProcessExit] = asyncio.get_running_loop().create_future()
        self.finished = 0
        self.stop_asked = False
        self.leaving = self.leave_asked = False
        self.stopping_since: Micros | None = None
        self.hello: object | None = None
        self.alive = True
        self.failure: str | None = None
        self.board = FakeBoard()

    def stop(self, now: Micros) -> None:
        self.stop_asked, self.stopping_since = True, now

    def leave(self) -> None:
        self.leaving = True


class FakeRecruiter:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.started: list[FakeChild] = []
        self.refuse = False

    def start(self, lane: Lane) -> Any:
        if self.refuse:
            raise BlockingIOError("no room for another process")
        child = FakeChild(lane, self.clock.tick())
        self.started.append(child)
        return child


class Crew:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.spawner = FakeRecruiter(self.clock)
        spawner: Any = self.spawner
        self.seen: list[Any] = []
        self.place = WorkerSlot(spawner, self.clock, self.seen.append)
        self.cells = Cells(spawner, self.clock, limit=3, idle=60 * SECOND, started=self.seen.append)

    @property
    def newest(self) -> FakeChild:
        return self.spawner.started[-1]

    @property
    def count(self) -> int:
        return len(self.spawner.started)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        run(main(), clock=self.clock)


@pytest.fixture
def crew() -> Crew:
    return Crew()


async def settle_down() -> None:
    await asyncio.sleep(0.001)


def test_a_place_starts_the_next_at_once_and_then_backs_off(crew: Crew) -> None:
    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        await settle_down()
        starts = []
        for _ in range(5):
            starts.append(round(crew.clock.elapsed / SECOND))
            crew.place.restarted.clear()
            crew.newest.ended.set_result(CRASH)
            await crew.place.restarted.wait()
        assert starts == [0, 0, 1, 3, 7]
        assert crew.seen == crew.spawner.started
        assert not crew.place.history.healthy
        keeping.cancel()

    crew.run(main)


def test_a_worker_that_was_asked_to_stop_is_no_death(crew: Crew) -> None:
    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        for n in range(20):
            await settle_down()
            assert crew.count == n + 1
            crew.newest.stop(0)
            crew.newest.ended.set_result(ProcessExit(code=0))
        assert crew.place.history.restarts == 0
        keeping.cancel()

    crew.run(main)


def test_one_that_says_why_it_cannot_start_is_not_tried_again_at_once(crew: Crew) -> None:
    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        await settle_down()
        crew.newest.failure = "no app"
        crew.newest.ended.set_result(ProcessExit(code=4))
        await asyncio.sleep(0.9)
        assert crew.count == 1
        await asyncio.sleep(0.2)
        assert crew.count == 2
        keeping.cancel()

    crew.run(main)


def test_the_one_that_takes_over_is_kept_and_the_one_before_ends_in_peace(crew: Crew) -> None:
    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        await settle_down()
        old = crew.newest
        fresh: Any = crew.place.start()
        crew.place.hand_over(fresh)
        assert crew.place.child is fresh
        assert crew.place.children == [old, fresh]
        assert (old.stop_asked, fresh.stop_asked) == (True, False)
        await settle_down()
        old.alive = False
        old.ended.set_result(ProcessExit(code=0))
        await settle_down()
        assert crew.place.children == [fresh]
        assert crew.count == 2
        fresh.ended.set_result(CRASH)
        await settle_down()
        assert crew.count == 3
        assert crew.place.history.restarts == 1
        keeping.cancel()

    crew.run(main)


def test_a_system_without_room_is_tried_again(crew: Crew) -> None:
    async def main() -> None:
        crew.spawner.refuse = True
        keeping = asyncio.create_task(crew.place.keep())
        await asyncio.sleep(300)
        assert crew.count == 0
        crew.spawner.refuse = False
        await asyncio.sleep(30)
        assert crew.count == 1
        keeping.cancel()

    crew.run(main)


def test_who_no_longer_keeps_a_place_does_not_end_its_worker(crew: Crew) -> None:
    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        await settle_down()
        keeping.cancel()
        await asyncio.wait([keeping])
        assert not crew.newest.ended.cancelled()
        crew.newest.ended.set_result(CRASH)
        await asyncio.sleep(60)
        assert crew.count == 1

    crew.run(main)


def test_a_cell_is_started_for_each_waiting_job_and_not_again_for_the_same(crew: Crew) -> None:
    async def main() -> None:
        crew.cells.tend(2)
        crew.cells.tend(2)  # they have yet to take them
        assert crew.count == 2
        for cell in crew.spawner.started:
            cell.board.running = ["job"]
        crew.cells.tend(5)
        assert crew.count == 3  # the limit
        assert {cell.lane for cell in crew.spawner.started} == {Lane.CELL}

    crew.run(main)


def test_idle_cells_end_unless_jobs_wait(crew: Crew) -> None:
    async def main() -> None:
        crew.cells.tend(2)
        first, second = crew.spawner.started
        for _ in range(70):
            await asyncio.sleep(1)
            second.board.running = ["job"]
            crew.cells.tend(0)
        assert (first.leaving, second.leaving) == (True, False)
        first.ended.set_result(ProcessExit(code=0))
        await settle_down()
        assert list(crew.cells) == [second]
        second.board.running = []
        for _ in range(50):
            await asyncio.sleep(1)
            crew.cells.tend(0)
        assert not second.leaving  # its minute began when it was last seen at work
        await asyncio.sleep(20)
        crew.cells.tend(1)
        assert not second.leaving
        crew.cells.tend(0)
        assert second.leaving

    crew.run(main)


def test_cells_that_die_of_their_jobs_are_replaced_at_once_those_that_never_begin_are_not(
    crew: Crew,
) -> None:
    async def main() -> None:
        for n in range(10):
            crew.cells.tend(1)
            assert crew.count == n + 1
            crew.newest.hello = object()
            crew.newest.ended.set_result(CRASH)
            await settle_down()
        starts = []
        for _ in range(4):
            before = crew.count
            while crew.count == before:
                crew.cells.tend(1)
                await asyncio.sleep(0.1)
            starts.append(round(crew.clock.elapsed / SECOND))
            crew.newest.ended.set_result(ProcessExit(code=1))
            await settle_down()
        assert [later - earlier for earlier, later in pairwise(starts)] == [
            0,
            1,
            2,
        ]

    crew.run(main)


def test_closed_cells_start_no_more(crew: Crew) -> None:
    async def main() -> None:
        crew.cells.close()
        crew.cells.tend(9)
        assert crew.count == 0

    crew.run(main)


@pytest.mark.parametrize("turns", range(6))
def test_a_place_that_is_hurried_as_it_is_given_up_starts_no_more(crew: Crew, turns: int) -> None:
    """At whichever turn of the loop the cancel comes after the hurry."""

    async def main() -> None:
        keeping = asyncio.create_task(crew.place.keep())
        for _ in range(2):
            await settle_down()
            crew.newest.ended.set_result(CRASH)
        await settle_down()  # it waits for a second now
        crew.place.hurry()
        for _ in range(turns):
            await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping], timeout=1)
        assert keeping.cancelled()

    crew.run(main)
