"""Ending runs: what an ack records, and when it is refused."""

from msgspec.structs import replace

from backline.job import (
    HOUR,
    MAX_ERRORS,
    MINUTE,
    SECOND,
    Acked,
    AttemptError,
    Charge,
    Lane,
)
from backline.states import State
from backline.store import Cancelling, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    MAIN,
    TTL,
    BareWorker,
    ack,
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
)


class Settling(Harness):
    """The acks of `exchange`."""

    async def test_i3_a_success_is_recorded(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        [lease] = await worker.lease()
        clock.advance("2s")
        assert await worker.settle(done(lease, b'{"size":[1,2]}', keep=HOUR)) == [Acked.APPLIED]
        record = await get(store, job.id)
        assert record.state is State.SUCCEEDED
        assert record.result is not None
        assert bytes(record.result) == b'{"size":[1,2]}'
        assert (record.finished_at, record.purge_at) == (clock.now(), clock.now() + HOUR)
        assert (record.attempt, record.failures, record.errors) == (1, 0, ())
        assert record.worker == worker.name
        assert await store.held(worker.name) == []

    async def test_a_success_without_a_value_has_no_result(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await worker.settle(done(one), done(two, b"null"))
        assert (await get(store, one.id)).result is None
        assert bytes((await get(store, two.id)).result or b"") == b"null"

    async def test_i3_a_failure_for_good_is_dead_with_its_error(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        error = AttemptError(1, "OSError", "no röute", "Traceback…\n  line\n")
        await worker.settle(ack(lease, State.DEAD, error=error, charge=Charge.FAILURE, keep=7))
        record = await get(store, lease.id)
        assert (record.state, record.failures) == (State.DEAD, 1)
        stamped = AttemptError(1, "OSError", "no röute", "Traceback…\n  line\n", clock.now())
        assert record.errors == (stamped,)
        assert (record.finished_at, record.purge_at) == (clock.now(), clock.now() + 7)

    async def test_a_cancelled_run_is_recorded(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        lease = await worker.run_one(ack, State.CANCELLED)
        assert await state_of(store, lease.id) == [State.CANCELLED]

    async def test_i7_a_retry_waits_for_its_delay(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("1s")
        error = AttemptError(1, "ValueError", "bad")
        await worker.settle(later(lease, MINUTE, charge=Charge.FAILURE, error=error))
        record = await get(store, lease.id)
        assert (record.state, record.due) == (State.SCHEDULED, clock.now() + MINUTE)
        assert (record.failures, record.finished_at, record.purge_at) == (1, None, None)
        clock.advance("1m")
        assert await store.promote(10) == 1
        [again] = await worker.lease()
        assert (again.attempt, again.failures, again.due) == (2, 1, record.due)

    async def test_the_store_sets_the_time_of_an_error(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        lease = await worker.run_one(later, 0, error=AttemptError(1, "E", "m", at=5))
        assert [e.at for e in (await get(store, lease.id)).errors] == [clock.now()]

    async def test_each_charge_moves_its_counter_only(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, len(Charge)))
        leases = await worker.lease(len(Charge))
        for charge, lease in zip(Charge, leases, strict=True):
            await worker.settle(put_back(lease, charge=charge))
        again = await worker.lease(len(Charge))
        counters = {lease.id: (lease.failures, lease.losses, lease.releases) for lease in again}
        assert [counters[lease.id] for lease in leases] == [
            (0, 0, 0),
            (1, 0, 0),
            (0, 1, 0),
            (0, 0, 1),
            (0, 0, 0),
        ]

    async def test_a_clean_end_forgets_the_losses_only(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        for charge in (Charge.LOSS, Charge.FAILURE, Charge.RELEASE, Charge.LOSS, Charge.CLEAN):
            await worker.run_one(put_back, charge=charge)
        [lease] = await worker.lease()
        assert (lease.failures, lease.losses, lease.releases) == (1, 0, 1)

    async def test_an_ack_may_move_the_job_to_another_lane(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await worker.settle(put_back(one, lane=Lane.CELL), later(two, SECOND, lane=Lane.CELL))
        clock.advance("1s")
        await store.promote(10)
        assert await worker.lease(9) == []
        cells = (await worker.exchange((), {CELL: 9})).jobs
        assert [(lease.id, lease.lane) for lease in cells] == [
            (one.id, Lane.CELL),
            (two.id, Lane.CELL),
        ]
        await worker.settle(put_back(cells[0]))
        [again] = (await worker.exchange((), {CELL: 9})).jobs
        assert again.lane is Lane.CELL

    async def test_only_the_newest_errors_stay_and_failures_count_them_all(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        rounds = MAX_ERRORS + 3
        for n in range(1, rounds + 1):
            [lease] = await worker.lease()
            error = AttemptError(n, "E", f"error {n}")
            await worker.settle(put_back(lease, charge=Charge.FAILURE, error=error))
            clock.advance("1s")
        record = await get(store, job.id)
        assert record.failures == rounds
        kept = [error.attempt for error in record.errors]
        assert kept == list(range(rounds - MAX_ERRORS + 1, rounds + 1))
        assert record.errors[-1].at == clock.now() - SECOND

    async def test_i6_each_ack_applies_or_not_by_itself(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        one, two, three = await worker.lease(3)
        unknown = replace(one, id=clock.new_id())
        acks = [done(three), done(unknown), done(replace(two, attempt=2)), done(one)]
        answers = await worker.settle(*acks)
        assert answers == [Acked.APPLIED, Acked.LOST, Acked.LOST, Acked.APPLIED]
        states = await state_of(store, one.id, two.id, three.id)
        assert states == [State.SUCCEEDED, State.RUNNING, State.SUCCEEDED]

    async def test_i2_a_worker_that_lost_its_lease_cannot_ack(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [slow] = await worker.lease()
        clock.advance("31s")
        [over] = await store.overdue(10)
        reaper, rival = BareWorker(store, "reaper"), BareWorker(store, "worker-2")
        assert await reaper.settle(put_back(over, if_overdue=True)) == [Acked.APPLIED]
        assert await worker.settle(done(slow, b"1")) == [Acked.LOST]
        [fast] = await rival.lease()

        assert await worker.settle(done(slow, b"2")) == [Acked.LOST]
        assert await state_of(store, slow.id) == [State.RUNNING]
        assert await rival.settle(done(fast, b"3")) == [Acked.APPLIED]
        assert await worker.settle(failed(slow)) == [Acked.LOST]
        record = await get(store, slow.id)
        assert (record.state, record.attempt, record.errors) == (State.SUCCEEDED, 2, ())
        assert bytes(record.result or b"") == b"3"

    async def test_i5_the_same_worker_is_told_that_it_had_acked_already(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4))
        leases = await worker.lease(4)
        acks = [
            done(leases[0]),
            failed(leases[1]),
            put_back(leases[2]),
            later(leases[3], HOUR),
        ]
        assert await worker.settle(*acks) == [Acked.APPLIED] * 4
        before = await store.get([lease.id for lease in leases])
        clock.advance("1s")
        assert await worker.settle(*acks) == [Acked.ALREADY] * 4
        assert await store.get([lease.id for lease in leases]) == before

    async def test_i3_another_worker_that_acks_a_settled_attempt_has_lost_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        supervisor = BareWorker(store, "supervisor")
        assert await supervisor.settle(put_back(lease)) == [Acked.APPLIED]
        assert await worker.settle(done(lease)) == [Acked.LOST]
        assert await supervisor.settle(put_back(lease)) == [Acked.ALREADY]
        assert (await get(store, lease.id)).worker == "supervisor"

    async def test_i3_an_attempt_has_one_outcome_also_within_one_call(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        first = await worker.settle(done(lease))
        second = await worker.settle(failed(lease))
        assert (first, second) == ([Acked.APPLIED], [Acked.ALREADY])
        assert await state_of(store, lease.id) == [State.SUCCEEDED]

    async def test_an_ack_of_a_job_that_never_ran_is_lost(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        [lease] = await worker.lease()
        [other] = [record for record in await find_all(store) if record.id != lease.id]
        for attempt in (0, 1):
            forged = replace(lease, id=other.id, attempt=attempt)
            assert await worker.settle(done(forged)) == [Acked.LOST]
        assert await state_of(store, other.id) == [State.READY]

    async def test_an_ack_comes_in_time_until_somebody_settles_the_lease(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("1h")
        assert await worker.settle(done(lease)) == [Acked.APPLIED]

    async def test_i3_if_overdue_applies_only_while_the_lease_is_over(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        reaper = BareWorker(store, "reaper")
        before = await get(store, lease.id)
        clock.advance("29.999999s")
        assert await reaper.settle(put_back(lease, if_overdue=True)) == [Acked.LOST]
        assert await get(store, lease.id) == before
        clock.advance("0.001ms")
        assert await reaper.settle(put_back(lease, if_overdue=True)) == [Acked.APPLIED]

    async def test_i3_an_extend_that_comes_before_the_reapers_ack_wins(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("31s")
        [over] = await store.overdue(10)
        assert await store.extend([lease], TTL) == [True]
        reaper = BareWorker(store, "reaper")
        assert await reaper.settle(put_back(over, if_overdue=True)) == [Acked.LOST]
        assert await worker.settle(done(lease)) == [Acked.APPLIED]

    async def test_i3_an_extend_that_comes_after_the_reapers_ack_loses(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        clock.advance("31s")
        reaper = BareWorker(store, "reaper")
        await reaper.settle(put_back(lease, if_overdue=True))
        assert await store.extend([lease], TTL) == [False]
        await BareWorker(store, "worker-2").lease()
        assert await store.extend([lease], TTL) == [False]

    async def test_a_cancel_request_turns_a_retry_into_the_end(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        assert await store.cancel([one.id, two.id]) == [Cancelling.REQUESTED] * 2
        error = AttemptError(1, "E", "m")
        acks = [
            put_back(one, keep=7),
            later(two, SECOND, charge=Charge.FAILURE, error=error, keep=HOUR),
        ]
        exchange = await worker.exchange(acks, {MAIN: 9})
        assert (exchange.acks, exchange.jobs) == ([Acked.APPLIED] * 2, [])
        first, second = await get(store, one.id), await get(store, two.id)
        assert [first.state, second.state] == [State.CANCELLED, State.CANCELLED]
        assert (first.finished_at, first.purge_at) == (clock.now(), clock.now() + 7)
        assert (second.failures, len(second.errors)) == (1, 1)
        clock.advance("1m")
        assert await store.promote(10) == 0

    async def test_a_cancel_request_does_not_undo_a_success_or_a_death(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await store.cancel([one.id, two.id])
        await worker.settle(done(one), failed(two))
        assert await state_of(store, one.id, two.id) == [State.SUCCEEDED, State.DEAD]
