"""Handing out jobs: order, lanes, fences, repeats."""

from msgspec import Raw

from backline.job import DAY, HOUR, MINUTE, SECOND, Acked, Lane, Terms
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    MAIN,
    QUEUE,
    TTL,
    BareWorker,
    add,
    done,
    get,
    later,
    make_job,
    make_jobs,
    put_back,
    state_of,
    stats_of,
)


class Leasing(Harness):
    """The demand side of `exchange`."""

    async def test_a_lease_carries_the_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(
            clock,
            priority=3,
            payload=Raw(b'[["x"],{}]'),
            terms=Terms(max_attempts=2, timeout=7),
            headers={"a": "b"},
            tags=("t",),
        )
        await add(store, job)
        enqueued = clock.now()
        clock.advance("3s")
        [lease] = await worker.lease()
        assert (lease.id, lease.attempt, lease.task) == (job.id, 1, job.task)
        assert (lease.queue, lease.lane, lease.priority) == (QUEUE, Lane.MAIN, 3)
        assert (lease.failures, lease.losses, lease.releases) == (0, 0, 0)
        assert (lease.terms, lease.tags, dict(lease.headers)) == (job.terms, ("t",), {"a": "b"})
        assert (lease.enqueued_at, lease.due) == (enqueued, enqueued)
        assert bytes(lease.payload) == b'[["x"],{}]'

        record = await get(store, job.id)
        assert (record.state, record.attempt, record.worker) == (State.RUNNING, 1, worker.name)
        assert record.started_at == clock.now()
        [held] = await store.held(worker.name)
        assert held.until == clock.tick() + TTL

    async def test_i4_priority_then_due_time_then_order_of_enqueue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        now = clock.now()
        first, second = make_jobs(clock, 2)
        urgent = make_job(clock, priority=100)
        lazy = make_job(clock, priority=-100, run_at=now - DAY)
        early = make_job(clock, run_at=now - SECOND)
        await add(store, second, lazy)
        await add(store, first, early, urgent)
        order = [urgent, early, second, first, lazy]
        assert [job.id for job in await worker.lease(9)] == [job.id for job in order]

    async def test_i4_the_order_holds_over_several_calls(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 6)
        await add(store, *jobs[:4])
        leased = await worker.lease(2)
        await add(store, *jobs[4:])
        clock.advance("1s")
        leased += await worker.lease(3)
        leased += await worker.lease(3)
        assert [lease.id for lease in leased] == [job.id for job in jobs]

    async def test_i4_a_promoted_job_stands_by_its_due_time(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        late = make_job(clock, delay=2 * SECOND)
        early = make_job(clock, delay=1 * SECOND)
        await add(store, late, early)
        clock.advance("3s")
        fresh = make_job(clock)
        await add(store, fresh)
        assert await store.promote(10) == 2
        leased = await worker.lease(9)
        assert [lease.id for lease in leased] == [early.id, late.id, fresh.id]

    async def test_i4_a_job_put_back_keeps_its_place(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 3)
        await add(store, *jobs)
        [lease] = await worker.lease()
        clock.advance("1s")
        await worker.settle(put_back(lease))
        leased = await worker.lease(9)
        assert [lease.id for lease in leased] == [job.id for job in jobs]
        assert (leased[0].attempt, leased[0].due) == (2, lease.due)

    async def test_demand_is_a_limit_for_each_queue_and_lane(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4), *make_jobs(clock, 4, lane=Lane.CELL))
        await add(store, *make_jobs(clock, 4, queue="film"))
        demand = {MAIN: 3, CELL: 1, ("film", Lane.MAIN): 9, ("film", Lane.CELL): 9}
        demand["nobody", Lane.MAIN] = 9
        jobs = (await worker.exchange((), demand)).jobs
        taken = [(job.queue, job.lane) for job in jobs]
        assert taken.count(MAIN) == 3
        assert taken.count(CELL) == 1
        assert taken.count(("film", Lane.MAIN)) == 4
        assert len(taken) == 8

    async def test_nothing_is_leased_that_is_not_asked_for(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        assert (await worker.exchange((), {})).jobs == []
        assert (await worker.exchange((), {MAIN: 0})).jobs == []
        assert (await worker.exchange((), {CELL: 1})).jobs == []
        assert (await worker.exchange((), {("film", Lane.MAIN): 1})).jobs == []

    async def test_a_negative_demand_is_none_and_takes_nothing_from_the_others(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3), *make_jobs(clock, 3, lane=Lane.CELL))
        assert (await worker.exchange((), {MAIN: -1})).jobs == []
        jobs = (await worker.exchange((), {MAIN: -2, CELL: 2})).jobs
        assert [job.lane for job in jobs] == [Lane.CELL] * 2

    async def test_a_paused_queue_takes_jobs_and_hands_out_none(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, paused=True)])
        job = make_job(clock)
        await add(store, job)
        assert await worker.lease(9) == []
        await store.configure([QueueSettings(queue=QUEUE, paused=False)])
        assert [lease.id for lease in await worker.lease(9)] == [job.id]

    async def test_a_paused_queue_still_takes_acks(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await store.configure([QueueSettings(queue=QUEUE, paused=True)])
        assert await worker.settle(done(lease)) == [Acked.APPLIED]

    async def test_i3_a_job_is_leased_to_one_worker(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 5))
        rival = BareWorker(store, "worker-2")
        mine, theirs = await worker.lease(3), await rival.lease(9)
        assert (len(mine), len(theirs)) == (3, 2)
        assert {lease.id for lease in mine}.isdisjoint(lease.id for lease in theirs)

    async def test_i3_a_lease_that_is_over_is_not_granted_anew_before_it_is_settled(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await worker.lease()
        clock.advance("1h")
        assert await BareWorker(store, "worker-2").lease() == []

    async def test_i7_nothing_is_leased_before_it_is_due(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, delay=MINUTE)
        await add(store, job)
        for step in ("0s", "59s", "0.999999s"):
            clock.advance(step)
            assert await store.promote(10) == 0
            assert await worker.lease() == []
        clock.advance("0.001ms")
        assert await store.promote(10) == 1
        assert [lease.id for lease in await worker.lease()] == [job.id]

    async def test_i7_due_times_follow_the_wall_clock(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, delay=MINUTE))
        clock.step_wall(-3600)
        clock.advance("10m")
        assert await store.promote(10) == 0
        clock.step_wall(3600)
        assert await store.promote(10) == 1
        assert len(await worker.lease()) == 1

    async def test_next_in_is_the_time_to_the_earliest_due_job_of_the_queues_asked_for(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        assert (await worker.exchange((), {MAIN: 1})).next_in is None
        await add(store, make_job(clock, delay=MINUTE), make_job(clock, delay=HOUR))
        await add(store, make_job(clock, delay=SECOND, queue="film"))
        assert (await worker.exchange((), {MAIN: 1})).next_in == MINUTE
        both = {MAIN: 1, ("film", Lane.MAIN): 1}
        assert (await worker.exchange((), both)).next_in == SECOND
        nothing_of_film = {MAIN: 1, ("film", Lane.MAIN): 0}
        assert (await worker.exchange((), nothing_of_film)).next_in == SECOND
        clock.advance("1m")
        await store.promote(10)
        assert (await worker.exchange((), both)).next_in == HOUR - MINUTE

    async def test_next_in_knows_the_retries_of_the_same_call(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        exchange = await worker.exchange([later(lease, MINUTE)], {MAIN: 1})
        assert exchange.next_in == MINUTE

    async def test_what_the_acks_make_ready_is_leased_in_the_same_call(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        [lease] = await worker.lease()
        exchange = await worker.exchange([put_back(lease)], {MAIN: 1})
        assert [(again.id, again.attempt) for again in exchange.jobs] == [(job.id, 2)]

    async def test_i5_a_repeated_exchange_answers_the_same_jobs_and_no_others(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 5))
        first = await worker.exchange((), {MAIN: 2})
        again = await worker.repeat()
        assert again.jobs == first.jobs
        assert (await stats_of(store)).counts[State.RUNNING] == 2
        assert len(await worker.lease(9)) == 3

    async def test_i5_a_repeat_after_its_reply_came_late_still_leases_nothing_more(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        first = await worker.exchange((), {MAIN: 2})
        clock.advance("10s")
        assert (await worker.repeat()).jobs == first.jobs
        assert (await worker.repeat()).jobs == first.jobs
        assert (await stats_of(store)).counts[State.READY] == 1

    async def test_i5_a_repeat_answers_only_what_still_runs(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        gone, back, mine = (await worker.exchange((), {MAIN: 3})).jobs
        reaper = BareWorker(store, "reaper")
        await reaper.settle(done(gone), put_back(back))
        await BareWorker(store, "worker-2").lease(1)
        assert (await worker.repeat()).jobs == [mine]

    async def test_i5_calls_of_two_workers_do_not_mix(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        rival = BareWorker(store, "worker-2")
        [mine] = await worker.lease()
        [theirs] = await rival.lease()
        assert (await worker.repeat()).jobs == [mine]
        assert (await rival.repeat()).jobs == [theirs]

    async def test_i5_a_repeated_exchange_records_its_acks_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        one, two = await worker.lease(2)
        first = await worker.exchange([done(one), later(two, HOUR)], {MAIN: 1})
        assert first.acks == [Acked.APPLIED, Acked.APPLIED]
        again = await worker.repeat()
        assert again.acks == [Acked.ALREADY, Acked.ALREADY]
        assert again.jobs == first.jobs
        assert await state_of(store, one.id, two.id) == [State.SUCCEEDED, State.SCHEDULED]

    async def test_i5_a_job_put_back_and_leased_in_one_call_survives_its_repeat(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        first = await worker.exchange([put_back(lease)], {MAIN: 1})
        again = await worker.repeat()
        assert again.jobs == first.jobs
        assert again.acks != [Acked.APPLIED]
        assert (await get(store, lease.id)).attempt == 2

    async def test_a_retired_worker_leases_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        [lease] = await worker.lease()
        await store.retire(worker.name)
        assert (await worker.repeat()).jobs == []
        exchange = await worker.exchange([done(lease)], {MAIN: 1})
        assert (exchange.acks, exchange.jobs) == ([Acked.APPLIED], [])
        assert len(await BareWorker(store, "worker-2").lease()) == 1

    async def test_a_worker_may_be_retired_before_it_was_heard_of(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await store.retire(worker.name)
        await store.retire(worker.name)
        assert await worker.lease() == []

    async def test_a_retired_worker_is_remembered(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await store.retire(worker.name)
        clock.advance("20h")
        await store.sweep(100)
        assert await worker.lease() == []

    async def test_a_job_past_its_expiry_is_never_started(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, expires_in=MINUTE))
        fresh = make_job(clock)
        await add(store, fresh)
        clock.advance("2m")
        assert [lease.id for lease in await worker.lease(9)] == [fresh.id]
