"""The virtual loop: time jumps, a seed decides the order, processes pause and die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import Context

import pytest

from backline.job import SECOND
from backline.testing.clock import VirtualClock
from backline.testing.loop import Deadlock, Livelock, VirtualLoop, run
from backline.testing.process import current_process


def test_time_jumps_to_the_next_timer_and_is_the_clock_s() -> None:
    clock = VirtualClock()
    start = clock.tick()

    async def main() -> float:
        await asyncio.sleep(7 * 86_400)
        assert clock.tick() - start == 7 * 86_400 * SECOND
        return asyncio.get_running_loop().time()

    assert run(main(), clock=clock) == 7 * 86_400


def test_timers_fire_in_the_order_of_their_times_and_at_their_times() -> None:
    clock, fired = VirtualClock(), []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (3.0, 0.000_001, 2.0, 1.5):
            loop.call_later(delay, lambda d=delay: fired.append((d, clock.elapsed)))
        loop.call_later(1.0, fired.append, None).cancel()
        await asyncio.sleep(10)

    run(main(), clock=clock)
    assert fired == [(0.000_001, 1), (1.5, 1_500_000), (2.0, 2_000_000), (3.0, 3_000_000)]


def test_time_moved_by_a_test_makes_timers_due() -> None:
    clock = VirtualClock()

    async def main() -> None:
        late = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        clock.advance(61)
        await late
        assert clock.elapsed == 61 * SECOND

    run(main(), clock=clock)


def test_a_deadlock_names_who_waits_and_where() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(wait_for_nothing(), name="the waiter")

    with pytest.raises(Deadlock, match=r"main at .*test_loop.py:\d+\n  the waiter at .*locks.py"):
        run(main())


def test_a_loop_that_never_waits_is_a_livelock() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - that is the bug to be caught
            await asyncio.sleep(0)

    loop = VirtualLoop(VirtualClock(), limit=1_000)
    with pytest.raises(Livelock, match="1,000 callbacks"):
        loop.run(main())
    loop.close()


def test_long_runs_are_no_livelock() -> None:
    async def main() -> None:
        for _ in range(500):
            await asyncio.sleep(0.001)

    loop = VirtualLoop(VirtualClock(), limit=100)
    loop.run(main())
    loop.close()


def order_of(seed: int) -> list[int]:
    order: list[int] = []

    async def note(number: int) -> None:
        for _ in range(3):
            order.append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(note(number))

    run(main(), seed=seed)
    return order


def test_the_seed_decides_the_order() -> None:
    orders = [order_of(seed) for seed in range(20)]
    assert orders == [order_of(seed) for seed in range(20)]
    assert len({tuple(order) for order in orders}) == 20


def test_the_order_does_not_depend_on_the_order_of_a_set() -> None:
    """`asyncio.wait` and a TaskGroup's abort walk sets of tasks, ordered by their addresses."""

    def stopped() -> list[int]:
        order: list[int] = []
        ballast = [object() for _ in range(len(order) + 7)]

        async def note(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append(number)

        async def main() -> None:
            tasks = [asyncio.create_task(note(number)) for number in range(30)]
            await asyncio.sleep(1)
            for task in set(tasks):
                task.cancel()
            await asyncio.wait(tasks)
            ballast.clear()

        run(main(), seed=1)
        return order

    first = stopped()
    assert sorted(first) == list(range(30)) != first
    assert all(stopped() == first for _ in range(10))


def test_an_executor_s_call_runs_in_a_later_step() -> None:
    ran: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, ran.append, "call")
        assert ran == []
        await future
        assert await asyncio.to_thread(lambda: len(ran)) == 1
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        done = VirtualClock().executor("writer").submit(ran.append, "inline")
        await asyncio.wrap_future(done)
        loop.call_soon_threadsafe(ran.append, "safe")
        await asyncio.sleep(1)

    run(main())
    assert ran == ["call", "inline", "safe"]


def test_what_is_left_is_cancelled_at_the_end() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            ended.append("cleaned up")

    async def main() -> str:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task.get_name()

    assert run(main())
    assert ended == ["cleaned up"]


def test_errors_that_nothing_handled_fail_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        run(main())
    assert caught.group_contains(ZeroDivisionError)


def test_an_error_of_main_passes_through() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run(main())


def test_async_generators_are_closed() -> None:
    closed: list[str] = []
    held: list[AsyncIterator[int]] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
            closed.append(name)

    async def main() -> None:
        dropped = numbers("dropped")
        held.append(numbers("held to the end"))
        for stream in (dropped, *held):
            assert [await anext(stream), await anext(stream)] == [0, 1]
        del dropped, stream
        await asyncio.sleep(5)
        assert closed == ["dropped"]

    run(main())
    assert closed == ["dropped", "held to the end"]


def test_timeouts_and_task_groups_work() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(60)

        async def group_of_two() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                group.create_task(asyncio.wait_for(asyncio.Event().wait(), 2))

        with pytest.raises(ExceptionGroup):
            await group_of_two()
        return asyncio.get_running_loop().time()

    assert run(main()) == 7


class Board:
    """What a simulated process left behind."""

    def __init__(self) -> None:
        self.beats: list[int] = []
        self.unwound: list[str] = []


async def beating(board: Board, clock: VirtualClock) -> None:
    async def child() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                board.beats.append(clock.elapsed // SECOND)
        finally:
            board.unwound.append("child")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(asyncio.to_thread(lambda: None))
    finally:
        board.unwound.append("main")
        await asyncio.sleep(1)
        board.unwound.append("main, later")


def test_a_killed_process_is_never_stepped_again() -> None:
    clock, board = VirtualClock(), Board()
    loop = VirtualLoop(clock)

    async def main() -> None:
        process = loop.process("worker")
        process.start(beating(board, clock))
        await asyncio.sleep(3.5)
        process.kill()
        await asyncio.sleep(10)
        assert board.beats == [1, 2, 3]
        assert board.unwound == []
        assert not process.alive

    loop.run(main())
    assert board.unwound == []
    loop.close()


def test_the_timers_of_the_dead_do_not_move_time() -> None:
    clock = VirtualClock()
    loop = VirtualLoop(clock)

    async def main() -> None:
        process = loop.process("worker")
        process.start(asyncio.sleep(1_000))
        await asyncio.sleep(1)
        process.kill()
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        loop.run(main())
    assert clock.elapsed == SECOND
    loop.close()


def test_a_process_that_kills_itself_stops_at_its_next_wait() -> None:
    loop = VirtualLoop(VirtualClock())
    seen: list[str] = []

    async def suicidal() -> None:
        process = current_process()
        assert process is not None
        process.kill()
        seen.append("this step goes on")
        asyncio.create_task(asyncio.sleep(1))  # noqa: RUF006 - nobody will miss it
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        seen.append("never")

    async def main() -> None:
        loop.process("worker").start(suicidal())
        await asyncio.sleep(1)
        assert current_process() is None

    loop.run(main())
    loop.close()
    assert seen == ["this step goes on"]


def test_a_paused_process_wakes_late_and_goes_on() -> None:
    clock, board = VirtualClock(), Board()
    loop = VirtualLoop(clock)

    async def main() -> None:
        process = loop.process("worker")
        task = process.start(beating(board, clock))
        await asyncio.sleep(2.5)
        process.pause()
        await asyncio.sleep(60)
        assert board.beats == [1, 2]
        process.resume()
        await asyncio.sleep(2.2)
        assert board.beats == [1, 2, 62, 63, 64]
        task.cancel()
        await asyncio.sleep(2)
        assert board.unwound == ["child", "main", "main, later"]

    loop.run(main())
    loop.close()


def test_a_process_paused_at_the_end_does_not_hang_it() -> None:
    clock, board = VirtualClock(), Board()
    loop = VirtualLoop(clock)

    async def main() -> None:
        process = loop.process("worker")
        process.start(beating(board, clock))
        await asyncio.sleep(1.5)
        process.pause()
        process.pause()

    loop.run(main())
    assert board.unwound == []
    loop.close()
    assert board.beats == [1]


def test_processes_do_not_share_their_fate() -> None:
    clock = VirtualClock()
    loop = VirtualLoop(clock)
    boards = [Board(), Board()]

    async def main() -> None:
        first, second = (loop.process(name) for name in ("first", "second"))
        first.start(beating(boards[0], clock))
        other = second.start(beating(boards[1], clock))
        await asyncio.sleep(1.5)
        first.kill()
        await asyncio.sleep(2)
        other.cancel()
        await asyncio.sleep(3)
        assert [board.beats for board in boards] == [[1], [1, 2, 3]]

    loop.run(main())
    loop.close()


def test_a_call_into_a_process_shares_its_fate() -> None:
    loop = VirtualLoop(VirtualClock())
    called: list[str] = []

    async def main() -> None:
        paused, dead = loop.process("paused"), loop.process("dead")
        dead.kill()
        paused.pause()
        for process in (paused, dead):
            process.call(lambda: called.append(repr(current_process())))
        await asyncio.sleep(1)
        assert called == []
        paused.resume()
        await asyncio.sleep(1)

    loop.run(main())
    loop.close()
    assert called == ["<Process paused alive>"]


def test_a_task_in_an_empty_context_belongs_to_no_process() -> None:
    loop = VirtualLoop(VirtualClock())
    done: list[str] = []

    async def survivor() -> None:
        await asyncio.sleep(1)
        done.append("survived")

    async def parent() -> None:
        task = asyncio.get_running_loop().create_task(survivor(), context=Context())
        task.add_done_callback(lambda _: done.append("told"), context=Context())
        await asyncio.sleep(60)

    async def main() -> None:
        process = loop.process("parent")
        process.start(parent())
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(2)

    loop.run(main())
    loop.close()
    assert done == ["survived", "told"]
