"""Rates: how often jobs of a key, or of a queue, start (I10)."""

from itertools import pairwise

import pytest

from backline.job import DAY, SECOND, Ack, Lane, Limits, Micros, Pacing
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    BareWorker,
    add,
    done,
    failed,
    make_job,
    make_jobs,
    put_back,
    state_of,
    stats_of,
)

EACH_SECOND = Limits(rate_key="api", pacing=Pacing(SECOND))
THREE_AT_ONCE = Limits(rate_key="api", pacing=Pacing(SECOND, 3))
READY, WAITING = State.READY, State.WAITING


async def starts(
    store: Store, clock: VirtualClock, worker: BareWorker, step: Micros, steps: int
) -> list[Micros]:
    """When jobs were leased by a worker that asks in steps of time, and ends each at once."""
    when: list[Micros] = []
    acks: list[Ack] = []
    for _ in range(steps):
        await store.promote(100)
        answer = await worker.exchange(acks, {MAIN: 100})
        acks = [done(lease) for lease in answer.jobs]
        when += [clock.tick()] * len(answer.jobs)
        clock.advance(step / SECOND)
    await worker.settle(*acks)
    return when


def assert_within(when: list[Micros], pacing: Pacing) -> None:
    """I10: in every stretch of time at most burst starts, and one more each interval."""
    for first in range(len(when)):
        for last in range(first, len(when)):
            most = pacing.burst + (when[last] - when[first]) // pacing.interval
            assert last - first + 1 <= most, (first, last, when)


class Rates(Harness):
    """See `Limits.rate_key` and `QueueSettings.pacing`."""

    async def test_i10_jobs_of_a_key_start_no_more_often_than_its_rate(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 10, limits=THREE_AT_ONCE))
        when = await starts(store, clock, worker, SECOND // 5, 60)
        assert len(when) == 10
        assert_within(when, THREE_AT_ONCE.pacing)
        assert [later - earlier for earlier, later in pairwise(when)] == [0, 0, *[SECOND] * 7]

    async def test_i10_a_pause_saves_up_no_more_than_the_burst(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, paused=True)])
        await add(store, *make_jobs(clock, 10, limits=THREE_AT_ONCE))
        clock.advance("1h")
        await store.promote(100)
        await store.configure([QueueSettings(queue=QUEUE, paused=False)])
        when = await starts(store, clock, worker, SECOND // 5, 60)
        assert_within(when, THREE_AT_ONCE.pacing)
        assert when.count(when[0]) == 3

    async def test_a_worker_is_told_when_the_next_one_may_start(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2, limits=EACH_SECOND))
        answer = await worker.exchange((), {MAIN: 10})
        assert (len(answer.jobs), answer.next_in) == (1, SECOND)
        clock.advance(0.25)
        answer = await worker.exchange((), {MAIN: 10})
        assert (answer.jobs, answer.next_in) == ([], SECOND - SECOND // 4)
        clock.advance(1)
        assert (await worker.exchange((), {MAIN: 10})).next_in == 0
        assert await store.promote(10) == 1
        assert len(await worker.lease(10)) == 1

    async def test_a_slow_rate_holds_up_nobody_else(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 20, limits=EACH_SECOND, priority=100))
        plain = make_job(clock)
        await add(store, plain)
        assert [job.id for job in await worker.lease(10)][1:] == [plain.id]

    async def test_a_heavy_job_counts_as_several_and_is_not_overtaken(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        heavy = Limits(rate_key="api", pacing=Pacing(SECOND, 3), weight=3)
        first, big, small = (
            make_job(clock, limits=limits) for limits in (THREE_AT_ONCE, heavy, THREE_AT_ONCE)
        )
        await add(store, first, big, small)
        assert await state_of(store, first.id, big.id, small.id) == [READY, WAITING, WAITING]
        await worker.settle(*[done(lease) for lease in await worker.lease(10)])
        for expected in (big, small):
            waited = 0
            while not (leases := await worker.lease(10)):
                clock.advance(0.5)
                waited += 1
                assert waited < 10
                await store.promote(10)
            assert [lease.id for lease in leases] == [expected.id]
            await worker.settle(*[done(lease) for lease in leases])

    async def test_a_job_that_is_put_back_asks_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=EACH_SECOND)
        await add(store, first, second)
        await worker.run_one(put_back)
        assert await state_of(store, first.id, second.id) == [WAITING, WAITING]
        clock.advance(1)
        await store.promote(10)
        assert [job.id for job in await worker.lease(10)] == [first.id]

    async def test_a_job_that_ends_before_it_starts_uses_nothing_up(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second, third = make_jobs(clock, 3, limits=EACH_SECOND)
        await add(store, first, second, third)
        await store.cancel([first.id])
        assert await state_of(store, second.id, third.id) == [READY, WAITING]
        await store.cancel([third.id])
        answer = await worker.exchange((), {MAIN: 10})
        assert [job.id for job in answer.jobs] == [second.id]
        assert answer.next_in is None

    async def test_a_redriven_job_waits_for_its_rate(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, limits=EACH_SECOND)
        await add(store, job)
        await worker.run_one(failed)
        await store.redrive([job.id])
        assert await state_of(store, job.id) == [WAITING]
        clock.advance(1)
        await store.promote(10)
        assert await state_of(store, job.id) == [READY]

    @pytest.mark.parametrize("slots", [1, 2])
    async def test_the_slot_is_kept_while_the_rate_is_waited_for(
        self, store: Store, clock: VirtualClock, worker: BareWorker, slots: int
    ) -> None:
        both = Limits("alice", slots, rate_key="api", pacing=Pacing(SECOND))
        jobs = make_jobs(clock, 4, limits=both)
        await add(store, *jobs)
        order: list[str] = []
        for _ in range(8):
            await store.promote(10)
            leases = await worker.lease(10)
            assert len(leases) <= 1
            order += [lease.id for lease in leases]
            await worker.settle(*[done(lease) for lease in leases])
            clock.advance(0.5)
        assert order == [job.id for job in jobs]

    async def test_light_jobs_of_one_call_do_not_overtake_a_heavy_one(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        heavy = Limits(rate_key="api", pacing=Pacing(SECOND, 3), weight=3)
        first, *light = make_jobs(clock, 4, limits=THREE_AT_ONCE)
        big = make_job(clock, limits=heavy)
        await add(store, first, big, *light)
        order: list[str] = []
        for _ in range(12):
            await store.promote(10)
            leases = await worker.lease(10)
            order += [lease.id for lease in leases]
            await worker.settle(*[done(lease) for lease in leases])
            clock.advance(1)
        assert order == [first.id, big.id, *(job.id for job in light)]

    async def test_a_burst_that_is_lowered_stops_nobody_for_ever(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        rate = Limits(rate_key="api", pacing=Pacing(SECOND, 3), weight=3)
        await add(store, *make_jobs(clock, 2, limits=rate))
        await add(store, make_job(clock, limits=EACH_SECOND))
        when = await starts(store, clock, worker, SECOND, 20)
        assert len(when) == 3

    async def test_a_rate_that_is_raised_holds_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        slow = Limits(rate_key="api", pacing=Pacing(3600 * SECOND))
        await add(store, *make_jobs(clock, 2, limits=slow))
        assert len(await worker.lease(10)) == 1
        await add(store, make_job(clock, limits=EACH_SECOND))
        assert (await worker.exchange((), {MAIN: 10})).next_in == SECOND
        when = await starts(store, clock, worker, SECOND, 4)
        assert len(when) == 2

    async def test_a_rate_that_is_raised_by_a_job_that_waits_for_a_slot_holds_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        slow = Limits("alice", rate_key="api", pacing=Pacing(3600 * SECOND))
        fast = Limits("alice", rate_key="api", pacing=Pacing(SECOND // 100, 100))
        first, second, third = (make_job(clock, limits=each) for each in (slow, slow, fast))
        await add(store, first)
        await worker.settle(*[done(lease) for lease in await worker.lease(1)])
        await add(store, second)
        assert await state_of(store, second.id) == [WAITING]
        await add(store, third)
        assert await state_of(store, second.id, third.id) == [READY, WAITING]

    async def test_a_queues_rate_that_is_raised_holds_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, pacing=Pacing(3600 * SECOND))])
        await add(store, *make_jobs(clock, 2))
        assert len(await worker.lease(10)) == 1
        await store.configure([QueueSettings(queue=QUEUE, pacing=Pacing(SECOND))])
        assert (await worker.exchange((), {MAIN: 10})).next_in == SECOND

    async def test_a_rate_slower_than_time_stops_nobody_else(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        slowest = Pacing(366 * DAY, 10_000)
        await store.configure([QueueSettings(queue="slow", pacing=slowest)])
        limits = Limits(rate_key="slow", pacing=slowest, weight=10_000)
        await add(store, *make_jobs(clock, 3, queue="slow"), make_job(clock, limits=limits))
        for _ in range(3):
            answer = await worker.exchange((), {("slow", Lane.MAIN): 1, MAIN: 1})
            assert answer.jobs

    async def test_an_idle_rate_is_forgotten_no_sooner_than_it_may_be(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, limits=EACH_SECOND))
        await worker.settle(*[done(lease) for lease in await worker.lease(10)])
        await store.sweep(10)
        second = make_job(clock, limits=EACH_SECOND)
        await add(store, second)
        assert await state_of(store, second.id) == [WAITING]
        clock.advance(1)
        await store.promote(10)
        await worker.settle(*[done(lease) for lease in await worker.lease(10)])
        clock.advance(1)
        for _ in range(3):
            await store.sweep(10)
        third = make_job(clock, limits=EACH_SECOND)
        await add(store, third)
        assert await state_of(store, third.id) == [READY]

    async def test_i10_a_queue_has_a_rate_of_its_own(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        pacing = Pacing(SECOND, 2)
        await store.configure([QueueSettings(queue=QUEUE, pacing=pacing)])
        await add(store, *make_jobs(clock, 8))
        answer = await worker.exchange((), {MAIN: 10})
        assert (len(answer.jobs), answer.next_in) == (2, SECOND)
        await worker.settle(*[done(job) for job in answer.jobs])
        when = await starts(store, clock, worker, SECOND // 4, 40)
        assert len(when) == 6
        assert_within([clock.tick() - 10 * SECOND] * 2 + when, pacing)
        assert (await stats_of(store)).pacing == pacing
        assert (await stats_of(store)).counts[State.SUCCEEDED] == 8
