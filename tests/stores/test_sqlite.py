"""The SQLite store keeps the contract."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from msgspec import Raw

from backline.fanout import Publication
from backline.job import DAY, Awaited, FollowUp, JobId, JobRecord, JobRequest, Terms
from backline.states import State
from backline.store import Filter, Store
from backline.stores.sqlite import SqliteStore, finding
from backline.testing.clock import VirtualClock
from backline.testing.conformance import MakeStore, Malformed, Reading, StoreConformance
from backline.testing.conformance.jobs import (
    BareWorker,
    add,
    failed,
    make_job,
    make_jobs,
    parked,
    stats_of,
)
from backline.testing.machine import check_against_model
from backline.testing.raw import RAW_FIELDS, RawAccess


class SqliteRaw:
    """Behind a SQLite store: a connection of its own, through the same copy of SQLite."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))

    def read(self, job_id: JobId) -> Mapping[str, Any] | None:
        rows = self._db.execute(
            "select job.id, task, queue.name as queue, lane, state, -rank as priority,"
            " cast(payload as blob) as payload, due, attempt, failures, losses, releases,"
            " unique_key, enqueued_at, started_at, finished_at, expires_at, purge_at, worker,"
            " cancel, cast(result as blob) as result"
            " from job join queue on queue.id = job.queue where job.id = ?",
            (job_id,),
        )
        for row in rows:
            cells = dict(zip(RAW_FIELDS, row, strict=True))
            assert [column[0] for column in rows.description] == list(RAW_FIELDS)
            return cells | {"cancel": bool(cells["cancel"])}
        return None

    def write(self, record: JobRecord) -> None:
        cells = msgspec.structs.asdict(record)
        text = {
            name: msgspec.json.encode(getattr(record, name)).decode()
            for name in ("terms", "headers", "tags", "errors")
        }
        text |= {name: str(cells[name]) for name in ("lane", "state")}
        text["payload"] = bytes(record.payload).decode()
        text["result"] = None if record.result is None else bytes(record.result).decode()
        self._db.execute("begin immediate")
        self._db.execute("insert or ignore into queue (name) values (?)", (record.queue,))
        self._db.execute(
            "insert into job (id, queue, lane, state, rank, due, attempt, failures, losses,"
            " releases, cancel, enqueued_at, started_at, finished_at, expires_at, purge_at,"
            " worker, task, unique_key, terms, headers, tags, payload, errors, result)"
            " values (:id, (select id from queue where name = :queue), :lane, :state,"
            " -:priority, :due, :attempt, :failures, :losses, :releases, :cancel,"
            " :enqueued_at, :started_at, :finished_at, :expires_at, :purge_at, :worker, :task,"
            " :unique_key, :terms, :headers, :tags, :payload, :errors, :result)",
            cells | text,
        )
        self._db.execute(
            "insert into tally (queue, kind, lane, n)"
            " values ((select id from queue where name = :queue), :state, :lane, 1)"
            " on conflict do update set n = n + 1",
            cells | text,
        )
        self._db.execute("commit")

    def corrupt(self, job_id: JobId, field: str, value: bytes) -> None:
        column = {"terms": "terms", "headers": "headers"}[field]
        self._db.execute(f"update job set {column} = cast(? as text) where id = ?", (value, job_id))

    def corrupt_schedule(self, name: str, value: bytes) -> None:
        self._db.execute("update schedule set spec = cast(? as text) where name = ?", (value, name))

    def corrupt_subscription(self, name: str, value: bytes) -> None:
        sql = "update subscription set spec = cast(? as text) where name = ?"
        self._db.execute(sql, (value, name))

    def close(self) -> None:
        self._db.close()


class _Sqlite:
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda clock: SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")

    @pytest.fixture
    def make_raw(self, tmp_path: Path) -> Iterator[Callable[[Store], RawAccess]]:
        opened: list[SqliteRaw] = []

        def make(_store: Store) -> RawAccess:
            opened.append(SqliteRaw(tmp_path / "jobs.db"))
            return opened[-1]

        yield make
        for raw in opened:
            raw.close()


class TestSqliteStore(_Sqlite, StoreConformance):
    """The examples."""


class TestSqliteStoreByIds(_Sqlite, Reading):
    """Looking for jobs by their ids, as among many: a few rows at a time, in short pages."""

    @pytest.fixture(autouse=True)
    def few_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(finding, "FEW", -1)
        monkeypatch.setattr(finding, "STRETCH", 2)
        monkeypatch.setattr(finding, "MOST_STRETCHES", 2)


class TestMalformedRows(_Sqlite, Malformed):
    """Rows that cannot be read."""


@pytest.mark.parametrize(
    "damage",
    [
        "update step set wake_at = null where nth = 1",
        "update step set waits = 7 where nth = 1",
        "update step set waits = null where nth = 1",
        "update step set topic = cast(x'ff' as text) where nth = 1",
        "update step set name = cast(x'ff' as text) where nth = 1",
        "update step set job = 'gone' where nth = 1",
        "update job set asleep = 7 where seq = 1",
        "update job set steps = 0 where seq = 1",
        "update job set due = -9223372036854775808 where seq = 1",
        "update job set limits = cast(x'ff' as text) where seq = 1",
    ],
)
async def test_a_wait_that_cannot_be_read_keeps_no_event_from_others(
    tmp_path: Path, damage: str
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")
    await store.open()
    await add(store, *make_jobs(clock, 3))
    worker, paid = BareWorker(store), Awaited("paid", "7")
    leases = await worker.lease(3)
    await worker.settle(*[parked(lease, paid, DAY) for lease in leases])
    raw = SqliteRaw(tmp_path / "jobs.db")
    raw._db.execute(damage)
    raw.close()
    event = Publication(id="e", name="paid", key="7", payload=Raw(b"5"))
    assert (await store.publish([event]))[0].added
    assert [wait.over for [wait] in await store.steps([one.id for one in leases[1:]])] == [True] * 2
    assert {one.id for one in await worker.lease(9)} >= {one.id for one in leases[1:]}
    clock.advance("2d")
    await store.promote(9)
    await store.steps([leases[0].id])
    await store.close()


async def test_an_event_that_cannot_be_read_ends_its_waits_and_no_other(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")
    await store.open()
    events = [Publication(id=n, name="paid", key=n, payload=Raw(b"5")) for n in "ab"]
    await store.publish(events)
    raw = SqliteRaw(tmp_path / "jobs.db")
    raw._db.execute("update event set payload = cast(x'ff7b' as text) where id = 'a'")
    raw.close()
    await add(store, *make_jobs(clock, 2))
    worker = BareWorker(store)
    leases = await worker.lease(2)
    acks = zip(leases, "ab", strict=True)
    await worker.settle(*[parked(lease, Awaited("paid", key), DAY) for lease, key in acks])
    found = [wait for [wait] in await store.steps([lease.id for lease in leases])]
    assert [(wait.event_id, wait.over) for wait in found] == [("a", True), ("b", True)]
    assert len(await worker.lease(9)) == 2
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [b"\xff{", b"7", b"[[7,{}]]", b'[[["dead"],{"id":"","task":"t","delay":1e99}]]', b"[" * 9999],
)
async def test_follow_ups_that_cannot_be_read_stop_no_end(tmp_path: Path, damage: bytes) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock, durability="normal")
    await store.open()
    after = FollowUp((State.DEAD,), make_job(clock, task="app.after", queue="after"))
    jobs = [make_job(clock, follow_ups=(after,)) for _ in range(3)]
    await add(store, *jobs)
    raw = SqliteRaw(tmp_path / "jobs.db")
    raw._db.execute("update job set follow_ups = cast(? as text) where seq = 1", (damage,))
    raw._db.execute("update job set redrives = ?, payload = 'x' where seq = 2", (2**63 - 1,))
    raw.close()
    worker = BareWorker(store)
    await worker.lease(1)
    await worker.settle(*[failed(lease) for lease in await store.held(worker.name)])
    await store.cancel([job.id for job in jobs])
    await store.redrive([job.id for job in jobs])
    assert len((await store.find(Filter(queue="mail"), limit=9)).jobs) == 3
    await worker.settle(*[failed(lease) for lease in await worker.lease(9)])
    assert (await stats_of(store, "mail")).counts[State.DEAD] == 3
    await store.close()


async def test_terms_are_kept_without_the_defaults_at_their_end(tmp_path: Path) -> None:
    """Jobs that are there mean these: who changes one has to write the old one into their rows."""
    assert msgspec.json.encode(Terms()) == (
        b"[5,3600000000,[1000000,3600000000,2.0,true,[]],604800000000,2592000000000]"
    )
    given = {
        "plain": (Terms(), "[]"),
        "first": (Terms(max_attempts=3), "[3]"),
        "second": (Terms(timeout=7), "[5,7]"),
        "fourth": (Terms(keep=8), "[5,3600000000,[1000000,3600000000,2.0,true,[]],8]"),
    }
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    await store.enqueue([[JobRequest(id=i, task="t", terms=t) for i, (t, _) in given.items()]])
    database = apsw.Connection(str(tmp_path / "jobs.db"))
    rows = database.execute("select id, terms from job order by seq").fetchall()
    database.close()
    assert rows == [(job_id, stored) for job_id, (_, stored) in given.items()]
    records = await store.get(list(given))
    assert [record and record.terms for record in records] == [terms for terms, _ in given.values()]
    await store.close()


def test_the_model_agrees(tmp_path: Path) -> None:
    numbers = count()
    check_against_model(
        lambda clock: SqliteStore(
            tmp_path / f"{next(numbers)}.db", clock=clock, durability="normal"
        )
    )
