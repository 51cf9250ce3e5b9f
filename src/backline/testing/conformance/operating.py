"""What people and the reaper do: promote, expire, sweep, cancel, redrive, purge, configure."""

from msgspec import Raw

from backline.job import DAY, HOUR, MINUTE, SECOND, Acked, Charge, Enqueued, Lane, Terms
from backline.states import State
from backline.store import Cancelling, Filter, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
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
    stats_of,
)


class Upkeep(Harness):
    """`promote`, `expire`, `sweep`."""

    async def test_i7_promote_takes_what_is_due_earliest_first(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = [
            make_job(clock, delay=delay * SECOND, queue=queue)
            for delay, queue in ((4, QUEUE), (1, "film"), (3, QUEUE), (2, "film"), (9, QUEUE))
        ]
        await add(store, *jobs)
        clock.advance("5s")
        assert await store.promote(3) == 3
        states = await state_of(store, *[job.id for job in jobs])
        assert states == [
            State.SCHEDULED,
            State.READY,
            State.READY,
            State.READY,
            State.SCHEDULED,
        ]
        assert await store.promote(3) == 1
        assert await store.promote(3) == 0

    async def test_promote_takes_exactly_what_is_due(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await add(store, make_job(clock, delay=5), make_job(clock, delay=6))
        clock.advance("0.005ms")
        assert await store.promote(10) == 1

    async def test_promote_keeps_paused_queues_in_mind(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, delay=SECOND)
        await add(store, job)
        await store.configure([QueueSettings(queue=QUEUE, paused=True)])
        clock.advance("1s")
        assert await store.promote(10) == 1
        assert await worker.lease() == []
        assert await state_of(store, job.id) == [State.READY]

    async def test_expire_ends_jobs_that_have_not_started(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        terms = Terms(keep=HOUR)
        ready = make_job(clock, expires_in=MINUTE, terms=terms)
        scheduled = make_job(clock, expires_in=MINUTE, delay=HOUR)
        fresh, endless = make_job(clock, expires_in=HOUR), make_job(clock)
        await add(store, ready, scheduled, fresh, endless)
        clock.advance("59s")
        assert await store.expire(10) == 0
        clock.advance("2s")
        assert await store.expire(10) == 2
        assert await store.expire(10) == 0
        states = await state_of(store, ready.id, scheduled.id, fresh.id, endless.id)
        assert states == [State.EXPIRED, State.EXPIRED, State.READY, State.READY]
        record = await get(store, ready.id)
        assert (record.finished_at, record.purge_at) == (clock.now(), clock.now() + HOUR)
        leased = {lease.id for lease in await worker.lease(9)}
        assert leased == {fresh.id, endless.id}
        clock.advance("1h")
        assert await store.promote(10) == 0

    async def test_expire_is_bounded(self, store: Store, clock: VirtualClock) -> None:
        await add(store, *make_jobs(clock, 5, expires_in=SECOND))
        clock.advance("2s")
        assert [await store.expire(2) for _ in range(4)] == [2, 2, 1, 0]

    async def test_a_job_that_has_started_never_expires(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3, expires_in=MINUTE))
        running, retried, released = await worker.lease(3)
        await worker.settle(later(retried, HOUR), put_back(released))
        clock.advance("2m")
        assert await store.expire(10) == 0
        states = await state_of(store, running.id, retried.id, released.id)
        assert states == [State.RUNNING, State.SCHEDULED, State.READY]
        assert [lease.id for lease in await worker.lease(9)] == [released.id]

    async def test_sweep_purges_what_is_past_its_keep(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4))
        short, long, dead, running = await worker.lease(4)
        await worker.settle(done(short, keep=MINUTE), done(long, keep=DAY), failed(dead, keep=2))
        queued = make_job(clock)
        await add(store, queued)
        assert await store.sweep(100) == 0
        clock.advance("2m")
        assert await store.sweep(100) == 2
        states = await state_of(store, short.id, long.id, dead.id, running.id, queued.id)
        assert states == [None, State.SUCCEEDED, None, State.RUNNING, State.READY]
        stats = await stats_of(store)
        assert stats.purged == 2
        assert (stats.counts[State.SUCCEEDED], stats.counts[State.DEAD]) == (1, 0)
        clock.advance("1d")
        await store.sweep(100)
        assert (await stats_of(store)).purged == 3

    async def test_sweep_is_bounded(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 5))
        await worker.settle(*[done(lease, keep=0) for lease in await worker.lease(5)])
        clock.advance("1s")
        assert await store.sweep(2) == 2
        assert len(await find_all(store)) == 3
        assert (await stats_of(store)).purged == 2

    async def test_sweep_never_takes_a_job_that_is_live_again(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        lease = await worker.run_one(failed, keep=MINUTE)
        await store.redrive([lease.id])
        clock.advance("1h")
        await store.sweep(100)
        assert await state_of(store, lease.id) == [State.READY]
        await worker.run_one(done, keep=HOUR)
        clock.advance("30m")
        await store.sweep(100)
        assert await state_of(store, lease.id) == [State.SUCCEEDED]

    async def test_what_was_purged_is_gone_from_every_view(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, tags=("t",))
        await add(store, job)
        await worker.run_one(done, keep=0)
        clock.advance("1s")
        await store.sweep(100)
        assert await store.get([job.id]) == [None]
        assert await find_all(store) == []
        assert await find_all(store, Filter(tag="t")) == []
        assert await store.cancel([job.id]) == [Cancelling.UNKNOWN]
        assert await store.redrive([job.id]) == [False]
        assert await store.purge([job.id]) == [False]


class Operating(Harness):
    """`cancel`, `redrive`, `purge`, `configure`."""

    async def test_i6_cancel_answers_for_each_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        ready, ended = make_jobs(clock, 2)
        running = make_job(clock, priority=9)
        scheduled = make_job(clock, delay=HOUR, terms=Terms(keep=MINUTE))
        await add(store, ended)
        await worker.settle(done((await worker.lease())[0]))
        await add(store, ready, running, scheduled)
        await worker.lease(1)
        ids = [ended.id, scheduled.id, clock.new_id(), running.id, ready.id]
        assert await store.cancel(ids) == [
            Cancelling.ENDED,
            Cancelling.CANCELLED,
            Cancelling.UNKNOWN,
            Cancelling.REQUESTED,
            Cancelling.CANCELLED,
        ]
        states = await state_of(store, *ids)
        assert states == [
            State.SUCCEEDED,
            State.CANCELLED,
            None,
            State.RUNNING,
            State.CANCELLED,
        ]
        record = await get(store, scheduled.id)
        assert (record.finished_at, record.purge_at) == (clock.now(), clock.now() + MINUTE)
        assert (await get(store, running.id)).cancel
        assert await worker.lease(9) == []
        clock.advance("1h")
        assert await store.promote(10) == 0

    async def test_ids_that_no_job_can_have_are_unknown(
        self, store: Store, clock: VirtualClock
    ) -> None:
        [job] = make_jobs(clock, 1)
        await add(store, job)
        strange = ["", "\0", "\ud800", "\x1b[2J", "x" * 100_000, f"{job.id} ", job.id.upper() + "g"]
        assert await store.get(strange) == [None] * len(strange)
        assert await store.cancel(strange) == [Cancelling.UNKNOWN] * len(strange)
        assert await store.redrive(strange) == [False] * len(strange)
        assert await store.purge(strange) == [False] * len(strange)
        assert (await get(store, job.id)).state is State.READY

    async def test_i5_a_repeated_cancel_changes_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        await worker.lease()
        waiting = make_job(clock)
        await add(store, waiting)
        [running] = [job for job in await find_all(store) if job.id != waiting.id]
        ids = [running.id, waiting.id]
        assert await store.cancel(ids) == [Cancelling.REQUESTED, Cancelling.CANCELLED]
        before = await find_all(store)
        clock.advance("1s")
        assert await store.cancel(ids) == [Cancelling.REQUESTED, Cancelling.ENDED]
        assert await find_all(store) == before

    async def test_redrive_starts_a_finished_job_over(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock)
        await add(store, job)
        await worker.run_one(failed, charge=Charge.FAILURE, result=Raw(b"1"))
        clock.advance("1h")
        assert await store.redrive([job.id]) == [True]
        record = await get(store, job.id)
        assert (record.state, record.failures, record.due) == (State.READY, 0, clock.now())
        assert (record.finished_at, record.purge_at, record.result) == (None, None, None)
        assert len(record.errors) == 1
        [again] = await worker.lease()
        assert (again.id, again.attempt, again.failures) == (job.id, 2, 0)

    async def test_i6_redrive_answers_for_each_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 4))
        succeeded, dead, cancelled, running = await worker.lease(4)
        await worker.settle(done(succeeded), failed(dead), ack(cancelled, State.CANCELLED))
        expired = make_job(clock, expires_in=SECOND)
        ready = make_job(clock)
        await add(store, expired, ready)
        clock.advance("2s")
        await store.expire(10)
        ids = [
            succeeded.id,
            dead.id,
            running.id,
            clock.new_id(),
            cancelled.id,
            ready.id,
            expired.id,
        ]
        answers = [False, True, False, False, True, False, True]
        assert await store.redrive(ids) == answers
        assert await store.redrive(ids) == [False] * 7
        assert len(await worker.lease(9)) == 4

    async def test_a_redriven_job_does_not_expire_at_once(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = make_job(clock, expires_in=SECOND)
        await add(store, job)
        clock.advance("2s")
        await store.expire(10)
        await store.redrive([job.id])
        assert await store.expire(10) == 0
        assert [lease.id for lease in await worker.lease()] == [job.id]

    async def test_redrive_forgets_a_cancel_request(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await store.cancel([lease.id])
        await worker.settle(failed(lease))
        await store.redrive([lease.id])
        await worker.run_one(put_back)
        assert await state_of(store, lease.id) == [State.READY]

    async def test_i4_a_redriven_job_stands_behind_those_that_waited(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = make_job(clock)
        await add(store, first)
        await store.cancel([first.id])
        second = make_job(clock)
        await add(store, second)
        clock.advance("1s")
        await store.redrive([first.id])
        assert [lease.id for lease in await worker.lease(9)] == [second.id, first.id]

    async def test_i6_purge_takes_finished_jobs_only(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3))
        ended, running = await worker.lease(2)
        await worker.settle(done(ended, keep=DAY))
        [ready] = [job for job in await find_all(store) if job.state is State.READY]
        ids = [running.id, ended.id, clock.new_id(), ready.id]
        assert await store.purge(ids) == [False, True, False, False]
        assert await store.purge(ids) == [False] * 4
        assert await state_of(store, *ids) == [State.RUNNING, None, None, State.READY]
        stats = await stats_of(store)
        assert (stats.purged, stats.counts[State.SUCCEEDED]) == (1, 0)
        clock.advance("3d")
        await store.sweep(100)
        assert (await stats_of(store)).purged == 1

    async def test_settings_that_are_not_given_stay(self, store: Store) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=5, paused=True)])
        await store.configure([QueueSettings(queue=QUEUE, paused=False)])
        stats = await stats_of(store)
        assert (stats.max_depth, stats.paused) == (5, False)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=None)])
        stats = await stats_of(store)
        assert (stats.max_depth, stats.paused) == (None, False)

    async def test_configure_makes_queues_and_several_at_once(self, store: Store) -> None:
        await store.configure(
            [QueueSettings(queue="b", max_depth=1), QueueSettings(queue="a", paused=True)]
        )
        found = [(s.queue, s.max_depth, s.paused, s.depth) for s in await store.stats()]
        assert found == [("a", None, True, 0), ("b", 1, False, 0)]

    async def test_an_operators_edit_stays_until_the_declaration_changes(
        self, store: Store
    ) -> None:
        declared = QueueSettings(queue=QUEUE, max_depth=10)
        await store.configure([declared], declared=True)
        assert (await stats_of(store)).max_depth == 10
        await store.configure([QueueSettings(queue=QUEUE, max_depth=20)])
        await store.configure([declared], declared=True)
        assert (await stats_of(store)).max_depth == 20
        await store.configure([QueueSettings(queue=QUEUE, max_depth=11)], declared=True)
        assert (await stats_of(store)).max_depth == 11
        await store.configure([declared], declared=True)
        assert (await stats_of(store)).max_depth == 10

    async def test_a_declaration_without_an_opinion_undoes_no_edit(self, store: Store) -> None:
        limited, silent = QueueSettings(queue=QUEUE, max_depth=10), QueueSettings(queue=QUEUE)
        await store.configure([silent], declared=True)
        assert (await stats_of(store)).max_depth is None
        await store.configure([limited], declared=True)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=20, paused=True)])
        for declared in (silent, limited, QueueSettings(queue=QUEUE, paused=False), limited):
            await store.configure([declared], declared=True)
        stats = await stats_of(store)
        assert (stats.max_depth, stats.paused) == (20, False)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=None)], declared=True)
        assert (await stats_of(store)).max_depth is None

    async def test_a_first_declaration_applies_over_an_edit(self, store: Store) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=20)])
        await store.configure([QueueSettings(queue=QUEUE, max_depth=None)], declared=True)
        assert (await stats_of(store)).max_depth is None

    async def test_a_limit_that_is_lowered_takes_nothing_away(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 5)
        await add(store, *jobs)
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        exchange = await worker.exchange((), {MAIN: 9})
        assert [lease.id for lease in exchange.jobs] == [job.id for job in jobs]
        answers = await worker.settle(*[done(lease) for lease in exchange.jobs])
        assert answers == [Acked.APPLIED] * 5
        assert await add(store, fresh := make_job(clock, lane=Lane.CELL)) == [Enqueued(fresh.id)]
