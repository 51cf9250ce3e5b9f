"""Opening a file whose turn is another's: callers who give up, and those who go on."""

import asyncio
import fcntl
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from backline.errors import StoreUnavailable
from backline.job import JobRequest
from backline.stores.sqlite import SqliteStore
from backline.stores.sqlite.turns import Turns

Check: TypeAlias = Callable[[], Awaitable[None]]


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    return path


@contextmanager
def turn_of_another(path: Path) -> Iterator[None]:
    """While inside, nobody else can open the file or write to it."""
    turn = os.open(f"{path}-turn", os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(turn)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts who begins to wait for a turn."""
    begun = threading.Semaphore(0)
    mine = Turns.mine

    def counted(turns: Turns) -> AbstractContextManager[None]:
        begun.release()
        return mine(turns)

    monkeypatch.setattr(Turns, "mine", counted)
    return begun


async def give_up_opening(store: SqliteStore, waiting: threading.Semaphore) -> None:
    """Open the store, and cancel that once its thread waits for the turn."""
    opening = asyncio.create_task(store.open())
    assert await asyncio.to_thread(waiting.acquire, timeout=30)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening


def descriptors_in(folder: Path) -> list[str]:
    """What this process has open there."""
    links = [link for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)]
    return [target for link in links if (target := str(link.readlink())).startswith(f"{folder}/")]


@pytest.fixture
def all_closed(path: Path) -> Check:
    """Checks, once the threads that began since have ended, that nothing is open."""
    before = set(threading.enumerate())

    async def check() -> None:
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("backline sqlite"):
                await asyncio.to_thread(thread.join, 30)
                assert not thread.is_alive()
        assert descriptors_in(path.parent) == []

    return check


async def test_what_was_not_waited_for_is_closed(
    path: Path, waiting: threading.Semaphore, all_closed: Check
) -> None:
    store = SqliteStore(path)
    with turn_of_another(path):
        for _ in range(5):
            await give_up_opening(store, waiting)
    await all_closed()
    with pytest.raises(StoreUnavailable, match="is not open"):
        await store.stats()

    await store.open()
    assert await store.stats() == []
    await store.close()
    await all_closed()


async def test_who_gives_up_takes_the_store_from_nobody(
    path: Path, waiting: threading.Semaphore, all_closed: Check
) -> None:
    store = SqliteStore(path)
    with turn_of_another(path):
        hasty = asyncio.create_task(store.open())
        assert await asyncio.to_thread(waiting.acquire, timeout=30)
        patient = asyncio.create_task(store.open())
        await asyncio.sleep(0)
        hasty.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hasty
        assert not patient.done()
    await patient
    assert await store.stats() == []
    await store.close()
    await all_closed()


async def test_an_open_store_stays_so_when_another_open_is_cancelled(
    path: Path, all_closed: Check
) -> None:
    store = SqliteStore(path)
    await store.open()
    with turn_of_another(path):
        writing = asyncio.create_task(store.enqueue([[JobRequest(id="a", task="t")]]))
        again = asyncio.create_task(store.open())
        await asyncio.sleep(0)
        again.cancel()
        with pytest.raises(asyncio.CancelledError):
            await again
    assert await writing
    assert [job is not None for job in await store.get(["a"])] == [True]
    await store.close()
    await all_closed()
