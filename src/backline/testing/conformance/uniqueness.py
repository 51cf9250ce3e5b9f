"""Unique keys: one live job for each, and what becomes of the next."""

from backline.job import DAY, HOUR, MINUTE, SECOND, Enqueued, OnConflict
from backline.states import State
from backline.store import Cancelling, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    BareWorker,
    add,
    assert_adds_up,
    done,
    failed,
    later,
    make_job,
    state_of,
)


class Uniqueness(Harness):
    """`JobRequest.unique_key`, `unique_for` and `on_conflict`."""

    async def test_skip_answers_the_holder_and_adds_nothing(
        self, store: Store, clock: VirtualClock
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        late = make_job(clock, unique_key="k")
        other = make_job(clock, unique_key="k2")
        answers = await add(store, late, other)
        assert answers == [Enqueued(holder.id, added=False), Enqueued(other.id)]
        assert await state_of(store, late.id) == [None]

    async def test_raise_answers_the_holder_as_a_conflict_and_adds_the_rest(
        self, store: Store, clock: VirtualClock
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        late, rest = make_job(clock, unique_key="k", on_conflict=OnConflict.RAISE), make_job(clock)
        answers = await add(store, late, rest)
        assert answers == [Enqueued(holder.id, added=False, conflict=True), Enqueued(rest.id)]
        assert await state_of(store, late.id, rest.id) == [None, State.READY]

    async def test_without_a_window_the_end_frees_a_key_also_when_the_clock_was_set_back(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        clock.step_wall(-3600)
        await worker.run_one()
        later_one = make_job(clock, unique_key="k")
        assert await add(store, later_one) == [Enqueued(later_one.id)]

    async def test_a_key_is_held_through_every_state_of_a_live_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k", delay=MINUTE)
        held = [Enqueued(holder.id, added=False)]
        await add(store, holder)
        assert await add(store, make_job(clock, unique_key="k")) == held  # scheduled
        clock.advance("1m")
        await store.promote(10)
        assert await add(store, make_job(clock, unique_key="k")) == held  # ready
        [lease] = await worker.lease()
        assert await add(store, make_job(clock, unique_key="k")) == held  # running
        await worker.settle(later(lease, MINUTE))
        assert await add(store, make_job(clock, unique_key="k")) == held  # a retry

    async def test_the_end_of_its_holder_frees_a_key(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = make_job(clock, unique_key="k")
        await add(store, first)
        await worker.run_one()
        second = make_job(clock, unique_key="k")
        assert await add(store, second) == [Enqueued(second.id)]
        await worker.run_one(failed)
        third = make_job(clock, unique_key="k")
        assert await add(store, third) == [Enqueued(third.id)]
        await store.cancel([third.id])
        fourth = make_job(clock, unique_key="k", expires_in=MINUTE)
        assert await add(store, fourth) == [Enqueued(fourth.id)]
        clock.advance("1m1s")
        assert await store.expire(10) == 1
        fifth = make_job(clock, unique_key="k")
        assert await add(store, fifth) == [Enqueued(fifth.id)]

    async def test_unique_for_keeps_the_key_after_the_end(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k", unique_for=HOUR)
        await add(store, holder)
        await worker.run_one()
        clock.advance("59m")
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]
        clock.advance("1m1s")
        assert await add(store, late) == [Enqueued(late.id)]

    async def test_a_window_lets_one_job_through_each_period_however_long_jobs_take(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        begin, added, ended = clock.now(), [], []
        takes = [0, 30, 59, 60, 90, 150, 5, 5, 5]
        lease, end = None, 0
        for second in range(660):
            job = make_job(clock, unique_key="k", unique_for=MINUTE)
            [answer] = await add(store, job)
            if answer.added:
                added.append(second)
                [lease] = await worker.lease()
                end = second + takes[len(added) - 1]
            if lease is not None and second >= end:
                await worker.settle(done(lease))
                ended.append((clock.now() - begin) // SECOND)
                lease = None
            clock.advance("1s")
        assert added == [0, 60, 120, 180, 241, 332, 483, 543, 603]
        assert ended == [0, 90, 179, 240, 331, 482, 488, 548, 608]

    async def test_a_holder_that_outlives_unique_for_keeps_its_key(
        self, store: Store, clock: VirtualClock
    ) -> None:
        holder = make_job(clock, unique_key="k", unique_for=MINUTE)
        await add(store, holder)
        clock.advance("2h")
        await store.sweep(100)
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]

    async def test_a_key_outlives_the_purge_of_its_holder(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k", unique_for=HOUR)
        await add(store, holder)
        await worker.run_one(done, keep=0)
        clock.advance("1m")
        await store.sweep(100)
        assert await state_of(store, holder.id) == [None]
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]

    async def test_a_key_is_held_for_all_of_unique_for_though_its_holder_is_forgotten(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k", unique_for=9 * DAY)
        await add(store, holder)
        await worker.run_one(done, keep=0)
        for _ in range(4):
            clock.advance("2d")
            await store.sweep(100)
        late = make_job(clock, unique_key="k")
        [answer] = await add(store, late)
        assert not answer.added
        clock.advance("1d1s")
        await store.sweep(100)
        assert await add(store, late) == [Enqueued(late.id)]

    async def test_a_job_without_a_key_conflicts_with_nothing(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first, second = make_job(clock), make_job(clock, on_conflict=OnConflict.RAISE)
        assert await add(store, first, second) == [Enqueued(first.id), Enqueued(second.id)]

    async def test_keys_span_queues_and_tasks(self, store: Store, clock: VirtualClock) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        late = make_job(clock, unique_key="k", queue="film", task="app.cut")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]

    async def test_redrive_takes_the_key_back_only_if_it_is_free(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = make_job(clock, unique_key="k")
        await add(store, first)
        await store.cancel([first.id])
        assert await store.redrive([first.id]) == [True]
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(first.id, added=False)]

        await store.cancel([first.id])
        second = make_job(clock, unique_key="k")
        assert await add(store, second) == [Enqueued(second.id)]
        assert await store.redrive([first.id]) == [True]
        assert await add(store, late) == [Enqueued(second.id, added=False)]
        leases = await worker.lease(9)
        assert {lease.id for lease in leases} == {first.id, second.id}
        [mine] = [lease for lease in leases if lease.id == first.id]
        await worker.settle(done(mine))
        assert await add(store, late) == [Enqueued(second.id, added=False)]

    async def test_a_key_lapses_again_at_the_time_at_which_it_would_have_before(
        self, store: Store, clock: VirtualClock
    ) -> None:
        """Its first holder ends, is followed, is redriven, and ends once more."""
        first = make_job(clock, unique_key="k", unique_for=HOUR)
        await add(store, first)
        await store.cancel([first.id])
        second = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, second)
        await store.cancel([second.id])
        assert await store.redrive([first.id]) == [True]
        assert await store.cancel([first.id]) == [Cancelling.CANCELLED]
        await assert_adds_up(store)
        clock.advance("1h")
        await store.sweep(100)
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(late.id)]

    async def test_a_job_that_is_redriven_holds_its_key_for_its_window_again(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = make_job(clock, unique_key="k", unique_for=HOUR)
        await add(store, first)
        await store.cancel([first.id])
        second = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, second)
        await store.cancel([second.id])
        clock.advance("1m")
        await store.sweep(100)
        assert await store.redrive([first.id]) == [True]
        await store.cancel([first.id])
        clock.advance("58m")
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(first.id, added=False)]
        clock.advance("1m")
        assert await add(store, late) == [Enqueued(late.id)]
