"""The reaper on a virtual clock, over the memory store."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from backline import reaper as module
from backline.errors import StoreUnavailable
from backline.job import (
    SECOND,
    JobRecord,
    JobRequest,
    Lane,
    LeasedJob,
    Micros,
    Terms,
)
from backline.policy import Succeeded, settle
from backline.reaper import Reaper
from backline.states import State
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

TTL = 30 * SECOND


class Bench:
    """A store, a worker that may fall silent, and a reaper."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock(seed)
        self.store = MemoryStore(clock=self.clock)
        self.reaper = Reaper(self.store, self.clock, "reaper-1", TTL)
        self.calls = 0

    async def add(self, count: int = 1, **fields: Any) -> list[str]:
        requests = [JobRequest(id=self.clock.new_id(), task="t", **fields) for _ in range(count)]
        await self.store.enqueue([requests])
        return [request.id for request in requests]

    async def lease(self, count: int = 1, lane: Lane = Lane.MAIN) -> list[LeasedJob]:
        self.calls += 1
        answer = await self.store.exchange("w", self.calls, [], {("default", lane): count}, TTL)
        return answer.jobs

    async def record(self, job_id: str) -> JobRecord:
        [job] = await self.store.get([job_id])
        assert job is not None
        return job

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def reaping() -> None:
            running = asyncio.create_task(self.reaper.run())
            await main()
            running.cancel()

        run(reaping(), clock=self.clock)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_silent_workers_job_is_ready_within_a_second_of_its_lease(bench: Bench) -> None:
    async def main() -> None:
        [job_id] = await bench.add(terms=Terms(timeout=6 * 3600 * SECOND))
        await bench.lease()
        await asyncio.sleep(TTL / SECOND - 0.1)
        assert (await bench.record(job_id)).state is State.RUNNING
        await asyncio.sleep(1.1)
        job = await bench.record(job_id)
        assert (job.state, job.losses, job.failures) == (State.READY, 1, 0)
        [error] = job.errors
        assert (error.kind, error.attempt) == ("lost", 1)
        assert error.message == "worker w let its lease run out"

    bench.run(main)


def test_the_second_loss_goes_to_the_cells_and_one_there_is_a_failure(bench: Bench) -> None:
    async def main() -> None:
        [job_id] = await bench.add(terms=Terms(max_attempts=1))
        for _ in range(2):
            assert len(await bench.lease()) == 1
            await asyncio.sleep(31)
        job = await bench.record(job_id)
        assert (job.state, job.lane, job.losses, job.failures) == (State.READY, Lane.CELL, 2, 0)
        assert await bench.lease() == []
        assert len(await bench.lease(lane=Lane.CELL)) == 1
        await asyncio.sleep(31)
        job = await bench.record(job_id)
        assert (job.state, job.failures) == (State.DEAD, 1)

    bench.run(main)


@pytest.mark.parametrize("late", [False, True])
def test_a_late_extend_wins_or_loses_cleanly(bench: Bench, late: bool) -> None:
    async def main() -> None:
        [job_id] = await bench.add()
        [lease] = await bench.lease()
        overdue, extended = bench.store.overdue, []

        async def extend_in_between(limit: int) -> Any:
            found = await overdue(limit)
            if found and not extended and not late:
                extended.extend(await bench.store.extend([lease], TTL))
            return found

        bench.store.overdue = extend_in_between  # type: ignore[method-assign]
        await asyncio.sleep(31)
        if late:
            extended.extend(await bench.store.extend([lease], TTL))
        ack = settle(lease, Succeeded(), bench.clock.rng)
        answer = await bench.store.exchange("w", 99, [ack], {}, TTL)
        job = await bench.record(job_id)
        if late:
            assert (extended, answer.acks) == ([False], ["lost"])
            assert (job.state, job.losses) == (State.READY, 1)
        else:
            assert (extended, answer.acks) == ([True], ["applied"])
            assert (job.state, job.losses) == (State.SUCCEEDED, 0)

    bench.run(main)


def test_due_jobs_are_promoted_expired_ones_expire_and_finished_ones_are_purged(
    bench: Bench,
) -> None:
    async def main() -> None:
        [due] = await bench.add(delay=5 * SECOND)
        [stale] = await bench.add(expires_in=5 * SECOND, delay=60 * SECOND)
        [brief] = await bench.add(terms=Terms(keep=5 * SECOND), priority=9)
        [lease] = await bench.lease()
        assert lease.id == brief
        ack = settle(lease, Succeeded(), bench.clock.rng)
        await bench.store.exchange("w", 99, [ack], {}, TTL)
        await asyncio.sleep(4.9)
        states = [(await bench.record(each)).state for each in (due, stale, brief)]
        assert states == [State.SCHEDULED, State.SCHEDULED, State.SUCCEEDED]
        await asyncio.sleep(1.6)
        states = [(await bench.record(each)).state for each in (due, stale)]
        assert states == [State.READY, State.EXPIRED]
        await asyncio.sleep(15)
        assert await bench.store.get([brief]) == [None]

    bench.run(main)


def test_a_crowd_is_settled_in_bounded_bites_without_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BITE", 10)
    sizes: list[int] = []

    async def main() -> None:
        exchange = bench.store.exchange

        async def count(worker: str, call: int, acks: Any, demand: Any, ttl: Micros) -> Any:
            sizes.append(len(acks))
            return await exchange(worker, call, acks, demand, ttl)

        await bench.add(95)
        await bench.lease(95)
        await bench.add(95, delay=TTL)
        bench.store.exchange = count  # type: ignore[method-assign]
        await asyncio.sleep(33)
        [stats] = await bench.store.stats()
        assert stats.counts[State.READY] == 190

    bench.run(main)
    assert sizes == [10] * 9 + [5]


def test_rounds_are_spread_by_chance_and_idle_ones_are_seldom() -> None:
    def rounds(seed: int) -> list[Micros]:
        bench = Bench(seed)
        seen: list[Micros] = []
        overdue = bench.store.overdue

        async def note(limit: int) -> Any:
            seen.append(bench.clock.elapsed)
            return await overdue(limit)

        async def main() -> None:
            bench.store.overdue = note  # type: ignore[method-assign]
            await asyncio.sleep(100)

        bench.run(main)
        return seen

    one, other = rounds(1), rounds(2)
    assert not set(one[1:]) & set(other[1:])
    assert 150 < len(one) < 270


def jump_forward(clock: VirtualClock) -> None:
    clock._ticks += 3_600 * SECOND


def jump_to_another_boot(clock: VirtualClock) -> None:
    clock.reboot()
    clock._ticks += 3_600 * SECOND


@pytest.mark.parametrize("jump", [jump_forward, jump_to_another_boot])
def test_after_a_jump_of_the_tick_nothing_is_settled_for_one_lease(
    bench: Bench, jump: Callable[[VirtualClock], None]
) -> None:
    async def main() -> None:
        alive, dead = await bench.add(2)
        [first, _] = await bench.lease(2)
        await asyncio.sleep(2)
        jump(bench.clock)
        assert len(await bench.store.overdue(10)) == 2
        await asyncio.sleep(10)  # a third of the lease: its worker extends, as it always does
        assert await bench.store.extend([first], TTL) == [True]
        await asyncio.sleep(19)
        assert (await bench.record(dead)).state is State.RUNNING
        assert await bench.store.extend([first], TTL) == [True]
        await asyncio.sleep(3)
        assert (await bench.record(alive)).state is State.RUNNING
        assert (await bench.record(dead)).losses == 1

    bench.run(main)


def test_after_standing_still_nothing_is_settled_for_one_lease(bench: Bench) -> None:
    async def main() -> None:
        [job_id] = await bench.add()
        [lease] = await bench.lease()
        await asyncio.sleep(2)
        bench.clock.advance(
            5 * TTL / SECOND
        )  # the whole machine was frozen, all its clocks went on
        await asyncio.sleep(1)
        assert (await bench.record(job_id)).state is State.RUNNING
        assert await bench.store.extend([lease], TTL) == [True]
        await asyncio.sleep(29)
        assert (await bench.record(job_id)).state is State.RUNNING
        await asyncio.sleep(3)
        assert (await bench.record(job_id)).losses == 1

    bench.run(main)


def test_steps_of_the_wall_clock_settle_nothing(bench: Bench) -> None:
    async def main() -> None:
        [job_id] = await bench.add()
        [lease] = await bench.lease()
        for step in (3_600, -7_200, 3_600):
            bench.clock.step_wall(step)
            await asyncio.sleep(10)
            assert await bench.store.extend([lease], TTL) == [True]
        assert (await bench.record(job_id)).state is State.RUNNING
        assert bench.reaper._hold_until is None

    bench.run(main)


DUTIES = ["overdue", "promote", "expire", "sweep"]


@pytest.mark.parametrize("broken", DUTIES)
@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a bug")])
def test_a_duty_that_fails_stops_no_other_and_is_tried_again(
    bench: Bench, broken: str, error: Exception
) -> None:
    calls = dict.fromkeys(DUTIES, 0)
    failing = True

    def watched(name: str, method: Callable[[int], Awaitable[Any]]) -> Any:
        async def call(limit: int) -> Any:
            calls[name] += 1
            if name == broken and failing:
                raise error
            return await method(limit)

        return call

    store = bench.store
    for name in DUTIES:
        setattr(store, name, watched(name, getattr(store, name)))
    bench.reaper = Reaper(store, bench.clock, "reaper-1", TTL)

    async def main() -> None:
        nonlocal failing
        await asyncio.sleep(60)
        assert len(bench.reaper.failing) == 1
        assert all(count >= 4 for count in calls.values()), calls
        assert 15 <= calls[broken] <= 120
        failing = False
        await asyncio.sleep(5)
        assert bench.reaper.failing == []

    bench.run(main)


def test_an_outage_of_the_store_charges_no_living_worker(bench: Bench) -> None:
    async def main() -> None:
        [job_id] = await bench.add()
        [lease] = await bench.lease()
        overdue = bench.store.overdue

        async def away(limit: int) -> Any:
            raise StoreUnavailable("away")

        bench.store.overdue = away  # type: ignore[method-assign]
        await asyncio.sleep(2 * TTL / SECOND)
        bench.store.overdue = overdue  # type: ignore[method-assign]
        await asyncio.sleep(TTL / SECOND / 2)
        assert (await bench.record(job_id)).losses == 0
        assert await bench.store.extend([lease], TTL) == [True]
        await asyncio.sleep(TTL / SECOND - 1)
        assert (await bench.record(job_id)).losses == 0
        await asyncio.sleep(2)
        assert (await bench.record(job_id)).losses == 1  # silent again, and this time alone

    bench.run(main)
