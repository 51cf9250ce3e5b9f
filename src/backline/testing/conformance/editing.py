"""What people change of jobs that have not started: queue, priority, due time."""

import asyncio
from typing import Any

import pytest

from backline.errors import EnqueueError
from backline.job import FARTHEST, HOUR, MINUTE, SECOND, Lane, OnConflict, Refused
from backline.states import State
from backline.store import Edit, Edited, Hint, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    MAIN,
    BareWorker,
    add,
    assert_adds_up,
    done,
    get,
    later,
    make_job,
    make_jobs,
    snapshot,
    state_of,
    stats_of,
)
from backline.testing.conformance.reading import PATIENCE

FILM = ("film", Lane.MAIN)


class Editing(Harness):
    """`edit`."""

    async def test_i6_edit_answers_for_each_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2, unique_key=None, priority=9))
        ended, running = await worker.lease(2)
        await worker.settle(done(ended))
        ready, scheduled = make_job(clock), make_job(clock, delay=HOUR)
        await add(store, ready, scheduled)
        ids = [ended.id, ready.id, "\ud800", running.id, clock.new_id(), scheduled.id, ready.id]
        answers = await store.edit(ids, Edit(queue="film", priority=7))
        assert answers == [
            Edited.ENDED,
            Edited.EDITED,
            Edited.UNKNOWN,
            Edited.RUNNING,
            Edited.UNKNOWN,
            Edited.EDITED,
            Edited.EDITED,
        ]
        for job in (ended, running):
            record = await get(store, job.id)
            assert (record.queue, record.priority) == ("mail", 9)
        for job_id, state in ((ready.id, State.READY), (scheduled.id, State.SCHEDULED)):
            record = await get(store, job_id)
            assert (record.queue, record.priority, record.state) == ("film", 7, state)
        assert (await get(store, scheduled.id)).due == clock.now() + HOUR
        assert await store.edit([], Edit(priority=1)) == []

    async def test_what_an_edit_does_not_name_stays(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock, delay=HOUR, priority=3, tags=("t",), unique_key="k", expires_in=HOUR)
        await add(store, job)
        before = await snapshot(store)
        assert await store.edit([job.id], Edit()) == [Edited.EDITED]
        assert await snapshot(store) == before

    async def test_i5_a_repeated_edit_changes_no_more(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = make_jobs(clock, 3)
        await add(store, *jobs)
        change = Edit(queue="film", priority=2, run_at=clock.now() + HOUR)
        ids = [job.id for job in jobs]
        first = await store.edit(ids, change)
        before = await snapshot(store)
        clock.advance(1)
        assert await store.edit(ids, change) == first
        assert await snapshot(store) == before

    async def test_i4_a_new_priority_is_a_new_place(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first, second, third = make_jobs(clock, 3)
        await add(store, first, second, third)
        await store.edit([third.id], Edit(priority=5))
        await store.edit([first.id], Edit(priority=-5))
        leases = await worker.lease(3)
        assert [(lease.id, lease.priority) for lease in leases] == [
            (third.id, 5),
            (second.id, 0),
            (first.id, -5),
        ]

    async def test_i4_a_moved_job_stands_where_it_would_have_if_enqueued_there(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = [make_job(clock, queue=queue) for queue in ("mail", "film", "mail", "film")]
        await add(store, *jobs)
        await store.edit([jobs[2].id, jobs[0].id], Edit(queue="film"))
        leases = (await worker.exchange((), {MAIN: 9, FILM: 9})).jobs
        assert [(lease.id, lease.queue) for lease in leases] == [(job.id, "film") for job in jobs]
        assert {held.queue for held in await store.held(worker.name)} == {"film"}

    async def test_i7_a_ready_job_that_is_put_off_waits_for_its_new_time(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        one, two = make_jobs(clock, 2)
        await add(store, one, two)
        await store.edit([one.id], Edit(run_at=clock.now() + MINUTE))
        await store.edit([two.id], Edit(delay=HOUR))
        exchange = await worker.exchange((), {MAIN: 9})
        assert (exchange.jobs, exchange.next_in) == ([], MINUTE)
        assert await store.promote(9) == 0
        assert await state_of(store, one.id, two.id) == [State.SCHEDULED] * 2
        clock.advance("1m")
        assert await store.promote(9) == 1
        assert [lease.id for lease in await worker.lease(9)] == [one.id]
        assert (await get(store, two.id)).due == clock.now() + HOUR - MINUTE

    async def test_a_job_that_is_brought_forward_is_ready_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 3, delay=HOUR)
        await add(store, *jobs)
        await store.edit([jobs[1].id], Edit(delay=0))
        await store.edit([jobs[2].id], Edit(run_at=clock.now() - 1))
        await store.edit([jobs[0].id], Edit(delay=MINUTE))
        exchange = await worker.exchange((), {MAIN: 9})
        assert [lease.id for lease in exchange.jobs] == [jobs[2].id, jobs[1].id]
        assert exchange.next_in == MINUTE

    async def test_a_run_time_goes_before_a_delay(self, store: Store, clock: VirtualClock) -> None:
        job = make_job(clock)
        await add(store, job)
        await store.edit([job.id], Edit(run_at=clock.now() + 5, delay=HOUR))
        assert (await get(store, job.id)).due == clock.now() + 5

    async def test_a_retry_that_waits_can_be_changed_and_a_running_job_not(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        before = await snapshot(store)
        assert await store.edit([lease.id], Edit(queue="film", delay=0)) == [Edited.RUNNING]
        assert await snapshot(store) == before
        await worker.settle(later(lease, HOUR))
        assert await store.edit([lease.id], Edit(queue="film", delay=0)) == [Edited.EDITED]
        [again] = await worker.lease(1, "film")
        assert (again.id, again.attempt, again.queue) == (lease.id, 2, "film")
        assert await store.extend([again], MINUTE) == [True]

    async def test_i8_a_full_queue_refuses_no_job_that_is_moved_there(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue="film", max_depth=1)])
        await add(store, make_job(clock, queue="film"))
        jobs = make_jobs(clock, 3)
        await add(store, *jobs)
        moved = await store.edit([job.id for job in jobs], Edit(queue="film"))
        assert moved == [Edited.EDITED] * 3
        assert ((await stats_of(store, "film")).depth, (await stats_of(store)).depth) == (4, 0)
        [refused] = await store.enqueue([[make_job(clock, queue="film")]])
        assert isinstance(refused, Refused)
        assert refused.depth == 4
        assert len(await worker.lease(9, "film")) == 4
        await add(store, make_job(clock, queue="film"))

    async def test_i11_counts_follow_jobs_from_queue_to_queue(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = [
            *make_jobs(clock, 2),
            *make_jobs(clock, 3, lane=Lane.CELL),
            make_job(clock, delay=HOUR),
            make_job(clock, queue="film", delay=HOUR),
        ]
        await add(store, *jobs)
        ids = [job.id for job in jobs]
        for change in (
            Edit(queue="film"),
            Edit(queue="film", delay=MINUTE),
            Edit(queue="news", delay=0),
            Edit(delay=HOUR, priority=4),
            Edit(queue="mail"),
        ):
            await store.edit(ids, change)
            await assert_adds_up(store)
        assert (await stats_of(store)).depth == len(jobs)
        assert [(await stats_of(store, queue)).depth for queue in ("film", "news")] == [0, 0]

    async def test_a_suspect_stays_one_wherever_it_is_moved(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, lane=Lane.CELL)
        await add(store, job)
        await store.edit([job.id], Edit(queue="film"))
        asked = {MAIN: 9, CELL: 9, FILM: 9, ("film", Lane.CELL): 9}
        exchange = await worker.exchange((), asked)
        assert [(lease.queue, lease.lane) for lease in exchange.jobs] == [("film", Lane.CELL)]

    async def test_a_paused_queue_keeps_what_is_moved_there(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue="film", paused=True)])
        job = make_job(clock)
        await add(store, job)
        await store.edit([job.id], Edit(queue="film", delay=0))
        assert (await worker.exchange((), {MAIN: 9, FILM: 9})).jobs == []

    async def test_a_job_still_expires_when_it_said(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        late, moved = make_jobs(clock, 2, expires_in=MINUTE)
        await add(store, late, moved)
        await store.edit([late.id], Edit(delay=HOUR))
        await store.edit([moved.id], Edit(queue="film", priority=1))
        clock.advance("2m")
        assert (await worker.exchange((), {FILM: 9})).jobs == []
        await store.expire(9)
        assert await state_of(store, late.id, moved.id) == [State.EXPIRED] * 2
        assert await store.edit([late.id, moved.id], Edit(delay=0)) == [Edited.ENDED] * 2
        clock.advance("1h")
        assert await store.promote(9) == 0

    async def test_a_moved_job_keeps_its_unique_key(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = make_job(clock, unique_key="k")
        await add(store, holder)
        await store.edit([holder.id], Edit(queue="film", delay=HOUR))
        [taken] = await add(store, make_job(clock, unique_key="k"))
        assert (taken.id, taken.added) == (holder.id, False)
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, successor)
        assert await state_of(store, holder.id) == [State.CANCELLED]
        assert (await stats_of(store, "film")).counts[State.CANCELLED] == 1
        assert [lease.id for lease in await worker.lease(9)] == [successor.id]

    async def test_a_job_that_waits_for_another_goes_on_waiting(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [lease] = await worker.lease()
        successor = make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE, delay=HOUR)
        await add(store, successor)
        assert await store.edit([successor.id], Edit(queue="film", delay=0)) == [Edited.EDITED]
        assert await state_of(store, successor.id) == [State.WAITING]
        assert (await stats_of(store, "film")).counts[State.WAITING] == 1
        await store.edit([successor.id], Edit(run_at=clock.now() + MINUTE))
        await worker.settle(done(lease))
        record = await get(store, successor.id)
        assert (record.state, record.due) == (State.SCHEDULED, clock.now() + MINUTE)
        clock.advance("1m")
        assert await store.promote(9) == 1
        assert [each.id for each in await worker.lease(9, "film")] == [successor.id]

    @pytest.mark.parametrize(
        "fields",
        [
            {"queue": "\ud800"},
            {"queue": 7},
            {"priority": "high"},
            {"priority": None},
            {"run_at": FARTHEST + 1},
            {"delay": 1.5},
        ],
    )
    async def test_a_change_that_could_not_be_read_back_is_refused(
        self, store: Store, clock: VirtualClock, fields: dict[str, Any]
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        before = await snapshot(store)
        with pytest.raises(EnqueueError, match="cannot be stored"):
            await store.edit([job.id], Edit(**fields))
        assert await snapshot(store) == before

    async def test_workers_are_told_of_what_they_may_take_now(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(clock, delay=HOUR)
        await add(store, job)
        woken = asyncio.Event()
        async with store.watch({Hint.WORK}, woken.set):
            for change in (Edit(queue="film", delay=0), Edit(queue="mail"), Edit(delay=SECOND)):
                await store.edit([job.id], change)
                async with asyncio.timeout(PATIENCE):
                    await woken.wait()
                woken.clear()
