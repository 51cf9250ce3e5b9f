"""Jobs that wait for others."""

from typing import Any

import pytest
from msgspec.structs import replace

from backline.errors import EnqueueError, UnknownParent
from backline.job import HOUR, SECOND, Acked, Enqueued, JobId, JobRequest, Limits, OnConflict
from backline.parents import MOST_PARENTS, After, On, Parent
from backline.states import TERMINAL, State
from backline.store import Cancelling, Edit, Edited, FlowStats, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    BareWorker,
    ack,
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


def after(clock: VirtualClock, *parents: JobId, on: On = On.SUCCESS, **fields: Any) -> JobRequest:
    """A job that waits for those."""
    return make_job(clock, after=tuple(After(one, on) for one in parents), **fields)


def members(
    clock: VirtualClock, count: int, flow: str = "f", group: str = "g", **fields: Any
) -> list[JobRequest]:
    """Jobs of a group."""
    return make_jobs(clock, count, flow=flow, group=group, **fields)


async def flow_of(store: Store, flow: str = "f") -> FlowStats:
    """A flow that exists."""
    [found] = await store.flows([flow])
    assert found is not None
    return found


class Flowing(Harness):
    """A job waits for the ends of its parents (I9)."""

    @pytest.mark.parametrize("on", On)
    @pytest.mark.parametrize("end", sorted(TERMINAL))
    async def test_i9_a_job_goes_on_or_is_cancelled_in_the_commit_that_ends_its_parent(
        self, store: Store, clock: VirtualClock, worker: BareWorker, on: On, end: State
    ) -> None:
        parent = make_job(clock, expires_in=HOUR)
        child = after(clock, parent.id, on=on)
        await add(store, parent, child)
        assert await state_of(store, child.id) == [State.WAITING]
        assert (await stats_of(store)).depth == 2
        if end is State.CANCELLED:
            await store.cancel([parent.id])
        elif end is State.EXPIRED:
            clock.advance("1h")
            assert await store.expire(9) == 1
        else:
            [lease] = await worker.lease(9)
            assert lease.id == parent.id
            got = await worker.exchange(
                [done(lease) if end is State.SUCCEEDED else failed(lease)], {MAIN: 9}
            )
            assert [job.id for job in got.jobs] == ([child.id] if on.met(end) else [])
        goes_on = State.READY if end in (State.CANCELLED, State.EXPIRED) else State.RUNNING
        assert await state_of(store, child.id) == [goes_on if on.met(end) else State.CANCELLED]
        assert (await get(store, child.id)).after == (Parent(parent.id, on, end),)
        assert (await get(store, parent.id)).before == (child.id,)

    async def test_i9_a_job_waits_for_all_its_parents_however_they_end_together(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parents = make_jobs(clock, 4)
        child = after(clock, *[job.id for job in parents])
        await add(store, *parents, child)
        leases = await worker.lease(9)
        await worker.settle(done(leases[0]), later(leases[1], SECOND))
        assert await state_of(store, child.id) == [State.WAITING]
        await worker.settle(done(leases[2]), done(leases[3], b"1"))
        assert await state_of(store, child.id) == [State.WAITING]
        clock.advance("1s")
        await store.promote(9)
        [lease] = await worker.lease(9)
        assert await worker.settle(done(lease)) == [Acked.APPLIED]
        assert await state_of(store, child.id) == [State.READY]

    async def test_i9_a_repeat_of_the_parents_ack_lets_nothing_go_on_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent = make_job(clock)
        child = after(clock, parent.id)
        await add(store, parent, child)
        [lease] = await worker.lease()
        await worker.exchange([done(lease)], {MAIN: 9})
        assert [job.id for job in (await worker.repeat()).jobs] == [child.id]
        [running] = await store.held(worker.name)
        assert await worker.settle(done(lease), ack(running, State.DEAD)) == [
            Acked.ALREADY, Acked.APPLIED,
        ]  # fmt: skip
        assert await worker.settle(done(lease)) == [Acked.ALREADY]
        assert await state_of(store, child.id) == [State.DEAD]

    async def test_i9_a_parent_that_is_put_back_or_lost_has_not_ended(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent = make_job(clock)
        child = after(clock, parent.id, on=On.END)
        await add(store, parent, child)
        [lease] = await worker.lease()
        await worker.settle(put_back(lease))
        [lease] = await worker.lease(9)
        clock.advance("1h")
        await worker.settle(put_back(lease, if_overdue=True))
        assert await state_of(store, child.id) == [State.WAITING]
        assert await worker.settle(done(lease)) == [Acked.ALREADY]
        assert await state_of(store, child.id) == [State.WAITING]

    async def test_i9_a_job_whose_parents_have_ended_need_not_wait(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        good, bad = make_jobs(clock, 2)
        await add(store, good, bad)
        first, second = await worker.lease(2)
        await worker.settle(done(first, keep=0), failed(second, keep=HOUR))
        await store.sweep(9)
        assert await state_of(store, good.id) == [None]
        runs, stopped = after(clock, good.id), after(clock, good.id, bad.id)
        delayed = after(clock, bad.id, on=On.FAILURE, delay=HOUR)
        assert await add(store, runs, stopped, delayed) == [
            Enqueued(job.id) for job in (runs, stopped, delayed)
        ]
        states = await state_of(store, runs.id, stopped.id, delayed.id)
        assert states == [State.READY, State.CANCELLED, State.SCHEDULED]

    async def test_a_parent_that_nobody_knows_is_refused_and_nothing_is_written(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, last = make_jobs(clock, 2)
        for call in (
            [first, after(clock, "nobody")],
            [first, after(clock, last.id), last],
            [after(clock, "g", flow="f", group="g")],
        ):
            with pytest.raises(UnknownParent):
                await store.enqueue([call])
        await add(store, last)
        [lease] = await worker.lease()
        await worker.settle(done(lease, b"1", keep=0))
        await store.sweep(9)
        with pytest.raises(UnknownParent):  # its result is gone with it
            await add(store, make_job(clock, after=(After(last.id, result=True),)))
        assert await state_of(store, first.id) == [None]

    async def test_parents_that_cannot_be_are_refused(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        twice = make_job(clock, after=(After(job.id), After(job.id, On.END)))
        many = after(clock, *[str(n) for n in range(MOST_PARENTS + 1)])
        for wrong in (twice, many):
            with pytest.raises(EnqueueError):
                await add(store, wrong)

    async def test_i5_a_repeat_of_an_enqueue_ties_nothing_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        [parent] = members(clock, 1)
        child = after(clock, parent.id, flow="f")
        await add(store, parent, child)
        await add(store, parent, child)
        [lease] = await worker.lease(9)
        await worker.settle(done(lease, keep=0))
        await store.sweep(9)
        await add(store, parent, child)
        assert (await get(store, child.id)).after == (
            Parent(parent.id, On.SUCCESS, State.SUCCEEDED),
        )
        stats = await flow_of(store)
        assert (stats.added, stats.ended) == (2, 1)
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        stats = await flow_of(store)
        assert (stats.added, stats.ended, stats.failed) == (2, 2, 0)

    async def test_i5_a_job_that_comes_twice_at_once_is_tied_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        [parent] = members(clock, 1)
        child = after(clock, parent.id, flow="f")
        answers = await store.enqueue([[parent, child], [parent, child]])
        assert answers == [[Enqueued(parent.id), Enqueued(child.id)]] * 2
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, child.id) == [State.READY]
        stats = await flow_of(store)
        assert (stats.added, stats.ended) == (2, 1)

    async def test_results_outlive_the_parents_that_left_them(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        one, two, three, four = make_jobs(clock, 4)
        edges = [After(job.id, On.END, result=True) for job in (one, two, three)]
        child = make_job(clock, after=(*edges, After(four.id)))
        await add(store, one, two, three, four, child)
        leases = await worker.lease(9)
        await worker.settle(
            done(leases[0], b'{"a":[1,"\xc3\xa9"]}', keep=0), done(leases[1], keep=0),
            failed(leases[2], keep=0), done(leases[3], b"4", keep=0),
        )  # fmt: skip
        await store.sweep(9)
        for _ in range(2):
            [lease] = await worker.lease(9)
            assert {key: bytes(raw) for key, raw in lease.results.items()} == {
                one.id: b'{"a":[1,"\xc3\xa9"]}', two.id: b"null", three.id: b"null",
            }  # fmt: skip
            await worker.settle(put_back(lease))

    async def test_a_long_chain_is_cancelled_and_revived_as_a_whole(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        chain = make_jobs(clock, 1)
        for _ in range(400):
            chain.append(after(clock, chain[-1].id, flow="f"))
        await add(store, *chain)
        [lease] = await worker.lease(9)
        await worker.settle(failed(lease))
        ids = [job.id for job in chain]
        assert await state_of(store, *ids) == [State.DEAD] + [State.CANCELLED] * 400
        assert (await flow_of(store)).failed == 400
        assert await store.redrive([ids[0]]) == [True]
        assert await state_of(store, *ids) == [State.READY] + [State.WAITING] * 400
        assert await flow_of(store) == FlowStats(flow="f", added=400, ended=0, failed=0)
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, *ids[1:3]) == [State.READY, State.WAITING]

    async def test_what_people_cancelled_is_not_revived_with_its_parent(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        bad, other = make_jobs(clock, 2)
        theirs, forbidden = after(clock, bad.id), after(clock, bad.id, other.id)
        went_on = after(clock, bad.id, on=On.END)
        await add(store, bad, other, theirs, forbidden, went_on)
        assert await store.cancel([theirs.id]) == [Cancelling.CANCELLED]
        leases = await worker.lease(9)
        await worker.settle(*[failed(lease) for lease in leases])
        assert await store.redrive([bad.id]) == [True]
        assert await state_of(store, theirs.id, forbidden.id, went_on.id) == [
            State.CANCELLED, State.CANCELLED, State.READY,
        ]  # fmt: skip
        assert await store.redrive([other.id]) == [True]
        assert await state_of(store, forbidden.id) == [State.WAITING]
        assert await store.cancel([forbidden.id]) == [Cancelling.CANCELLED]
        assert await store.redrive([forbidden.id]) == [True]
        assert await state_of(store, forbidden.id) == [State.READY]

    async def test_i10_a_child_whose_parents_ended_waits_for_a_slot_of_its_key(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent, rival = make_jobs(clock, 2)
        rival = replace(rival, limits=Limits("k"))
        child = after(clock, parent.id, limits=Limits("k"))
        await add(store, parent, rival, child)
        first, second = await worker.lease(9)
        assert (first.id, second.id) == (parent.id, rival.id)
        await worker.settle(done(first))
        assert await state_of(store, child.id) == [State.WAITING]
        await worker.settle(done(second))
        assert await state_of(store, child.id) == [State.READY]

    async def test_a_job_that_waits_for_a_slot_is_not_moved_by_the_ends_of_its_parents(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent, rival = make_jobs(clock, 2)
        rival = replace(rival, limits=Limits("k"))
        child = after(clock, parent.id, limits=Limits("k"))
        await add(store, parent, rival, child)
        first, second = await worker.lease(9)
        await store.cancel([child.id])
        assert await store.redrive([child.id]) == [True]  # it waits for its turn alone
        assert await state_of(store, child.id) == [State.WAITING]
        await worker.settle(failed(first))
        assert await state_of(store, child.id) == [State.WAITING]
        await worker.settle(done(second))
        assert await state_of(store, child.id) == [State.READY]

    @pytest.mark.parametrize("limits", [None, Limits("k")])
    async def test_an_edit_leaves_a_job_that_waits_for_its_parent_waiting(
        self, store: Store, clock: VirtualClock, worker: BareWorker, limits: Limits | None
    ) -> None:
        parent = make_job(clock)
        child = after(clock, parent.id, limits=limits)
        await add(store, parent, child)
        for change in (Edit(run_at=0), Edit(queue="b"), Edit(delay=HOUR)):
            assert await store.edit([child.id], change) == [Edited.EDITED]
            assert await state_of(store, child.id) == [State.WAITING]
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, child.id) == [State.SCHEDULED]

    async def test_who_holds_the_key_stands_in_for_a_parent_that_adds_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        skipped = make_job(clock, unique_key="k")
        child = after(clock, skipped.id)
        await add(store, skipped, child)
        assert await state_of(store, child.id) == [State.WAITING]
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, child.id) == [State.READY]

    async def test_a_job_that_waits_twice_for_who_stands_in_gets_both_results(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder, skipped = make_jobs(clock, 2, unique_key="k")
        edges = [After(job.id, result=True) for job in (holder, skipped)]
        child = make_job(clock, after=tuple(edges))
        await add(store, holder)
        await add(store, skipped, child)
        assert (await get(store, holder.id)).before == (child.id,)
        await worker.run_one(done, b"7", keep=0)
        lease = await worker.run_one(done, keep=0)
        assert lease.id == child.id
        results = {name: bytes(raw) for name, raw in lease.results.items()}
        assert results == {holder.id: b"7", skipped.id: b"7"}
        assert [one.id for one in (await get(store, child.id)).after] == [holder.id] * 2
        assert await store.sweep(9) == 2

    async def test_a_parent_that_is_replaced_has_ended(
        self, store: Store, clock: VirtualClock
    ) -> None:
        parent = make_job(clock, unique_key="k", delay=HOUR, flow="f", group="g")
        child, anyhow = after(clock, parent.id), after(clock, "g", on=On.END)
        await add(store, parent, child, anyhow)
        await add(store, make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE))
        assert await state_of(store, child.id, anyhow.id) == [State.CANCELLED, State.READY]

    async def test_i9_a_job_that_waits_for_its_key_and_for_parents_waits_for_both(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for key_first in (True, False):
            holder, parent = make_job(clock, unique_key=f"k{key_first}"), make_job(clock)
            await add(store, holder, parent)
            leases = {lease.id: lease for lease in await worker.lease(9)}
            successor = after(
                clock, parent.id, unique_key=holder.unique_key, on_conflict=OnConflict.REPLACE
            )
            await add(store, successor)
            order = [holder, parent] if key_first else [parent, holder]
            await worker.settle(done(leases[order[0].id]))
            assert await state_of(store, successor.id) == [State.WAITING]
            await worker.settle(done(leases[order[1].id]))
            [lease] = await worker.lease(9)
            assert lease.id == successor.id
            await worker.settle(done(lease))

    async def test_i8_who_waited_goes_on_in_a_full_queue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent = make_job(clock)
        child = after(clock, parent.id)
        await add(store, parent, child)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        [lease] = await worker.lease(9)
        await worker.settle(failed(lease))
        await store.redrive([parent.id])
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, child.id) == [State.READY]

    async def test_i7_a_delay_counts_from_the_enqueue_and_is_kept(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        parent = make_job(clock)
        child = after(clock, parent.id, delay=HOUR)
        await add(store, parent, child)
        [lease] = await worker.lease(9)
        await worker.settle(done(lease))
        assert await state_of(store, child.id) == [State.SCHEDULED]
        clock.advance("1h")
        assert await store.promote(9) == 1
