"""Tasks that get their jobs in batches, on virtual time."""

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import ref

import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.worker.bench import Bench
from tests.worker.test_loop import on_virtual_time

from backline.batch import Batch, BatchItem
from backline.context import JobContext, current_job
from backline.errors import BacklineError, Cancel, RetryLater, Snooze
from backline.job import SECOND, JobRequest, Lane
from backline.states import State
from backline.task import Retry
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker import EmbeddedWorker
from backline.worker.board import Reply


def play(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    """Run a test that has parameters of its own."""
    clock = VirtualClock()
    run(test(Bench(clock)), clock=clock)


def numbers(bench: Bench, sizes: list[int], **options: Any) -> Any:
    """A task that notes the size of each batch it gets."""

    async def count(batch: Batch[int]) -> None:
        sizes.append(len(batch))

    return bench.task(count, **{"batch": 10, "wait": "2s", **options})


async def states(bench: Bench, ids: list[str]) -> list[State]:
    return [(await bench.record(job_id)).state for job_id in ids]


async def stop(worker: Any, running: asyncio.Task[None]) -> None:
    worker.stop()
    await running


# Gathering.


@on_virtual_time
async def test_a_full_batch_goes_at_once_and_the_rest_after_the_wait_of_its_first(
    bench: Bench,
) -> None:
    begun: list[tuple[int, float]] = []

    async def count(batch: Batch[int]) -> None:
        begun.append((len(batch), bench.clock.tick() - start))

    job = bench.task(count, batch=10, wait="2s")
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await worker.started.wait()
    start = bench.clock.tick()
    await bench.enqueue(*(job(n) for n in range(23)))
    await asyncio.sleep(1)
    assert [size for size, _ in begun] == [10, 10]
    await bench.enqueue(job(23))  # does not prolong the wait of those before it
    await asyncio.sleep(1.5)
    assert [size for size, _ in begun] == [10, 10, 4]
    assert begun[-1][1] / SECOND == pytest.approx(2, abs=0.01)
    await stop(worker, running)


@on_virtual_time
async def test_items_have_their_jobs_and_results_of_their_own(bench: Bench) -> None:
    async def double(batch: Batch[int, int]) -> None:
        assert batch.values == [item.value for item in batch]
        for item in batch:
            assert (item.job.attempt, item.job.failures) == (1, 0)
            item.job.progress(1, 2)
            if item.value:
                item.succeed(2 * item.value)
            item.succeed(0)  # the first one counts

    job = bench.task(double, batch=10)
    records = await bench.drain(*(job(n) for n in range(4)))
    assert [record.result for record in records] == [Raw(b) for b in (b"0", b"2", b"4", b"6")]
    assert {record.state for record in records} == {State.SUCCEEDED}


@on_virtual_time
async def test_draining_does_not_wait(bench: Bench) -> None:
    sizes: list[int] = []
    job = numbers(bench, sizes, wait="10m")
    begun = bench.clock.tick()
    await bench.drain(*(job(n) for n in range(25)))
    assert sizes == [10, 10, 5]
    assert bench.clock.tick() - begun < SECOND


@on_virtual_time
async def test_leases_are_kept_while_a_batch_gathers(bench: Bench) -> None:
    attempts: list[int] = []

    async def note(batch: Batch[int]) -> None:
        attempts.extend(item.job.attempt for item in batch)

    job = bench.task(note, batch=10, wait="30s")
    worker = bench.worker(lease=2 * SECOND)
    async with EmbeddedWorker(worker, bench.store, bench.clock):
        [job_id] = await bench.enqueue(job(1))
        await asyncio.sleep(29)
        assert (await bench.record(job_id)).state is State.RUNNING
        assert not attempts
        await asyncio.sleep(2)
        assert attempts == [1]
    assert await states(bench, [job_id]) == [State.SUCCEEDED]


@on_virtual_time
async def test_what_gathers_is_given_back_free_when_the_worker_stops(bench: Bench) -> None:
    sizes: list[int] = []
    job = numbers(bench, sizes, wait="10m")
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(3)))
    await asyncio.sleep(1)
    await stop(worker, running)
    records = [await bench.record(job_id) for job_id in ids]
    assert not sizes
    for record in records:
        assert (record.state, record.failures, record.losses) == (State.READY, 0, 0)


@on_virtual_time
async def test_gathering_takes_no_place_from_other_tasks(bench: Bench) -> None:
    sizes: list[int] = []
    ran: list[int] = []

    async def other(n: int) -> None:
        await asyncio.sleep(0.1)
        ran.append(n)

    job, plain = numbers(bench, sizes, queue="batches", wait="5s"), bench.task(other)
    worker = bench.worker(concurrency=1, queues={"default": 1, "batches": 1}, max_prefetch=0)
    running = asyncio.create_task(worker.run())
    await bench.enqueue(job(1))
    await asyncio.sleep(0.5)
    await bench.enqueue(*(plain(n) for n in range(20)))
    await asyncio.sleep(3)
    assert (len(ran), sizes) == (20, [])
    await asyncio.sleep(3)
    assert sizes == [1]
    await stop(worker, running)


@on_virtual_time
async def test_a_batch_that_found_no_place_does_not_wait_again(bench: Bench) -> None:
    """Jobs as long as the wait fill every place again and again, and do not starve it."""
    sizes: list[int] = []

    async def other(n: int) -> None:
        await asyncio.sleep(3)

    job, plain = numbers(bench, sizes, queue="batches", wait="1s"), bench.task(other)
    worker = bench.worker(concurrency=1, queues={"default": 1, "batches": 1}, max_prefetch=0)
    running = asyncio.create_task(worker.run())
    await bench.enqueue(*(plain(n) for n in range(20)))
    await bench.enqueue(*(job(n) for n in range(5)))
    await asyncio.sleep(20)
    assert sum(sizes) == 5
    await stop(worker, running)


@on_virtual_time
async def test_several_batches_run_at_once_but_no_more_than_there_are_places(
    bench: Bench,
) -> None:
    now = most = 0

    async def work(batch: Batch[int]) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1)
        now -= 1

    job = bench.task(work, batch=5)
    records = await bench.drain(*(job(n) for n in range(50)), concurrency=3, max_prefetch=0)
    assert most == 3
    assert {record.attempt for record in records} == {1}


@on_virtual_time
async def test_a_worker_takes_no_batches_ahead(bench: Bench) -> None:
    async def work(batch: Batch[int]) -> None:
        await asyncio.sleep(10)

    job = bench.task(work, batch=5, wait=0)
    worker = bench.worker(concurrency=2)
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(40)))
    await asyncio.sleep(5)
    assert (await states(bench, ids)).count(State.RUNNING) == 10
    await stop(worker, running)


# How runs end.


@on_virtual_time
async def test_a_handler_that_raises_fails_what_had_not_ended(
    bench: Bench,
) -> None:
    async def half(batch: Batch[int]) -> None:
        for item in batch:
            if item.value < 2:
                item.succeed()
        raise ValueError("no luck")

    bench_job = bench.task(half, batch=10, max_attempts=1)
    records = await bench.drain(*(bench_job(n) for n in range(5)))
    assert [record.state for record in records] == [State.SUCCEEDED] * 2 + [State.DEAD] * 3
    for record in records[2:]:
        [error] = record.errors
        assert (error.kind, error.message, error.attempt) == ("ValueError", "no luck", 1)
        assert "batches.py" not in error.traceback.replace("test_batches.py", "")


def test_a_failed_batch_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def check(bench: Bench) -> None:
        async def fail(batch: Batch[int]) -> None:
            raise ValueError("no luck")

        job = bench.task(fail, batch=10, max_attempts=1)
        await bench.drain(*(job(n) for n in range(5)))

    with caplog.at_level(logging.INFO, "backline.worker"):
        play(check)
    [record] = [each for each in caplog.records if "no luck" in each.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.exc_info


@on_virtual_time
async def test_each_item_ends_by_its_own_policy(bench: Bench) -> None:
    async def mixed(batch: Batch[str]) -> None:
        ends: dict[str, Exception] = {
            "snooze": Snooze("5m"),
            "later": RetryLater(60),
            "cancel": Cancel(),
            "error": ValueError("bad"),
            "fatal": KeyError("gone"),
        }
        for item in batch:
            if item.value in ends:
                item.fail(ends[item.value])

    job = bench.task(mixed, batch=10, retry=Retry(not_on=KeyError))
    names = ["snooze", "later", "cancel", "error", "fatal", "fine"]
    ids = await bench.enqueue(*(job(name) for name in names))
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(1.01)  # the wait
    await stop(worker, running)
    found = dict(zip(names, [await bench.record(job_id) for job_id in ids], strict=True))
    assert {name: (each.state, each.failures) for name, each in found.items()} == {
        "snooze": (State.SCHEDULED, 0),
        "later": (State.SCHEDULED, 1),
        "cancel": (State.CANCELLED, 0),
        "error": (State.SCHEDULED, 1),
        "fatal": (State.DEAD, 1),
        "fine": (State.SUCCEEDED, 0),
    }


@on_virtual_time
async def test_one_that_cannot_be_decoded_does_not_stop_the_others(bench: Bench) -> None:
    sizes: list[int] = []
    job = numbers(bench, sizes)
    bad = JobRequest(id="bad", task="count", queue="count", payload=Raw(b'[["x"],{}]'))
    records = await bench.drain(job(1), bad, job(2))
    assert sizes == [2]
    assert [r.state for r in records] == [State.SUCCEEDED, State.DEAD, State.SUCCEEDED]


@on_virtual_time
async def test_what_a_handler_returns_is_not_dropped_in_silence(bench: Bench) -> None:
    async def sums(batch: Batch[int]):  # type: ignore[no-untyped-def]
        return batch.values

    job = bench.task(sums, batch=10)
    [record] = await bench.drain(job(1))
    assert record.state is State.DEAD
    assert "item.succeed(result)" in record.errors[0].message


@on_virtual_time
async def test_a_result_that_cannot_be_kept_fails_its_own_job(bench: Bench) -> None:
    async def odd(batch: Batch[int, int]) -> None:
        for item in batch:
            item.succeed(item.value or object())  # type: ignore[arg-type]

    job = bench.task(odd, batch=10)
    records = await bench.drain(job(0), job(1))
    assert [record.state for record in records] == [State.DEAD, State.SUCCEEDED]


@on_virtual_time
async def test_an_item_that_ended_is_recorded_while_the_others_go_on(bench: Bench) -> None:
    async def slow(batch: Batch[int]) -> None:
        batch[0].succeed()
        batch[1].fail(ValueError("bad"))
        await asyncio.sleep(60)

    job = bench.task(slow, batch=10, wait=0, max_attempts=1)
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(3)))
    await asyncio.sleep(10)
    assert await states(bench, ids) == [State.SUCCEEDED, State.DEAD, State.RUNNING]
    await stop(worker, running)


@pytest.mark.parametrize("surrounded", [False, True])
def test_a_handler_that_hangs_after_its_last_item_is_stopped(surrounded: bool) -> None:
    async def check(bench: Bench) -> None:
        async def hang(batch: Batch[int]) -> None:
            for item in batch:
                item.succeed()
            try:
                await asyncio.sleep(10_000)
            finally:
                ended.append(bench.clock.tick())

        async def layer(job: JobContext, call_next: Any) -> Any:
            return await call_next()

        ended: list[int] = []
        job = bench.task(hang, batch=10, wait=0, timeout="10s")
        worker = bench.worker(middleware=[layer] if surrounded else [])
        running = asyncio.create_task(worker.run())
        begun = bench.clock.tick()
        await bench.enqueue(*(job(n) for n in range(3)))
        await asyncio.sleep(20)
        assert [round((end - begun) / SECOND) for end in ended] == [10]
        assert worker._lines.calls(worker._monitor.running) == 0
        await stop(worker, running)

    play(check)


# Stopping.


@on_virtual_time
async def test_a_batch_runs_under_the_shortest_time_limit_and_blames_only_who_is_late(
    bench: Bench,
) -> None:
    async def hang(batch: Batch[int]) -> None:
        await asyncio.sleep(10_000 if len(batch) > 1 else 0)

    bench.task(hang, batch=3, wait="10s", max_attempts=1)
    task: Any = bench.registry.get("hang")
    short, long = task.using(timeout="5s"), task.using(timeout="50s")
    ids = await bench.enqueue(short.job(0), short.job(1), long.job(2))
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(5.1)
    assert await states(bench, ids[:2]) == [State.DEAD] * 2
    [error] = (await bench.record(ids[0])).errors
    assert (error.kind, error.message) == ("timeout", "ran past its time limit of 5 s")
    await asyncio.sleep(11)  # alone in its next batch
    innocent = await bench.record(ids[2])
    assert (innocent.state, innocent.failures, innocent.attempt) == (State.SUCCEEDED, 0, 2)
    await stop(worker, running)


@on_virtual_time
async def test_a_cancel_of_one_job_tells_its_item_alone(bench: Bench) -> None:
    async def look(batch: Batch[int]) -> None:
        await asyncio.sleep(10)
        assert not batch.cancelled
        seen.extend(item.job.cancelled for item in batch)

    seen: list[bool] = []
    job = bench.task(look, batch=10, wait=0)
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(3)))
    await asyncio.sleep(1)
    run = next(run for run in worker.runs if run.lease.id == ids[1])
    worker.board.tell(ids[1], 1, Reply.CANCEL)
    worker.wake()
    await asyncio.sleep(10)
    assert seen == [False, True, False]
    assert run.stop is not None
    assert await states(bench, ids) == [State.SUCCEEDED, State.CANCELLED, State.SUCCEEDED]
    assert worker.stuck == 0
    await stop(worker, running)


@on_virtual_time
async def test_a_batch_of_which_every_job_is_cancelled_is_stopped(bench: Bench) -> None:
    async def hang(batch: Batch[int]) -> None:
        await asyncio.sleep(10_000)

    job = bench.task(hang, batch=10, wait=0)
    worker = bench.worker()
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(3)))
    await asyncio.sleep(1)
    for job_id in ids:
        worker.board.tell(job_id, 1, Reply.CANCEL)
    worker.wake()
    await asyncio.sleep(1)
    assert await states(bench, ids) == [State.CANCELLED] * 3
    await stop(worker, running)


@pytest.mark.parametrize("surrounded", [False, True])
def test_a_shutdown_gives_back_what_is_not_done(surrounded: bool) -> None:
    async def check(bench: Bench) -> None:
        async def slow(batch: Batch[int]) -> None:
            batch[0].succeed()
            await asyncio.sleep(10_000)

        async def layer(job: JobContext, call_next: Any) -> Any:
            return await call_next()

        job = bench.task(slow, batch=10, wait=0)
        worker = bench.worker(grace=SECOND, middleware=[layer] if surrounded else [])
        running = asyncio.create_task(worker.run())
        ids = await bench.enqueue(*(job(n) for n in range(3)))
        await asyncio.sleep(1)
        await stop(worker, running)
        records = [await bench.record(job_id) for job_id in ids]
        assert [each.state for each in records] == [State.SUCCEEDED, State.READY, State.READY]
        assert [each.failures + each.losses for each in records] == [0, 0, 0]

    play(check)


@on_virtual_time
async def test_a_function_that_heeds_a_stop_has_done_no_more_than_it_said(bench: Bench) -> None:
    """It sees at one item that the call is to stop, and leaves: the others are not done."""
    seen: list[bool] = []

    def careful(batch: Batch[int]) -> None:
        if batch[0].job.attempt > 1:
            return
        batch[0].succeed()
        worker.board.tell(batch[1].job.id, 1, Reply.LOST)
        worker.wake()  # virtual threads run on the loop
        seen.append(batch[0].job.cancelled)

    job = bench.task(careful, batch=10, wait=0)
    worker = bench.worker(drain=True)
    ids = await bench.enqueue(*(job(n) for n in range(3)))
    await worker.run()
    records = [await bench.record(job_id) for job_id in ids]
    assert seen == [True]
    assert [record.attempt for record in records] == [1, 2, 2]
    assert [record.failures + record.losses for record in records] == [0, 0, 0]
    assert {record.state for record in records} == {State.SUCCEEDED}


@on_virtual_time
async def test_a_batch_that_ignores_being_stopped_counts_once(bench: Bench) -> None:
    async def deaf(batch: Batch[int]) -> None:
        while True:
            try:
                await asyncio.sleep(10_000)
            except asyncio.CancelledError:
                if over.is_set():
                    raise

    over = asyncio.Event()
    job = bench.task(deaf, batch=10, wait=0, timeout="1s", max_attempts=1)
    worker = bench.worker(concurrency=4)
    running = asyncio.create_task(worker.run())
    ids = await bench.enqueue(*(job(n) for n in range(10)))
    await asyncio.sleep(10)
    assert await states(bench, ids) == [State.DEAD] * 10
    assert (worker.stuck, worker.worn_out) == (1, False)
    assert worker._lines.calls(worker._monitor.running) == 0
    over.set()
    await stop(worker, running)


@pytest.mark.parametrize("surrounded", [False, True])
def test_nothing_of_a_batch_is_kept_once_it_has_ended(surrounded: bool) -> None:
    """The collector does not track runs, so no circle of theirs is ever collected."""

    async def check(bench: Bench) -> None:
        async def ask(batch: Batch[int]) -> None:
            calls.append(ref(batch[0].job._control.whole))
            batch[0].succeed()

        async def layer(job: JobContext, call_next: Any) -> Any:
            return await call_next()

        calls: list[Any] = []
        job = bench.task(ask, batch=10)
        worker = bench.worker(drain=True, middleware=[layer] if surrounded else [])
        await bench.enqueue(*(job(n) for n in range(3)))
        await worker.run()
        gc.collect()
        assert [call() for call in calls] == [None]

    play(check)


# What surrounds a run.


@on_virtual_time
async def test_the_code_of_a_batch_has_no_current_job(bench: Bench) -> None:
    async def ask(batch: Batch[int]) -> None:
        with pytest.raises(BacklineError, match=r"item\.job"):
            current_job()

    def ask_in_thread(batch: Batch[int]) -> None:
        with pytest.raises(BacklineError, match=r"item\.job"):
            current_job()

    jobs = [bench.task(ask, batch=2, queue="a"), bench.task(ask_in_thread, batch=2, queue="b")]
    records = await bench.drain(*(job(1) for job in jobs), queues={"a": 1, "b": 1})
    assert [record.state for record in records] == [State.SUCCEEDED] * 2


@on_virtual_time
async def test_middleware_surrounds_each_job_and_sees_its_own_end(bench: Bench) -> None:
    seen: dict[str, Any] = {}

    async def layer(job: JobContext, call_next: Any) -> Any:
        assert current_job() is job
        try:
            seen[job.id] = await call_next()
        except ValueError as error:
            seen[job.id] = str(error)
            raise
        return seen[job.id]

    def handle(batch: Batch[int, int]) -> None:
        for item in batch:
            if item.value == 0:
                item.fail(ValueError("own"))
            elif item.value == 1:
                item.succeed(7)
        raise ValueError("all")

    job = bench.task(handle, batch=10, max_attempts=1)
    records = await bench.drain(*(job(n) for n in range(4)), middleware=[layer])
    assert [seen[record.id] for record in records] == ["own", 7, "all", "all"]
    assert [r.state for r in records] == [State.DEAD, State.SUCCEEDED, State.DEAD, State.DEAD]


@on_virtual_time
async def test_middleware_may_keep_its_job_from_the_batch(bench: Bench) -> None:
    sizes: list[int] = []
    job = numbers(bench, sizes)

    async def layer(job: JobContext, call_next: Any) -> Any:
        if job.tags:
            return None
        return await call_next()

    task: Any = bench.registry.get("count")
    jobs = [job(1), task.using(tags=["known"]).job(2), job(3)]
    records = await bench.drain(*jobs, middleware=[layer])
    assert sizes == [2]
    assert {record.state for record in records} == {State.SUCCEEDED}


@on_virtual_time
async def test_middleware_that_lets_one_job_in_at_a_time_holds_up_none(bench: Bench) -> None:
    sizes: list[int] = []
    job = numbers(bench, sizes)
    door = asyncio.Lock()

    async def layer(job: JobContext, call_next: Any) -> Any:
        async with door:
            return await call_next()

    records = await bench.drain(*(job(n) for n in range(3)), middleware=[layer])
    assert sizes == [1, 1, 1]
    assert {record.state for record in records} == {State.SUCCEEDED}


@on_virtual_time
async def test_functions_run_in_threads_and_suspects_alone(bench: Bench) -> None:
    sizes: list[int] = []

    def count(batch: Batch[int]) -> None:
        sizes.append(len(batch))

    job = bench.task(count, batch=10)
    await bench.drain(*(job(n) for n in range(15)))
    assert sizes == [10, 5]
    alone = [job(n) for n in range(3)]
    cells = [replace(each, lane=Lane.CELL) for each in alone]
    await bench.drain(*cells, lane=Lane.CELL, concurrency=1, max_prefetch=0)
    assert sizes == [10, 5, 1, 1, 1]


def test_an_item_outside_of_jobs_says_so() -> None:
    item: BatchItem[int, None] = BatchItem(1)
    with pytest.raises(BacklineError, match="no job"):
        _ = item.job
    with pytest.raises(TypeError, match="exception"):
        item.fail("bad")  # type: ignore[arg-type]
