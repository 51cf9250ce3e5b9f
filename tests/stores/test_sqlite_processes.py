"""Processes that share a SQLite store: races, forks, hints and turns."""

import subprocess
import sys
from pathlib import Path

import pytest

from backline.store import Store
from backline.testing.contention import Contention
from backline.testing.roles import look

pytestmark = pytest.mark.processes


class TestSqliteUnderContention(Contention):
    """The races of the suite."""

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/jobs.db?durability=normal"

    def test_eight_processes_may_open_a_new_file_at_once(self, address: str) -> None:
        assert len(self.race(address, look, 1, crowd=8)) == 8

        async def version(store: Store) -> int:
            return await store.migrate()

        assert self.with_store(address, version) >= 1


def run(script: str, *args: str) -> str:
    """What a script prints, run by a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", script, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FORK = """
import asyncio, os, sys
from backline.clock import SYSTEM_CLOCK
from backline.job import JobRequest
from backline.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1])
async def add():
    await store.enqueue([[JobRequest(id=SYSTEM_CLOCK.new_id(), task="t")]])

count = lambda stats: sum(stats[0].counts.values())

async def first():
    await store.open()
    await add()

asyncio.run(first())
child = os.fork()  # while the writer's thread lives
if child == 0:
    async def forked():
        for _ in range(3):
            await add()
        await store.close()
    asyncio.run(forked())
    sys.exit(0)  # with finalizers
asyncio.run(add())
assert os.waitpid(child, 0)[1] == 0

async def after():
    await add()
    print(count(await store.stats()))
    await store.close()
asyncio.run(after())
"""


def test_a_child_of_a_fork_opens_its_own(tmp_path: Path) -> None:
    assert run(FORK, str(tmp_path / "jobs.db")) == "6"


KEPT_LOCK = """
import asyncio, os, signal, sys
from backline.clock import SYSTEM_CLOCK
from backline.job import JobRequest
from backline.stores.sqlite import SqliteStore

store = SqliteStore(sys.argv[1])
reader, writer = os.pipe()

async def holder():
    await store.open()
    with store._session._turns.mine():
        if os.fork() == 0:
            os.close(reader)
            signal.pause()  # lives on, never uses the store
        os.write(writer, b"held")
        os.kill(os.getpid(), signal.SIGKILL)

first = os.fork()
if first == 0:
    asyncio.run(holder())
os.waitpid(first, 0)
assert os.read(reader, 4) == b"held"

async def next_one():
    await store.open()
    await asyncio.wait_for(
        store.enqueue([[JobRequest(id=SYSTEM_CLOCK.new_id(), task="t")]]), 20
    )
    print("written")
asyncio.run(next_one())
os.killpg(0, signal.SIGKILL)
"""


def test_a_forked_child_keeps_no_lock_of_its_dead_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-W", "ignore", "-c", KEPT_LOCK, str(tmp_path / "jobs.db")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, start_new_session=True
    )
    assert done.stdout.strip() == "written", done.stderr


WATCHER = """
import asyncio, resource, sys
from backline.store import Hint
from backline.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    woken = asyncio.Event()
    async with store.watch([Hint.WORK], woken.set):
        print("ready", flush=True)
        await asyncio.wait_for(woken.wait(), 20)
        print("woken", flush=True)
    await store.close()

asyncio.run(main())
"""

PRODUCER = """
import asyncio, sys
from backline.clock import SYSTEM_CLOCK
from backline.job import JobRequest
from backline.stores.sqlite import SqliteStore

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.enqueue([[JobRequest(id=SYSTEM_CLOCK.new_id(), task="t")]])
    await store.close()

asyncio.run(main())
"""


def test_another_process_is_woken(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    command = [sys.executable, "-c", WATCHER, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == "ready\n"
            run(PRODUCER, path)
            assert watcher.stdout.readline() == "woken\n"
        finally:
            watcher.kill()
