"""`max_wait`: how long a job may be put off by those that take its place."""

from backline.job import (
    HOUR,
    MINUTE,
    REPLACED_KEEP,
    SECOND,
    Enqueued,
    JobRequest,
    OnConflict,
    Terms,
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
    get,
    later,
    make_job,
    state_of,
    stats_of,
)


def debounced(clock: VirtualClock, **fields: object) -> JobRequest:
    """A job that waits for quiet of 2 s, and 5 s at most."""
    values: dict[str, object] = {"delay": 2 * SECOND, "max_wait": 5 * SECOND}
    return make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE, **values | fields)


class Debouncing(Harness):
    """Jobs under one key of which each takes the place of the last."""

    async def test_each_call_puts_the_job_off_until_max_wait_after_the_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        begin, jobs = clock.now(), [debounced(clock) for _ in range(5)]
        dues: list[int] = []
        for job in jobs:
            assert await add(store, job) == [Enqueued(job.id)]
            dues.append((await get(store, job.id)).due - begin)
            clock.advance("1s")
        assert dues == [2 * SECOND, 3 * SECOND, 4 * SECOND, 5 * SECOND, 5 * SECOND]
        assert await store.promote(10) == 1
        assert [lease.id for lease in await worker.lease(9)] == [jobs[-1].id]

    async def test_without_max_wait_a_job_may_be_put_off_for_ever(
        self, store: Store, clock: VirtualClock
    ) -> None:
        for _ in range(9):
            job = debounced(clock, max_wait=None)
            await add(store, job)
            assert (await get(store, job.id)).due == clock.now() + 2 * SECOND
            clock.advance("1s")

    async def test_a_job_that_is_late_already_is_due_at_once_and_no_earlier(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, debounced(clock, delay=HOUR, max_wait=HOUR))
        clock.advance("1m")
        job = debounced(clock)
        await add(store, job)
        record = await get(store, job.id)
        assert (record.state, record.due) == (State.READY, clock.now())

    async def test_a_run_begins_anew(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        """Also one that is to be tried again: else each call would undo its backoff."""
        await add(store, debounced(clock, delay=0))
        [lease] = await worker.lease()
        clock.advance("1m")
        successor = debounced(clock)
        await add(store, successor)
        assert (await get(store, successor.id)).due == clock.now() + 2 * SECOND
        clock.advance("4s")
        last = debounced(clock)
        await add(store, last)
        record = await get(store, last.id)
        assert (record.state, record.due) == (State.WAITING, clock.now() + SECOND)
        await worker.settle(done(lease))
        clock.advance("1s")
        assert await store.promote(10) == 1
        [lease] = await worker.lease()
        assert lease.id == last.id
        await worker.settle(later(lease, HOUR))
        clock.advance("1m")
        another = debounced(clock)
        await add(store, another)
        assert (await get(store, another.id)).due == clock.now() + 2 * SECOND
        record = await get(store, last.id)
        assert (record.state, record.purge_at) == (State.CANCELLED, clock.now() + record.terms.keep)

    async def test_an_end_begins_anew(self, store: Store, clock: VirtualClock) -> None:
        first = debounced(clock, unique_for=HOUR)
        await add(store, first)
        await store.cancel([first.id])
        clock.advance("1m")
        second = debounced(clock)
        await add(store, second)
        assert (await get(store, second.id)).due == clock.now() + 2 * SECOND

    async def test_a_job_that_is_redriven_begins_anew(
        self, store: Store, clock: VirtualClock
    ) -> None:
        first = debounced(clock)
        await add(store, first)
        await store.cancel([first.id])
        clock.advance("1m")
        assert await store.redrive([first.id]) == [True]
        second = debounced(clock)
        await add(store, second)
        assert (await get(store, second.id)).due == clock.now() + 2 * SECOND

    async def test_run_at_is_bounded_too(self, store: Store, clock: VirtualClock) -> None:
        job = debounced(clock, delay=0, run_at=clock.now() + HOUR)
        await add(store, job)
        assert (await get(store, job.id)).due == clock.now() + 5 * SECOND

    async def test_a_wall_clock_that_is_set_back_begins_anew(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, debounced(clock))
        clock.step_wall(-3600)
        jobs = [debounced(clock) for _ in range(6)]
        for job in jobs:
            await add(store, job)
            clock.advance("1s")
        assert (await get(store, jobs[-1].id)).due == clock.now() - SECOND

    async def test_what_was_replaced_before_it_ran_is_kept_for_a_short_time_and_its_id_for_a_day(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = [debounced(clock, max_wait=HOUR) for _ in range(9)]
        for job in jobs:
            await add(store, job)
        assert await state_of(store, jobs[0].id) == [State.CANCELLED]
        clock.advance(REPLACED_KEEP / SECOND)
        assert await store.sweep(100) == 8
        assert (await stats_of(store)).counts[State.CANCELLED] == 0
        assert await state_of(store, jobs[0].id) == [None]
        assert await add(store, jobs[0]) == [Enqueued(jobs[0].id)]
        assert await state_of(store, jobs[0].id, jobs[-1].id) == [None, State.SCHEDULED]

    async def test_a_shorter_keep_stays_short(self, store: Store, clock: VirtualClock) -> None:
        first = debounced(clock, terms=Terms(keep=SECOND))
        await add(store, first)
        await add(store, debounced(clock))
        assert (await get(store, first.id)).purge_at == clock.now() + SECOND

    async def test_i5_a_repeat_puts_nothing_off(self, store: Store, clock: VirtualClock) -> None:
        first, second = debounced(clock), debounced(clock)
        await add(store, first)
        clock.advance("1s")
        await add(store, second)
        before = await get(store, second.id)
        clock.advance("1s")
        assert await add(store, first, second) == [Enqueued(first.id), Enqueued(second.id)]
        assert await get(store, second.id) == before

    async def test_i8_a_call_that_a_full_queue_refuses_puts_nothing_off(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        job = debounced(clock)
        await add(store, job)
        before = await get(store, job.id)
        clock.advance("1s")
        [answer] = await store.enqueue([[debounced(clock)]])
        assert not isinstance(answer, list)
        assert await get(store, job.id) == before

    async def test_with_max_wait_as_long_as_the_delay_one_job_ends_each_period(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        """A throttle of which the last call counts."""
        begin, ran = clock.now(), []
        for _ in range(150):
            job = debounced(clock, delay=MINUTE, max_wait=MINUTE)
            await add(store, job)
            await store.promote(10)
            for lease in await worker.lease(9):
                assert lease.id == job.id
                await worker.settle(done(lease))
                ran.append((clock.now() - begin) // SECOND)
            clock.advance("1s")
        assert ran == [60, 121]
