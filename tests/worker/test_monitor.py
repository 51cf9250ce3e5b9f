"""What a function's thread and the loop may do to the monitor at the same time.

The thread is played by a call at the very place where it could come between.
"""

import asyncio
from collections.abc import Callable

import pytest
from msgspec import Raw

from backline import policy
from backline.job import HOUR, SECOND, AttemptError, Lane, LeasedJob, Micros, Terms
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker import Board, Run, StopReason
from backline.worker.monitor import RunMonitor

LEASE = 30 * SECOND


class Between(dict[Run, None]):
    """A dict that lets somebody else go on right after it was found empty."""

    def __init__(self, other: Callable[[], object]) -> None:
        super().__init__()
        self._others = [other]

    def __bool__(self) -> bool:
        found = len(self) > 0
        while self._others:
            self._others.pop()()
        return found


def make_run(clock: VirtualClock, timeout: Micros = SECOND) -> Run:
    lease = LeasedJob(
        id=clock.new_id(),
        attempt=1,
        task="task",
        queue="default",
        lane=Lane.MAIN,
        failures=0,
        losses=0,
        releases=0,
        terms=Terms(timeout=timeout),
        priority=0,
        enqueued_at=clock.now(),
        due=clock.now(),
        headers={},
        tags=(),
        payload=Raw(b"[]"),
    )
    return Run(lease, None, clock.tick() + LEASE, clock.tick(), lambda _: None, clock.tick)


def make_monitor(clock: VirtualClock, board: Board | None = None) -> RunMonitor:
    board = board or Board.private(4, "worker")
    return RunMonitor(clock, board, lease=LEASE, refusal=5 * SECOND, give_up=lambda _: None)


def test_a_look_while_a_thread_begins_a_run_does_not_time_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualClock()
    begin = Run.begin

    async def main() -> None:
        with make_monitor(clock) as monitor:

            def interrupted(job: Run, now: Micros) -> None:
                monitor.look()
                begin(job, now)

            monkeypatch.setattr(Run, "begin", interrupted)
            job = make_run(clock)
            assert monitor.admit(job)
            assert job.stop is None

    run(main(), clock=clock)


def test_a_run_that_a_thread_begins_at_the_end_of_a_look_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualClock()

    async def main() -> None:
        with make_monitor(clock) as monitor:
            monitor.admit(make_run(clock))
            await asyncio.sleep(0.1)  # the next look is due in a while
            job = make_run(clock)
            monkeypatch.setattr(monitor, "_running", Between(lambda: monitor.admit(job)))
            monitor.look()
            await asyncio.sleep(1.5)
            assert job.stop is StopReason.TIMEOUT

    run(main(), clock=clock)


def test_after_a_standstill_the_heartbeat_gets_a_moment_to_renew() -> None:
    """The whole machine slept: nobody else may take the job before our supervisor wakes too."""
    clock = VirtualClock()
    board = Board.private(4, "worker")

    async def main() -> None:
        with make_monitor(clock, board) as monitor:
            job = make_run(clock, timeout=HOUR)
            assert monitor.admit(job)
            await asyncio.sleep(5)
            clock.advance(40)
            await asyncio.sleep(0.5)
            assert job.stop is None
            board.renew(clock.tick() + LEASE)
            await asyncio.sleep(20)
            assert job.stop is None

    run(main(), clock=clock)


def test_a_lease_that_nobody_renews_after_a_standstill_is_over() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with make_monitor(clock) as monitor:
            job = make_run(clock, timeout=HOUR)
            assert monitor.admit(job)
            await asyncio.sleep(5)
            clock.advance(40)
            await asyncio.sleep(5)
            assert job.stop is StopReason.LOST

    run(main(), clock=clock)


def test_a_lease_that_runs_out_while_all_goes_on_is_over_at_once() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with make_monitor(clock) as monitor:
            job = make_run(clock, timeout=HOUR)
            assert monitor.admit(job)
            await asyncio.sleep((LEASE - LEASE // 10) / SECOND - 1)
            assert job.stop is None
            await asyncio.sleep(2)
            assert job.stop is StopReason.LOST

    run(main(), clock=clock)


@pytest.mark.parametrize(
    ("reason", "outcome", "cut_short"),
    [
        (StopReason.SHUTDOWN, policy.Released(), True),
        (StopReason.SHUTDOWN, policy.Failed(AttemptError(1, "E", "killed")), True),
        (StopReason.SHUTDOWN, policy.Succeeded(None), False),
        (StopReason.TIMEOUT, policy.Failed(AttemptError(1, "timeout", "late")), False),
        (None, policy.Failed(AttemptError(1, "E", "broken")), False),
    ],
)
def test_a_job_that_is_handed_back_at_the_end_is_noted_on_the_board(
    reason: StopReason | None, outcome: policy.Outcome, cut_short: bool
) -> None:
    """What it has started then ends with the worker."""
    clock = VirtualClock()
    board = Board.private(4, "worker")
    monitor = make_monitor(clock, board)
    one = make_run(clock)
    assert monitor.admit(one)
    if reason is not None:
        one.tell(reason, clock.tick())
    one.end(policy.settle(one.lease, outcome, clock.rng))
    monitor.ended(one)
    monitor.ended(one)
    assert board.was_cut_short is cut_short
