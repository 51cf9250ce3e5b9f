"""Looking: get, find, stats, reports of workers, hints."""

import asyncio

from msgspec import Raw
from msgspec.structs import replace

from backline.job import EMPTY_ARGS, HOUR, MINUTE, SECOND, AttemptError, Lane, OnConflict
from backline.states import TERMINAL, State
from backline.store import Filter, Hint, Page, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
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
    make_report,
    put_back,
    stats_of,
)

PATIENCE = 5
"""Seconds of real time within which a hint must have come."""


class Reading(Harness):
    """`get`, `find`, `stats`."""

    async def test_i6_get_answers_in_the_order_of_ids(
        self, store: Store, clock: VirtualClock
    ) -> None:
        one, two = make_jobs(clock, 2)
        await add(store, one, two)
        records = await store.get([two.id, clock.new_id(), one.id, two.id])
        ids = [None if record is None else record.id for record in records]
        assert ids == [two.id, None, one.id, two.id]
        assert await store.get([]) == []
        assert await store.get(["", "no id at all", "x" * 5_000]) == [None] * 3

    async def test_find_pages_newest_first_or_oldest_first(
        self, store: Store, clock: VirtualClock
    ) -> None:
        jobs = make_jobs(clock, 7)
        await add(store, *jobs[3:])
        await add(store, *jobs[:3])
        ids = [job.id for job in jobs]

        assert [record.id for record in await find_all(store, page=3)] == ids[::-1]
        first = await store.find(Filter(), limit=3)
        assert [record.id for record in first.jobs] == ids[::-1][: len(first.jobs)]
        assert first.after is not None
        rest = await store.find(Filter(), limit=100, after=ids[3])
        assert [record.id for record in rest.jobs] == ids[2::-1]

        found: list[str] = []
        after = None
        while True:
            page = await store.find(Filter(), limit=4, after=after, oldest_first=True)
            assert len(page.jobs) <= 4
            found += [record.id for record in page.jobs]
            after = page.after
            if after is None:
                break
        assert found == ids

    async def test_a_page_of_nothing_is_the_last(self, store: Store, clock: VirtualClock) -> None:
        await add(store, make_job(clock))
        empty = await store.find(Filter(queue="nobody"), limit=4)
        assert (empty.jobs, empty.after) == ([], None)
        assert await find_all(store, Filter(task="nobody")) == []

    async def test_find_by_every_field_and_by_all_together(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        mail = make_job(clock, tags=("red", "blue"))
        film = make_job(clock, queue="film", tags=("red",))
        cut = make_job(clock, queue="film", task="app.cut", delay=HOUR)
        await add(store, mail, film, cut)
        await worker.settle(done((await worker.lease())[0]))

        async def found(**fields: object) -> list[str]:
            where = Filter(**fields)  # type: ignore[arg-type]
            return [record.id for record in await find_all(store, where)]

        assert await found() == [cut.id, film.id, mail.id]
        assert await found(queue="film") == [cut.id, film.id]
        assert await found(task="app.send") == [film.id, mail.id]
        assert await found(tag="red") == [film.id, mail.id]
        assert await found(tag="re") == []
        assert await found(states=frozenset({State.READY})) == [film.id]
        assert await found(states=TERMINAL) == [mail.id]
        both = frozenset({State.SCHEDULED, State.READY})
        assert await found(states=both) == [cut.id, film.id]
        assert await found(queue="film", tag="red", states=both, task="app.send") == [film.id]
        assert await found(queue=QUEUE, task="app.cut") == []

    async def test_find_by_priority_time_of_enqueue_and_error(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        begin = clock.now()
        await add(store, early := make_job(clock, priority=3))
        clock.advance("1m")
        await add(store, dead := make_job(clock, priority=4), other := make_job(clock, priority=4))
        leases = await worker.lease(3)
        route, disk = AttemptError(1, "mail.routes.NoRoute", "m"), AttemptError(1, "DiskFull", "m")
        errors = {dead.id: route, other.id: disk}
        for lease in leases[:2]:
            await worker.settle(ack(lease, State.DEAD, error=errors[lease.id]))
        await store.redrive([other.id])
        await worker.run_one(ack, State.DEAD, error=route)

        async def found(**fields: object) -> list[str]:
            where = Filter(**fields)  # type: ignore[arg-type]
            return [record.id for record in await find_all(store, where, page=1)]

        assert await found(priority=3) == [early.id]
        assert await found(priority=0) == []
        assert await found(enqueued_from=begin, enqueued_before=begin + 1) == [early.id]
        assert await found(enqueued_from=begin + 1) == [other.id, dead.id]
        assert await found(enqueued_before=begin) == []
        assert await found(error="NoRoute") == [other.id, dead.id]
        for full in ("mail.routes.NoRoute", "routes.NoRoute"):
            assert await found(error=full) == [other.id, dead.id]
        for other_kind in ("DiskFull", "Route", "mail.routes", "routes_NoRoute", "", "x" * 300):
            assert await found(error=other_kind) == []
        both = frozenset({State.DEAD})
        assert await found(error="NoRoute", states=both, enqueued_from=begin) == [other.id, dead.id]

    async def test_without_payloads_nothing_that_may_be_large_comes_along(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 3, payload=Raw(b'[["x"],{}]'), tags=("t",)))
        one, two, _ = await worker.lease(3)
        await worker.settle(done(one, b"[1]"), failed(two))
        for where in (Filter(), Filter(states=frozenset({State.DEAD})), Filter(error="OSError")):
            whole = (await store.find(where, limit=9)).jobs
            small = (await store.find(where, limit=9, payloads=False)).jobs
            assert small == [
                replace(job, payload=EMPTY_ARGS, result=None, errors=()) for job in whole
            ]

    async def test_pages_of_few_among_many(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 300))
        leases = await worker.lease(300)
        acks = [failed(le) if n % 30 == 0 else done(le) for n, le in enumerate(leases)]
        await worker.settle(*acks)
        dead = [lease.id for lease in leases[::30]]
        where = Filter(states=frozenset({State.DEAD}))
        assert [r.id for r in await find_all(store, where, page=3)] == dead[::-1]
        page = await store.find(where, limit=4, after=dead[2], oldest_first=True)
        assert [record.id for record in page.jobs] == dead[3:7][: len(page.jobs)]

    async def test_i11_the_counts_follow_a_job_through_its_life(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        async def counts() -> dict[str, int]:
            found = await stats_of(store)
            assert set(found.counts) == set(State)
            return {state.value: n for state, n in found.counts.items() if n}

        await add(store, *make_jobs(clock, 4), make_job(clock, delay=HOUR))
        assert await counts() == {"ready": 4, "scheduled": 1}
        assert (await stats_of(store)).depth == 5
        one, two, three = await worker.lease(3)
        assert await counts() == {"ready": 1, "running": 3, "scheduled": 1}
        assert (await stats_of(store)).depth == 2
        await worker.settle(done(one), failed(two), later(three, SECOND))
        assert await counts() == {"ready": 1, "scheduled": 2, "succeeded": 1, "dead": 1}
        await store.cancel([three.id])
        assert await counts() == {
            "ready": 1,
            "scheduled": 1,
            "succeeded": 1,
            "dead": 1,
            "cancelled": 1,
        }
        await store.redrive([two.id])
        await store.purge([one.id])
        assert await counts() == {"ready": 2, "scheduled": 1, "cancelled": 1}
        assert (await stats_of(store)).purged == 1

    async def test_stats_tell_of_cells_and_of_the_oldest_ready_job(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        now = clock.now()
        await store.configure([QueueSettings(queue=QUEUE)])
        stats = await stats_of(store)
        assert (stats.cells, stats.oldest_ready, stats.drain_rate) == (0, None, 0.0)
        await add(store, make_job(clock, delay=HOUR))
        assert (await stats_of(store)).oldest_ready is None
        await add(store, make_job(clock, priority=5))
        clock.advance("1s")
        await add(store, make_job(clock, run_at=now - MINUTE, lane=Lane.CELL), make_job(clock))
        stats = await stats_of(store)
        assert (stats.cells, stats.oldest_ready) == (1, now - MINUTE)
        [cell] = (await worker.exchange((), {CELL: 5})).jobs
        stats = await stats_of(store)
        assert (stats.cells, stats.oldest_ready) == (0, now)
        await worker.lease(1)
        assert (await stats_of(store)).oldest_ready == now + SECOND
        await worker.settle(put_back(cell))
        assert (await stats_of(store)).cells == 1
        await store.cancel([cell.id])
        assert (await stats_of(store)).cells == 0

    async def test_stats_are_by_name_and_of_every_queue_that_ever_was(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        assert await store.stats() == []
        for queue in ("b", "c", "a"):
            await add(store, make_job(clock, queue=queue))
            [lease] = await worker.lease(1, queue)
            await worker.settle(done(lease, keep=0))
        clock.advance("3d")
        await store.sweep(100)
        await store.sweep(100)
        found = [(stats.queue, stats.purged, stats.depth) for stats in await store.stats()]
        assert found == [("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]

    async def test_the_drain_rate_counts_endings_and_fades(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 60))
        for _ in range(5):
            await worker.settle(*[put_back(lease) for lease in await worker.lease(5)])
        assert (await stats_of(store)).drain_rate == 0.0
        for _ in range(10):
            await worker.settle(*[done(lease) for lease in await worker.lease(5)])
            clock.advance("1s")
        rate = (await stats_of(store)).drain_rate
        assert 0.5 <= rate <= 10
        clock.advance("1h")
        assert (await stats_of(store)).drain_rate == 0.0

    async def test_the_arrival_rate_counts_what_became_ready_and_fades(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        async def rate() -> float:
            return (await stats_of(store)).arrival_rate

        await add(store, make_job(clock, lane=Lane.CELL), make_job(clock, delay=20 * SECOND))
        assert await rate() == 0.0
        jobs = make_jobs(clock, 30)
        await add(store, *jobs)
        assert await rate() == 3.0  # a burst is spread over ten seconds
        await add(store, *jobs)  # a repeat adds nothing
        for _ in range(3):
            await worker.settle(*[put_back(lease) for lease in await worker.lease(9)])
        assert await rate() == 3.0
        clock.advance("20s")
        before = await rate()
        assert await store.promote(9) == 1
        assert await rate() > before
        clock.advance("1h")
        assert await rate() == 0.0
        [dead] = await worker.lease()
        await worker.settle(failed(dead))
        assert await store.redrive([dead.id]) == [True]
        assert await rate() == 0.1

    async def test_the_arrival_rate_counts_the_job_that_a_key_let_go(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, unique_key="k"))
        [first] = await worker.lease(1)
        await add(store, make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE))
        assert (await stats_of(store)).arrival_rate == 0.1
        await worker.settle(done(first))
        assert (await stats_of(store)).arrival_rate == 0.2

    async def test_a_record_shows_the_running_attempt(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock))
        [lease] = await worker.lease()
        await worker.settle(put_back(lease))
        clock.advance("1s")
        await BareWorker(store, "worker-2").lease()
        record = await get(store, lease.id)
        assert (record.worker, record.attempt) == ("worker-2", 2)
        assert record.started_at == clock.now()

    async def test_ids_are_in_the_order_of_their_bytes(
        self, store: Store, clock: VirtualClock
    ) -> None:
        ids = ["a9", "B", "a10", "_", "b", "-", "A", "~", "0"]
        await add(store, *[make_job(clock, id=job_id) for job_id in ids])
        in_order = sorted(ids, key=str.encode)
        assert [job.id for job in await find_all(store, page=2)] == in_order[::-1]
        page = await store.find(Filter(), limit=9, after="B", oldest_first=True)
        beyond = in_order[in_order.index("B") + 1 :]
        assert [job.id for job in page.jobs] == beyond[: len(page.jobs)]

    async def test_a_limit_below_one_is_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, make_job(clock, delay=SECOND), make_job(clock, expires_in=SECOND))
        await add(store, *make_jobs(clock, 2, priority=9))
        ended, running = await worker.lease(2)
        await worker.settle(done(ended, keep=0))
        clock.advance("1m")
        for limit in (0, -5):
            assert await store.find(Filter(), limit=limit) == Page([], None)
            assert await store.overdue(limit) == []
            assert await store.promote(limit) == 0
            assert await store.expire(limit) == 0
            assert await store.sweep(limit) == 0
        assert [held.id for held in await store.overdue(1)] == [running.id]
        assert [await store.promote(1), await store.expire(1), await store.sweep(1)] == [1, 1, 1]


class Watching(Harness):
    """`report`, `workers`, `watch`."""

    async def test_workers_are_listed_by_name_until_their_reports_lapse(
        self, store: Store, clock: VirtualClock
    ) -> None:
        assert await store.workers() == []
        await store.report([make_report("b"), make_report("a")], MINUTE)
        first = clock.now()
        clock.advance("50s")
        await store.report([make_report("b", running=0, seen_at=1)], MINUTE)
        assert await store.workers() == [
            make_report("a", seen_at=first),
            make_report("b", running=0, seen_at=clock.now()),
        ]
        clock.advance("11s")
        assert [report.worker for report in await store.workers()] == ["b"]
        await store.sweep(100)
        assert [report.worker for report in await store.workers()] == ["b"]
        clock.advance("50s")
        assert await store.workers() == []

    async def test_work_is_hinted_when_a_job_becomes_ready_or_due_sooner(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        woken = asyncio.Event()

        async def hinted() -> None:
            async with asyncio.timeout(PATIENCE):
                await woken.wait()
            woken.clear()

        async with store.watch({Hint.WORK}, woken.set):
            await add(store, make_job(clock, delay=HOUR))
            await hinted()
            await add(store, make_job(clock, delay=MINUTE))
            await hinted()
            await add(store, make_job(clock))
            await hinted()
            await worker.run_one(put_back)
            await hinted()
            clock.advance("2m")
            assert await store.promote(10) == 1
            await hinted()

    async def test_the_end_of_a_job_is_hinted(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        woken = asyncio.Event()
        await add(store, *make_jobs(clock, 2))
        [lease] = await worker.lease()
        async with store.watch([Hint.FINISHED], woken.set):
            await worker.settle(done(lease))
            async with asyncio.timeout(PATIENCE):
                await woken.wait()
            woken.clear()
            await store.cancel([job.id for job in await find_all(store)])
            async with asyncio.timeout(PATIENCE):
                await woken.wait()

    async def test_hints_pass_between_handles(
        self, store: Store, other: Store, clock: VirtualClock
    ) -> None:
        woken = asyncio.Event()
        async with store.watch({Hint.WORK}, woken.set):
            await add(other, make_job(clock))
            async with asyncio.timeout(PATIENCE):
                await woken.wait()

    async def test_nobody_is_woken_after_they_left(self, store: Store, clock: VirtualClock) -> None:
        woken = asyncio.Event()
        async with store.watch(set(Hint), woken.set):
            pass
        await add(store, make_job(clock))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not woken.is_set()
