"""Functions in threads are told to stop, and cannot be interrupted; some never end."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import pytest
from tests.worker.bench import Bench

from backline.clock import SYSTEM_CLOCK, Pool
from backline.context import JobContext
from backline.job import SECOND, Lane
from backline.states import State
from backline.task import Retry
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker import Run, StopReason, Worker

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0


class SlowPool(Pool):
    """Threads on virtual time: each call takes as long as the test says, and runs at its end."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.takes: deque[float] = deque()
        """Seconds that the next calls take; inf: until `end_all`."""
        self.most_at_once = 0
        self._line: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running: dict[Future[Any], Callable[[], Any]] = {}

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._line.append((future, lambda: fn(*args, **kwargs)))
        self._begin()
        return future

    def resize(self, threads: int) -> None:
        self.threads = threads
        self._begin()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...

    def end_all(self) -> None:
        for future in list(self._running):
            self._end(future)

    def _begin(self) -> None:
        while self._line and len(self._running) < self.threads:
            future, call = self._line.popleft()
            if future.set_running_or_notify_cancel():
                self._running[future] = call
                self.most_at_once = max(self.most_at_once, len(self._running))
                seconds = self.takes.popleft()
                if math.isfinite(seconds):
                    asyncio.get_running_loop().call_later(seconds, self._end, future)

    def _end(self, future: Future[Any]) -> None:
        call = self._running.pop(future)
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        self._begin()


class SlowPoolClock(VirtualClock):
    """Has one slow pool for jobs, of as many threads as a worker asks for or `threads`."""

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        self._threads = threads

    def executor(self, name: str, threads: int = 1) -> Pool:
        if name != "backline-job":
            return super().executor(name, threads)
        self.pool = SlowPool(self._threads or threads)
        return self.pool


class SlowBench(Bench):
    """Its workers have middleware, so functions run on the loop's runners, in `pool`."""

    def __init__(self, clock: SlowPoolClock) -> None:
        super().__init__(clock)
        self.slow_clock = clock

    @property
    def pool(self) -> SlowPool:
        return self.slow_clock.pool

    def start(self, *takes: float, **options: Any) -> Worker:
        """A worker that runs, in whose threads the first calls take so many seconds."""
        options = {"middleware": [straight]} | options
        worker = self.worker(**options)
        self.pool.takes.extend(takes)
        self.running = asyncio.create_task(worker.run())
        return worker

    async def state(self, job_id: str) -> State:
        return (await self.record(job_id)).state


def on_virtual_time(
    test: Callable[[SlowBench], Coroutine[Any, Any, None]], threads: int | None = None
) -> Callable[[], None]:
    def runner() -> None:
        clock = SlowPoolClock(threads)
        run(test(SlowBench(clock)), clock=clock)

    runner.__name__ = runner.__qualname__ = test.__name__
    return runner


async def straight(job: JobContext, call_next: Callable[[], Any]) -> Any:
    return await call_next()


def seven() -> int:
    return 7


@on_virtual_time
async def test_a_function_past_its_time_limit_that_returns_soon_has_succeeded(
    bench: SlowBench,
) -> None:
    worker = bench.start(1.2)
    [job_id] = await bench.enqueue(bench.task(seven, timeout=0.3, max_attempts=1)())
    await asyncio.sleep(1.1)
    assert await bench.state(job_id) is State.RUNNING
    await asyncio.sleep(0.2)
    assert await bench.state(job_id) is State.SUCCEEDED
    worker.stop()
    await bench.running


@on_virtual_time
async def test_a_shutdown_waits_for_a_function_before_its_job_is_free(bench: SlowBench) -> None:
    def heedful(job: JobContext) -> None:
        assert job.cancelled

    worker = bench.start(4)
    [job_id] = await bench.enqueue(bench.task(heedful)())
    await asyncio.sleep(1)
    worker.quit()
    await asyncio.sleep(2.9)
    assert await bench.state(job_id) is State.RUNNING
    await bench.running
    assert await bench.state(job_id) is State.READY


def test_a_function_that_has_no_thread_yet_when_it_is_told_to_stop_is_not_called() -> None:
    async def story(bench: SlowBench) -> None:
        called: list[str] = []

        def note(name: str) -> None:
            called.append(name)

        worker = bench.start(3, concurrency=2)
        job = bench.task(note, max_attempts=1, timeout=2)
        first, second = await bench.enqueue(job("first"), job("second"))
        await asyncio.sleep(2.5)
        assert await bench.state(second) is State.DEAD
        await asyncio.sleep(1)
        assert await bench.state(first) is State.SUCCEEDED
        assert called == ["first"]
        worker.stop()
        await bench.running

    on_virtual_time(story, threads=1)()


@on_virtual_time
async def test_a_job_whose_middleware_will_not_wait_is_settled_when_its_function_has_ended(
    bench: SlowBench,
) -> None:
    async def hasty(job: JobContext, call_next: Callable[[], Any]) -> Any:
        async with asyncio.timeout(1):
            return await call_next()

    worker = bench.start(3, 0.5, middleware=[hasty])
    [job_id] = await bench.enqueue(bench.task(seven, retry=Retry(delays=["0s"]))())
    await asyncio.sleep(2.9)
    assert await bench.state(job_id) is State.RUNNING
    await asyncio.sleep(1)
    record = await bench.record(job_id)
    assert (record.state, record.attempt, record.failures) == (State.SUCCEEDED, 2, 1)
    assert [error.kind for error in record.errors] == ["TimeoutError"]
    assert bench.pool.most_at_once == 1
    worker.stop()
    await bench.running


@on_virtual_time
async def test_middleware_that_tries_again_does_not_once_the_job_was_told_to_stop(
    bench: SlowBench,
) -> None:
    async def again(job: JobContext, call_next: Callable[[], Any]) -> Any:
        try:
            return await call_next()
        except ValueError:
            return await call_next()

    called: list[float] = []

    def fail() -> None:
        called.append(bench.clock.tick())
        raise ValueError("no luck")

    worker = bench.start(2, 1, middleware=[again])
    [job_id] = await bench.enqueue(bench.task(fail, timeout=1, max_attempts=1)())
    await asyncio.sleep(4)
    record = await bench.record(job_id)
    assert (record.state, [error.kind for error in record.errors]) == (State.DEAD, ["timeout"])
    assert len(called) == 1
    worker.stop()
    await bench.running


@on_virtual_time
async def test_middleware_that_hangs_after_its_function_ended_late_is_cancelled(
    bench: SlowBench,
) -> None:
    ended: list[str] = []

    async def hanging(job: JobContext, call_next: Callable[[], Any]) -> Any:
        try:
            await call_next()
            await asyncio.sleep(3600)
        finally:
            ended.append(job.id)

    worker = bench.start(2, middleware=[hanging])
    [job_id] = await bench.enqueue(bench.task(seven, timeout=1, max_attempts=1)())
    await asyncio.sleep(5.9)
    assert ended == []
    await asyncio.sleep(0.2)
    assert (await bench.state(job_id), ended, worker.stuck) == (State.DEAD, [job_id], 0)
    worker.stop()
    await bench.running


@on_virtual_time
async def test_a_stop_iteration_of_a_function_is_its_failure_beneath_middleware_too(
    bench: SlowBench,
) -> None:
    def exhausted() -> int:
        return next(iter(()))

    worker = bench.start(0)
    [job_id] = await bench.enqueue(bench.task(exhausted, max_attempts=1)())
    await asyncio.sleep(1)
    record = await bench.record(job_id)
    assert [error.kind for error in record.errors] == ["RuntimeError"]
    assert "StopIteration" in record.errors[0].traceback
    worker.stop()
    await bench.running


@on_virtual_time
async def test_functions_that_never_end_cost_no_slot_until_too_many_are_stuck(
    bench: SlowBench,
) -> None:
    worker = bench.start(*(math.inf,) * 4, 0, concurrency=2)  # of which one thread is replaced
    job = bench.task(seven, timeout=1, max_attempts=1)
    for stuck, missing in [(2, 1), (3, 2)]:
        await bench.enqueue(job(), *[job()] * (stuck == 2))
        await asyncio.sleep(7)
        assert (worker.stuck, worker.worn_out) == (stuck, True)
        assert bench.pool.threads == 3
        assert worker._given_up.missing == missing
    [last] = await bench.enqueue(job())
    await asyncio.sleep(10)
    record = await bench.record(last)
    assert (record.state, record.attempt) == (State.READY, 0)

    bench.pool.takes.clear()
    bench.pool.takes.append(0)
    bench.pool.end_all()
    await asyncio.sleep(2)
    assert (worker.stuck, worker.worn_out, bench.pool.threads) == (0, False, 2)
    assert await bench.state(last) is State.SUCCEEDED
    worker.stop()
    await bench.running


@on_virtual_time
async def test_a_runner_that_was_given_up_takes_no_more_jobs(bench: SlowBench) -> None:
    """Its function ends late, while another runner has taken its place."""
    make = bench.task(seven)
    await bench.enqueue(*(make() for _ in range(3)))
    worker = bench.worker(concurrency=1, middleware=[straight], lease=90 * SECOND)
    bench.pool.takes.extend([7, 10, 10])
    demand = {("default", Lane.MAIN): 3}
    jobs = (await bench.store.exchange("w", 1, [], demand, 90 * SECOND)).jobs
    now = bench.clock.tick()
    async with worker._runners():
        with worker._monitor:
            worker._accept(jobs[:1], now, now)
            await asyncio.sleep(6)
            [late] = worker.runs
            late.tell(StopReason.TIMEOUT, bench.clock.tick())
            worker._give_up(late)
            worker._accept(jobs[1:], now, now)
            await asyncio.sleep(2)
            assert (worker.stuck, worker._lines.waiting()) == (0, 1)
            await asyncio.sleep(20)
            assert len(worker._outcomes) == 3


class TestInRealThreads:
    """Without middleware a thread takes its jobs by itself, which needs threads."""

    async def test_functions_that_never_end_cost_no_slot_until_too_many_are_stuck(self) -> None:
        bench = Bench(SYSTEM_CLOCK)
        gate = threading.Event()
        outcomes: asyncio.Queue[str] = asyncio.Queue()

        def hang() -> None:
            gate.wait(PATIENCE)

        def note(run: Run) -> None:
            outcomes.put_nowait(run.lease.id)

        async def outcome() -> str:
            return await asyncio.wait_for(outcomes.get(), PATIENCE)

        hung, job = bench.task(hang, timeout=0.01, max_attempts=1), bench.task(seven)
        worker = bench.worker(concurrency=1, refusal=20_000, observer=note)
        running = asyncio.create_task(worker.run())
        try:
            [first] = await bench.enqueue(hung())
            assert (await outcome(), worker.stuck) == (first, 1)
            [fine] = await bench.enqueue(job())
            assert await outcome() == fine
            [second] = await bench.enqueue(hung())
            assert (await outcome(), worker.stuck) == (second, 2)
            [waiting] = await bench.enqueue(job())
            worker.wake()
            for _ in range(50):  # the memory store answers within some turns of the loop
                await asyncio.sleep(0)
            record = await bench.record(waiting)
            assert (record.state, record.attempt) == (State.READY, 0)
        finally:
            gate.set()
        assert await outcome() == waiting
        record = await bench.record(waiting)
        assert (worker.stuck, record.attempt) == (0, 1)
        worker.stop()
        await running

    async def test_a_drain_none_of_whose_threads_ever_ends_says_so_and_ends(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench(SYSTEM_CLOCK)
        gate = threading.Event()

        def hang() -> None:
            gate.wait(PATIENCE)

        job = bench.task(hang, timeout=0.01, max_attempts=1)
        ids = await bench.enqueue(*(job() for _ in range(3)))
        worker = bench.worker(concurrency=1, refusal=20_000, drain=True)
        try:
            await asyncio.wait_for(worker.run(), PATIENCE)
        finally:
            gate.set()
        states = sorted([(await bench.record(job_id)).state for job_id in ids])
        assert states == [State.DEAD, State.DEAD, State.READY]
        assert "of 1 slots 0 are left" in caplog.text
