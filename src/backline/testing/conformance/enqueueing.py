"""Adding jobs: what is kept, who is admitted, whose repeat adds nothing."""

import math
from collections.abc import Mapping
from typing import Any, Final

import pytest
from msgspec import Raw

from backline.errors import EnqueueError
from backline.ids import MAX_ID
from backline.job import (
    DAY,
    FARTHEST,
    HOUR,
    MINUTE,
    SECOND,
    Backoff,
    Enqueued,
    Lane,
    OnConflict,
    Refused,
    Terms,
)
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
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

_UNREADABLE: Final[tuple[Mapping[str, Any], ...]] = (
    {"payload": Raw(b"")},
    {"payload": Raw(b"[[1")},
    {"payload": Raw(b"[" * 100_000)},
    {"payload": b"[[],{}]"},
    {"id": "x" * (MAX_ID + 1)},
    {"id": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
    {"task": "\ud800"},
    {"task": None},
    {"queue": b"mail"},
    {"unique_key": 5},
    {"priority": FARTHEST + 1},
    {"delay": 0.5},
    {"run_at": FARTHEST + 1},
    {"expires_at": "tomorrow"},
    {"lane": "elsewhere"},
    {"headers": {"a": 1}},
    {"tags": "abc"},
    {"terms": None},
    {"terms": Terms(keep=-FARTHEST - 1)},
    {"terms": Terms(backoff=Backoff(factor=math.nan))},
)
"""Fields with which a job could not be read back as what it is."""


class Enqueueing(Harness):
    """`enqueue`."""

    async def test_a_job_that_could_not_be_read_back_is_refused_and_nothing_is_added(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for fields in _UNREADABLE:
            with pytest.raises(EnqueueError, match="cannot be stored"):
                await store.enqueue(
                    [[make_job(clock)], [make_job(clock), make_job(clock, **fields)]]
                )
        assert await store.stats() == []
        good = make_job(clock)
        await add(store, good)
        assert [lease.id for lease in await worker.lease(2)] == [good.id]

    async def test_i1_every_field_of_a_job_is_kept(self, store: Store, clock: VirtualClock) -> None:
        backoff = Backoff(base=3, cap=4, factor=1.5, jitter=False, delays=(7, 8))
        terms = Terms(max_attempts=9, timeout=MINUTE, backoff=backoff, keep=5, keep_dead=6)
        job = make_job(
            clock,
            task="app.søt:👋",
            payload=Raw(b'[["\xc3\xa9",1],{"a":null}]'),
            queue="häst",
            lane=Lane.CELL,
            priority=-100,
            expires_in=HOUR,
            terms=terms,
            unique_key="key:☃",
            unique_for=DAY,
            headers={"traceparent": "00-ab", "": "ø"},
            tags=("red", "blå", ""),
        )
        assert await add(store, job) == [Enqueued(job.id)]

        record = await get(store, job.id)
        assert record.id == job.id
        assert (record.task, record.queue, record.lane) == (job.task, "häst", Lane.CELL)
        assert bytes(record.payload) == bytes(job.payload)
        assert (record.priority, record.terms) == (-100, terms)
        assert (record.unique_key, dict(record.headers)) == ("key:☃", dict(job.headers))
        assert record.tags == ("red", "blå", "")
        assert record.expires_at == clock.now() + HOUR
        assert record.enqueued_at == record.due == clock.now()
        assert record.state is State.READY
        assert (record.attempt, record.failures, record.losses, record.releases) == (0, 0, 0, 0)
        assert (record.started_at, record.finished_at, record.purge_at) == (None, None, None)
        assert (record.worker, record.result, record.errors) == (None, None, ())
        assert (record.cancel, record.progress) == (False, None)

    async def test_i6_answers_are_in_the_order_of_calls_and_jobs(
        self, store: Store, clock: VirtualClock
    ) -> None:
        calls = [make_jobs(clock, 3), [], make_jobs(clock, 1), make_jobs(clock, 2)[::-1]]
        answers = await store.enqueue(calls)
        assert answers == [[Enqueued(job.id) for job in call] for call in calls]

    async def test_no_calls_have_no_answers(self, store: Store) -> None:
        assert await store.enqueue([]) == []

    async def test_one_call_may_fill_several_queues(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        mail, film = make_job(clock), make_job(clock, queue="film")
        await add(store, mail, film)
        assert [job.id for job in await worker.lease(5, "film")] == [film.id]
        assert [job.id for job in await worker.lease(5)] == [mail.id]

    async def test_i7_a_delayed_job_is_scheduled(self, store: Store, clock: VirtualClock) -> None:
        delayed = make_job(clock, delay=MINUTE)
        at = make_job(clock, run_at=clock.now() + HOUR)
        past = make_job(clock, run_at=clock.now() - HOUR)
        both = make_job(clock, run_at=clock.now() + 1, delay=DAY)
        await add(store, delayed, at, past, both)

        records = [await get(store, job.id) for job in (delayed, at, past, both)]
        wanted = [
            (State.SCHEDULED, clock.now() + MINUTE),
            (State.SCHEDULED, clock.now() + HOUR),
            (State.READY, clock.now() - HOUR),
            (State.SCHEDULED, clock.now() + 1),
        ]
        assert [(record.state, record.due) for record in records] == wanted

    async def test_expires_at_goes_before_expires_in(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock, expires_at=clock.now() + 5, expires_in=HOUR)
        await add(store, job)
        assert (await get(store, job.id)).expires_at == clock.now() + 5

    async def test_i5_a_repeated_enqueue_adds_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 3)
        first = await store.enqueue([jobs])
        assert await store.enqueue([jobs]) == first
        assert len(await find_all(store)) == 3
        assert len(await worker.lease(10)) == 3
        assert await store.enqueue([jobs]) == first
        assert await worker.lease(10) == []

    async def test_i5_a_repeat_that_brings_other_content_changes_nothing(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock, priority=1)
        await add(store, job)
        before = await get(store, job.id)
        again = make_job(clock, id=job.id, priority=2, queue="film", delay=HOUR)
        assert await add(store, again) == [Enqueued(job.id)]
        assert await get(store, job.id) == before

    async def test_i5_an_id_is_known_until_a_day_after_its_purge(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        await worker.run_one(done, keep=0)
        clock.advance("1s")
        await store.sweep(100)
        assert await state_of(store, job.id) == [None]

        assert await add(store, job) == [Enqueued(job.id)]
        clock.advance("23h")
        await store.sweep(100)
        assert await add(store, job) == [Enqueued(job.id)]
        assert await state_of(store, job.id) == [None]
        assert await worker.lease() == []

    async def test_i5_the_id_of_a_job_purged_by_hand_is_known_too(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        await store.cancel([job.id])
        assert await store.purge([job.id]) == [True]
        assert await add(store, job) == [Enqueued(job.id)]
        assert await state_of(store, job.id) == [None]

    async def test_i8_a_call_above_the_limit_is_refused_as_a_whole(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=4)])
        calls = [make_jobs(clock, 3), make_jobs(clock, 3), make_jobs(clock, 1)]
        first, second, third = await store.enqueue(calls)
        assert isinstance(first, list)
        assert second == Refused(QUEUE, 3, 4, 0.0)
        assert isinstance(third, list)
        assert len(await find_all(store)) == 4
        assert await store.enqueue([make_jobs(clock, 1)]) == [Refused(QUEUE, 4, 4, 0.0)]

    async def test_i8_nothing_of_a_refused_call_is_written_in_any_queue(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue="film", max_depth=0)])
        call = [make_job(clock), make_job(clock, queue="film"), make_job(clock)]
        [answer] = await store.enqueue([call])
        assert answer == Refused("film", 0, 0, 0.0)
        assert await find_all(store) == []

    async def test_i8_scheduled_waiting_and_ready_jobs_count_and_others_do_not(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=3)])
        await add(store, make_job(clock, unique_key="k"))
        await worker.lease()
        waiting = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, waiting, make_job(clock, delay=HOUR), make_job(clock))
        assert await state_of(store, waiting.id) == [State.WAITING]
        assert (await stats_of(store)).depth == 3
        [answer] = await store.enqueue([make_jobs(clock, 1)])
        assert answer == Refused(QUEUE, 3, 3, 0.0)

    async def test_i8_jobs_that_turn_out_to_be_held_back_by_their_key_count(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        await add(store, make_job(clock, unique_key="k"))
        [answer] = await store.enqueue([[make_job(clock, unique_key="k")]])
        assert isinstance(answer, Refused)

    async def test_i5_i8_the_repeat_of_the_call_that_filled_the_queue_is_not_refused(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=2)])
        jobs = make_jobs(clock, 2)
        first = await store.enqueue([jobs])
        assert await store.enqueue([jobs]) == first
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        assert await store.enqueue([jobs]) == first

    async def test_i8_a_full_queue_refuses_no_retry_no_release_and_no_redrive(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=3)])
        await add(store, *make_jobs(clock, 3))
        retry, release, dead = await worker.lease(3)
        await add(store, *make_jobs(clock, 3))
        acks = [later(retry, SECOND), put_back(release), failed(dead)]
        assert await worker.settle(*acks) == ["applied"] * 3
        assert await store.redrive([dead.id]) == [True]
        assert (await stats_of(store)).depth == 6

    async def test_i8_draining_works_while_full_and_makes_room(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=2)])
        await add(store, *make_jobs(clock, 2))
        leases = await worker.lease(2)
        assert len(leases) == 2
        [answer] = await store.enqueue([make_jobs(clock, 2)])
        assert isinstance(answer, list)
        exchange = await worker.exchange([done(lease) for lease in leases], {MAIN: 5})
        assert (exchange.acks, len(exchange.jobs)) == (["applied"] * 2, 2)

    async def test_i8_other_queues_are_not_refused(self, store: Store, clock: VirtualClock) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=0)])
        answers = await store.enqueue([[make_job(clock)], [make_job(clock, queue="film")]])
        assert [isinstance(answer, Refused) for answer in answers] == [True, False]

    async def test_a_refusal_carries_the_pace_of_the_queue(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 20))
        for _ in range(10):
            await worker.settle(*[done(lease) for lease in await worker.lease(2)])
            clock.advance("1s")
        await store.configure([QueueSettings(queue=QUEUE, max_depth=0)])
        [answer] = await store.enqueue([make_jobs(clock, 1)])
        assert isinstance(answer, Refused)
        assert 0 < answer.drain_rate <= 20

    async def test_a_large_batch_is_one_call(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 2_500)
        assert len(await add(store, *jobs)) == 2_500
        leases = await worker.lease(3_000)
        assert [lease.id for lease in leases] == [job.id for job in jobs]
