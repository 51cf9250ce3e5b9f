"""What a SQLite store does when its file is removed or replaced while it is open."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from backline.errors import StoreRefused, StoreUnavailable
from backline.job import SECOND, JobRequest, Lane
from backline.store import Hint
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock

DEMAND = {("default", Lane.MAIN): 10}
CLOCK = VirtualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, durability="normal")
    await store.open()
    await add(store)
    yield store
    await store.close()


async def add(store: SqliteStore) -> None:
    await store.enqueue([[JobRequest(id=CLOCK.new_id(), task="t")]])


async def leased(store: SqliteStore, call: int) -> int:
    return len((await store.exchange("w", call, [], DEMAND, 30 * SECOND)).jobs)


async def jobs_in(store: SqliteStore) -> int:
    return sum(sum(stats.counts.values()) for stats in await store.stats())


def remove_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def remove_main(path: Path) -> None:
    path.unlink()


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def put_folder(path: Path) -> None:
    path.mkdir()


def remove_folder(path: Path) -> None:
    path.rmdir()


def another_process_tells(path: Path) -> None:
    """As a commit of another process does: with a stamp that is not ours."""
    Path(f"{path}-work").write_bytes(b"\1" * 16)


async def another(path: Path, jobs: int) -> SqliteStore:
    """A second handle, which has added that many jobs."""
    store = SqliteStore(path, durability="normal")
    await store.open()
    for _ in range(jobs):
        await add(store)
    return store


def is_sound(path: Path) -> bool:
    connection = apsw.Connection(str(path))
    [(answer,)] = connection.execute("pragma integrity_check").fetchall()
    connection.close()
    return bool(answer == "ok")


@pytest.mark.parametrize("remove", [remove_all, remove_main])
async def test_it_says_so_once_and_goes_on_with_a_new_file(
    store: SqliteStore, path: Path, remove: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    remove(path)
    with (
        caplog.at_level(logging.WARNING, "backline.sqlite"),
        pytest.raises(StoreUnavailable, match=r"removed or replaced .* opens what is there now"),
    ):
        await store.stats()
    assert [r.getMessage() for r in caplog.records if "out of reach" in r.getMessage()]
    assert len(caplog.records) == 1
    await add(store)
    assert await jobs_in(store) == 1
    assert await leased(store, 1) == 1
    assert is_sound(path)


async def test_a_write_notices_it_too(store: SqliteStore, path: Path) -> None:
    remove_all(path)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await add(store)
    await add(store)
    assert await jobs_in(store) == 1


@pytest.mark.parametrize("remove", [remove_all, remove_main])
async def test_a_second_handle_made_a_new_file_meanwhile(
    store: SqliteStore, path: Path, remove: Callable[[Path], None]
) -> None:
    remove(path)
    producer = await another(path, 3)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await leased(store, 1)
    assert await leased(store, 2) == 3
    await add(producer)
    assert await leased(store, 3) == 1
    assert await jobs_in(producer) == 4
    await producer.close()
    assert is_sound(path)


async def test_closing_the_lost_one_spares_the_new_file(store: SqliteStore, path: Path) -> None:
    """SQLite removes a log by name when the last connection closes."""
    remove_all(path)
    producer = await another(path, 3)
    await store.close()
    assert log_size(path) > 0
    late = await another(path, 1)
    assert await jobs_in(late) == await jobs_in(producer) == 4
    await late.close()
    await producer.close()


async def test_another_database_takes_its_place(
    store: SqliteStore, path: Path, tmp_path: Path
) -> None:
    """The log of the old one, which stays behind, must not be played into it."""
    spare = await another(tmp_path / "spare.db", 5)
    await spare.close()
    (tmp_path / "spare.db").rename(path)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await jobs_in(store)
    assert await jobs_in(store) == 5
    assert is_sound(path)


async def test_a_log_that_goes_alone_is_noticed(store: SqliteStore, path: Path) -> None:
    remove_log(path)
    with pytest.raises(StoreUnavailable, match=r"jobs\.db-wal was removed"):
        await add(store)
    before = await jobs_in(store)
    await add(store)
    late = await another(path, 1)
    assert await jobs_in(late) == await jobs_in(store) == before + 2
    await late.close()


async def test_a_fresh_open_beside_an_orphaned_log(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remove_main(path)
    fresh = await another(path, 0)
    assert await jobs_in(fresh) == 0
    assert any("jobs.db-wal was left behind" in r.getMessage() for r in caplog.records)
    await fresh.close()


async def test_what_cannot_be_opened_yet_is_tried_again(store: SqliteStore, path: Path) -> None:
    remove_all(path)
    put_folder(path)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await store.stats()
    for _ in range(2):
        with pytest.raises(StoreRefused, match="is a folder"):
            await store.stats()
    remove_folder(path)
    assert await jobs_in(store) == 0


async def test_hints_follow_to_the_new_files(store: SqliteStore, path: Path) -> None:
    woken = asyncio.Event()
    async with store.watch([Hint.WORK], woken.set):
        remove_all(path)
        await asyncio.wait_for(woken.wait(), 5)  # so that it looks, and notices
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await store.stats()
        await store.stats()
        woken.clear()
        await add(store)
        await asyncio.wait_for(woken.wait(), 5)


async def test_other_processes_are_heard_on_the_new_files(store: SqliteStore, path: Path) -> None:
    count = 0
    woken = asyncio.Event()

    def wake() -> None:
        nonlocal count
        count += 1
        woken.set()

    async with store.watch([Hint.WORK], wake):
        remove_all(path)
        await asyncio.wait_for(woken.wait(), 5)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await store.stats()
        seen = count
        await store.stats()
        while count == seen:  # the hint that comes with following
            woken.clear()
            await asyncio.wait_for(woken.wait(), 5)
        woken.clear()
        another_process_tells(path)
        await asyncio.wait_for(woken.wait(), 5)


async def test_many_calls_at_once_open_it_once(store: SqliteStore, path: Path) -> None:
    remove_all(path)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await store.stats()
    await asyncio.gather(*(add(store) for _ in range(20)), *(store.stats() for _ in range(20)))
    assert await jobs_in(store) == 20
