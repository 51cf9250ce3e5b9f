"""Past the store: what it writes is what it should, and what it reads is what is there."""

from typing import Any

from msgspec import Raw

from backline.job import (
    DAY,
    HOUR,
    AttemptError,
    Backoff,
    FollowUp,
    JobRecord,
    Lane,
    Terms,
)
from backline.states import State
from backline.store import Edit, Edited, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    CELL,
    MAIN,
    BareWorker,
    add,
    done,
    failed,
    find_all,
    get,
    later,
    make_job,
    make_jobs,
    stats_of,
)
from backline.testing.raw import RAW_FIELDS, RawAccess


def plain(record: JobRecord) -> dict[str, Any]:
    """A record as `RawAccess.read` answers it."""
    values = {name: getattr(record, name) for name in RAW_FIELDS}
    for name in ("payload", "result"):
        values[name] = None if values[name] is None else bytes(values[name])
    return values


class LookingBehind(Harness):
    """Writes and reads apart; rows that cannot be read. Needs `make_raw`."""

    async def test_what_the_store_shows_is_what_is_kept(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 5, priority=4, expires_in=DAY))
        await add(store, make_job(clock, delay=HOUR, unique_key="k", lane=Lane.CELL))
        one, two, three, four = await worker.lease(4)
        await worker.settle(done(one, b"[1]"), failed(two), later(three, HOUR))
        await store.cancel([four.id])
        for record in await find_all(store):
            row = raw.read(record.id)
            assert row is not None
            assert {name: row[name] for name in RAW_FIELDS} == plain(record)
        assert raw.read(clock.new_id()) is None

    async def test_an_enqueue_writes_the_row_that_it_should(
        self, store: Store, raw: RawAccess, clock: VirtualClock
    ) -> None:
        job = make_job(clock, payload=Raw(b'[["\\u00e9"],{}]'), priority=-7, delay=5)
        await add(store, job)
        row = raw.read(job.id)
        assert row is not None
        assert {name: row[name] for name in RAW_FIELDS} == {
            "id": job.id,
            "task": "app.send",
            "queue": "mail",
            "lane": "main",
            "state": "scheduled",
            "priority": -7,
            "payload": b'[["\\u00e9"],{}]',
            "due": clock.now() + 5,
            "attempt": 0,
            "failures": 0,
            "losses": 0,
            "releases": 0,
            "unique_key": None,
            "enqueued_at": clock.now(),
            "started_at": None,
            "finished_at": None,
            "expires_at": None,
            "purge_at": None,
            "worker": None,
            "cancel": False,
            "result": None,
        }

    async def test_a_planted_row_is_read_as_it_is(
        self, store: Store, raw: RawAccess, clock: VirtualClock
    ) -> None:
        now = clock.now()
        record = JobRecord(
            id=clock.new_id(),
            task="app.cut",
            queue="film",
            lane=Lane.CELL,
            state=State.DEAD,
            priority=9,
            payload=Raw(b"[[],{}]"),
            due=now - HOUR,
            attempt=3,
            failures=2,
            losses=1,
            releases=4,
            terms=Terms(max_attempts=2, backoff=Backoff(delays=(1, 2))),
            headers={"a": "b"},
            tags=("t",),
            enqueued_at=now - DAY,
            started_at=now - 3,
            finished_at=now - 2,
            purge_at=now + DAY,
            worker="w",
            errors=(AttemptError(2, "E", "m", "t", now - 2),),
        )
        raw.write(record)
        assert await get(store, record.id) == record
        assert [found.id for found in await find_all(store)] == [record.id]
        assert (await stats_of(store, "film")).counts[State.DEAD] == 1
        assert await store.redrive([record.id]) == [True]

    async def test_a_planted_job_runs(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        record = JobRecord(
            id=clock.new_id(),
            task="app.cut",
            queue="mail",
            lane=Lane.MAIN,
            state=State.READY,
            priority=0,
            payload=Raw(b"[[],{}]"),
            due=clock.now(),
            attempt=4,
            enqueued_at=clock.now(),
        )
        raw.write(record)
        [lease] = await worker.lease()
        assert (lease.id, lease.attempt) == (record.id, 5)
        await worker.settle(done(lease))
        assert (await get(store, record.id)).state is State.SUCCEEDED


class Malformed(Harness):
    """Rows that cannot be read as jobs. Needs `make_raw`."""

    checks_sums = False

    async def test_a_row_that_cannot_be_read_goes_dead_and_the_others_run(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for field in ("terms", "headers"):
            bad, good, also = make_jobs(clock, 3)
            await add(store, bad, good, also)
            raw.corrupt(bad.id, field, b"\xff{ no JSON")
            leases = await worker.lease(2)
            assert [lease.id for lease in leases] == [good.id, also.id]
            row = raw.read(bad.id)
            assert row is not None
            assert (row["state"], row["finished_at"]) == ("dead", clock.now())
            await worker.settle(*[done(lease) for lease in leases])
        stats = await stats_of(store)
        assert (stats.counts[State.DEAD], stats.counts[State.SUCCEEDED]) == (2, 4)
        assert await store.held(worker.name) == []
        clock.advance("1h")
        assert await store.overdue(10) == []

    async def test_a_dead_malformed_row_can_be_shown_and_purged(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        bad, good = make_jobs(clock, 2)
        await add(store, bad, good)
        raw.corrupt(bad.id, "headers", b"\xff{ no JSON")
        await worker.lease(2)
        record = await get(store, bad.id)
        assert record.state is State.DEAD
        assert [error.kind for error in record.errors] == ["malformed"]
        assert {found.id for found in await find_all(store)} == {bad.id, good.id}
        assert await store.purge([bad.id]) == [True]

    async def test_a_malformed_row_stops_no_edit_of_the_others(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        bad, good = make_jobs(clock, 2)
        await add(store, bad, good)
        raw.corrupt(bad.id, "headers", b"\xff{ no JSON")
        change = Edit(queue="film", priority=5, delay=0)
        assert await store.edit([bad.id, good.id], change) == [Edited.EDITED] * 2
        assert [lease.id for lease in await worker.lease(9, "film")] == [good.id]
        assert (await stats_of(store, "film")).counts[State.DEAD] == 1

    async def test_i14_the_death_of_a_malformed_row_has_follow_ups(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for field in ("terms", "headers"):
            after = FollowUp((State.DEAD,), make_job(clock, task="app.after", queue="after"))
            bad = make_job(clock, follow_ups=(after,))
            await add(store, bad)
            raw.corrupt(bad.id, field, b"\xff{ no JSON")
            assert await worker.lease() == []
        assert (await stats_of(store, "after")).counts[State.READY] == 2

    async def test_a_malformed_row_is_kept_as_its_terms_say_or_else_as_by_default(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for field, kept in (("headers", HOUR), ("terms", Terms().keep_dead)):
            bad = make_job(clock, terms=Terms(keep_dead=HOUR))
            await add(store, bad)
            raw.corrupt(bad.id, field, b"\xff{ no JSON")
            assert await worker.lease() == []
            assert (await get(store, bad.id)).purge_at == clock.now() + kept

    async def test_a_queue_of_nothing_but_malformed_rows_is_drained(
        self, store: Store, raw: RawAccess, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 5)
        cell = make_job(clock, lane=Lane.CELL)
        await add(store, *jobs, cell)
        for job in jobs:
            raw.corrupt(job.id, "terms", b"\xff")
        exchange = await worker.exchange((), {MAIN: 2, CELL: 2})
        assert [lease.id for lease in exchange.jobs] == [cell.id]
        for _ in range(3):
            await worker.lease(2)
        assert (await stats_of(store)).counts[State.DEAD] == 5
