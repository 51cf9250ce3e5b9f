"""A worker inside somebody else's process: how it ends, and what its heartbeat outlives."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from backline import App, State
from backline.clock import SYSTEM_CLOCK
from backline.errors import StoreUnavailable
from backline.job import SECOND, HeldLease, Lane, WorkerName
from backline.store import WorkerReport
from backline.stores.memory import MemoryStore
from backline.task import Registry
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker import Board, EmbeddedWorker, Worker, WorkerSettings


async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


def on_virtual_time(test: Callable[[App], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def runner() -> None:
        clock = VirtualClock()
        run(test(App(store=MemoryStore(clock=clock), clock=clock)), clock=clock)

    runner.__name__ = runner.__qualname__ = test.__name__
    return runner


async def serve(app: App) -> None:
    async with app.worker() as embedded:
        await embedded.finished()


@on_virtual_time
async def test_a_service_that_is_cancelled_lets_running_jobs_finish(app: App) -> None:
    job = await app.task(nap).aenqueue(5)
    service = asyncio.create_task(serve(app))
    await asyncio.sleep(1)
    service.cancel()
    await asyncio.wait([service])

    assert service.cancelled()
    assert await job.astatus() is State.SUCCEEDED


@on_virtual_time
async def test_a_service_that_is_cancelled_again_hands_its_jobs_back(app: App) -> None:
    job = await app.task(nap).aenqueue(60)
    service = asyncio.create_task(serve(app))
    for _ in range(2):
        await asyncio.sleep(1)
        service.cancel()
    began = app.clock.tick()
    await asyncio.wait([service])

    assert service.cancelled()
    assert app.clock.tick() - began < SECOND
    assert await job.astatus() is State.READY


@on_virtual_time
async def test_a_drain_that_is_cancelled_hands_its_jobs_back(app: App) -> None:
    job = await app.task(nap).aenqueue(60)
    began = app.clock.tick()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app.adrain(), 1)

    assert app.clock.tick() - began < 2 * SECOND
    assert await job.astatus() is State.READY


@on_virtual_time
async def test_it_reports_that_it_lives_and_that_it_ended(app: App) -> None:
    async def look() -> WorkerReport:
        by_lane = {report.lane: report for report in await app.store.workers()}
        assert set(by_lane) == set(Lane)  # jobs for cells run here too
        return by_lane[Lane.MAIN]

    task = app.task(nap)
    async with app.worker(concurrency=3):
        await task.aenqueue(60)
        await asyncio.sleep(2)
        report = await look()
        assert (report.pid, report.concurrency, report.running) == (os.getpid(), 3, 1)
        assert (report.tasks, report.queues) == ((task.name,), ("default",))
        await asyncio.sleep(60)
        later = await look()
        assert (later.started_at, later.running) == (report.started_at, 0)
    assert await app.store.workers() == []


@on_virtual_time
async def test_a_lifespan_that_fails_is_raised_on_entering(app: App) -> None:
    @app.lifespan
    async def broken() -> AsyncIterator[None]:
        await asyncio.sleep(1)
        raise ValueError("no pool")
        yield

    inside = False
    with pytest.raises(ValueError, match="no pool"):
        async with app.worker():
            inside = True
    assert not inside
    assert len(asyncio.all_tasks()) == 1  # no heartbeat is left behind


@pytest.mark.parametrize("after", [0.5, 1.0, 1.5])
def test_entering_that_is_cancelled_leaves_the_lifespan_and_nothing_behind(after: float) -> None:
    @on_virtual_time
    async def check(app: App) -> None:
        story: list[str] = []

        @app.lifespan
        async def slow() -> AsyncIterator[None]:
            try:
                await asyncio.sleep(1)
                story.append("entered")
                yield
            finally:
                await asyncio.sleep(1)
                story.append("left")

        job = await app.task(nap).aenqueue(60)
        service = asyncio.create_task(serve(app))
        await asyncio.sleep(after)
        service.cancel()
        if after > 1:  # the job runs: once more, or it has the grace
            await asyncio.sleep(0.1)
            service.cancel()
        await asyncio.wait([service])
        assert story[-1] == "left"
        assert await job.astatus() is State.READY
        assert len(asyncio.all_tasks()) == 1

    check()


def test_a_worker_that_fails_later_says_so_at_once(caplog: pytest.LogCaptureFixture) -> None:
    @on_virtual_time
    async def check(app: App) -> None:
        async with app.worker() as embedded:
            embedded.worker._exchange = None  # type: ignore[assignment, method-assign]
            embedded.worker.wake()
            await asyncio.sleep(2)
            assert [record.message for record in caplog.records] == [
                "the embedded worker failed: it runs no jobs any more"
            ]

    with caplog.at_level(logging.ERROR), pytest.raises(TypeError):
        check()


class HeartbeatStore(MemoryStore):
    """The second handle of an embedded worker: `opening` says how it opens."""

    def __init__(self, opening: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self.beaten = threading.Event()
        self._opening = opening

    async def open(self) -> None:
        await self._opening()

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        self.beaten.set()
        return await super().held(worker)


def embed(second: HeartbeatStore) -> EmbeddedWorker:
    settings = WorkerSettings(name="embedded")
    board = Board.private(settings.most_held, settings.name)
    store = MemoryStore()
    worker = Worker(store, Registry(), settings, clock=SYSTEM_CLOCK, board=board)
    return EmbeddedWorker(worker, store, SYSTEM_CLOCK, lambda: second)


async def test_the_heartbeat_outlives_a_store_that_is_away_at_first() -> None:
    failures = [StoreUnavailable("away"), StoreUnavailable("still away")]

    async def opening() -> None:
        if failures:
            raise failures.pop()

    second = HeartbeatStore(opening)
    async with embed(second):
        assert await asyncio.to_thread(second.beaten.wait, 5)


async def test_leaving_does_not_wait_for_a_heartbeat_whose_store_never_opens() -> None:
    async def opening() -> None:
        await asyncio.get_running_loop().create_future()

    async with asyncio.timeout(10):
        async with embed(HeartbeatStore(opening)):
            pass


@on_virtual_time
async def test_only_this_process_can_run_a_job_of_a_store_in_memory(app: App) -> None:
    surrounded: list[str] = []

    @app.lifespan
    async def lifespan() -> AsyncIterator[None]:
        surrounded.append("entered")
        yield
        surrounded.append("left")

    async def alone() -> list[str]:
        return list(surrounded)

    task = app.task(name="alone", executor="process")(alone)
    running = app.task(name="slow", executor="process")(nap)
    async with app.worker(grace=10):
        assert await (await task.aenqueue()).aresult(timeout=5) == ["entered"]
        job = await running.aenqueue(5)
        await asyncio.sleep(1)
    assert surrounded == ["entered", "left"]
    assert await job.astatus() is State.SUCCEEDED
