"""Two handles on the same jobs, and what is left when the last one is closed."""

import asyncio

from msgspec import Raw

from backline.fanout import Publication
from backline.job import HOUR, Acked, Awaited
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness, MakeStore
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    add,
    assert_adds_up,
    done,
    find_all,
    make_job,
    make_jobs,
    parked,
    put_back,
    snapshot,
    stats_of,
)


class Sharing(Harness):
    """For stores whose capabilities say `between_processes`."""

    async def test_both_handles_show_the_same(
        self, store: Store, other: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        await add(other, *make_jobs(clock, 3, delay=HOUR))
        await worker.lease(2)
        await other.configure([QueueSettings(queue=QUEUE, max_depth=10)])
        assert await snapshot(store) == await snapshot(other)
        assert len(await find_all(other)) == 6
        assert await store.held(worker.name) == await other.held(worker.name)

    async def test_i3_no_job_is_leased_through_both(
        self, store: Store, other: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 40))
        rival = BareWorker(other, "worker-2")
        mine: list[str] = []
        theirs: list[str] = []
        for _ in range(10):
            mine += [lease.id for lease in await worker.lease(2)]
            theirs += [lease.id for lease in await rival.lease(2)]
        assert len(mine) == len(theirs) == len({*mine, *theirs}) / 2 == 20

    async def test_i5_a_call_is_repeated_through_another_handle(
        self, store: Store, other: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 3)
        assert await store.enqueue([jobs]) == await other.enqueue([jobs])
        first = await worker.lease(2)
        worker.store = other
        assert (await worker.repeat()).jobs == first
        assert await worker.settle(*[done(lease) for lease in first]) == [Acked.APPLIED] * 2
        worker.store = store
        assert (await worker.repeat()).acks == [Acked.ALREADY] * 2

    async def test_i8_both_see_one_depth(
        self, store: Store, other: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=3)])
        await add(store, *make_jobs(clock, 2))
        [answer] = await other.enqueue([make_jobs(clock, 2)])
        assert not isinstance(answer, list)
        assert (await stats_of(other)).depth == 2

    async def test_a_key_is_one_for_both(
        self, store: Store, other: Store, clock: VirtualClock
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        [answer] = await add(other, make_job(clock, unique_key="k"))
        assert (answer.id, answer.added) == (holder.id, False)

    async def test_i17_a_job_is_parked_by_one_while_the_other_publishes(
        self, store: Store, other: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 40)
        await add(store, *jobs)
        for lease in await worker.lease(40):
            event = Publication(id=lease.id, name="paid", key=lease.id, payload=Raw(b"1"))
            wait = parked(lease, Awaited("paid", lease.id), HOUR)
            await asyncio.gather(worker.settle(wait), other.publish([event]))
        assert {lease.id for lease in await worker.lease(99)} == {job.id for job in jobs}
        found = await other.steps([job.id for job in jobs])
        assert [(wait.over, wait.event_id) for [wait] in found] == [(True, job.id) for job in jobs]

    async def test_a_worker_retired_by_one_leases_nothing_from_the_other(
        self, store: Store, other: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await other.retire(worker.name)
        assert await worker.lease() == []

    async def test_i1_jobs_survive_the_last_handle(
        self,
        make_store: MakeStore,
        store: Store,
        other: Store,
        clock: VirtualClock,
        worker: BareWorker,
    ) -> None:
        await add(other, *make_jobs(clock, 4))
        done_one, running, back = await worker.lease(3)
        await worker.settle(done(done_one, b"1"), put_back(back))
        before = await snapshot(other)
        await other.close()
        await store.close()
        clock.advance("1s")

        again = make_store(clock)
        await again.open()
        assert (await snapshot(again))[0] == before[0]
        worker.store = again
        assert await worker.settle(done(running)) == [Acked.APPLIED]
        assert len(await BareWorker(again, "worker-2").lease(9)) == 2
        await assert_adds_up(again)
        await again.close()
        await store.open()

    async def test_after_another_boot_every_lease_is_over(
        self,
        make_store: MakeStore,
        store: Store,
        other: Store,
        clock: VirtualClock,
        worker: BareWorker,
    ) -> None:
        worker.ttl = 10**15
        await add(other, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await other.close()
        await store.close()
        clock.reboot()
        again = make_store(clock)
        await again.open()
        over = await again.overdue(10)
        assert {lease.id for lease in over} == {one.id, two.id}
        reaper = BareWorker(again, "reaper")
        answers = await reaper.settle(*[put_back(lease, if_overdue=True) for lease in over])
        assert answers == [Acked.APPLIED] * 2
        assert (await stats_of(again)).counts[State.READY] == 2
        [fresh] = await BareWorker(again, "worker-2").lease(1)
        assert fresh.attempt == 2
        assert await again.overdue(10) == []
        await again.close()
        await store.open()
