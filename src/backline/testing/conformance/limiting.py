"""Limits of how many jobs of a key, or of a queue, run at a time (I10)."""

import pytest

from backline.errors import EnqueueError
from backline.job import (
    HOUR,
    SECOND,
    JobRequest,
    Lane,
    LeasedJob,
    Limits,
    OnConflict,
    OnPoison,
    Terms,
)
from backline.states import State
from backline.store import Edit, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    TTL,
    BareWorker,
    add,
    done,
    failed,
    get,
    later,
    make_job,
    make_jobs,
    put_back,
    state_of,
    stats_of,
)

ONE = Limits(key="alice")
TWO = Limits(key="alice", slots=2)
BLOCK = Limits(key="alice", on_poison=OnPoison.BLOCK)
BOB = Limits(key="bob")

READY, WAITING, RUNNING = State.READY, State.WAITING, State.RUNNING
SCHEDULED, DEAD, CANCELLED = State.SCHEDULED, State.DEAD, State.CANCELLED


def ids(jobs: list[LeasedJob]) -> list[str]:
    """The ids of what was leased, in its order."""
    return [job.id for job in jobs]


class Limiting(Harness):
    """See `Limits`."""

    async def test_i10_a_key_has_no_more_leases_than_slots(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 5, limits=TWO)
        await add(store, *jobs)
        assert await state_of(store, *(job.id for job in jobs)) == [READY] * 2 + [WAITING] * 3
        first = await worker.lease(10)
        assert ids(first) == [job.id for job in jobs[:2]]
        assert await worker.lease(10) == []
        second = (await worker.exchange([done(first[0])], {MAIN: 10})).jobs
        assert ids(second) == [jobs[2].id]

    async def test_a_waiting_job_counts_towards_the_depth(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, *make_jobs(clock, 3, limits=ONE))
        stats = await stats_of(store)
        assert (stats.depth, stats.counts[WAITING], stats.counts[READY]) == (3, 2, 1)

    async def test_keys_of_two_queues_are_two_keys(self, store: Store, clock: VirtualClock) -> None:
        one = make_job(clock, limits=ONE)
        other = make_job(clock, limits=ONE, queue="film")
        await add(store, one, other)
        assert await state_of(store, one.id, other.id) == [READY, READY]

    async def test_a_full_key_holds_up_nobody_else(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 50, limits=ONE, priority=100))
        plain = make_job(clock)
        bob = make_job(clock, limits=BOB)
        await add(store, plain, bob)
        assert ids(await worker.lease(10))[1:] == [plain.id, bob.id]

    async def test_those_that_wait_go_on_in_the_order_of_a_queue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = make_job(clock, limits=ONE)
        low = make_job(clock, limits=ONE, priority=-1)
        middle = make_jobs(clock, 2, limits=ONE)
        high = make_job(clock, limits=ONE, priority=1)
        await add(store, first, low, *middle, high)
        order: list[str] = []
        for _ in range(5):
            [lease] = await worker.lease(10)
            order.append(lease.id)
            await worker.settle(done(lease))
        assert order == [job.id for job in (first, high, *middle, low)]

    async def test_with_one_slot_a_retry_keeps_its_turn(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=ONE)
        await add(store, first, second)
        await worker.run_one(later, 5 * SECOND)
        assert await state_of(store, first.id, second.id) == [SCHEDULED, WAITING]
        assert await worker.lease(10) == []
        clock.advance(5)
        assert await store.promote(10) == 1
        [again] = await worker.lease(10)
        assert again.id == first.id
        await worker.settle(done(again))
        assert await state_of(store, second.id) == [READY]

    async def test_with_more_slots_a_retry_gives_its_own_away(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 4, limits=TWO)
        await add(store, *jobs)
        leases = await worker.lease(10)
        await worker.settle(later(leases[0], SECOND))
        assert await state_of(store, jobs[2].id, jobs[3].id) == [READY, WAITING]
        clock.advance(1)
        await store.promote(10)
        assert await state_of(store, jobs[0].id) == [WAITING]
        await worker.settle(done(leases[1]))  # job 3 has waited since before the retry was due
        assert await state_of(store, jobs[0].id, jobs[3].id) == [WAITING, READY]

    @pytest.mark.parametrize("limits", [ONE, TWO])
    async def test_a_job_that_is_put_back_keeps_its_slot(
        self, store: Store, clock: VirtualClock, worker: BareWorker, limits: Limits
    ) -> None:
        jobs = make_jobs(clock, 4, limits=limits)
        await add(store, *jobs)
        leases = await worker.lease(10)
        await worker.settle(put_back(leases[0]))
        assert ids(await worker.lease(10)) == [leases[0].id]

    async def test_a_lost_lease_keeps_its_slot_until_it_is_settled(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2, limits=ONE))
        [lease] = await worker.lease(10)
        clock.advance((TTL + 1) / SECOND)
        assert await worker.lease(10) == []
        reaper = BareWorker(store, "reaper")
        await reaper.settle(put_back(lease, if_overdue=True))
        assert ids(await worker.lease(10)) == [lease.id]

    async def test_a_dead_job_lets_the_next_one_go_on(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=ONE)
        await add(store, first, second)
        await worker.run_one(failed)
        assert await state_of(store, first.id, second.id) == [DEAD, READY]

    async def test_a_dead_job_that_blocks_holds_up_its_key_until_it_is_redriven(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=BLOCK)
        await add(store, first, second)
        await worker.run_one(failed)
        assert await state_of(store, first.id, second.id) == [DEAD, WAITING]
        assert await store.redrive([first.id]) == [True]
        [lease] = await worker.lease(10)
        assert lease.id == first.id
        await worker.settle(done(lease))
        assert await state_of(store, second.id) == [READY]

    async def test_a_dead_job_that_blocks_holds_up_its_key_until_it_is_purged(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=BLOCK)
        await add(store, first, second)
        await worker.run_one(failed, keep=HOUR)
        clock.advance("1h")
        assert await state_of(store, second.id) == [WAITING]
        await store.sweep(10)
        assert await state_of(store, first.id, second.id) == [None, READY]

    async def test_a_job_that_ends_before_it_runs_gives_its_slot_back(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = make_jobs(clock, 3, limits=ONE)
        expiring = make_job(clock, limits=BOB, expires_in=SECOND)
        after = make_job(clock, limits=BOB)
        await add(store, *jobs, expiring, after)
        await store.cancel([jobs[0].id])
        assert await state_of(store, jobs[1].id) == [READY]
        await store.cancel([jobs[2].id, jobs[1].id])
        clock.advance(1)
        assert await store.expire(10) == 1
        assert await state_of(store, after.id) == [READY]
        newcomer = make_job(clock, limits=ONE)
        await add(store, newcomer)
        assert await state_of(store, newcomer.id) == [READY]

    async def test_a_redriven_job_waits_for_its_turn_like_any_other(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=ONE)
        await add(store, first, second)
        await worker.run_one(failed)
        assert await store.redrive([first.id]) == [True]
        assert await state_of(store, first.id, second.id) == [WAITING, READY]
        await worker.run_one()
        assert ids(await worker.lease(10)) == [first.id]

    async def test_a_scheduled_job_stands_in_nobodys_way(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        tomorrow = make_job(clock, limits=ONE, delay=SECOND)
        now = make_job(clock, limits=ONE)
        await add(store, tomorrow, now)
        assert await state_of(store, now.id) == [READY]
        clock.advance(1)
        assert await store.promote(10) == 1
        assert await state_of(store, tomorrow.id) == [WAITING]
        await worker.run_one()
        assert ids(await worker.lease(10)) == [tomorrow.id]

    async def test_a_limit_that_is_raised_lets_those_who_wait_go_first(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = make_jobs(clock, 4, limits=ONE)
        await add(store, *jobs)
        newer = make_job(clock, limits=Limits(key="alice", slots=3))
        await add(store, newer)
        states = await state_of(store, *(job.id for job in jobs), newer.id)
        assert states == [READY] * 3 + [WAITING] * 2

    async def test_a_limit_that_is_lowered_stops_nobody_and_lets_nobody_on(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3, limits=TWO))
        leases = await worker.lease(10)
        await add(store, make_job(clock, limits=ONE))
        await worker.settle(done(leases[0]))
        assert await worker.lease(10) == []
        await worker.settle(done(leases[1]))
        assert len(await worker.lease(10)) == 1

    async def test_a_successor_under_a_unique_key_waits_for_both(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        keyed = {"limits": ONE, "unique_key": "k", "on_conflict": OnConflict.REPLACE}
        first = make_job(clock, **keyed)
        await add(store, first)
        [lease] = await worker.lease(10)
        other = make_job(clock, limits=ONE)
        successor = make_job(clock, **keyed)
        await add(store, successor, other)
        await worker.settle(done(lease))
        states = await state_of(store, successor.id, other.id)
        assert sorted(states, key=str) == [READY, WAITING]

    @pytest.mark.parametrize("result", [None, b"1"])
    async def test_a_successor_asks_for_the_slot_beside_the_others(
        self, store: Store, clock: VirtualClock, worker: BareWorker, result: bytes | None
    ) -> None:
        keyed = {"limits": ONE, "unique_key": "k", "on_conflict": OnConflict.REPLACE}
        await add(store, make_job(clock, **keyed))
        [lease] = await worker.lease(10)
        other = make_job(clock, limits=ONE)
        successor = make_job(clock, **keyed, priority=100)
        await add(store, other, successor)
        await worker.settle(done(lease, result))
        assert await state_of(store, successor.id, other.id) == [READY, WAITING]

    async def test_a_job_that_is_named_twice_comes_once(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock, limits=ONE)
        await store.enqueue([[job], [job]])
        assert await state_of(store, job.id) == [READY]

    async def test_a_key_that_is_not_to_block_any_more_goes_on(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second = make_jobs(clock, 2, limits=BLOCK)
        await add(store, first, second)
        await worker.run_one(failed)
        await add(store, make_job(clock, limits=ONE))
        assert await state_of(store, first.id, second.id) == [DEAD, READY]

    async def test_a_job_for_later_says_the_limit_too(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = make_jobs(clock, 3, limits=ONE)
        await add(store, *jobs)
        await add(store, make_job(clock, limits=Limits("alice", 3), delay=HOUR))
        assert await state_of(store, *(job.id for job in jobs)) == [READY] * 3

    async def test_a_new_priority_costs_no_slot(self, store: Store, clock: VirtualClock) -> None:
        first, second, third = make_jobs(clock, 3, limits=ONE)
        await add(store, first, second, third)
        await store.edit([first.id, third.id], Edit(priority=10))
        assert await state_of(store, first.id, second.id, third.id) == [READY, WAITING, WAITING]
        await store.cancel([first.id])
        assert await state_of(store, second.id, third.id) == [WAITING, READY]

    async def test_a_job_that_is_put_back_did_not_arrive_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, limits=ONE))
        before = (await stats_of(store)).arrival_rate
        for _ in range(3):
            await worker.run_one(put_back)
        assert (await stats_of(store)).arrival_rate == before > 0

    async def test_i5_a_repeat_gives_no_slot_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 3, limits=ONE)
        await add(store, *jobs)
        await add(store, *jobs)
        [lease] = await worker.lease(10)
        first = await worker.exchange([done(lease)], {MAIN: 10})
        again = await worker.repeat()
        assert ids(again.jobs) == ids(first.jobs) == [jobs[1].id]
        assert await state_of(store, jobs[2].id) == [WAITING]

    async def test_a_record_says_what_limits_its_job(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job, plain = make_job(clock, limits=BLOCK), make_job(clock)
        await add(store, job, plain)
        assert (await get(store, job.id)).limits == BLOCK
        assert (await get(store, plain.id)).limits is None

    async def test_an_idle_key_is_forgotten_and_limits_all_the_same(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, limits=ONE))
        await worker.run_one(later, HOUR)
        await store.sweep(10)
        second = make_job(clock, limits=ONE)
        await add(store, second)
        assert await state_of(store, second.id) == [WAITING]
        clock.advance("1h")
        await store.promote(10)
        await worker.run_one()
        await worker.run_one()
        await store.sweep(10)
        await add(store, *make_jobs(clock, 2, limits=ONE))
        assert (await stats_of(store)).counts[WAITING] == 1

    # Of a queue as a whole.

    async def test_i10_a_queue_has_no_more_leases_than_its_limit(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, concurrency=2)])
        await add(store, *make_jobs(clock, 4), make_job(clock, lane=Lane.CELL))
        [first] = await worker.lease(1)
        second = BareWorker(store, "worker-2")
        [other] = await second.lease(10)
        assert await second.lease(10, lane=Lane.CELL) == []
        again = await worker.exchange([done(first)], {MAIN: 10, (QUEUE, Lane.CELL): 10})
        assert len(again.jobs) == 1
        assert (await stats_of(store)).concurrency == 2
        await store.configure([QueueSettings(queue=QUEUE, concurrency=None)])
        assert len(await second.lease(10)) == 1
        assert await second.settle(done(other)) == ["applied"]

    async def test_both_limits_hold_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, concurrency=2)])
        await add(store, *make_jobs(clock, 3, limits=ONE), *make_jobs(clock, 3))
        leases = await worker.lease(10)
        assert len(leases) == 2
        assert await state_of(store, leases[0].id) == [RUNNING]
        assert await worker.lease(10) == []

    async def test_a_job_with_terms_that_nobody_can_meet_is_refused(
        self, store: Store, clock: VirtualClock
    ) -> None:
        for limits in (Limits(key="k", slots=0), Limits(key="k", slots=10**6), "alice"):
            job = JobRequest(id=clock.new_id(), task="t", terms=Terms(), limits=limits)  # type: ignore[arg-type]
            with pytest.raises(EnqueueError, match=r"limits|slots|Expected"):
                await store.enqueue([[job]])
