"""What a SQLite store refuses to open, and what happens when its file goes."""

import asyncio
import os
from pathlib import Path

import apsw
import pytest

from backline.errors import SchemaMismatch, StoreRefused, StoreUnavailable
from backline.job import JobRequest
from backline.store import QueueSettings
from backline.stores.sqlite import SqliteStore, place, schema
from backline.stores.sqlite.driver import OLDEST, check_version
from backline.testing.clock import VirtualClock

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:26 / /srv rw - nfs4 server:/export rw
31 30 254:1 / /srv/local\\040disk rw - xfs /dev/vdb rw
32 22 0:27 / /home/me/far rw,nosuid - fuse.sshfs me@far:/ rw
33 22 0:28 / /srvx rw shared:3 - tmpfs tmpfs rw
"""


def store_at(path: Path) -> SqliteStore:
    return SqliteStore(path, clock=VirtualClock(), durability="normal")


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def forbid_writing(folder: Path) -> None:
    folder.chmod(0o500)


async def refusal(path: Path) -> str:
    store = store_at(path)
    with pytest.raises(StoreRefused) as raised:
        await store.open()
    with pytest.raises(StoreUnavailable):
        await store.stats()
    await store.close()
    return str(raised.value)


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "name a file in it" in await refusal(tmp_path)


async def test_the_folder_must_be_there(tmp_path: Path) -> None:
    assert "make it" in await refusal(tmp_path / "none" / "jobs.db")
    assert names_in(tmp_path) == []


async def test_a_device_is_no_file() -> None:
    assert "no plain file" in await refusal(Path("/dev/null"))


@pytest.mark.parametrize("content", [b"name,age\n" * 500, b"SQLite format 3\x00" + b"\xff" * 8000])
async def test_garbage_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(content)
    assert "is not a SQLite database" in await refusal(path)
    assert path.read_bytes() == content


async def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    connection = apsw.Connection(str(path))
    connection.execute("create table customer (name)").fetchall()
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    store = store_at(tmp_path / "jobs.db")
    await store.open()
    await store.close()
    connection = apsw.Connection(str(tmp_path / "jobs.db"))
    connection.execute(f"pragma user_version = {schema.VERSION + 1}").fetchall()
    connection.close()
    with pytest.raises(SchemaMismatch, match="newer Backline"):
        await store.open()


async def test_a_corrupt_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    clock = VirtualClock()
    store = SqliteStore(path, clock=clock, durability="normal")
    await store.open()
    await store.enqueue([[JobRequest(id=clock.new_id(), task="t") for _ in range(200)]])
    await store.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\x55" * (len(data) - 4096))
    with pytest.raises(StoreRefused, match="restore a backup"):
        await store.open()


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.touch()
    store = store_at(path)
    await store.open()
    assert await store.stats() == []
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_folder_without_permission(tmp_path: Path) -> None:
    forbid_writing(tmp_path)
    assert "write permission" in await refusal(tmp_path / "jobs.db")


async def test_a_file_that_was_moved_away_and_back_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    clock = VirtualClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    job = JobRequest(id=clock.new_id(), task="t")
    await store.enqueue([[job]])
    path.rename(tmp_path / "moved.db")
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        await store.enqueue([[job]])
    (tmp_path / "moved.db").rename(path)
    assert len(await store.stats()) == 1
    await store.close()


async def test_opened_by_many_at_once_it_is_opened_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(store.open())
    session = store._session
    await store.configure([QueueSettings(queue="mail", paused=True)])
    assert [stats.paused for stats in await store.stats()] == [True]
    assert store._session is session
    await store.close()
    await store.close()


def test_urls_name_the_file_as_it_was_given() -> None:
    assert SqliteStore("jobs.db").url == "sqlite:///jobs.db"
    assert SqliteStore("/var/jobs.db", durability="normal").url == (
        "sqlite:////var/jobs.db?durability=normal"
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/x", "ext4"),
        ("/srv/jobs.db", "nfs4"),
        ("/srv/local disk/jobs.db", "xfs"),
        ("/srvx/jobs.db", "tmpfs"),
        ("/home/me/far/jobs.db", "fuse.sshfs"),
        ("/home/me/farther/jobs.db", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert place.file_system(Path(path), MOUNTS) == kind
    assert place.file_system(Path(path), "") == ""


async def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_mounts", lambda: f"1 0 0:1 / {tmp_path} rw - nfs4 server:/ rw\n")
    assert "put it on a local disk" in await refusal(tmp_path / "jobs.db")


def test_a_sqlite_that_can_corrupt_is_refused() -> None:
    check_version(OLDEST)
    check_version("3.100.0")
    for old in ("3.51.2", "3.40.1", "3.7.0"):
        with pytest.raises(StoreRefused, match="upgrade apsw"):
            check_version(old)
