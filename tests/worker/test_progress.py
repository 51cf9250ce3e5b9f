"""Progress on its way to the store, on virtual time."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from backline.errors import StoreUnavailable
from backline.job import Progress
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.progress import ProgressSender


class SlowStore(MemoryStore):
    """Takes a while for each call, and fails those it has an error for."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.errors: list[Exception] = []
        self.calls: list[list[float]] = []

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        self.calls.append([report.done for report in reports])
        await asyncio.sleep(0.05)
        if self.errors:
            raise self.errors.pop()
        return [True] * len(reports)


def on_virtual_time(
    test: Callable[..., Coroutine[Any, Any, None]], *arguments: Any
) -> list[list[float]]:
    """Run a test; returns what reached the store, call by call."""
    clock = VirtualClock()
    store = SlowStore(clock)

    async def main() -> None:
        async with ProgressSender(store) as sender:
            await test(sender, store, *arguments)

    run(main(), clock=clock)
    return store.calls


def report(job: str, done: float) -> Progress:
    return Progress(job, 1, done)


@pytest.mark.parametrize(
    ("error", "level"),
    [(StoreUnavailable("away"), logging.DEBUG), (ValueError("a bug"), logging.ERROR)],
)
def test_an_error_of_the_store_costs_the_reports_of_one_call(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(sender: ProgressSender, store: SlowStore) -> None:
        store.errors.append(error)
        sender.send(report("a", 1))
        await asyncio.sleep(0.01)
        sender.send(report("b", 2))  # while the call that fails is under way
        await asyncio.sleep(1)
        sender.send(report("a", 3))
        await asyncio.sleep(1)

    caplog.set_level(logging.DEBUG, "backline.worker")
    assert on_virtual_time(story) == [[1], [2], [3]]
    assert [record.levelno for record in caplog.records] == [level]


def test_of_one_job_the_newest_report_wins() -> None:
    async def story(sender: ProgressSender, store: SlowStore) -> None:
        for done in range(5):
            sender.send(report("a", done))
        sender.send(report("b", 7))
        await asyncio.sleep(1)

    [call] = on_virtual_time(story)
    assert sorted(call) == [4, 7]


def test_a_report_that_comes_while_the_last_call_ends_is_sent() -> None:
    """A thread may add it after the sender's last look, when its Task is not done yet."""

    class LateReports(dict[str, Progress]):
        late = [report("b", 2)]  # noqa: RUF012 - one test, one instance

        def __bool__(self) -> bool:
            empty = len(self) == 0
            if empty and self.late:
                late = self.late.pop()
                self[late.id] = late
            return not empty

    async def story(sender: ProgressSender, store: SlowStore) -> None:
        sender._latest = LateReports()
        sender.send(report("a", 1))
        await asyncio.sleep(1)

    assert on_virtual_time(story) == [[1], [2]]


def test_what_is_reported_after_the_end_is_dropped() -> None:
    clock = VirtualClock()
    store = SlowStore(clock)

    async def main() -> None:
        async with ProgressSender(store) as sender:
            pass
        sender.send(report("a", 1))
        await asyncio.sleep(1)

    run(main(), clock=clock)
    assert store.calls == []
