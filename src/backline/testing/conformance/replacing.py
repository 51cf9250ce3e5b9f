"""`on_conflict="replace"`: who takes the place of whom, and when it is their turn."""

from backline.job import HOUR, MINUTE, REPLACED_KEEP, Enqueued, OnConflict
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


class Replacing(Harness):
    """A unique key changes hands while its holder lives."""

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
        assert record.purge_at == clock.now() + REPLACED_KEEP
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
        await worker.run_one()
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

    async def test_a_key_that_goes_back_is_held_for_the_window_of_whom_it_goes_back_to(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for window, of_its_successor in ((HOUR, 0), (0, HOUR)):
            holder = make_job(clock, unique_key="k", unique_for=window)
            await add(store, holder)
            [lease] = await worker.lease()
            successor = make_job(
                clock, unique_key="k", on_conflict=OnConflict.REPLACE, unique_for=of_its_successor
            )
            await add(store, successor)
            await store.cancel([successor.id])
            await worker.settle(done(lease))
            clock.advance("59m")
            late = make_job(clock, unique_key="k")
            free = Enqueued(late.id) if window == 0 else Enqueued(holder.id, added=False)
            assert await add(store, late) == [free]
            clock.advance("1m")
