"""A disk that fills up under load, and has room again: nothing is lost, nobody is needed."""

import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.chaos.checker import check
from tests.chaos.processes import backline
from tests.chaos.testbed import Testbed

from backline.errors import StoreFull
from backline.states import State

DISKS = [
    pytest.param(("tmpfs", 2), id="tmpfs-short", marks=pytest.mark.processes),
    pytest.param(("tmpfs", 10), id="tmpfs-full", marks=pytest.mark.chaos),
    pytest.param(("ext4", 10), id="ext4-full", marks=pytest.mark.chaos),
]
TMPFS = 8 << 20
EXT4 = 64 << 20
BLOCK = 4096


def mount(*command: str) -> None:
    """Needs a root that may mount."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")


@contextlib.contextmanager
def small_disk(kind: str, folder: Path) -> Iterator[Path]:
    """A file system of its own, while inside."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system to fill")
    disk = folder / "disk"
    disk.mkdir()
    if kind == "tmpfs":
        mount("mount", "-t", "tmpfs", "-o", f"size={TMPFS}", "backline-test", str(disk))
    else:
        image = folder / "image"
        with image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, EXT4)
        mount("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        mount("mount", "-o", "loop", str(image), str(disk))
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
async def crowded(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Testbed, "Ballast", int]]:
    """A testbed whose database is on a small disk, what fills it, and how often to do so."""
    kind, times = request.param
    with small_disk(kind, tmp_path) as disk:
        async with Testbed(tmp_path, store=disk / "jobs.db").open() as testbed:
            yield testbed, Ballast(testbed, disk), times


class Ballast:
    """Something else that takes all the room of the disk."""

    def __init__(self, testbed: Testbed, disk: Path) -> None:
        self._testbed = testbed
        self._file = disk / "ballast"

    def fill(self) -> None:
        """Write until there is no room for another byte."""
        self._testbed.history.note("outage", 0)
        with self._file.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(16 * BLOCK))
        with self._file.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1))

    def remove(self) -> None:
        """There is room again."""
        self._file.unlink()
        self._testbed.history.note("restored", 0)


MEALS = (("cook", 0.2), ("bake", 0.2), ("roast", 0.2), ("spill_once", 0.1))


@pytest.mark.parametrize("crowded", DISKS, indirect=True)
async def test_a_disk_that_fills_up_under_load_loses_nothing(
    crowded: tuple[Testbed, Ballast, int], tell: Callable[[str], None]
) -> None:
    testbed, ballast, times = crowded
    supervisor = await testbed.supervise("--processes", "2", "--concurrency", "6", "--cells", "1")
    async with testbed.load(*MEALS, most=24, mixed=True):
        await testbed.until(lambda: len(testbed.history.of("end")) > 20)
        testbed.measure()
        workers = {worker.pid for worker in supervisor.workers()}
        for number in range(1, times + 1):
            ballast.fill()
            await _producers_hear_of_it(testbed)
            if number == 1:
                await _the_command_says_so(testbed)
            ballast.remove()
            await _goes_on(testbed)
            tell(f"filled up {number} times, {len(testbed.intake.refused)} jobs refused")
    story = await testbed.quiet()
    found = check(story)
    assert not found, "\n".join(found[:20])
    assert workers <= {worker.pid for worker in supervisor.workers()}, "a worker has ended"
    assert sum(record.losses for record in story.records.values()) == 0
    states = Counter(record.state.value for record in story.records.values())
    tell(f"{len(story.intake.acknowledged)} jobs: {dict(states)}; 0 lost")
    assert "is full" in supervisor.log.read_text()
    assert "Traceback" not in supervisor.log.read_text()
    await testbed.leave()
    assert supervisor.process.returncode == 0


async def _producers_hear_of_it(testbed: Testbed) -> None:
    """A clear error, again and again, and the queue can still be looked at."""

    heard: list[str] = []

    async def refused() -> bool:
        try:
            await testbed.add("cook", 0.1, "x" * 100_000)
        except StoreFull as error:
            heard.append(str(error))
        return bool(heard)

    for _ in range(3):
        heard.clear()
        await testbed.until(refused)
        assert "is full" in heard[0]
        assert "make room" in heard[0]
        await testbed.unfinished()


async def _goes_on(testbed: Testbed) -> None:
    """By itself: what is enqueued from now on is done, within a few seconds."""
    ids: list[str] = []

    async def added() -> bool:
        with contextlib.suppress(StoreFull):
            ids.extend(await testbed.add("cook", 0.05))
        return bool(ids)

    await testbed.until(added, within=5)
    [record] = await testbed.ended(ids, within=10)
    assert record.state is State.SUCCEEDED


async def _the_command_says_so(testbed: Testbed) -> None:
    store = ("--store", f"sqlite:///{testbed.database}")
    run = partial(backline, environment=testbed.environment)
    code, text = await run("enqueue", *store, "diner.cook", f'"{"x" * 100_000}"')
    assert code == 3, text
    assert "is full" in text
    assert "make room" in text
    code, text = await run("doctor", *store)
    assert code in {1, 3}, text
    assert ("disk" in text and "wrong" in text) or "is full" in text


@pytest.mark.processes
async def test_doctor_says_that_the_disk_is_full_when_nobody_has_the_file_open(
    tmp_path: Path,
) -> None:
    with small_disk("tmpfs", tmp_path) as disk:
        async with Testbed(tmp_path, store=disk / "jobs.db").open() as testbed:
            await testbed.add("cook", 0.1)
            await testbed.store.close()
            Ballast(testbed, disk).fill()
            url = f"sqlite:///{testbed.database}"
            code, text = await backline("doctor", "--store", url, environment=testbed.environment)
            assert (code, "is full" in text, "make room" in text) == (3, True, True), text
