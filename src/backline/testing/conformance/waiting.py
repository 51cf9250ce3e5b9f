"""Waits for events: over by the first event or by their time, once, whatever comes in between."""

from msgspec import Raw

from backline.fanout import Publication
from backline.job import (
    DAY,
    SECOND,
    Acked,
    Awaited,
    Charge,
    JobId,
    Lease,
    Limits,
    Step,
    StepRecord,
)
from backline.states import State
from backline.store import Cancelling, Edit, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    add,
    assert_adds_up,
    done,
    get,
    later,
    make_job,
    make_jobs,
    parked,
    put_back,
    state_of,
    stats_of,
)

PAID = Awaited("payment.settled", "order 7")


class Waiting(Harness):
    """`record`, `publish` and the acks of jobs that wait for events."""

    async def test_i17_an_event_ends_a_wait_and_wakes_its_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        assert await worker.settle(parked(lease, PAID, DAY)) == [Acked.APPLIED]
        record = await get(store, lease.id)
        assert (record.state, record.due, record.asleep) == (
            State.SCHEDULED,
            clock.now() + DAY,
            True,
        )
        [wait] = await _waits(store, lease.id)
        assert (wait.awaits, wait.over, wait.wake_in) == (PAID, False, DAY)
        clock.advance("1h")
        event = _event(clock, b'{"cents":5}')
        await store.publish([event])
        [wait] = await _waits(store, lease.id)
        assert (wait.over, wait.event_id, wait.event_at) == (True, event.id, clock.now())
        assert bytes(wait.value or b"") == b'{"cents":5}'
        record = await get(store, lease.id)
        assert (record.state, record.due, record.asleep) == (State.READY, clock.now(), False)
        await assert_adds_up(store)
        assert [(again.attempt, again.steps) for again in await worker.lease(9)] == [(2, 1)]

    async def test_i17_an_event_that_came_before_the_wait_counts(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        first = _event(clock, b"1")
        await store.publish([first, _event(clock, b"2")])
        await worker.settle(parked(lease, PAID, DAY))
        [wait] = await _waits(store, lease.id)
        assert (wait.over, wait.event_id, bytes(wait.value or b"")) == (True, first.id, b"1")
        assert await state_of(store, lease.id) == [State.READY]
        await assert_adds_up(store)

    async def test_i17_an_event_that_is_forgotten_does_not_count(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await store.publish([_event(clock, b"1", event_ttl=SECOND)])
        clock.advance("1s")
        await worker.settle(parked(lease, PAID, DAY))
        assert await state_of(store, lease.id) == [State.SCHEDULED]
        await store.publish([_event(clock, b"2")])
        [wait] = await _waits(store, lease.id)
        assert bytes(wait.value or b"") == b"2"

    async def test_i17_the_event_may_come_between_a_look_and_the_end_of_the_run(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(parked(lease, PAID, DAY))
        await store.cancel([lease.id])
        await store.redrive([lease.id])
        [again] = await worker.lease()
        [looked] = await _waits(store, lease.id)
        await store.publish([_event(clock, b"1")])
        assert (looked.over, await state_of(store, lease.id)) == (False, [State.RUNNING])
        await worker.settle(parked(again, PAID, DAY))
        assert await state_of(store, lease.id) == [State.READY]

    async def test_i17_only_the_name_and_key_that_are_awaited_wake(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(parked(lease, PAID, DAY))
        others = [
            _event(clock, b"1", key="order 8"),
            _event(clock, b"1", name="payment.refused"),
            _event(clock, b"1", key=None),
        ]
        await store.publish(others)
        assert await state_of(store, lease.id) == [State.SCHEDULED]
        assert not (await _waits(store, lease.id))[0].over

    async def test_i17_an_event_ends_every_wait_for_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4))
        leases = await worker.lease(4)
        await worker.settle(
            *[parked(lease, PAID, DAY) for lease in leases[:3]],
            parked(leases[3], Awaited("payment.settled", "order 8"), DAY),
        )
        await store.publish(
            [_event(clock, b"1"), _event(clock, b"2"), _event(clock, b"3", key="order 8")]
        )
        waits = [await _waits(store, lease.id) for lease in leases]
        assert [bytes(wait.value or b"") for [wait] in waits] == [b"1", b"1", b"1", b"3"]
        assert [again.id for again in await worker.lease(9)] == [lease.id for lease in leases]

    async def test_i17_a_late_event_changes_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        woken, due = await worker.lease(2)
        await worker.settle(parked(woken, PAID, SECOND), parked(due, PAID, SECOND))
        clock.advance("1s")
        await store.publish([_event(clock, b"1")])
        assert await state_of(store, woken.id, due.id) == [State.SCHEDULED] * 2
        assert await store.promote(9) == 2
        again, _ = await worker.lease(2)
        [wait] = await _waits(store, woken.id)
        assert (wait.over, wait.wake_in, wait.event_id) == (False, 0, None)
        assert await store.record([_given_up(again)]) == [True]
        clock.step_wall(-30)  # its time has not come any more, and yet it is over
        await store.publish([_event(clock, b"2")])
        [wait] = await _waits(store, woken.id)
        assert (wait.over, wait.event_id, wait.value) == (True, None, None)
        assert await store.record([_given_up(again)]) == [True]

    async def test_i17_a_wait_is_not_given_up_once_an_event_has_ended_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(parked(lease, PAID, DAY))
        await store.publish([_event(clock, b"1")])
        [again] = await worker.lease()
        assert await store.record([_given_up(again)]) == [True]
        [wait] = await _waits(store, lease.id)
        assert bytes(wait.value or b"") == b"1"
        assert (await get(store, lease.id)).steps == 1

    async def test_i2_only_the_holder_of_the_lease_gives_a_wait_up(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(parked(lease, PAID, DAY))
        assert await store.record([_given_up(lease)]) == [False]
        assert await worker.settle(parked(lease, PAID, DAY)) == [Acked.ALREADY]
        assert not (await _waits(store, lease.id))[0].over

    async def test_i5_a_repeat_of_an_event_or_of_an_ack_ends_no_other_wait(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        event = _event(clock, b"1", event_ttl=SECOND)
        await worker.settle(parked(one, PAID, DAY))
        await store.publish([event])
        await store.publish([event, event])
        assert await worker.settle(parked(one, PAID, DAY)) == [Acked.ALREADY]
        assert await state_of(store, one.id) == [State.READY]
        clock.advance("1s")
        await worker.settle(parked(two, PAID, DAY))
        [wait] = await _waits(store, two.id)
        assert not wait.over

    async def test_i17_an_event_finds_the_wait_of_a_cancelled_job_when_that_is_redriven(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        before, asked = await worker.lease(2)
        await store.cancel([asked.id])
        await worker.settle(parked(before, PAID, DAY), parked(asked, PAID, DAY))
        assert await store.cancel([before.id]) == [Cancelling.CANCELLED]
        await store.publish([_event(clock, b"1")])
        assert await state_of(store, before.id, asked.id) == [State.CANCELLED] * 2
        assert await store.redrive([before.id, asked.id]) == [True, True]
        waits = [await _waits(store, lease.id) for lease in (before, asked)]
        assert [bytes(wait.value or b"") for [wait] in waits] == [b"1", b"1"]
        await assert_adds_up(store)

    async def test_i17_a_purged_job_waits_for_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        purged, kept = await worker.lease(2)
        await worker.settle(parked(purged, PAID, DAY), parked(kept, PAID, DAY))
        await store.cancel([purged.id])
        await store.purge([purged.id])
        await store.publish([_event(clock, b"1")])
        assert await store.steps([purged.id]) == [[]]
        assert [lease.id for lease in await worker.lease(9)] == [kept.id]
        await assert_adds_up(store)

    async def test_i15_an_edit_moves_the_time_of_a_wait_and_none_that_is_over(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        sooner, longer = await worker.lease(2)
        await worker.settle(parked(sooner, PAID, DAY), parked(longer, PAID, DAY))
        await store.edit([longer.id], Edit(delay=2 * DAY))
        await store.edit([sooner.id], Edit(delay=0))
        assert await state_of(store, sooner.id, longer.id) == [State.READY, State.SCHEDULED]
        clock.advance("36h")
        await store.publish([_event(clock, b"1")])
        waits = [await _waits(store, lease.id) for lease in (sooner, longer)]
        assert [wait.over for [wait] in waits] == [False, True]
        [again] = [lease for lease in await worker.lease(9) if lease.id == longer.id]
        await worker.settle(later(again, DAY, asleep=True))
        [over] = await _waits(store, longer.id)
        await store.edit([longer.id], Edit(delay=3 * DAY))
        assert [over.wake_at] == [wait.wake_at for wait in await _waits(store, longer.id)]

    async def test_i10_a_waiter_keeps_the_one_slot_of_its_key_and_gives_back_one_of_more(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alone, behind = make_jobs(clock, 2, limits=Limits("one"))
        some = make_jobs(clock, 2, limits=Limits("two", 2))
        await add(store, alone, behind, *some)
        leases = await worker.lease(9)
        await worker.settle(*[parked(lease, PAID, DAY) for lease in leases])
        more = make_jobs(clock, 2, limits=Limits("two", 2))
        await add(store, *more)
        assert [lease.id for lease in await worker.lease(9)] == [job.id for job in more]
        await store.publish([_event(clock, b"1")])
        assert await state_of(store, alone.id, behind.id, some[0].id, some[1].id) == [
            State.READY,
            State.WAITING,
            State.WAITING,
            State.WAITING,
        ]
        assert (await stats_of(store)).asleep == 0
        await assert_adds_up(store)

    async def test_i8_waiters_are_not_in_the_depth_and_wake_into_a_full_queue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(parked(lease, PAID, DAY))
        stats = await stats_of(store)
        assert (stats.depth, stats.asleep) == (0, 1)
        await add(store, make_job(clock))
        await store.publish([_event(clock, b"1")])
        stats = await stats_of(store)
        assert (stats.depth, stats.asleep, stats.counts[State.READY]) == (2, 0, 2)

    async def test_i15_a_wait_and_a_step_of_one_name_are_what_came_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        name = f"{PAID.name} {PAID.key}"
        await store.record([Step(lease.id, lease.attempt, name, Raw(b"1"))])
        await worker.settle(parked(lease, PAID, DAY))
        await store.publish([_event(clock, b"2")])
        [step] = await _waits(store, lease.id)
        assert (step.awaits, step.over, bytes(step.value or b"")) == (None, False, b"1")
        assert await state_of(store, lease.id) == [State.SCHEDULED]

    async def test_i17_a_wait_that_is_recorded_while_its_job_runs_takes_events_too(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        early, late = await worker.lease(2)
        [step] = parked(early, PAID, DAY).steps
        assert await store.record([step]) == [True]
        await store.publish([_event(clock, b"1")])
        [step] = parked(late, PAID, DAY).steps
        assert await store.record([step]) == [True]
        waits = [await _waits(store, lease.id) for lease in (early, late)]
        assert [bytes(wait.value or b"") for [wait] in waits] == [b"1", b"1"]
        await worker.settle(put_back(early, charge=Charge.LOSS), done(late))
        assert [lease.steps for lease in await worker.lease(9)] == [1]


def _event(clock: VirtualClock, payload: bytes, **fields: object) -> Publication:
    values = {"name": PAID.name, "key": PAID.key, **fields}
    return Publication(id=clock.new_id(), payload=Raw(payload), **values)  # type: ignore[arg-type]


def _given_up(lease: Lease) -> Step:
    name = f"{PAID.name} {PAID.key}"
    return Step(lease.id, lease.attempt, name, awaits=PAID, over=True)


async def _waits(store: Store, job_id: JobId) -> list[StepRecord]:
    [found] = await store.steps([job_id])
    return found
