"""Disks that fill up, break, or lose power under a SQLite store."""

import asyncio
import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest

from backline.errors import StoreFull, StoreUnavailable
from backline.job import SECOND, Ack, Enqueued, JobRequest, Lane
from backline.states import State
from backline.store import Filter, Hint, QueueSettings
from backline.stores.sqlite import SqliteStore
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.faulty_vfs import Event, FaultyVfs, PowerCut, Sync, power_cuts
from backline.stores.sqlite.writer import Writer
from backline.testing.clock import VirtualClock

MEMORY = Path("/dev/shm")
DEMAND = {("default", Lane.MAIN): 2}
ONE = {("default", Lane.MAIN): 1}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory if possible: what a sync does is logged, and need not be waited for."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[FaultyVfs]:
    with FaultyVfs(f"faulty-{request.node.name}") as disk:
        yield disk


def job(clock: VirtualClock, size: int = 10) -> JobRequest:
    return JobRequest(id=clock.new_id(), task="t", headers={"h": "x" * size})


async def _a_life(path: Path, clock: VirtualClock, disk: FaultyVfs) -> None:
    """Enqueue, lease, ack, checkpoint; each answer is noted once it is there.

    What a call without acks leases is offered: the power may take that back.
    """
    store = SqliteStore(path, clock=clock, vfs=disk.name)
    await store.open()
    acks: list[Ack] = []
    for call in range(5):
        jobs = [job(clock, 400) for _ in range(3)]
        await store.enqueue([jobs])
        for one in jobs:
            disk.mark(f"added {one.id}")
        answer = await store.exchange("w", 2 * call, acks, ONE, 30 * SECOND)
        for ack in acks:
            disk.mark(f"done {ack.id}")
        for lease in answer.jobs:
            disk.mark(f"{'leased' if acks else 'offered'} {lease.id}")
        more = await store.exchange("w", 2 * call + 1, (), ONE, 30 * SECOND)
        for lease in more.jobs:
            disk.mark(f"offered {lease.id}")
        held = [*answer.jobs, *more.jobs]
        acks = [Ack(lease.id, lease.attempt, State.SUCCEEDED, keep=SECOND) for lease in held]
        if call == 3:
            assert store._session is not None
            assert store._session._db is not None
            store._session._db.checkpoint()
    await store.close()


@pytest.mark.parametrize("kept", ["nothing", "parts"])
async def test_no_power_cut_loses_what_was_acknowledged(
    folder: Path, clock: VirtualClock, disk: FaultyVfs, kept: str
) -> None:
    path = folder / "jobs.db"
    await _a_life(path, clock, disk)
    rng = random.Random(1) if kept == "parts" else None
    cuts = list(power_cuts(disk.log, rng))
    assert len(cuts) > 100
    for number, cut in enumerate(cuts):
        await _check(folder / f"cut-{number}", path, cut, clock)


def _restore(folder: Path, cut: PowerCut) -> None:
    folder.mkdir()
    for name, data in cut.files.items():
        (folder / Path(name).name).write_bytes(data)


async def _check(folder: Path, path: Path, cut: PowerCut, clock: VirtualClock) -> None:
    """The file opens clean, and holds every job, outcome and lease that was answered."""
    _restore(folder, cut)
    store = SqliteStore(folder / path.name, clock=clock, durability="normal")
    await store.open()
    said: dict[str, str] = {}
    for mark in cut.marks:
        what, job_id = mark.split()
        said[job_id] = what  # the latest word on each job
    for job_id, what in said.items():
        [found] = await store.get([job_id])
        assert found is not None, (what, job_id)
        assert what != "done" or found.state is State.SUCCEEDED
        assert what != "leased" or found.state in {State.RUNNING, State.SUCCEEDED}
        assert what != "offered" or found.state in {State.READY, State.RUNNING, State.SUCCEEDED}
    counts = {state: n for stats in await store.stats() for state, n in stats.counts.items() if n}
    jobs = (await store.find(Filter(), limit=100)).jobs
    assert counts == {s: n for s in State if (n := sum(j.state is s for j in jobs))}
    assert await store.enqueue([[job(clock)]])
    await store.close()
    connection = apsw.Connection(str(folder / path.name))
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_the_power_cut_test_sees_a_missing_sync(
    folder: Path, clock: VirtualClock, disk: FaultyVfs
) -> None:
    """Planted: a store whose commits are not synced loses what it acknowledged."""
    path = folder / "jobs.db"
    await _a_life(path, clock, disk)
    first = next(at for at, event in enumerate(disk.log) if str(event).startswith("Mark"))
    unsynced: list[Event] = [
        event
        for at, event in enumerate(disk.log)
        if at < first or not (isinstance(event, Sync) and event.file.endswith("-wal"))
    ]
    *_, last = power_cuts(unsynced[: len(unsynced) // 2])
    with pytest.raises(AssertionError, match="SUCCEEDED"):
        await _check(folder / "cut", path, last, clock)


@pytest.mark.parametrize("linked", [False, True])
async def test_what_an_answer_did_not_wait_for_is_on_the_disk_soon(
    folder: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    path = folder / "jobs.db"
    if linked:
        (folder / "disk").mkdir()
        path.symlink_to(folder / "disk" / "jobs.db")
    store = SqliteStore(path, clock=clock)
    await store.open()
    session = store._session
    assert session is not None
    synced = threading.Event()
    fdatasync = os.fdatasync

    def sync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size > 0
        fdatasync(descriptor)
        synced.set()

    monkeypatch.setattr(os, "fdatasync", sync)

    async def lease(call: int) -> None:
        synced.clear()
        await store.enqueue([[job(clock)]])
        assert (await store.exchange("w", call, (), DEMAND, SECOND)).jobs

    await lease(1)
    assert await asyncio.to_thread(synced.wait, 10)
    monkeypatch.setattr(Writer, "busy", True)
    await lease(2)
    await session.write(lambda _tx: None)  # writes nothing, so it syncs nothing
    assert not synced.is_set()
    monkeypatch.setattr(Writer, "busy", False)
    await session.write(lambda _tx: None)
    assert await asyncio.to_thread(synced.wait, 10)
    await store.close()


async def test_what_ended_is_on_the_disk_before_it_is_told(
    folder: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call without acks may find that a job's time to start is over."""
    store = SqliteStore(folder / "jobs.db", clock=clock)
    await store.open()
    assert store._session is not None
    wakeups = store._session.wakeups
    assert wakeups is not None
    order: list[object] = []
    gone = JobRequest(id=clock.new_id(), task="t", expires_in=SECOND)
    await store.enqueue([[gone, job(clock)]])
    clock.advance("2s")
    monkeypatch.setattr(os, "fdatasync", lambda _: order.append("synced"))
    monkeypatch.setattr(wakeups, "tell", order.append)
    assert (await store.exchange("w", 1, (), DEMAND, SECOND)).jobs
    assert order == ["synced", {Hint.FINISHED}]
    await store.close()


async def test_after_a_sync_that_failed_the_log_begins_anew(
    folder: Path, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may never write what it could not: nothing must stand behind it."""
    store = SqliteStore(folder / "jobs.db", clock=clock)
    await store.open()
    await store.enqueue([[job(clock)]])
    restarts: list[bool] = []

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def checkpoint(_self: Connection, *, restart: bool = False) -> None:
        restarts.append(restart)

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(Connection, "checkpoint", checkpoint)
    assert (await store.exchange("w", 1, (), DEMAND, SECOND)).jobs
    assert restarts == [True]
    await store.close()


@pytest.mark.parametrize("short", [False, True])
async def test_a_full_disk_is_told_and_passes(
    folder: Path, clock: VirtualClock, disk: FaultyVfs, short: bool
) -> None:
    store = SqliteStore(folder / "jobs.db", clock=clock, vfs=disk.name)
    await store.open()
    before = job(clock)
    await store.enqueue([[before]])
    disk.full, disk.short = True, short
    refused = [job(clock, 5_000) for _ in range(3)]
    with pytest.raises(StoreFull, match="make room"):
        await store.enqueue([refused])
    with pytest.raises(StoreFull):
        await store.exchange("w", 1, (), DEMAND, 30 * SECOND)
    assert await store.get([before.id, refused[0].id]) == [
        (await store.get([before.id]))[0],
        None,
    ]
    [stats] = await store.stats()
    assert stats.counts[State.READY] == 1

    disk.full = False
    assert await store.enqueue([refused]) == [[Enqueued(one.id) for one in refused]]
    answer = await store.exchange("w", 2, (), DEMAND, 30 * SECOND)
    assert [lease.id for lease in answer.jobs] == [before.id, refused[0].id]
    await store.close()
    connection = apsw.Connection(str(folder / "jobs.db"))
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_a_full_disk_takes_what_its_log_has_room_for(
    folder: Path, clock: VirtualClock, disk: FaultyVfs
) -> None:
    """The log begins anew long before its time, for as long as nothing has to grow."""
    store = SqliteStore(folder / "jobs.db", clock=clock, vfs=disk.name)
    await store.open()
    added = [job(clock) for _ in range(100)]
    await store.enqueue([added])
    assert store._session is not None
    assert store._session._db is not None
    store._session._db.checkpoint()
    disk.full = True
    for depth in range(1, 301):
        await store.configure([QueueSettings(queue="default", max_depth=depth)])
    with pytest.raises(StoreFull):
        await store.enqueue([[job(clock, 200_000) for _ in range(9)]])
    await store.cancel([one.id for one in added[:50]])
    [stats] = await store.stats()
    assert (stats.max_depth, stats.counts[State.CANCELLED]) == (300, 50)
    disk.full = False
    await store.close()


@pytest.mark.parametrize("fault", ["broken", "deaf"])
async def test_a_broken_disk_is_an_outage(
    folder: Path, clock: VirtualClock, disk: FaultyVfs, fault: str
) -> None:
    store = SqliteStore(folder / "jobs.db", clock=clock, vfs=disk.name)
    await store.open()
    setattr(disk, fault, True)
    lost = job(clock)
    with pytest.raises(StoreUnavailable) as raised:
        await store.enqueue([[lost]])
    assert not isinstance(raised.value, StoreFull)
    setattr(disk, fault, False)
    assert await store.enqueue([[lost]]) == [[Enqueued(lost.id)]]
    [stats] = await store.stats()
    assert stats.counts[State.READY] == 1
    await store.close()
