"""`idempotency_key`: the same answer for the same request, for a day."""

from msgspec import Raw

from backline.job import (
    DAY,
    HOUR,
    IDEMPOTENCY,
    MINUTE,
    SECOND,
    Enqueued,
    JobRequest,
    OnConflict,
    Refused,
)
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    add,
    done,
    failed,
    find_all,
    make_job,
    snapshot,
    state_of,
)
from backline.testing.conformance.scheduling import following, make, use


def asked(clock: VirtualClock, what: int = 1, **fields: object) -> JobRequest:
    """A job under the key `i`."""
    payload = Raw(b"[[%d],{}]" % what)
    return make_job(clock, idempotency_key="i", payload=payload, **fields)


class Idempotency(Harness):
    """What a key answers, to whom, and for how long."""

    async def test_i5_the_same_request_has_the_same_answer_and_adds_nothing(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = asked(clock)
        assert await add(store, first) == [Enqueued(first.id)]
        before = await snapshot(store)
        for _ in range(3):
            assert await add(store, asked(clock)) == [Enqueued(first.id, added=False)]
        assert await snapshot(store) == before

    async def test_i5_a_repeat_of_the_call_answers_as_the_call_did(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first, second, third = asked(clock), asked(clock), asked(clock, 2)
        assert await add(store, first) == [Enqueued(first.id)]
        for job, added, mismatch in ((first, True, False), (second, False, False)) * 2:
            answer = Enqueued(first.id, added, mismatch=mismatch)
            assert await add(store, job) == [answer]
        for _ in range(2):
            answer = Enqueued(first.id, added=False, mismatch=True)
            assert await add(store, third) == [answer]

    async def test_another_payload_or_task_is_a_mismatch_and_the_rest_is_added(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = asked(clock)
        await add(store, first)
        others, rest = (asked(clock, 2), asked(clock, task="app.cut")), make_job(clock)
        for other in others:
            answers = await add(store, other, rest)
            assert answers == [
                Enqueued(first.id, added=False, mismatch=True),
                Enqueued(rest.id),
            ]
        assert await state_of(store, others[0].id, rest.id) == [None, State.READY]

    async def test_other_options_are_the_same_request(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = asked(clock)
        await add(store, first)
        late = asked(clock, queue="film", delay=HOUR, priority=5, tags=("x",))
        assert await add(store, late) == [Enqueued(first.id, added=False)]

    async def test_a_key_outlives_the_end_and_the_purge_of_its_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = asked(clock)
        await add(store, first)
        await worker.run_one(done, keep=0)
        same = [Enqueued(first.id, added=False)]
        assert await add(store, asked(clock)) == same
        clock.advance("1m")
        await store.sweep(100)
        assert await state_of(store, first.id) == [None]
        assert await add(store, asked(clock)) == same
        clock.advance((IDEMPOTENCY - MINUTE - 1) / SECOND)
        await store.sweep(100)
        assert await add(store, asked(clock)) == same

    async def test_a_key_is_forgotten_after_its_time_though_its_job_lives(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = asked(clock, delay=3 * DAY)
        await add(store, first)
        clock.advance(IDEMPOTENCY / SECOND)
        second = asked(clock, 2)
        assert await add(store, second) == [Enqueued(second.id)]
        await store.sweep(100)
        assert await add(store, asked(clock, 2)) == [Enqueued(second.id, added=False)]

    async def test_a_repeat_does_not_lengthen_the_time(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, asked(clock))
        added: list[bool] = []
        for _ in range(3):
            clock.advance("8h")
            [answer] = await add(store, asked(clock))
            added.append(answer.added)
        assert added == [False, False, True]

    async def test_a_key_stays_with_a_job_that_ended_badly(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = asked(clock)
        await add(store, first)
        await worker.run_one(failed)
        assert await add(store, asked(clock)) == [Enqueued(first.id, added=False)]
        assert await store.redrive([first.id]) == [True]
        assert await add(store, asked(clock)) == [Enqueued(first.id, added=False)]

    async def test_sweep_forgets_keys_in_bites(self, store: Store, clock: VirtualClock) -> None:
        for n in range(5):
            await add(store, make_job(clock, idempotency_key=f"{n}", delay=9 * DAY))
        clock.advance(IDEMPOTENCY / SECOND)
        await add(store, make_job(clock, idempotency_key="0", delay=9 * DAY))
        swept = [await store.sweep(2) for _ in range(4)]
        assert swept == [2, 2, 0, 0]
        again = make_job(clock, idempotency_key="0")
        [answer] = await add(store, again)
        assert not answer.added

    async def test_i8_what_is_known_is_not_refused_and_takes_no_room(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        first = asked(clock)
        await add(store, first)
        same, another = Enqueued(first.id, added=False), Enqueued(first.id, False, mismatch=True)
        assert await store.enqueue([[asked(clock)]]) == [[same]]
        assert await store.enqueue([[asked(clock, 2)]]) == [[another]]
        [answer] = await store.enqueue([[asked(clock), make_job(clock)]])
        assert answer == Refused(QUEUE, 1, 1, 0.0)

    async def test_i8_a_call_that_is_refused_leaves_no_key(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=0)])
        [answer] = await store.enqueue([[asked(clock)]])
        assert isinstance(answer, Refused)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=None)])
        second = asked(clock, 2)
        assert await add(store, second) == [Enqueued(second.id)]

    async def test_i5_who_was_answered_by_another_for_its_unique_key_is_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        second = asked(clock, unique_key="k")
        assert await add(store, second) == [Enqueued(holder.id, added=False)]
        await worker.run_one()
        for job in (second, asked(clock, unique_key="k")):
            assert await add(store, job) == [Enqueued(holder.id, added=False)]

    async def test_a_conflict_leaves_no_key(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        late = asked(clock, unique_key="k", on_conflict=OnConflict.RAISE)
        assert await add(store, late) == [Enqueued(holder.id, added=False, conflict=True)]
        await worker.run_one()
        assert await add(store, late) == [Enqueued(late.id)]

    async def test_a_repeat_takes_nobodys_place(self, store: Store, clock: VirtualClock) -> None:
        first = asked(clock, unique_key="k")
        await add(store, first)
        again = asked(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        assert await add(store, again) == [Enqueued(first.id, added=False)]
        assert await state_of(store, first.id, again.id) == [State.READY, None]

    async def test_a_key_is_no_unique_key(self, store: Store, clock: VirtualClock) -> None:
        first, second = asked(clock), make_job(clock, unique_key="i")
        assert await add(store, first, second) == [Enqueued(first.id), Enqueued(second.id)]

    async def test_i12_a_slot_whose_key_is_known_is_used(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [found] = await make(store, clock, idempotency_key="i")
        tick = use(found, following(found), following(found) + MINUTE)
        assert await store.tick([tick]) == [True]
        assert [job.id for job in await find_all(store)] == [tick.jobs[0].id]
