"""`App.isolated`: an app on a memory store of its own for a while."""

import pytest

from backline import App, InvalidArguments
from backline.job import HOUR
from backline.states import State
from backline.testing.clock import START, VirtualClock
from backline.testing.loop import run


async def double(x: int) -> int:
    return 2 * x


def test_jobs_of_inside_are_not_outside() -> None:
    app = App("memory://")
    task = app.task(double)
    outside = task.enqueue(1)
    with app.isolated():
        inside = task.enqueue(2)
        assert app.drain() == 1
        assert inside.result() == 4
        assert [queue.depth for queue in app.wait(app.store.stats, "stats")] == [0]
    assert outside.status() is State.READY
    assert app.drain() == 1
    app.close()


def test_immediate_inside_gives_way_to_waiting_again() -> None:
    app = App("memory://")
    task = app.task(double)
    with app.isolated():
        with app.immediate():
            assert task.enqueue(1).status() is State.SUCCEEDED
        assert task.enqueue(1).status() is State.READY
    app.close()


def test_isolated_within_immediate_waits() -> None:
    app = App("memory://")
    task = app.task(double)
    with app.immediate(), app.isolated():
        assert task.enqueue(1).status() is State.READY
    app.close()


def test_it_ends_with_an_error_too() -> None:
    app = App("memory://")
    task = app.task(double)
    with pytest.raises(InvalidArguments), app.isolated():
        task.enqueue("two")  # type: ignore[arg-type]
    task.enqueue(1)
    assert app.drain() == 1
    app.close()


def test_inside_it_may_go_by_another_clock() -> None:
    app, clock = App("memory://"), VirtualClock()
    outside, task = app.clock, app.task(double)

    async def main() -> None:
        with app.isolated(clock=clock):
            job = await task.using(delay="1h").aenqueue(1)
            assert await app.adrain(scheduled=True) == 1
            assert (await job.arefresh()).enqueued_at == START

    run(main(), clock=clock)

    assert clock.elapsed >= HOUR
    assert app.clock is outside
    task.enqueue(1)
    assert app.drain() == 1
    app.close()
