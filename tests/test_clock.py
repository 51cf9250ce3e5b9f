"""The one door: ids that only grow, ticks that never step, threads that never keep us alive."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import NoReturn
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backline.clock import SYSTEM_CLOCK, DaemonExecutor, IdMaker, SystemClock

PATIENCE = 10.0


class Wall:
    """A wall clock to step by hand."""

    def __init__(self, now: int = 1_700_000_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200), st.integers())
def test_ids_grow_whatever_the_wall_clock_does(steps: list[int], seed: int) -> None:
    wall = Wall()
    make = IdMaker(wall, random.Random(seed))
    made: list[str] = []
    for step in steps:
        wall.now = max(0, wall.now + step)
        made += [make(), make()]
    assert made == sorted(set(made))
    for job_id in made:
        parsed = UUID(job_id)
        assert str(parsed) == job_id
        assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")


def test_an_id_says_when_it_was_made() -> None:
    wall = Wall()
    job_id = IdMaker(wall, random.Random(0))()
    assert UUID(job_id).int >> 80 == wall.now // 1_000


def test_the_counter_carries_into_the_milliseconds_and_ids_still_grow() -> None:
    make = IdMaker(Wall(), random.Random(0))
    first = make()
    make._counter = (1 << 26) - 2
    rest = [make() for _ in range(4)]
    assert [first, *rest] == sorted({first, *rest})
    assert UUID(rest[-1]).int >> 80 == (UUID(first).int >> 80) + 1


def test_ids_of_many_threads_are_all_different() -> None:
    clock = SystemClock()
    batches: list[list[str]] = []

    def make() -> None:
        batches.append([clock.new_id() for _ in range(2_000)])

    threads = [clock.thread(f"maker {n}", make) for n in range(8)]
    for thread in threads:
        thread.join(PATIENCE)
    ids = [job_id for batch in batches for job_id in batch]
    assert len(set(ids)) == len(ids) == 16_000
    assert all(batch == sorted(batch) for batch in batches)


@pytest.mark.processes
def test_parent_and_child_of_a_fork_make_different_ids() -> None:
    clock = SystemClock()
    clock.new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        os.write(writing, "\n".join(clock.new_id() for _ in range(500)).encode())
        os._exit(0)
    os.close(writing)
    mine = [clock.new_id() for _ in range(500)]
    with os.fdopen(reading) as pipe:
        theirs = pipe.read().split()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 500
    assert len({*mine, *theirs}) == 1_000
    assert theirs == sorted(theirs)


@pytest.mark.processes
def test_a_fork_while_another_thread_makes_an_id_leaves_the_child_able_to() -> None:
    clock = SystemClock()
    with clock._ids._lock:  # as a thread holds it that does not exist in the child
        child = os.fork()
        if child == 0:  # pragma: no cover - runs in the child
            signal.alarm(5)
            clock.new_id()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_ticks_never_step_and_name_their_boot() -> None:
    ticks = [SYSTEM_CLOCK.tick() for _ in range(1_000)]
    assert ticks == sorted(ticks)
    assert re.fullmatch(r"[0-9a-f-]{36}", SYSTEM_CLOCK.boot())
    assert SYSTEM_CLOCK.boot() == SYSTEM_CLOCK.boot()


def test_one_thread_runs_calls_one_by_one_in_order() -> None:
    executor = SYSTEM_CLOCK.executor("single")
    seen: list[int] = []
    futures = [executor.submit(seen.append, n) for n in range(500)]
    wait(futures, PATIENCE)
    executor.shutdown()
    assert seen == list(range(500))


def test_calls_run_side_by_side_up_to_the_number_of_threads() -> None:
    executor = DaemonExecutor("pool", 3)
    meeting = threading.Barrier(3, timeout=PATIENCE)
    futures = [executor.submit(meeting.wait) for _ in range(6)]
    assert len({future.result(PATIENCE) for future in futures[:3]}) == 3
    wait(futures, PATIENCE)
    assert len(executor._threads) == 3
    assert all(thread.daemon for thread in executor._threads)
    executor.shutdown()
    assert not any(thread.is_alive() for thread in executor._threads)


def test_an_executor_starts_no_thread_while_one_is_idle() -> None:
    executor = DaemonExecutor("pool", 8)
    names = {executor.submit(threading.current_thread).result(PATIENCE).name}
    executor.submit(len, "").result(PATIENCE)
    executor.shutdown()
    assert names == {"pool-0"}


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on the system has no room for another thread."""

    def refuse(thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    return lambda: monkeypatch.setattr(threading.Thread, "start", refuse)


def test_without_room_for_another_thread_those_there_are_do_it(
    no_room: Callable[[], None],
) -> None:
    executor = DaemonExecutor("pool", 8)
    gate = threading.Event()
    held = executor.submit(gate.wait, PATIENCE)
    no_room()
    more = [executor.submit(threading.current_thread) for _ in range(3)]
    gate.set()
    assert held.result(PATIENCE)
    assert {future.result(PATIENCE).name for future in more} == {"pool-0"}
    executor.shutdown()


def test_without_room_for_a_first_thread_nothing_is_called_and_the_next_call_tries_again(
    no_room: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = DaemonExecutor("pool", 8)
    no_room()
    with pytest.raises(RuntimeError, match="new thread"):
        executor.submit(pytest.fail, "it was called")
    monkeypatch.undo()
    assert executor.submit(len, "four").result(PATIENCE) == 4
    executor.shutdown()


def test_a_pool_that_grows_has_a_thread_for_the_call_that_waits() -> None:
    executor = DaemonExecutor("pool", 1)
    gate = threading.Event()
    held = executor.submit(gate.wait, PATIENCE)
    waiting = executor.submit(len, "four")
    executor.resize(2)
    assert waiting.result(PATIENCE) == 4
    gate.set()
    assert held.result(PATIENCE)
    executor.shutdown()


def test_a_pool_that_shrinks_lets_calls_end_and_runs_no_more_than_that_at_once() -> None:
    executor = DaemonExecutor("pool", 3)
    meeting, gate = threading.Barrier(4), threading.Event()

    def hold() -> str:
        meeting.wait(PATIENCE)
        gate.wait(PATIENCE)
        return threading.current_thread().name

    held = [executor.submit(hold) for _ in range(3)]
    meeting.wait(PATIENCE)
    executor.resize(1)
    more = [executor.submit(threading.current_thread) for _ in range(5)]
    gate.set()
    assert len({future.result(PATIENCE) for future in held}) == 3
    [left] = {future.result(PATIENCE) for future in more}
    assert executor.submit(threading.current_thread).result(PATIENCE) is left
    executor.resize(2)
    executor.shutdown()
    assert not left.is_alive()
    with pytest.raises(RuntimeError):
        executor.submit(len, "")
    executor.resize(9)


def test_threads_that_a_pool_no_longer_needs_end() -> None:
    executor = DaemonExecutor("pool", 2)
    meeting = threading.Barrier(3)
    two = [executor.submit(meeting.wait, PATIENCE) for _ in range(2)]
    threads = list(executor._threads)
    meeting.wait(PATIENCE)
    for future in two:
        future.result(PATIENCE)
    executor.resize(0)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    executor.resize(1)
    assert executor.submit(len, "four").result(PATIENCE) == 4
    executor.shutdown()


def test_an_executor_hands_errors_and_cancels_to_the_caller() -> None:
    executor = DaemonExecutor("pool", 1)
    gate = threading.Event()
    held = executor.submit(gate.wait, PATIENCE)
    failing = executor.submit(int, "x")
    cancelled = executor.submit(len, "")
    assert cancelled.cancel()
    gate.set()
    assert held.result(PATIENCE)
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(PATIENCE)
    assert executor.submit(len, "four").result(PATIENCE) == 4
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(len, "")


def test_system_exit_in_a_call_does_not_end_the_thread() -> None:
    executor = DaemonExecutor("pool", 1)
    leaving = executor.submit(lambda: (_ for _ in ()).throw(SystemExit(3)))
    with pytest.raises(SystemExit):
        leaving.result(PATIENCE)
    assert executor.submit(len, "four").result(PATIENCE) == 4
    executor.shutdown()


def test_ticks_of_a_time_namespace_compare_with_those_outside() -> None:
    """A container that was restored has one; the name of its boot is that of the machine."""
    unshare = ["unshare", "--time", "--boottime", "86400", sys.executable, "-c"]
    code = "from backline.clock import SYSTEM_CLOCK as c; print(c.boot(), c.tick())"
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    before = SYSTEM_CLOCK.tick()
    done = subprocess.run([*unshare, code], check=False, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(f"needs a time namespace of its own: {done.stderr.strip()}")
    boot, tick = done.stdout.split()
    assert boot == SYSTEM_CLOCK.boot()
    assert before < int(tick) < SYSTEM_CLOCK.tick()
