"""Groups of jobs: counted, waited for, cancelled."""

from backline.job import DAY, HOUR, SECOND, Ack, Enqueued, Step
from backline.parents import On
from backline.states import TERMINAL, State
from backline.store import Cancelling, Filter, Page, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.flowing import after, flow_of, members
from backline.testing.conformance.jobs import (
    MAIN,
    BareWorker,
    add,
    done,
    failed,
    find_all,
    get,
    later,
    make_job,
    make_jobs,
    put_back,
    state_of,
    stats_of,
)


class Grouping(Harness):
    """Groups: counted, waited for, cancelled (I9)."""

    async def test_i9_a_continuation_goes_on_after_the_last_of_its_group(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = members(clock, 5)
        then = after(clock, "g", flow="f")
        await add(store, *jobs, then)
        leases = await worker.lease(9)
        await worker.settle(*[done(lease) for lease in leases[:2]])
        await worker.settle(done(leases[2], b"1"), put_back(leases[3]))
        assert await state_of(store, then.id) == [State.WAITING]
        stats = await flow_of(store)
        assert (stats.added, stats.ended, stats.failed) == (6, 3, 0)
        got = await worker.exchange([done(leases[4])], {MAIN: 9})
        assert [job.id for job in got.jobs] == [leases[3].id]
        got = await worker.exchange([done(got.jobs[0])], {MAIN: 9})
        assert [job.id for job in got.jobs] == [then.id]
        assert [job.id for job in (await worker.repeat()).jobs] == [then.id]

    async def test_find_gives_the_jobs_of_a_flow_whatever_became_of_them(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        mine = members(clock, 12)
        early, other, late = (
            make_job(clock, flow="f"),
            make_job(clock, flow="h"),
            after(clock, "g"),
        )
        own = make_job(clock, flow="f", group="g2")
        await add(store, *mine, early, other, own, late, *make_jobs(clock, 3))
        first, second, third = await worker.lease(3)
        await worker.settle(done(first), failed(second), later(third, SECOND))
        of_flow = sorted([*(job.id for job in mine), early.id, own.id])

        async def found(**fields: object) -> list[str]:
            where = Filter(flow="f", **fields)  # type: ignore[arg-type]
            whole = [record.id for record in await find_all(store, where, page=3)]
            assert [record.id for record in await find_all(store, where, page=99)] == whole
            ahead: list[str] = []
            asked: str | None = None
            while True:
                page = await store.find(where, limit=3, after=asked, oldest_first=True)
                ahead += [record.id for record in page.jobs]
                asked = page.after
                if asked is None:
                    assert ahead == whole[::-1]
                    return ahead

        assert await found() == of_flow
        assert await found(states=frozenset({State.DEAD})) == [second.id]
        assert await found(states=TERMINAL, task="app.send") == sorted([first.id, second.id])
        assert await found(queue="nobody") == []
        assert [job.id for job in await find_all(store, Filter(flow="h"))] == [other.id]
        assert await find_all(store, Filter(flow="g")) == [], "the group of a flow is none"
        small = (await store.find(Filter(flow="f"), limit=99, payloads=False)).jobs
        assert [job.id for job in small] == of_flow[::-1]
        assert await store.find(Filter(flow="f"), limit=0) == Page([], None)
        await store.redrive([second.id])
        await store.purge([first.id])
        assert await found() == [job_id for job_id in of_flow if job_id != first.id]
        await store.cancel_flows(["f"], 99)
        await store.purge(of_flow)
        assert await found() == []

    async def test_i9_a_group_that_failed_stops_at_once_and_ends_at_the_last(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = members(clock, 2)
        stop, go_on, undo = (after(clock, "g", on=on) for on in (On.SUCCESS, On.END, On.FAILURE))
        await add(store, *jobs, stop, go_on, undo)
        first, second = await worker.lease(9)
        await worker.settle(failed(first))
        states = await state_of(store, stop.id, go_on.id, undo.id)
        assert states == [State.CANCELLED, State.WAITING, State.WAITING]
        await worker.settle(done(second))
        states = await state_of(store, stop.id, go_on.id, undo.id)
        assert states == [State.CANCELLED, State.READY, State.READY]

    async def test_i9_redrive_counts_a_member_out_and_the_continuation_waits_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = members(clock, 3)
        then, released = after(clock, "g"), after(clock, "g", on=On.END)
        last = after(clock, then.id)
        await add(store, *jobs, then, released, last)
        first, second, third = await worker.lease(9)
        await worker.settle(failed(first), failed(second), done(third))
        assert await store.redrive([first.id]) == [True]
        states = await state_of(store, then.id, released.id, last.id)
        assert states == [State.CANCELLED, State.READY, State.CANCELLED]
        assert await store.redrive([second.id]) == [True]
        states = await state_of(store, then.id, released.id, last.id)
        assert states == [State.WAITING, State.READY, State.WAITING]
        stats = await flow_of(store)
        assert (stats.added, stats.ended, stats.failed) == (3, 1, 0)
        for _ in range(3):
            for lease in await worker.lease(1):
                await worker.settle(done(lease))
        assert await state_of(store, then.id, released.id) == [State.SUCCEEDED, State.READY]

    async def test_members_count_whichever_way_they_end(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = members(clock, 4)
        late = members(clock, 1, expires_in=SECOND, delay=HOUR)
        then = after(clock, "g", on=On.END)
        await add(store, *jobs, *late, then)
        leases = await worker.lease(3)
        assert await store.cancel([leases[0].id, jobs[3].id]) == [
            Cancelling.REQUESTED, Cancelling.CANCELLED,
        ]  # fmt: skip
        clock.advance("1s")
        await store.expire(9)
        await worker.settle(put_back(leases[0]), failed(leases[1]))
        assert await state_of(store, then.id) == [State.WAITING]
        await worker.settle(done(leases[2]))
        assert await state_of(store, then.id) == [State.READY]
        stats = await flow_of(store)
        assert (stats.added, stats.ended, stats.failed) == (5, 5, 4)

    async def test_a_group_grows_from_inside_and_from_outside(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        then = after(clock, "g")
        await add(store, *members(clock, 1), then)
        [lease] = await worker.lease(9)
        more = members(clock, 2)
        await add(store, *more)
        await worker.settle(done(lease))
        assert await state_of(store, then.id) == [State.WAITING]
        await worker.settle(*[done(lease) for lease in await worker.lease(9)])
        assert await state_of(store, then.id) == [State.READY]

    async def test_who_waits_for_a_group_that_has_ended_need_not_wait(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *members(clock, 2))
        await worker.settle(*[done(lease, keep=0) for lease in await worker.lease(9)])
        await store.sweep(9)
        then = after(clock, "g")
        await add(store, then)
        assert await state_of(store, then.id) == [State.READY]

    async def test_a_flow_is_cancelled_in_bites_and_what_comes_later_too(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = members(clock, 5)
        then, undo = after(clock, "g", flow="f"), after(clock, "g", on=On.FAILURE)
        await add(store, *jobs, then, undo, *members(clock, 1, flow="other", group="o"))
        [lease] = await worker.lease()
        assert await store.cancel_flows(["f", "nobody"], 3) == [3, 0]
        assert await store.cancel_flows(["f"], 99) in ([2], [3])  # the continuation may be gone
        assert await store.cancel_flows(["f"], 99) == [0]
        [late] = members(clock, 1, flow="f", group="late")
        assert await add(store, late) == [Enqueued(late.id)]
        assert await state_of(store, late.id, then.id) == [State.CANCELLED] * 2
        assert (await get(store, lease.id)).cancel
        await worker.settle(put_back(lease))
        stats = await flow_of(store)
        assert (stats.added, stats.ended, stats.failed, stats.cancelled) == (7, 7, 7, True)
        assert await state_of(store, undo.id) == [State.READY]
        other = await flow_of(store, "other")
        assert (other.added, other.ended, other.cancelled) == (1, 0, False)
        assert await store.redrive([late.id]) == [True]
        assert not (await flow_of(store)).cancelled

    async def test_i9_a_sleep_is_no_end_and_a_cancel_of_the_flow_ends_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        [sleeper] = members(clock, 1)
        then, of_group = after(clock, sleeper.id, flow="f"), after(clock, "g", flow="f")
        await add(store, sleeper, then, of_group)
        [lease] = await worker.lease()
        nap = Step(lease.id, lease.attempt, "nap", wake_in=DAY)
        await worker.settle(later(lease, DAY, asleep=True, steps=(nap,)))
        states = await state_of(store, sleeper.id, then.id, of_group.id)
        assert states == [State.SCHEDULED, State.WAITING, State.WAITING]
        assert (await stats_of(store)).asleep == 1
        while (await store.cancel_flows(["f"], 99))[0]:
            pass
        states = await state_of(store, sleeper.id, then.id, of_group.id)
        assert states == [State.CANCELLED] * 3
        stats = await stats_of(store)
        assert (stats.asleep, stats.depth) == (0, 0)
        assert await store.redrive([sleeper.id]) == [True]
        assert len((await store.steps([sleeper.id]))[0]) == 1
        [again] = await worker.lease()
        assert (again.id, again.steps) == (sleeper.id, 1)
        await worker.settle(done(again))
        assert await store.purge([sleeper.id]) == [True]
        assert await store.steps([sleeper.id]) == [[]]

    async def test_i6_flows_answer_in_order_and_for_those_unknown(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, *members(clock, 1), *members(clock, 2, flow="e", group="h"))
        found = await store.flows(["e", "nobody", "f", "e"])
        assert [each and each.added for each in found] == [2, None, 1, 2]
        [record] = (await store.find(Filter(), limit=1)).jobs
        assert (record.flow, record.group) == ("e", "h")

    async def test_a_flow_is_forgotten_a_day_after_the_last_of_its_jobs(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *members(clock, 2))
        first, second = await worker.lease(9)
        await worker.settle(
            done(first, keep=0), Ack(second.id, second.attempt, State.DEAD, keep=9 * DAY)
        )
        await store.sweep(9)
        clock.advance("8d")
        await store.sweep(9)
        assert (await flow_of(store)).ended == 2
        assert await store.redrive([second.id]) == [True]
        stats = await flow_of(store)
        assert (stats.ended, stats.failed) == (1, 0)
        [lease] = await worker.lease(9)
        await worker.settle(done(lease, keep=0))
        await store.sweep(9)
        assert (await flow_of(store)).ended == 2
        clock.advance("1d")
        await store.sweep(9)
        assert await store.flows(["f"]) == [None]
