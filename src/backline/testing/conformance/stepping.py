"""Steps: recorded once under the fence, there for every later attempt, gone with the job."""

from typing import Any

from msgspec import Raw

from backline.job import (
    DAY,
    HOUR,
    MAX_PAYLOAD,
    SECOND,
    Ack,
    Acked,
    Charge,
    Lane,
    Lease,
    Limits,
    Micros,
    OnConflict,
    Step,
    StepRecord,
)
from backline.states import State
from backline.store import Cancelling, Edit, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    MAIN,
    QUEUE,
    BareWorker,
    ack,
    add,
    assert_adds_up,
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

NASTY = Raw('{"a":[1.50,-0,"\\u0000é\\ud83d\\ude00","it\'s"],"b":null}'.encode())


class Stepping(Harness):
    """`record`, `steps` and the steps of acks."""

    async def test_a_step_is_recorded_as_it_is(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        [lease] = await worker.lease()
        assert (lease.steps, await store.steps([job.id])) == (0, [[]])
        taken = clock.now()
        assert await store.record([_step(lease, "charge", NASTY)]) == [True]
        clock.advance("1s")
        large = Raw(b'"' + b"x" * (MAX_PAYLOAD - 2) + b'"')
        answers = await store.record([_step(lease, "étape 'b'", large), _step(lease, "a")])
        assert answers == [True, True]
        [steps] = await store.steps([job.id])
        assert [(step.name, _bytes(step), step.recorded_at, step.attempt) for step in steps] == [
            ("charge", bytes(NASTY), taken, 1),
            ("étape 'b'", bytes(large), taken + SECOND, 1),
            ("a", None, taken + SECOND, 1),
        ]
        assert (await get(store, job.id)).steps == 3

    async def test_i15_a_later_attempt_finds_what_was_recorded(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock), make_job(clock))
        one, two = await worker.lease(2)
        await store.record([_step(one, "charge", b"1")])
        await worker.settle(put_back(one, charge=Charge.LOSS), put_back(two))
        again, plain = await worker.lease(2)
        assert (again.steps, plain.steps) == (1, 0)
        assert await store.record([_step(again, "ship", b"2")]) == [True]
        found = await store.steps([plain.id, again.id, "unknown", again.id])
        expected = [("charge", b"1"), ("ship", b"2")]
        assert [[(s.name, _bytes(s)) for s in steps] for steps in found] == [
            [],
            expected,
            [],
            expected,
        ]

    async def test_i2_only_the_holder_of_the_lease_records_a_step(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        slow, ended, held = await worker.lease(3)
        await worker.settle(put_back(slow), done(ended))
        [fast] = await worker.lease()
        steps = [_step(slow, "x", b"0"), _step(ended, "x", b"0"), _step(held, "x", b"0")]
        unknown = Step("unknown", 1, "x", Raw(b"0"))
        assert await store.record([*steps, unknown, _step(fast, "x", b"1")]) == [
            False,
            False,
            True,
            False,
            True,
        ]
        found = await store.steps([slow.id, ended.id, held.id])
        assert [[_bytes(step) for step in each] for each in found] == [[b"1"], [], [b"0"]]

    async def test_i5_a_repeated_record_changes_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await store.record([_step(lease, "charge", b"1")])
        before = await store.steps([lease.id])
        clock.advance("1s")
        assert await store.record([_step(lease, "charge", b"1")] * 2) == [True, True]
        assert await store.steps([lease.id]) == before
        assert (await get(store, lease.id)).steps == 1

    async def test_i15_the_first_record_of_a_name_stays(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await store.record([_step(lease, "charge", b"1")])
        await worker.settle(put_back(lease))
        [again] = await worker.lease()
        await store.record([_step(again, "charge", b"2")])
        nap = Step(again.id, again.attempt, "charge", wake_in=SECOND)
        await worker.settle(later(again, SECOND, asleep=True, steps=(nap,)))
        [[step]] = await store.steps([lease.id])
        assert (step.attempt, _bytes(step), step.wake_at) == (1, b"1", None)

    async def test_a_sleep_is_recorded_with_the_end_of_its_run(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock), make_job(clock))
        lease, stale = await worker.lease(2)
        await worker.settle(put_back(stale))
        acks = [_asleep(lease, DAY), _asleep(stale, DAY)]
        assert await worker.settle(*acks) == [Acked.APPLIED, Acked.ALREADY]
        assert await worker.settle(*acks) == [Acked.ALREADY, Acked.ALREADY]
        assert await store.steps([stale.id]) == [[]]
        record = await get(store, lease.id)
        assert (record.state, record.due) == (State.SCHEDULED, clock.now() + DAY)
        assert (record.asleep, record.steps) == (True, 1)
        clock.advance("8h")
        [[nap]] = await store.steps([lease.id])
        assert (nap.wake_at, nap.wake_in) == (record.due, 16 * HOUR)
        clock.advance("2d")
        assert (await store.steps([lease.id]))[0][0].wake_in == 0

    async def test_i7_a_sleeper_wakes_when_its_time_has_come(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(_asleep(lease, DAY))
        clock.advance("23h")
        assert (await store.promote(10), await worker.lease()) == (0, [])
        assert (await worker.exchange((), {MAIN: 1})).next_in == HOUR
        clock.advance("1h")
        assert await store.promote(10) == 1
        [again] = await worker.lease()
        assert (again.attempt, again.steps) == (2, 1)
        assert not (await get(store, lease.id)).asleep

    async def test_i8_sleepers_are_not_in_the_depth_and_wake_into_a_full_queue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=2)])
        await add(store, *make_jobs(clock, 2))
        one, two = await worker.lease(2)
        await worker.settle(_asleep(one, DAY), later(two, DAY))
        stats = await stats_of(store)
        assert (stats.depth, stats.asleep, stats.counts[State.SCHEDULED]) == (1, 1, 2)
        await add(store, make_job(clock))
        [refused] = await store.enqueue([[make_job(clock)]])
        assert not isinstance(refused, list)
        assert (refused.depth, refused.max_depth) == (2, 2)
        clock.advance("1d")
        assert await store.promote(10) == 2
        stats = await stats_of(store)
        assert (stats.depth, stats.asleep) == (3, 0)
        [refused] = await store.enqueue([[make_job(clock)]])
        assert not isinstance(refused, list)
        assert refused.depth == 3
        assert len(await worker.lease(3)) == 3

    async def test_i11_whatever_a_sleeper_comes_to_the_sums_add_up(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = [make_job(clock, unique_key=key) for key in ("a", "b", None, None)]
        await add(store, *jobs)
        replaced, cancelled, asked, woken = await worker.lease(4)
        await store.cancel([asked.id])
        await worker.settle(
            *[_asleep(lease, DAY) for lease in (replaced, cancelled, asked)],
            _asleep(woken, DAY, lane=Lane.CELL),
        )
        assert (await stats_of(store)).asleep == 3  # one was to be cancelled
        await assert_adds_up(store)
        assert await store.cancel([cancelled.id]) == [Cancelling.CANCELLED]
        await add(store, make_job(clock, unique_key="a", on_conflict=OnConflict.REPLACE))
        states = [(await get(store, job.id)).state for job in jobs]
        assert states == [State.CANCELLED, State.CANCELLED, State.CANCELLED, State.SCHEDULED]
        assert (await stats_of(store)).asleep == 1
        await assert_adds_up(store)
        clock.advance("1d")
        await store.promote(10)
        assert (await stats_of(store)).asleep == 0
        assert len((await worker.exchange((), {CELL: 9})).jobs) == 1

    async def test_i15_redrive_finds_the_steps_and_a_cancel_during_a_sleep_ends_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        dead, asleep = await worker.lease(2)
        await store.record([_step(dead, "charge", b"1")])
        await worker.settle(failed(dead), _asleep(asleep, DAY))
        assert await store.cancel([asleep.id]) == [Cancelling.CANCELLED]
        clock.advance("1h")
        assert await store.redrive([dead.id, asleep.id]) == [True, True]
        assert [lease.steps for lease in await worker.lease(2)] == [1, 1]
        [[charge], [nap]] = await store.steps([dead.id, asleep.id])
        assert (_bytes(charge), nap.wake_in) == (b"1", 23 * HOUR)

    async def test_i15_an_edit_moves_the_end_of_a_sleep_and_no_other_step(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        sooner, later_on, moved = await worker.lease(3)
        await store.record([_step(lease, "charge", b"1") for lease in (sooner, later_on, moved)])
        await worker.settle(*[_asleep(lease, DAY) for lease in (sooner, later_on, moved)])
        await store.edit([later_on.id], Edit(delay=2 * DAY))
        await store.edit([moved.id], Edit(queue="film", priority=3))
        assert ((await stats_of(store)).asleep, (await stats_of(store, "film")).asleep) == (2, 1)
        await store.edit([sooner.id], Edit(delay=0))
        assert (await stats_of(store)).asleep == 1
        assert (await stats_of(store)).depth == 1
        await assert_adds_up(store)
        found = await store.steps([sooner.id, later_on.id, moved.id])
        assert [[_bytes(charge), nap.wake_in] for charge, nap in found] == [
            [b"1", 0],
            [b"1", 2 * DAY],
            [b"1", DAY],
        ]
        assert [lease.steps for lease in await worker.lease(3)] == [2]
        assert (await get(store, later_on.id)).asleep

    async def test_i10_a_sleeper_keeps_the_one_slot_of_its_key_and_gives_back_one_of_more(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alone, behind = make_jobs(clock, 2, limits=Limits("one"))
        some = make_jobs(clock, 3, limits=Limits("two", 2))
        await add(store, alone, behind, *some)
        leases = await worker.lease(9)
        assert [lease.id for lease in leases] == [alone.id, some[0].id, some[1].id]
        await worker.settle(*[_asleep(lease, DAY) for lease in leases[:2]])
        assert [lease.id for lease in await worker.lease(9)] == [some[2].id]
        stats = await stats_of(store)
        assert (stats.asleep, stats.depth, stats.counts[State.WAITING]) == (2, 1, 1)
        clock.advance("1d")
        await store.promote(9)
        # The key with one slot has kept it; of the other both slots are taken.
        assert await state_of(store, alone.id, behind.id, some[0].id) == [
            State.READY,
            State.WAITING,
            State.WAITING,
        ]
        stats = await stats_of(store)
        assert (stats.asleep, stats.depth) == (0, 3)
        await assert_adds_up(store)
        assert [lease.steps for lease in await worker.lease(9)] == [1]

    async def test_the_steps_go_with_the_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        swept, purged, kept = await worker.lease(3)
        await store.record([_step(lease, "x", b"1") for lease in (swept, purged, kept)])
        await worker.settle(done(swept, keep=SECOND), done(purged), done(kept))
        clock.advance("1s")
        await store.sweep(10)
        assert await store.purge([purged.id]) == [True]
        ids = [swept.id, purged.id, kept.id]
        assert [len(steps) for steps in await store.steps(ids)] == [0, 0, 1]

    async def test_i15_a_new_job_has_no_steps_of_a_purged_one(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for n in range(3):
            await add(store, make_job(clock))
            [lease] = await worker.lease()
            assert (lease.steps, await store.steps([lease.id])) == (0, [[]])
            await store.record([_step(lease, "x", b"%d" % n)])
            assert _bytes((await store.steps([lease.id]))[0][0]) == b"%d" % n
            await worker.settle(done(lease))
            assert await store.purge([lease.id]) == [True]

    async def test_an_ack_of_any_state_may_bring_steps(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        ends, cancelled = await worker.lease(2)
        await store.cancel([cancelled.id])
        brought = [_step(lease, "last", b"7") for lease in (ends, cancelled)]
        await worker.settle(
            ack(ends, State.SUCCEEDED, steps=(brought[0],)),
            later(cancelled, SECOND, asleep=True, steps=(brought[1],)),
        )
        found = await store.steps([ends.id, cancelled.id])
        assert [[_bytes(step) for step in each] for each in found] == [[b"7"], [b"7"]]
        record = await get(store, cancelled.id)
        assert (record.state, record.asleep) == (State.CANCELLED, False)


def _step(lease: Lease, name: str, value: bytes | Raw | None = None) -> Step:
    return Step(lease.id, lease.attempt, name, None if value is None else Raw(value))


def _asleep(lease: Lease, delay: Micros, **fields: Any) -> Ack:
    """The job sleeps for so long."""
    nap = Step(lease.id, lease.attempt, "nap", wake_in=delay)
    return later(lease, delay, asleep=True, steps=(nap,), **fields)


def _bytes(step: StepRecord) -> bytes | None:
    return None if step.value is None else bytes(step.value)
