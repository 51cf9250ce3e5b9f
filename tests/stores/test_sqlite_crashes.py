"""A process that dies between two statements leaves the file as it was, or as it was to be."""

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import apsw
import pytest

from backline import policy
from backline.fanout import Publication, SubscriptionChange, SubscriptionSpec
from backline.faults import hooked
from backline.job import (
    MINUTE,
    SECOND,
    AttemptError,
    JobRequest,
    Lane,
    LeasedJob,
    OnConflict,
    Progress,
    Terms,
)
from backline.store import Edit, QueueSettings, WorkerReport
from backline.stores.sqlite import SqliteStore
from backline.stores.sqlite.driver import Connection
from backline.testing.clock import VirtualClock

POINT: Final = "sqlite.statement"
DEMAND: Final = {("default", Lane.MAIN): 4}
LEASE: Final = 30 * SECOND
TERMS: Final = Terms(max_attempts=2, keep=SECOND, keep_dead=SECOND)

Step: TypeAlias = "Callable[[Desk], Awaitable[None]]"
Rows: TypeAlias = dict[str, list[tuple[Any, ...]]]


@dataclass
class Desk:
    """A store with something of everything in it."""

    store: SqliteStore
    clock: VirtualClock
    leased: list[LeasedJob]
    queued: list[JobRequest]

    def job(self, **options: Any) -> JobRequest:
        return JobRequest(id=self.clock.new_id(), task="t", terms=TERMS, **options)

    async def lease(self, call: int) -> list[LeasedJob]:
        return (await self.store.exchange("w", call, [], DEMAND, LEASE)).jobs


async def at_work(path: Path, clock: VirtualClock) -> Desk:
    """Four jobs run, others wait: with keys, for a successor's turn, for their time."""
    desk = Desk(SqliteStore(path, clock=clock), clock, [], [])
    await desk.store.open()
    keyed = {"unique_key": "held", "on_conflict": OnConflict.REPLACE}
    await desk.store.enqueue([[desk.job(**keyed), desk.job(), desk.job(), desk.job()]])
    desk.leased = await desk.lease(1)
    desk.queued = [
        desk.job(**keyed),
        desk.job(unique_key="free"),
        desk.job(delay=MINUTE),
        desk.job(expires_in=SECOND),
    ]
    await desk.store.enqueue([desk.queued])
    return desk


async def enqueue(desk: Desk) -> None:
    again = desk.job(unique_key="free", on_conflict=OnConflict.REPLACE)
    once = desk.job(queue="new", idempotency_key="new")
    await desk.store.enqueue([[again, once], [desk.job(delay=SECOND)]])


async def exchange(desk: Desk) -> None:
    first, second, third, fourth = desk.leased
    error = AttemptError(attempt=1, kind="ValueError", message="no")
    outcomes: list[tuple[LeasedJob, policy.Outcome]] = [
        (first, policy.Succeeded(None)),
        (second, policy.Failed(error)),
        (third, policy.Failed(error, fatal=True)),
        (fourth, policy.Released()),
    ]
    acks = [policy.settle(lease, outcome, desk.clock.rng) for lease, outcome in outcomes]
    await desk.store.exchange("w", 2, acks, DEMAND, LEASE)


async def meet_an_expired_job(desk: Desk) -> None:
    desk.clock.advance("2s")
    await desk.lease(2)


async def extend(desk: Desk) -> None:
    await desk.store.extend(desk.leased, 2 * LEASE)


async def promote(desk: Desk) -> None:
    desk.clock.advance("1m")
    await desk.store.promote(10)


async def expire(desk: Desk) -> None:
    desk.clock.advance("2s")
    await desk.store.expire(10)


async def cancel(desk: Desk) -> None:
    await desk.store.cancel([desk.leased[0].id, *(job.id for job in desk.queued)])


async def retire(desk: Desk) -> None:
    await desk.store.retire("w")


async def progress(desk: Desk) -> None:
    await desk.store.progress([Progress(desk.leased[0].id, 1, 1, 2)])


async def configure(desk: Desk) -> None:
    await desk.store.configure([QueueSettings(queue="other", max_depth=5, paused=True)])


async def report(desk: Desk) -> None:
    worker = WorkerReport(
        worker="w",
        host="h",
        pid=1,
        queues=("default",),
        lane=Lane.MAIN,
        concurrency=1,
        tasks=("t",),
        started_at=0,
        version="0",
    )
    await desk.store.report([worker], MINUTE)


async def _end_all(desk: Desk) -> None:
    await cancel(desk)
    await exchange(desk)


async def redrive(desk: Desk) -> None:
    ids = [job.id for job in (*desk.leased, *desk.queued)]
    await desk.store.redrive(ids)


async def purge(desk: Desk) -> None:
    ids = [job.id for job in (*desk.leased, *desk.queued)]
    await desk.store.purge(ids)


async def edit(desk: Desk) -> None:
    ids = [job.id for job in (*desk.leased, *desk.queued)]
    await desk.store.edit(ids, Edit(queue="elsewhere", priority=3, delay=MINUTE))


async def sweep(desk: Desk) -> None:
    desk.clock.advance("2s")
    await desk.store.sweep(100)


async def subscribe(desk: Desk) -> None:
    """Those that are there are changed, if need be made."""
    found = {one.name: one for one in (await desk.store.subscriptions(limit=9)).subscriptions}
    pattern = "user.#" if found else "user.*"
    spec = SubscriptionSpec(patterns=(pattern, "a"), job=JobRequest(id="", task="t"))
    versions = {name: found[name].version if found else 0 for name in ("one", "two", "three")}
    changes = [SubscriptionChange(name, version, spec) for name, version in versions.items()]
    assert await desk.store.subscribe(changes) == [True] * 3


async def publish(desk: Desk) -> None:
    """Three jobs each, in the place of an event whose time is over."""
    desk.clock.advance("1s")
    events = [Publication(id=f"{n}", name="user.new", key="k", event_ttl=SECOND) for n in (1, 2)]
    await desk.store.publish(events)


async def _publish_before(desk: Desk) -> None:
    await subscribe(desk)
    await publish(desk)


async def nothing(desk: Desk) -> None:
    """All is there already."""


CALLS: Final = (
    (nothing, enqueue),
    (nothing, exchange),
    (nothing, meet_an_expired_job),
    (nothing, extend),
    (nothing, promote),
    (nothing, expire),
    (nothing, cancel),
    (nothing, edit),
    (nothing, retire),
    (nothing, progress),
    (nothing, configure),
    (nothing, report),
    (nothing, subscribe),
    (subscribe, subscribe),
    (_publish_before, publish),
    (_end_all, redrive),
    (_end_all, purge),
    (_end_all, sweep),
)


@pytest.mark.parametrize(("before", "call"), CALLS, ids=lambda call: call.__name__)
async def test_a_crash_after_any_statement_leaves_the_file_as_before_or_after(
    before: Step, call: Step, tmp_path: Path
) -> None:
    states = await _states_in(call, after=before, folder=tmp_path)
    commit = states.index(states[-1])
    assert commit > 2, "its statements, before the last of them"
    assert all(rows == states[0] for rows in states[:commit])
    assert all(rows == states[-1] for rows in states[commit:])


async def test_a_store_that_commits_each_statement_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Connection.run

    def without_transactions(self: Connection, sql: str, *params: Any) -> int:
        return 0 if sql in ("begin immediate", "commit") else run(self, sql, *params)

    monkeypatch.setattr(Connection, "run", without_transactions)
    states = await _states_in(exchange, after=nothing, folder=tmp_path)
    assert any(rows not in (states[0], states[-1]) for rows in states)


async def _states_in(call: Step, *, after: Step, folder: Path) -> list[Rows]:
    """The file before the call, as a kill after each of its statements leaves it, and after."""
    path = folder / "jobs.db"
    desk = await at_work(path, VirtualClock())
    await after(desk)
    left = [_copy(path, folder / "before")]

    def die(point: str) -> None:
        """What a process leaves that is killed here: its files as they are."""
        if point == POINT:
            left.append(_copy(path, folder / f"crash-{len(left)}"))

    with hooked(die):
        await call(desk)
    left.append(_copy(path, folder / "after"))
    await desk.store.close()
    return [_rows(each) for each in left]


def _copy(path: Path, folder: Path) -> Path:
    folder.mkdir()
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), folder / name)
    return folder / path.name


def _rows(path: Path) -> Rows:
    """Every row of every table, once SQLite has recovered the file."""
    db = apsw.Connection(str(path))
    try:
        assert db.execute("pragma integrity_check").get == "ok"
        tables = [
            name
            for (name,) in db.execute("select name from sqlite_schema where type = 'table'")
            if not name.startswith("sqlite_")
        ]
        return {name: sorted(db.execute(f'select * from "{name}"'), key=repr) for name in tables}
    finally:
        db.close()
