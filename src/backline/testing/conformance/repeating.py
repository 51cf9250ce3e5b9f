"""I5: every call may be repeated, because its reply may be lost after the commit.

Each test makes a call, forgets the answer, makes it again, and compares all that the store
shows before and after the repeat: nothing may have happened twice.
"""

from collections.abc import Awaitable, Callable

from backline.job import DAY, HOUR, MINUTE, Acked, Progress
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    TTL,
    BareWorker,
    add,
    done,
    failed,
    find_all,
    later,
    make_job,
    make_jobs,
    make_report,
    put_back,
    snapshot,
)


class Repeating(Harness):
    """Every method that changes something, twice."""

    async def once_is_enough(self, store: Store, call: Callable[[], Awaitable[object]]) -> object:
        """The second answer, once it is sure that the repeat changed nothing."""
        await call()
        after_first = await snapshot(store)
        held = [await store.held(name) for name in ("worker-1", "worker-2")]
        answer = await call()
        assert await snapshot(store) == after_first
        assert [await store.held(name) for name in ("worker-1", "worker-2")] == held
        return answer

    async def test_i5_enqueue_twice(self, store: Store, clock: VirtualClock) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=4)])
        jobs = [
            make_job(clock),
            make_job(clock, delay=HOUR),
            make_job(clock, unique_key="k", idempotency_key="i"),
        ]
        await self.once_is_enough(store, lambda: store.enqueue([jobs, make_jobs(clock, 0)]))
        assert len(await find_all(store)) == 3

    async def test_i5_an_enqueue_is_repeated_after_its_jobs_ran(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 2, unique_key=None)
        await store.enqueue([jobs])
        await worker.settle(*[done(lease) for lease in await worker.lease(2)])
        before = await snapshot(store)
        await store.enqueue([jobs])
        assert await snapshot(store) == before

    async def test_i5_exchange_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 8))
        leases = await worker.lease(4)
        acks = [done(leases[0]), failed(leases[1]), put_back(leases[2]), later(leases[3], HOUR)]
        first = await worker.exchange(acks, {MAIN: 2})
        answer = await self.once_is_enough(store, worker.repeat)
        assert getattr(answer, "jobs", None) == first.jobs
        assert len({lease.id for lease in await worker.lease(9)} & {j.id for j in first.jobs}) == 0

    async def test_i5_a_worker_whose_reply_was_lost_strands_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        """It repeats the call, and so learns of every job that it holds."""
        await add(store, *make_jobs(clock, 3))
        await worker.exchange((), {MAIN: 3})
        known = (await worker.repeat()).jobs
        assert {job.id for job in known} == {held.id for held in await store.held(worker.name)}
        assert await worker.settle(*[done(job) for job in known]) == [Acked.APPLIED] * 3

    async def test_i5_extend_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        leases = await worker.lease(2)
        clock.advance("10s")
        answer = await self.once_is_enough(store, lambda: store.extend(leases, TTL))
        assert answer == [True, True]

    async def test_i5_retire_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        await worker.lease(1)
        await self.once_is_enough(store, lambda: store.retire(worker.name))

    async def test_i5_promote_twice(self, store: Store, clock: VirtualClock) -> None:
        await add(store, *make_jobs(clock, 3, delay=MINUTE), make_job(clock, delay=HOUR))
        clock.advance("1m")
        assert await self.once_is_enough(store, lambda: store.promote(10)) == 0

    async def test_i5_expire_twice(self, store: Store, clock: VirtualClock) -> None:
        await add(store, *make_jobs(clock, 3, expires_in=MINUTE))
        clock.advance("2m")
        assert await self.once_is_enough(store, lambda: store.expire(10)) == 0

    async def test_i5_sweep_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        one, two, _ = await worker.lease(3)
        await worker.settle(done(one, keep=0), failed(two, keep=DAY))
        clock.advance("1m")
        await self.once_is_enough(store, lambda: store.sweep(10))
        assert len(await find_all(store)) == 2

    async def test_i5_cancel_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 2)
        await add(store, *jobs)
        await worker.lease(1)
        await self.once_is_enough(store, lambda: store.cancel([job.id for job in jobs]))

    async def test_i5_redrive_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        leases = await worker.lease(2)
        await worker.settle(*[failed(lease) for lease in leases])
        ids = [lease.id for lease in leases]
        assert await self.once_is_enough(store, lambda: store.redrive(ids)) == [False, False]

    async def test_i5_purge_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 2))
        leases = await worker.lease(2)
        await worker.settle(*[done(lease) for lease in leases])
        ids = [lease.id for lease in leases]
        assert await self.once_is_enough(store, lambda: store.purge(ids)) == [False, False]

    async def test_i5_progress_twice(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        report = Progress(lease.id, lease.attempt, 1.0, 2.0, "half")
        answer = await self.once_is_enough(store, lambda: store.progress([report]))
        assert answer == [True]

    async def test_i5_configure_twice(self, store: Store) -> None:
        settings = QueueSettings(queue=QUEUE, max_depth=3, paused=True)
        await self.once_is_enough(store, lambda: store.configure([settings]))
        await self.once_is_enough(store, lambda: store.configure([settings], declared=True))

    async def test_i5_report_twice(self, store: Store, clock: VirtualClock) -> None:
        reports = [make_report("a")]
        await store.report(reports, MINUTE)
        first = await store.workers()
        await store.report(reports, MINUTE)
        assert await store.workers() == first

    async def test_i5_open_migrate_and_close_twice(self, store: Store, clock: VirtualClock) -> None:
        await add(store, make_job(clock))
        await store.open()
        version = await store.migrate()
        assert await store.migrate() == version
        assert len(await find_all(store)) == 1
        await store.close()
        await store.close()
        await store.open()

    async def test_i1_i5_a_job_outlives_every_repeat_of_everything(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        """The calls of a whole life, each of them made twice."""
        job = make_job(clock, delay=MINUTE)
        for _ in range(2):
            await add(store, job)
        clock.advance("1m")
        for _ in range(2):
            await store.promote(10)
        await worker.exchange((), {MAIN: 1})
        [lease] = (await worker.repeat()).jobs
        clock.advance("31s")
        reaper = BareWorker(store, "reaper")
        await reaper.exchange([put_back(lease, if_overdue=True)])
        await reaper.repeat()
        await worker.exchange([done(lease)], {MAIN: 1})
        [lease] = (await worker.repeat()).jobs
        assert lease.attempt == 2
        await worker.exchange([done(lease)], {MAIN: 1})
        again = await worker.repeat()
        assert (again.acks, again.jobs) == ([Acked.ALREADY], [])
        [record] = await find_all(store)
        assert (record.state, record.attempt) == (State.SUCCEEDED, 2)
