"""Keeping leases: who holds one, until when, and what it allows."""

from msgspec.structs import replace

from backline.job import (
    MINUTE,
    SECOND,
    Acked,
    Lane,
    Progress,
)
from backline.states import State
from backline.store import Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    TTL,
    BareWorker,
    add,
    done,
    get,
    make_job,
    make_jobs,
    put_back,
    state_of,
)


class Holding(Harness):
    """`extend`, `held`, `overdue`, `progress`."""

    async def test_extend_lets_a_lease_last_from_now(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("20s")
        assert await store.extend([lease], MINUTE) == [True]
        [held] = await store.held(worker.name)
        assert held.until == clock.tick() + MINUTE
        clock.advance("59s")
        assert await store.overdue(10) == []
        assert await store.extend([lease], SECOND) == [True]
        clock.advance("1s")
        assert [over.id for over in await store.overdue(10)] == [lease.id]

    async def test_a_lease_that_is_over_but_not_settled_can_be_extended(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("1h")
        assert len(await store.overdue(10)) == 1
        assert await store.extend([lease], TTL) == [True]
        assert await store.overdue(10) == []

    async def test_i2_i6_extend_answers_for_each_lease(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        one, two, three = await worker.lease(3)
        await worker.settle(done(two), put_back(three))
        [newer] = await worker.lease()
        assert newer.id == three.id
        unknown = replace(one, id=clock.new_id())
        answers = await store.extend([three, one, unknown, two, newer], MINUTE)
        assert answers == [False, True, False, False, True]
        assert await store.extend([], TTL) == []

    async def test_held_shows_the_leases_of_one_worker(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4, lane=Lane.CELL))
        leases = (await worker.exchange((), {CELL: 3})).jobs
        await BareWorker(store, "worker-2").lease(lane=Lane.CELL)
        await worker.settle(done(leases[1]))
        await store.cancel([leases[2].id])
        clock.advance("1h")
        held = {lease.id: lease for lease in await store.held(worker.name)}
        assert set(held) == {leases[0].id, leases[2].id}
        one = held[leases[0].id]
        assert (one.attempt, one.task, one.queue, one.lane) == (1, "app.send", "mail", Lane.CELL)
        assert (one.failures, one.losses, one.releases) == (0, 0, 0)
        assert (one.worker, one.terms) == (worker.name, leases[0].terms)
        assert (one.cancel, held[leases[2].id].cancel) == (False, True)
        assert await store.held("nobody") == []

    async def test_overdue_lists_the_longest_over_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4))
        [a] = await BareWorker(store, "a", 30 * SECOND).lease()
        [b] = await BareWorker(store, "b", 10 * SECOND).lease()
        clock.advance("1s")
        [c] = await BareWorker(store, "c", 20 * SECOND).lease()
        [d] = await BareWorker(store, "d", 90 * SECOND).lease()
        assert await store.overdue(10) == []
        clock.advance("40s")
        over = await store.overdue(10)
        assert [lease.id for lease in over] == [b.id, c.id, a.id]
        assert [lease.worker for lease in over] == ["b", "c", "a"]
        assert [lease.id for lease in await store.overdue(2)] == [b.id, c.id]
        assert await store.overdue(10) == over
        assert await state_of(store, a.id, d.id) == [State.RUNNING] * 2

    async def test_leases_do_not_follow_the_wall_clock(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await worker.lease()
        clock.step_wall(7200)
        assert await store.overdue(10) == []
        clock.step_wall(-14400)
        clock.advance("30s")
        assert len(await store.overdue(10)) == 1

    async def test_i2_progress_is_recorded_for_the_holder_only(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await worker.settle(put_back(two))
        reports = [
            Progress(two.id, two.attempt, 1.0),
            Progress(one.id, one.attempt, 2.5, 10.0, "hälf"),
            Progress(one.id, one.attempt + 1, 9.0),
            Progress(clock.new_id(), 1, 1.0),
        ]
        assert await store.progress(reports) == [False, True, False, False]
        assert (await get(store, one.id)).progress == reports[1]
        assert (await get(store, two.id)).progress is None
        assert await store.progress([Progress(one.id, one.attempt, 3.0)]) == [True]
        record = await get(store, one.id)
        assert record.progress == Progress(one.id, one.attempt, 3.0)
        await worker.settle(done(one))
        assert await store.progress([Progress(one.id, one.attempt, 4.0)]) == [False]
        assert (await get(store, one.id)).progress == record.progress

    async def test_a_lease_of_no_length_is_over_at_once_and_still_its_holders(
        self, store: Store, clock: VirtualClock
    ) -> None:
        for ttl in (0, -SECOND):
            worker = BareWorker(store, f"worker {ttl}", ttl)
            await add(store, make_job(clock))
            [lease] = await worker.lease()
            assert [held.id for held in await store.overdue(9)] == [lease.id]
            assert await store.extend([lease], TTL) == [True]
            assert await store.overdue(9) == []
            assert await store.extend([lease], ttl) == [True]
            assert [held.until for held in await store.overdue(9)] == [clock.tick() + ttl]
            assert await worker.settle(done(lease)) == [Acked.APPLIED]
