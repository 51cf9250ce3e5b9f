"""What a supervisor does with the store, for workers that are not real."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backline.job import SECOND, JobRequest, Lane
from backline.stores.memory import MemoryStore
from backline.supervisor.messages import Hello
from backline.supervisor.restart import RestartHistory
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.settlement import Death, ProcessExit
from backline.supervisor.upkeep import Upkeep
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.board import Board

HELLO = Hello(url="memory://", queues=("q",), tasks=("t",), concurrency=3)


def test_a_worker_whose_board_could_not_be_opened_is_kept_as_soon_as_it_can() -> None:
    """Its leases would run out under it, though it lives."""
    clock = VirtualClock()
    settings = SupervisorSettings(target="app:app")
    upkeep = Upkeep(MemoryStore(clock=clock), HELLO, settings, clock, "supervisor")
    child: Any = SimpleNamespace(name="w", alive=True, hello=None, board=None)
    upkeep.keep(child)
    child.hello = HELLO
    upkeep.keep(child)
    kept = upkeep._heartbeat._members
    assert kept == {}
    child.board = Board.private(2, "w")
    upkeep.keep(child)
    member = kept["w"]
    upkeep.keep(child)
    assert kept == {"w": member}
    assert kept["w"] is member  # what it has been told is remembered


def test_it_never_sends_two_exchanges_at_once_under_one_name_nor_a_number_twice(
    tmp_path: Path,
) -> None:
    """A store may remember the answer to the last call of a worker, for its repeat."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    upkeep = Upkeep(store, HELLO, SupervisorSettings(target="app:app"), clock, "supervisor")
    exchange = store.exchange
    sent: list[tuple[str, int]] = []
    busy: set[str] = set()

    async def spy(worker: str, call: int, *rest: Any) -> Any:
        assert worker not in busy
        busy.add(worker)
        sent.append((worker, call))
        await asyncio.sleep(0.01)
        busy.remove(worker)
        return await exchange(worker, call, *rest)

    async def main() -> None:
        dead = ["dead-1", "dead-2", "overdue"]
        await store.enqueue([[JobRequest(id=clock.new_id(), task="t") for _ in dead]])
        for name in dead:
            ttl = 0 if name == "overdue" else 30 * SECOND
            await exchange(name, 1, [], {("default", Lane.MAIN): 1}, ttl)
        store.exchange = spy  # type: ignore[method-assign]
        death = Death(ProcessExit(signal=9))
        await asyncio.gather(
            upkeep._reaper.settle_overdue(),
            *(upkeep._recovery.settle(name, tmp_path / name, death) for name in dead[:2]),
        )

    run(main(), clock=clock)
    assert len(sent) == len(set(sent)) == 3


def make_child(name: str, **fields: Any) -> Any:
    settings = SimpleNamespace(lane=Lane.MAIN)
    given = {"hello": HELLO, "board": Board.private(9, name), "stopping_since": None, "pid": 7}
    given |= {"leaving": False}
    return SimpleNamespace(name=name, settings=settings, alive=True, started_at=0, **given | fields)


def make_place(*children: Any, history: RestartHistory = RestartHistory()) -> Any:  # noqa: B008
    return SimpleNamespace(children=list(children), history=history)


class Reporting:
    """An upkeep that reports, and how often it does."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)
        settings = SupervisorSettings(target="app:app", cells=0)
        self.upkeep = Upkeep(self.store, HELLO, settings, self.clock, "supervisor")
        self.calls = 0
        report = self.store.report

        async def counted(workers: Any, ttl: Any) -> None:
            self.calls += 1
            await report(workers, ttl)

        self.store.report = counted  # type: ignore[method-assign]

    async def start(self, places: list[Any], path: Path) -> asyncio.Task[None]:
        cells: Any = ()
        [_, reporting] = self.upkeep.duties(path, places, cells)
        return asyncio.create_task(reporting.run())


def test_what_workers_run_is_told_within_a_second_and_else_that_they_live(tmp_path: Path) -> None:
    reporting = Reporting()

    async def main() -> None:
        worker, old = make_child("w"), make_child("old", stopping_since=1)
        task = await reporting.start([make_place(old, worker)], tmp_path)
        await asyncio.sleep(0.1)
        found = {each.worker: each for each in await reporting.store.workers()}
        assert {name: each.draining for name, each in found.items()} == {"w": False, "old": True}
        await asyncio.sleep(20)
        assert reporting.calls == 5  # nothing new: every five seconds
        worker.board.start("job", 1, 0)
        await asyncio.sleep(1.1)
        found = {each.worker: each for each in await reporting.store.workers()}
        assert (found["w"].running, found["old"].running) == (1, 0)
        assert reporting.calls == 6
        task.cancel()

    run(main(), clock=reporting.clock)


def test_a_supervisor_whose_workers_cannot_work_says_so_until_they_can(tmp_path: Path) -> None:
    reporting = Reporting()

    async def main() -> None:
        ill = RestartHistory(barren=(1, 2, 3, 4, 5), row=7, restarts=9)
        place = make_place(make_child("w", hello=None), history=ill)
        async with reporting.upkeep.running():
            task = await reporting.start([place], tmp_path)
            await asyncio.sleep(60)
            [found] = await reporting.store.workers()
            assert (found.worker, found.pid, found.queues) == ("supervisor", os.getpid(), ("q",))
            assert (found.concurrency, found.restarts, found.healthy) == (0, 9, False)
            assert reporting.calls <= 13
            place.children[0].hello = HELLO
            place.history = RestartHistory(restarts=9)
            await asyncio.sleep(2)
            assert [each.worker for each in await reporting.store.workers()] == ["w"]
            place.children.clear()
            place.history = ill
            await asyncio.sleep(2)
            assert [each.worker for each in await reporting.store.workers()] == ["supervisor"]
            task.cancel()
        assert await reporting.store.workers() == []

    run(main(), clock=reporting.clock)
