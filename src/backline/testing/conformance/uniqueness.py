"""Unique keys: one live job for each, and what becomes of the next."""

from backline.job import DAY, HOUR, MINUTE, Enqueued, OnConflict
from backline.states import State
from backline.store import Cancelling, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    BareWorker,
    add,
    done,
    failed,
    find_all,
    get,
    later,
    make_job,
    put_back,
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
        [lease] = await worker.lease()
        await worker.settle(done(lease))
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
        [lease] = await worker.lease()
        await worker.settle(done(lease))
        second = make_job(clock, unique_key="k")
        assert await add(store, second) == [Enqueued(second.id)]
        [lease] = await worker.lease()
        await worker.settle(failed(lease))
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
        [lease] = await worker.lease()
        await worker.settle(done(lease))
        clock.advance("59m")
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]
        clock.advance("1m1s")
        assert await add(store, late) == [Enqueued(late.id)]

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
        [lease] = await worker.lease()
        await worker.settle(done(lease, keep=0))
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
        [lease] = await worker.lease()
        await worker.settle(done(lease, keep=0))
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

    async def test_replace_cancels_a_holder_that_has_not_started(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        scheduled = make_job(clock, unique_key="k", delay=HOUR)
        ready = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        last = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, scheduled)
        assert await add(store, ready) == [Enqueued(ready.id)]
        assert await add(store, last) == [Enqueued(last.id)]
        states = await state_of(store, scheduled.id, ready.id, last.id)
        assert states == [State.CANCELLED, State.CANCELLED, State.READY]
        record = await get(store, scheduled.id)
        assert record.finished_at == clock.now()
        assert record.purge_at == clock.now() + record.terms.keep
        assert [lease.id for lease in await worker.lease(9)] == [last.id]

    async def test_replace_of_a_running_holder_waits_for_its_end(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        assert await add(store, successor) == [Enqueued(successor.id)]
        states = await state_of(store, holder.id, successor.id)
        assert states == [State.RUNNING, State.WAITING]
        assert await worker.lease(9) == []

        await worker.settle(done(lease))
        assert await state_of(store, successor.id) == [State.READY]
        [lease] = await worker.lease(9)
        assert lease.id == successor.id

    async def test_i9_the_successor_is_leased_in_the_commit_that_ends_its_holder(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        for end in (done, failed):
            exchange = await worker.exchange([end(lease)], {("mail", lease.lane): 9})
            [lease] = exchange.jobs
            assert lease.id == successor.id
            successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
            await add(store, successor)

    async def test_a_successor_that_is_not_due_becomes_scheduled(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        due = clock.now() + HOUR
        late = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE, delay=HOUR)
        await add(store, late)
        assert await state_of(store, late.id) == [State.WAITING]
        clock.advance("1m")
        exchange = await worker.exchange([done(lease)], {("mail", lease.lane): 9})
        assert (exchange.jobs, exchange.next_in) == ([], due - clock.now())
        record = await get(store, late.id)
        assert (record.state, record.due) == (State.SCHEDULED, due)

    async def test_a_successor_that_came_due_while_waiting_becomes_ready(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        late = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE, delay=HOUR)
        await add(store, late)
        clock.advance("1h")
        assert await store.promote(10) == 0
        await worker.settle(done(lease))
        assert await state_of(store, late.id) == [State.READY]

    async def test_a_holder_that_runs_again_keeps_its_successor_waiting(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        await worker.settle(put_back(lease))
        assert await state_of(store, successor.id) == [State.WAITING]
        [lease] = await worker.lease(9)
        assert lease.id == holder.id
        await worker.settle(later(lease, MINUTE))
        clock.advance("1m")
        await store.promote(10)
        [lease] = await worker.lease(9)
        assert (lease.id, lease.attempt) == (holder.id, 3)
        await worker.settle(done(lease))
        assert await state_of(store, successor.id) == [State.READY]

    async def test_a_later_replace_replaces_the_successor(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [lease] = await worker.lease()
        second, third = (
            make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE) for _ in range(2)
        )
        await add(store, second)
        assert await add(store, third) == [Enqueued(third.id)]
        states = await state_of(store, holder.id, second.id, third.id)
        assert states == [State.RUNNING, State.CANCELLED, State.WAITING]
        await worker.settle(done(lease))
        assert [lease.id for lease in await worker.lease(9)] == [third.id]

    async def test_the_successor_holds_the_key_from_the_moment_it_waits(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        held = [Enqueued(successor.id, added=False)]
        assert await add(store, make_job(clock, unique_key="k")) == held
        await worker.settle(done(lease))
        assert await add(store, make_job(clock, unique_key="k")) == held
        [lease] = await worker.lease()
        assert await add(store, make_job(clock, unique_key="k")) == held
        await worker.settle(done(lease))
        free = make_job(clock, unique_key="k")
        assert await add(store, free) == [Enqueued(free.id)]

    async def test_a_successor_that_ends_early_gives_the_key_back_to_its_holder(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        assert await store.cancel([successor.id]) == [Cancelling.CANCELLED]
        late = make_job(clock, unique_key="k")
        assert await add(store, late) == [Enqueued(holder.id, added=False)]
        await worker.settle(done(lease))
        assert await state_of(store, successor.id) == [State.CANCELLED]
        assert await add(store, late) == [Enqueued(late.id)]

    async def test_a_successor_may_expire_while_it_waits(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [lease] = await worker.lease()
        successor = make_job(
            clock, unique_key="k", on_conflict=OnConflict.REPLACE, expires_in=MINUTE
        )
        await add(store, successor)
        clock.advance("1m1s")
        assert await store.expire(10) == 1
        assert await state_of(store, successor.id) == [State.EXPIRED]
        await worker.settle(done(lease))
        assert await state_of(store, successor.id) == [State.EXPIRED]

    async def test_replace_takes_a_key_that_only_unique_for_holds(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k", unique_for=HOUR)
        await add(store, holder)
        [lease] = await worker.lease()
        await worker.settle(done(lease))
        late = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        assert await add(store, late) == [Enqueued(late.id)]
        assert await state_of(store, holder.id, late.id) == [State.SUCCEEDED, State.READY]
        third = make_job(clock, unique_key="k")
        assert await add(store, third) == [Enqueued(late.id, added=False)]

    async def test_i5_a_repeated_replace_replaces_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        assert await add(store, successor) == [Enqueued(successor.id)]
        assert await state_of(store, successor.id) == [State.WAITING]
        await worker.settle(done(lease))
        assert await add(store, successor) == [Enqueued(successor.id)]
        assert len(await find_all(store)) == 2
        assert [lease.id for lease in await worker.lease(9)] == [successor.id]

    async def test_i5_a_repeat_of_a_replaced_job_does_not_bring_it_back(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = make_job(clock, unique_key="k")
        second = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, first)
        await add(store, second)
        assert await add(store, first) == [Enqueued(first.id)]
        states = await state_of(store, first.id, second.id)
        assert states == [State.CANCELLED, State.READY]

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
