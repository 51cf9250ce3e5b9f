"""Runs that end badly after a transaction of the caller's may have completed their job."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw
from tests.worker.bench import Bench

from backline.clock import SYSTEM_CLOCK, Clock
from backline.context import JobContext
from backline.errors import StoreRefused, StoreUnavailable
from backline.job import JobId, JobRequest
from backline.states import State
from backline.task import Completion
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

PATIENCE = 10.0


class Inbox:
    """The caller's database: what was committed there, if anybody can say."""

    def __init__(self) -> None:
        self.committed: Raw | None = None
        self.error: Exception | None = None
        self.looks: list[int] = []
        """The threads that looked."""

    def complete(self, job_id: JobId, attempt: int, result: Raw | None, within: object) -> None:
        self.committed = result

    def completion(self, job_id: JobId) -> Completion | None:
        self.looks.append(threading.get_ident())
        if self.error is not None:
            raise self.error
        return None if self.committed is None else Completion(self.committed)


class InboxBench(Bench):
    """Its tasks take part in the transactions of `inbox`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.inbox = Inbox()

    def task(self, fn: Callable[..., Any], **options: Any) -> Callable[..., JobRequest]:
        make = super().task(fn, **options)
        task = self.registry.get(fn.__name__)
        assert task is not None
        task._transactions = self.inbox  # type: ignore[assignment]
        return make


async def in_coroutine(job: JobContext) -> int:
    job.complete(within=None, result=7)
    raise OSError("later")


def in_function(job: JobContext) -> int:
    job.complete(within=None, result=7)
    raise OSError("later")


async def past_its_time(job: JobContext) -> int:
    job.complete(within=None, result=7)
    await asyncio.sleep(60)
    return 7


async def deaf(job: JobContext) -> int:
    job.complete(within=None, result=7)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(60)
    return 7


tasks = pytest.mark.parametrize("fn", [in_coroutine, in_function, past_its_time])


def once(fn: Callable[..., Any], error: Exception | None) -> tuple[Any, Inbox]:
    """Run a job's last attempt; `error` is what the look at the inbox raises."""
    clock = VirtualClock()
    bench = InboxBench(clock)
    bench.inbox.error = error

    async def story() -> Any:
        make = bench.task(fn, max_attempts=1, timeout=1)
        [record] = await bench.drain(make())
        return record

    return run(story(), clock=clock), bench.inbox


@tasks
def test_what_was_committed_has_succeeded_however_the_run_ended(fn: Callable[..., Any]) -> None:
    record, inbox = once(fn, None)
    assert (record.state, record.result) == (State.SUCCEEDED, Raw(b"7"))
    assert len(inbox.looks) == 1


@pytest.mark.parametrize("fn", [in_coroutine, in_function, past_its_time, deaf])
def test_no_job_is_dead_while_it_may_have_completed(fn: Callable[..., Any]) -> None:
    record, _ = once(fn, StoreUnavailable("locked"))
    assert (record.state, record.failures, record.errors) == (State.SCHEDULED, 0, ())


@tasks
def test_an_outbox_that_is_none_has_committed_nothing(fn: Callable[..., Any]) -> None:
    record, _ = once(fn, StoreRefused("no such table"))
    assert (record.state, record.failures) == (State.DEAD, 1)


def test_a_failure_that_is_not_the_last_is_charged_while_nobody_knows() -> None:
    clock = VirtualClock()
    bench = InboxBench(clock)
    bench.inbox.error = StoreUnavailable("locked")

    async def story() -> None:
        make = bench.task(in_coroutine, max_attempts=3)
        [record] = await bench.drain(make())
        assert (record.state, record.failures) == (State.SCHEDULED, 1)
        assert [error.kind for error in record.errors] == ["OSError"]

    run(story(), clock=clock)


async def test_the_loop_goes_on_while_the_callers_database_is_locked() -> None:
    bench = InboxBench(SYSTEM_CLOCK)
    looking, unlocked = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    plain = bench.inbox.completion

    def locked(job_id: JobId) -> Completion | None:
        loop.call_soon_threadsafe(looking.set)
        assert unlocked.wait(PATIENCE), "the loop is held up"
        return plain(job_id)

    bench.inbox.completion = locked  # type: ignore[method-assign]
    [job_id] = await bench.enqueue(bench.task(in_coroutine, max_attempts=1)())
    working = asyncio.create_task(bench.worker(drain=True).run())
    await asyncio.wait_for(looking.wait(), PATIENCE)
    unlocked.set()
    await working
    assert (await bench.record(job_id)).state is State.SUCCEEDED
    assert bench.inbox.looks != [threading.get_ident()]
