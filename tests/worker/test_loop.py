"""The worker on virtual time, over the memory store."""

import asyncio
import contextvars
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.worker.bench import Bench

from backline.clock import SYSTEM_CLOCK
from backline.context import JobContext, current_job
from backline.errors import Cancel, InvalidArguments, RetryLater, Snooze, StoreUnavailable
from backline.job import MINUTE, SECOND, JobRequest, Lane, Progress
from backline.states import State
from backline.store import Exchange
from backline.stores.memory import MemoryStore
from backline.task import Retry
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker import Run
from backline.worker.board import Phase, Reply
from backline.worker.execute import log_raised

odd_errors = [
    ValueError("bad"),
    asyncio.CancelledError(),
    TimeoutError("late"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseException("base"),
    RecursionError(),
    StopAsyncIteration(),
    MemoryError(),
    BaseExceptionGroup("many", [ValueError("one"), KeyboardInterrupt()]),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
]


def on_virtual_time(
    test: Callable[[Bench], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    def runner() -> None:
        clock = VirtualClock()
        run(test(Bench(clock)), clock=clock)

    runner.__name__ = runner.__qualname__ = test.__name__
    return runner


@on_virtual_time
async def test_runs_coroutines_and_functions_and_keeps_their_results(bench: Bench) -> None:
    async def double(n: int) -> int:
        return 2 * n

    def shout(text: str) -> str:
        return text.upper()

    async_job, sync_job = bench.task(double), bench.task(shout)
    first, second = await bench.drain(async_job(21), sync_job(text="hey"))

    assert (first.state, first.result, first.attempt) == (State.SUCCEEDED, Raw(b"42"), 1)
    assert (second.state, second.result) == (State.SUCCEEDED, Raw(b'"HEY"'))


@on_virtual_time
async def test_a_task_sees_its_job_by_argument_and_by_current_job(bench: Bench) -> None:
    seen: list[tuple[str, int, bool]] = []

    async def by_argument(job: JobContext, n: int) -> None:
        seen.append((job.id, n, current_job() is job))

    def in_thread(n: int) -> None:
        seen.append((current_job().id, n, current_job().attempt == 1))

    a, b = bench.task(by_argument), bench.task(in_thread)
    first, second = await bench.drain(a(1), b(2))

    assert sorted(seen) == sorted([(first.id, 1, True), (second.id, 2, True)])


@on_virtual_time
async def test_a_failure_is_retried_after_its_backoff_until_the_job_is_dead(bench: Bench) -> None:
    started: list[int] = []

    async def fail() -> None:
        started.append(bench.clock.now())
        raise ValueError("no luck")

    job = bench.task(fail, max_attempts=3, retry=Retry(delays=["10s", "20s"]))
    [job_id] = await bench.enqueue(job())
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(60)
    worker.stop()
    await running

    record = await bench.record(job_id)
    assert (record.state, record.failures, record.attempt) == (State.DEAD, 3, 3)
    assert [error.kind for error in record.errors] == ["ValueError"] * 3
    assert "no luck" in record.errors[0].traceback
    assert "runners.py" not in record.errors[0].traceback  # the user's frames only
    gaps = [b - a for a, b in itertools.pairwise(started)]
    assert [round(gap / SECOND, 1) for gap in gaps] == [10.0, 20.0]


@on_virtual_time
async def test_signals_snooze_retry_and_cancel(bench: Bench) -> None:
    async def snooze() -> None:
        raise Snooze("5m")

    async def later() -> None:
        raise RetryLater(60, "the other side is down")

    def cancel() -> None:
        raise Cancel("no longer wanted")

    jobs = [bench.task(fn)() for fn in (snooze, later, cancel)]
    snoozed, delayed, cancelled = await bench.drain(*jobs)

    assert (snoozed.state, snoozed.failures) == (State.SCHEDULED, 0)
    assert snoozed.due - bench.clock.now() == 5 * MINUTE
    assert (delayed.state, delayed.failures) == (State.SCHEDULED, 1)
    assert delayed.errors[0].message == "the other side is down"
    assert delayed.due - bench.clock.now() == MINUTE
    assert (cancelled.state, cancelled.errors[0].message) == (State.CANCELLED, "no longer wanted")


@pytest.mark.parametrize("error", odd_errors, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", ["coroutine", "function"])
def test_whatever_a_job_raises_is_its_failure_and_no_other_jobs(
    error: BaseException, kind: str
) -> None:
    async def story(bench: Bench) -> None:
        async def in_loop() -> None:
            raise error

        def in_thread() -> None:
            raise error

        async def innocent() -> str:
            return "fine"

        bad = bench.task(in_loop if kind == "coroutine" else in_thread, max_attempts=1)
        good = bench.task(innocent)
        first, *rest = await bench.drain(bad(), *(good() for _ in range(30)), concurrency=2)
        assert (first.state, first.failures, first.attempt) == (State.DEAD, 1, 1)
        assert first.errors[0].kind.endswith(type(error).__name__)
        assert {job.state for job in rest} == {State.SUCCEEDED}

    on_virtual_time(story)()


@on_virtual_time
async def test_exceptions_that_cannot_be_printed_are_recorded_all_the_same(bench: Bench) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise SystemExit("gotcha")

    async def unprintable() -> None:
        raise Unprintable

    async def endless() -> None:
        raise ValueError("x" * 1_000_000)

    async def surrogate() -> None:
        raise ValueError("\udcff")

    jobs = [bench.task(fn, max_attempts=1)() for fn in (unprintable, endless, surrogate)]
    first, second, third = await bench.drain(*jobs)

    assert {job.state for job in (first, second, third)} == {State.DEAD}
    assert "SystemExit while printing" in first.errors[0].message
    assert len(second.errors[0].message) < 3_000
    assert "characters left out" in second.errors[0].message
    assert third.errors[0].message == "?"


@on_virtual_time
async def test_exceptions_that_cannot_be_looked_at_are_failures_all_the_same(bench: Bench) -> None:
    class Nameless(type):
        def __getattribute__(cls, name: str) -> Any:
            if name == "__qualname__":
                raise RuntimeError("no name")
            return super().__getattribute__(name)

    class Anonymous(Exception, metaclass=Nameless):
        pass

    class Classless(Exception):
        def __getattribute__(self, name: str) -> Any:
            if name == "__class__":
                raise KeyboardInterrupt
            return super().__getattribute__(name)

    async def anonymous() -> None:
        raise Anonymous

    def classless() -> None:
        raise Classless

    jobs = [bench.task(fn, max_attempts=1)() for fn in (anonymous, classless)]
    first, second = await bench.drain(*jobs)

    assert (first.state, first.errors[0].kind) == (
        State.DEAD,
        "<RuntimeError while printing the exception>",
    )
    assert (second.state, second.errors[0].kind) == (State.DEAD, "unknown")


@on_virtual_time
async def test_arguments_that_do_not_fit_kill_the_job_at_once(bench: Bench) -> None:
    async def strict(n: int) -> None:
        raise AssertionError("never called")

    good = bench.task(strict)(1)
    bad = msgspec.structs.replace(good, id=bench.new_id(), payload=Raw(b'[["one"],{}]'))
    [record] = await bench.drain(bad)

    assert (record.state, record.attempt) == (State.DEAD, 1)
    assert "n" in record.errors[0].message
    assert record.errors[0].traceback == ""  # the message is all there is to know


def test_the_log_has_no_traceback_where_only_ours_was_run(caplog: pytest.LogCaptureFixture) -> None:
    log_raised(logging.ERROR, "dead", error=InvalidArguments("the payload of t: n is no int"))
    log_raised(logging.ERROR, "dead", error=ValueError())

    assert [line.exc_info is None for line in caplog.records] == [True, False]


@on_virtual_time
async def test_arguments_that_a_task_gave_another_are_shown_where_it_did(bench: Bench) -> None:
    async def strict(n: int) -> None: ...

    async def caller() -> None:
        bench.task(strict)("one")

    [record] = await bench.drain(bench.task(caller)())

    assert "in caller" in record.errors[0].traceback


@on_virtual_time
async def test_a_result_that_is_too_large_or_no_json_kills_the_job_at_once(bench: Bench) -> None:
    async def huge() -> str:
        return "x" * 300_000

    async def odd() -> Any:
        return object()

    jobs = [bench.task(fn)() for fn in (huge, odd)]
    for record in await bench.drain(*jobs):
        assert (record.state, record.attempt, record.result) == (State.DEAD, 1, None)


@on_virtual_time
async def test_an_unknown_task_is_put_back_at_no_cost(bench: Bench) -> None:
    stranger = JobRequest(id=bench.new_id(), task="not.here")
    [record] = await bench.drain(stranger)

    assert (record.state, record.releases, record.failures) == (State.SCHEDULED, 1, 0)
    assert record.due - bench.clock.now() == SECOND


@on_virtual_time
async def test_a_process_task_goes_to_the_cells_and_runs_there(bench: Bench) -> None:
    def heavy() -> str:
        return "done"

    job = msgspec.structs.replace(bench.task(heavy, executor="process")(), lane=Lane.MAIN)
    [record] = await bench.drain(job)
    assert (record.state, record.lane, record.failures) == (State.READY, Lane.CELL, 0)

    await bench.worker(drain=True, lane=Lane.CELL, concurrency=1, max_prefetch=0).run()
    record = await bench.record(job.id)
    assert (record.state, record.result) == (State.SUCCEEDED, Raw(b'"done"'))


@on_virtual_time
async def test_a_coroutine_past_its_time_limit_is_cancelled_and_failed(bench: Bench) -> None:
    ended: list[float] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(bench.clock.elapsed / SECOND)

    job = bench.task(slow, timeout="2s", max_attempts=1)
    [record] = await bench.drain(job())

    assert (record.state, record.failures) == (State.DEAD, 1)
    assert (record.errors[0].kind, record.errors[0].message) == (
        "timeout",
        "ran past its time limit of 2 s",
    )
    assert ended == [2.0]


@on_virtual_time
async def test_a_coroutine_that_refuses_to_stop_is_fenced(bench: Bench) -> None:
    async def stubborn() -> str:
        while bench.clock.elapsed < 60 * SECOND:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(60)
        return "too late"

    job = bench.task(stubborn, timeout="1s", max_attempts=1)
    [job_id] = await bench.enqueue(job())
    worker = bench.worker(drain=True, refusal=5 * SECOND)
    await worker.run()

    record = await bench.record(job_id)
    assert (record.state, record.errors[0].kind, record.result) == (State.DEAD, "timeout", None)
    assert worker.stuck == 1
    assert 6 <= bench.clock.elapsed / SECOND < 8


@on_virtual_time
async def test_cancelling_a_running_job_stops_it(bench: Bench) -> None:
    async def slow() -> None:
        await asyncio.sleep(3600)

    job = bench.task(slow)
    [job_id] = await bench.enqueue(job())
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    await bench.store.cancel([job_id])
    assert worker.board.tell(job_id, 1, Reply.CANCEL)  # as a heartbeat does
    worker.wake()
    await asyncio.sleep(0.1)

    assert (await bench.record(job_id)).state is State.CANCELLED
    worker.stop()
    await running


@on_virtual_time
async def test_a_cancelled_job_that_finishes_all_the_same_has_succeeded(bench: Bench) -> None:
    async def careful() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "cleaned up"
        return "slept well"

    job = bench.task(careful)
    [job_id] = await bench.enqueue(job())
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.board.tell(job_id, 1, Reply.CANCEL)
    worker.wake()
    await asyncio.sleep(0.1)
    worker.stop()
    await running

    record = await bench.record(job_id)
    assert (record.state, record.result) == (State.SUCCEEDED, Raw(b'"cleaned up"'))


@on_virtual_time
async def test_a_lease_that_nobody_renews_stops_the_job_before_it_ends(bench: Bench) -> None:
    stopped: list[float] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.append(bench.clock.elapsed / SECOND)

    job = bench.task(slow)
    [job_id] = await bench.enqueue(job())
    worker = bench.worker(lease=30 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(26)
    worker.stop()  # or it would lease the job again
    await running

    assert stopped == [27.0]
    record = await bench.record(job_id)
    assert (record.failures, record.losses) == (0, 0)


@on_virtual_time
async def test_renewed_leases_let_a_job_run_for_hours_once(bench: Bench) -> None:
    runs: list[float] = []

    async def six_hours() -> None:
        runs.append(bench.clock.elapsed / SECOND)
        await asyncio.sleep(6 * 3600)

    job = bench.task(six_hours, timeout="7h")
    [job_id] = await bench.enqueue(job())
    worker = bench.worker(drain=True)

    async def keep() -> None:
        while True:
            worker.board.renew(bench.clock.tick() + 30 * SECOND)
            await bench.store.extend(await bench.store.held(worker.settings.name), 30 * SECOND)
            await asyncio.sleep(10)

    keeping = asyncio.create_task(keep())
    await worker.run()
    keeping.cancel()

    assert len(runs) == 1
    assert (await bench.record(job_id)).state is State.SUCCEEDED


@on_virtual_time
async def test_stop_lets_running_jobs_finish_and_gives_the_rest_back(bench: Bench) -> None:
    async def slow() -> None:
        await asyncio.sleep(5)

    job = bench.task(slow)
    ids = await bench.enqueue(*(job() for _ in range(6)))
    worker = bench.worker(concurrency=2, grace=30 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running

    states = [(await bench.record(job_id)).state for job_id in ids]
    assert states == [State.SUCCEEDED] * 2 + [State.READY] * 4
    assert bench.clock.elapsed / SECOND < 6


@on_virtual_time
async def test_jobs_that_outlast_the_grace_are_given_back_at_no_cost(bench: Bench) -> None:
    async def slow() -> None:
        await asyncio.sleep(3600)

    job = bench.task(slow)
    [job_id] = await bench.enqueue(job())
    worker = bench.worker(grace=10 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running

    record = await bench.record(job_id)
    assert (record.state, record.failures, record.losses) == (State.READY, 0, 0)
    assert 11 <= bench.clock.elapsed / SECOND < 13


@on_virtual_time
async def test_a_patient_stop_has_no_grace_until_an_impatient_one(bench: Bench) -> None:
    async def slow() -> None:
        await asyncio.sleep(20)

    job = bench.task(slow)
    ids = await bench.enqueue(job(), job())
    worker = bench.worker(concurrency=1, grace=2 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.stop(patient=True)
    await running
    assert [(await bench.record(each)).state for each in ids] == [State.SUCCEEDED, State.READY]

    worker = bench.worker(concurrency=1, grace=2 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.stop(patient=True)
    await asyncio.sleep(5)
    worker.stop()
    worker.stop(patient=True)
    began = bench.clock.elapsed
    await running
    assert 2 <= (bench.clock.elapsed - began) / SECOND < 3
    assert (await bench.record(ids[1])).state is State.READY


class LateStore(MemoryStore):
    """The reply to an exchange is half a second under way."""

    async def exchange(self, *args: Any, **kwargs: Any) -> Exchange:
        reply = await super().exchange(*args, **kwargs)
        await asyncio.sleep(0.5)
        return reply


@on_virtual_time
async def test_what_was_leased_while_a_worker_was_told_to_stop_does_not_begin(bench: Bench) -> None:
    began: list[str] = []

    async def long() -> None:
        began.append("coroutine")
        await asyncio.sleep(600)

    def function() -> None:
        began.append("function")

    bench.store = LateStore(clock=bench.clock)
    worker = bench.worker(grace=0)
    ids = await bench.enqueue(bench.task(long)(), bench.task(function)())
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.1)
    worker.stop()
    await asyncio.wait_for(running, 5)

    assert began == []
    assert [(await bench.record(job_id)).state for job_id in ids] == [State.READY] * 2


@on_virtual_time
async def test_a_store_that_is_away_is_ridden_out(bench: Bench) -> None:
    async def quick(n: int) -> int:
        return n

    inner = bench.store

    class Flaky(MemoryStore):
        calls = 0

        async def exchange(self, *args: Any) -> Exchange:
            self.calls += 1
            if self.calls % 3 == 1:
                raise StoreUnavailable("down")
            reply = await inner.exchange(*args)
            if self.calls % 3 == 2:
                raise StoreUnavailable("the reply was lost")
            return reply

        def watch(self, *args: Any) -> Any:
            return inner.watch(*args)

    job = bench.task(quick)
    ids = await bench.enqueue(*(job(n) for n in range(50)))
    bench.store = Flaky(clock=bench.clock)
    await bench.worker(drain=True).run()
    bench.store = inner

    records = [await bench.record(job_id) for job_id in ids]
    assert {(r.state, r.attempt) for r in records} == {(State.SUCCEEDED, 1)}


class AwayStore(MemoryStore):
    """While `away`, nothing can be recorded."""

    away = False

    async def exchange(self, *args: Any, **kwargs: Any) -> Exchange:
        if self.away:
            raise StoreUnavailable("taken away by the test")
        return await super().exchange(*args, **kwargs)


@on_virtual_time
async def test_what_could_not_be_recorded_stays_on_the_board_for_the_supervisor(
    bench: Bench,
) -> None:
    store = bench.store = AwayStore(clock=bench.clock)

    async def last() -> int:
        store.away = True
        return 5

    async def later() -> None:
        await asyncio.sleep(3)

    await bench.enqueue(bench.task(last)(), bench.task(later)())
    worker = bench.worker(grace=2 * SECOND)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1)
    worker.stop()
    await running

    assert 8 <= bench.clock.elapsed / SECOND < 12
    left = sorted((entry.phase, entry.result) for entry in worker.board.entries())
    assert left == [(Phase.SUCCEEDED, b"5"), (Phase.FINISHED, None)]


@on_virtual_time
async def test_a_job_never_sees_what_another_left_in_the_context(bench: Bench) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="clean")
    seen: list[str] = []

    async def dirty() -> None:
        seen.append(var.get())
        var.set("dirty")

    def dirty_thread() -> None:
        seen.append(var.get())
        var.set("dirty")

    a, b = bench.task(dirty), bench.task(dirty_thread)
    await bench.drain(*(a() for _ in range(5)), *(b() for _ in range(5)), concurrency=1)

    assert seen == ["clean"] * 10


@on_virtual_time
async def test_middleware_wraps_every_job_and_lifespan_the_worker(bench: Bench) -> None:
    story: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        story.append("open")
        yield
        story.append("close")

    async def outer(job: JobContext, call_next: Callable[[], Any]) -> Any:
        story.append(f"before {job.task}")
        result = await call_next()
        story.append("after")
        return f"<{result}>"

    async def in_loop() -> str:
        return "a"

    def in_thread() -> str:
        return "b"

    jobs = [bench.task(fn)() for fn in (in_loop, in_thread)]
    records = await bench.drain(*jobs, middleware=[outer], lifespan=lifespan, concurrency=1)

    assert [r.result for r in records] == [Raw(b'"<a>"'), Raw(b'"<b>"')]
    assert story == ["open", "before in_loop", "after", "before in_thread", "after", "close"]


@on_virtual_time
async def test_progress_reaches_the_store_throttled(bench: Bench) -> None:
    async def long(job: JobContext) -> None:
        for step in range(100):
            job.progress(step + 1, 100, "counting")
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)

    sent = 0
    job = bench.task(long)
    [job_id] = await bench.enqueue(job())
    plain = bench.store.progress

    async def counted(reports: Any) -> list[bool]:
        nonlocal sent
        sent += 1
        return await plain(reports)

    bench.store.progress = counted  # type: ignore[method-assign]
    await bench.worker(drain=True).run()

    record = await bench.record(job_id)
    assert record.progress == Progress(job_id, 1, 100, 100, "counting")
    assert sent <= 6


@on_virtual_time
async def test_short_jobs_do_not_wait_behind_long_ones_that_were_leased_ahead(
    bench: Bench,
) -> None:
    async def job(seconds: float) -> None:
        await asyncio.sleep(seconds)

    make = bench.task(job, timeout="2h")
    await bench.enqueue(*(make(0.0) for _ in range(2_000)))
    first = bench.worker(concurrency=2)
    running = asyncio.create_task(first.run())
    await asyncio.sleep(1)
    await bench.enqueue(*(make(600.0) for _ in range(2)), *(make(0.0) for _ in range(50)))
    await asyncio.sleep(1)
    second = bench.worker(concurrency=2)
    also = asyncio.create_task(second.run())
    await asyncio.sleep(5)
    [stats] = await bench.store.stats()

    assert stats.counts[State.RUNNING] == 2
    assert stats.counts[State.SUCCEEDED] == 2_050
    first.quit()
    second.quit()
    await running
    await also


@on_virtual_time
async def test_weights_share_the_slots_and_an_empty_queue_costs_nothing(bench: Bench) -> None:
    order: list[str] = []

    async def note(queue: str) -> None:
        order.append(queue)

    make = bench.task(note)
    await bench.enqueue(
        *(
            msgspec.structs.replace(make(queue), queue=queue)
            for queue in ("mail", "slow")
            for _ in range(100)
        )
    )
    await bench.worker(drain=True, queues={"mail": 3, "slow": 1, "none": 5}, max_prefetch=0).run()

    assert len(order) == 200
    share = order[:80].count("mail") / 80
    assert 0.6 <= share <= 0.85


@on_virtual_time
async def test_a_delayed_job_starts_when_it_is_due_without_a_reaper(bench: Bench) -> None:
    started: list[float] = []

    async def note() -> None:
        started.append(bench.clock.elapsed / SECOND)

    make = bench.task(note)
    await bench.enqueue(msgspec.structs.replace(make(), delay=3 * SECOND + 250_000))
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(10)
    worker.stop()
    await running

    assert started == [pytest.approx(3.25, abs=0.01)]


@on_virtual_time
async def test_a_hint_of_one_queue_is_not_spent_on_another(bench: Bench) -> None:
    started: list[float] = []

    async def note() -> None:
        started.append(bench.clock.elapsed / SECOND)

    make = bench.task(note)
    worker = bench.worker(queues={"a": 1, "b": 1}, concurrency=3)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(5)
    for queue in ("a", "b"):
        await bench.enqueue(msgspec.structs.replace(make(), queue=queue))
        await asyncio.sleep(0.001)
    await asyncio.sleep(5)
    worker.stop()
    await running

    assert started == [pytest.approx(5, abs=0.01)] * 2


@on_virtual_time
async def test_a_delayed_job_is_not_forgotten_while_another_queue_is_asked(bench: Bench) -> None:
    started: dict[str, float] = {}

    async def note(queue: str) -> None:
        started[queue] = bench.clock.elapsed / SECOND

    make = bench.task(note)
    await bench.enqueue(
        msgspec.structs.replace(make("a"), queue="a"),
        msgspec.structs.replace(make("b"), queue="b", delay=SECOND // 4),
    )
    worker = bench.worker(queues={"a": 1, "b": 1}, concurrency=2)
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(5)
    worker.stop()
    await running

    assert started == {"a": pytest.approx(0, abs=0.01), "b": pytest.approx(0.25, abs=0.01)}


@on_virtual_time
async def test_an_observer_sees_every_outcome(bench: Bench) -> None:
    seen: list[tuple[str, str]] = []

    def observe(run: Run) -> None:
        assert run.ack is not None
        seen.append((run.lease.task, run.ack.state))

    async def good() -> None: ...

    async def bad() -> None:
        raise ValueError

    jobs = [bench.task(good)(), bench.task(bad, max_attempts=1)()]
    await bench.drain(*jobs, observer=observe)

    assert sorted(seen) == [("bad", State.DEAD), ("good", State.SUCCEEDED)]


@on_virtual_time
async def test_a_free_slot_never_waits_while_some_queue_has_work(bench: Bench) -> None:
    async def nap() -> None:
        await asyncio.sleep(0.1)

    async def nap_c() -> None:
        await asyncio.sleep(0.1)

    on_a, on_c = bench.task(nap, queue="a"), bench.task(nap_c, queue="c")
    jobs = [on_a() for _ in range(20)] + [on_c() for _ in range(20)]
    began = bench.clock.tick()
    records = await bench.drain(*jobs, queues={"a": 1, "b": 1, "c": 1}, concurrency=1)

    assert {record.state for record in records} == {State.SUCCEEDED}
    assert bench.clock.tick() - began < 1.2 * len(jobs) * SECOND // 10


@pytest.mark.parametrize("answer", [None, "done all the same"])
def test_a_task_that_saw_that_it_should_stop_succeeds_only_with_a_result(
    answer: str | None,
) -> None:
    async def story(bench: Bench) -> None:
        async def polite(job: JobContext) -> str | None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                assert job.cancelled
            return answer

        make = bench.task(polite, timeout="2s", max_attempts=1)
        [record] = await bench.drain(make())
        if answer is None:
            assert (record.state, record.errors[0].kind) == (State.DEAD, "timeout")
        else:
            assert (record.state, record.failures) == (State.SUCCEEDED, 0)

    on_virtual_time(story)()


def test_a_function_that_stops_when_told_is_handed_back_not_lost() -> None:
    """With real threads: the worker is told to stop while the function runs."""

    async def story() -> tuple[State, int]:
        bench = Bench(SYSTEM_CLOCK)
        begun, go = threading.Event(), threading.Event()

        def polite(job: JobContext) -> None:
            begun.set()
            go.wait(10)
            assert job.cancelled

        [job_id] = await bench.enqueue(bench.task(polite)())
        worker = bench.worker(grace=0)
        running = asyncio.create_task(worker.run())
        await asyncio.to_thread(begun.wait, 10)
        worker.quit()
        go.set()
        await running
        record = await bench.record(job_id)
        return record.state, record.failures

    assert asyncio.run(story()) == (State.READY, 0)


def test_a_task_that_is_not_here_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    """Enqueued as `sub.main.send`, because another process found the module there."""

    async def story(bench: Bench) -> None:
        async def send() -> None: ...

        bench.task(send, name="main.send")
        await bench.store.enqueue(
            [[JobRequest(id=bench.clock.new_id(), task="sub.main.send") for _ in range(3)]]
        )
        await bench.store.enqueue([[JobRequest(id=bench.clock.new_id(), task="gone")]])
        await bench.drain()

    on_virtual_time(story)()
    gone, twin = sorted(record.message for record in caplog.records)
    assert gone == "there is no task gone here, so its jobs are put back"
    assert twin.endswith("its jobs are put back; is it main.send, imported under another name?")


def test_failures_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "backline.worker")

    async def story(bench: Bench) -> None:
        async def fail() -> None:
            raise ValueError("no luck")

        await bench.drain(bench.task(fail, max_attempts=1)())

    on_virtual_time(story)()
    [record] = [record for record in caplog.records if "is dead" in record.message]
    assert record.levelname == "ERROR"
    assert record.message.endswith("failure 1: ValueError: no luck")


def test_the_log_has_the_wait_for_a_retry_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "backline.worker")

    async def story(bench: Bench) -> None:
        async def fail() -> None:
            raise RetryLater(0.034182)

        await bench.drain(bench.task(fail, max_attempts=2)())

    on_virtual_time(story)()
    [told] = [record.message for record in caplog.records if "again in" in record.message]
    assert "failed, 1 of 2, again in 34.2 ms: " in told
