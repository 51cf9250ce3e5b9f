"""Supervisors and workers that may open no more files, or start no more threads."""

import contextlib
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.chaos.checker import check
from tests.chaos.processes import SupervisorProcess, gone
from tests.chaos.testbed import Testbed

from backline.job import SECOND, Lane
from backline.states import State

OPTIONS = ("--processes", "2", "--concurrency", "6", "--cells", "1")
FILES = 64
FORMS = [
    pytest.param(1, id="short", marks=pytest.mark.processes),
    pytest.param(10, id="full", marks=pytest.mark.chaos),
]


@contextlib.contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """The process keeps those that it has open, and may open no other, while inside."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def mains(supervisor: SupervisorProcess) -> list[int]:
    return [worker.pid for worker in supervisor.workers() if worker.lane is Lane.MAIN]


def ends(testbed: Testbed, pids: list[int]) -> int:
    return sum(event.pid in pids for event in testbed.history.of("end"))


async def both_work(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    """Wait until there are two workers, and each has finished something."""

    def each_did() -> bool:
        pids = mains(supervisor)
        return len(pids) > 1 and all(ends(testbed, [pid]) for pid in pids)

    async with testbed.load(("cook", 0.05), most=24):
        await testbed.until(each_did)
    await testbed.quiet()


async def says(testbed: Testbed, supervisor: SupervisorProcess, what: str, times: int = 0) -> None:
    """Wait until its log has it more often than so many times."""
    await testbed.until(lambda: supervisor.log.read_text().count(what) > times)


@pytest.mark.parametrize("times", FORMS)
async def test_who_may_open_no_more_files_says_so_and_goes_on_when_it_may(
    testbed: Testbed, times: int, tell: Callable[[str], None]
) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit, of util-linux")
    limit = ("prlimit", f"--nofile={FILES}:{FILES}", "--")
    supervisor = await testbed.supervise(*OPTIONS, within=limit)
    async with testbed.load(("cook", 0.2), ("bake", 0.2), ("roast", 0.2), most=16):
        await testbed.until(lambda: len(testbed.history.of("end")) > 10)
        testbed.measure()
        for number in range(1, times + 1):
            await testbed.until(lambda: len(mains(supervisor)) > 1)
            await _supervisor_without_files(testbed, supervisor)
            await _worker_without_files(testbed, mains(supervisor)[0])
            tell(f"{number} of {times} times without files")
    story = await testbed.quiet()
    found = check(story)
    assert not found, "\n".join(found[:20])
    assert story.usage, "no process was measured twice"
    assert "Traceback" not in supervisor.log.read_text()
    await testbed.leave()
    assert supervisor.process.returncode == 0


async def _supervisor_without_files(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    """It cannot replace a worker then, and the other one goes on."""
    said = supervisor.log.read_text().count("cannot start a worker")
    with no_more_files(supervisor.pid):
        victim, *others = mains(supervisor)
        testbed.kill(victim)
        await gone(victim)
        await says(testbed, supervisor, "cannot start a worker", said)
        assert "Too many open files" in supervisor.log.read_text()
        done = ends(testbed, others)
        await testbed.until(lambda: ends(testbed, others) > done + 5)
    await testbed.until(lambda: len(mains(supervisor)) > 1)


async def _worker_without_files(testbed: Testbed, pid: int) -> None:
    """Its jobs fail, as they do whatever they open; it does not."""
    testbed.history.note("term", pid)  # no run of it can be told of from now on
    with no_more_files(pid):
        await testbed.nothing_from([pid], 0.4)
    done = ends(testbed, [pid])
    await testbed.until(lambda: ends(testbed, [pid]) > done)


class PidsGroup:
    """A control group with a limit of processes and threads."""

    def __init__(self, path: Path) -> None:
        self._limit = path / "pids.max"
        self.within = ("sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh")

    def allow(self, more: int) -> None:
        """So many beyond those that are there."""
        there = int(self._limit.with_name("pids.current").read_text())
        self._limit.write_text(str(there + more))

    @contextlib.contextmanager
    def no_more(self) -> Iterator[None]:
        """Those that are there may stay, and none may come, while inside."""
        self._limit.write_text("1")
        try:
            yield
        finally:
            self._limit.write_text("max")


@pytest.fixture
def pids_group(testbed: Testbed) -> Iterator[PidsGroup]:
    root = Path("/sys/fs/cgroup/pids")
    if not os.access(root, os.W_OK) or shutil.which("sh") is None:
        pytest.skip("needs a pids control group of its own: root, version 1")
    group = root / f"backline-{testbed.mark}"
    group.mkdir()
    yield PidsGroup(group)
    for pid in map(int, (group / "cgroup.procs").read_text().split()):
        (root / "cgroup.procs").write_text(str(pid))  # none, unless the test has failed
    group.rmdir()


@pytest.mark.parametrize("times", FORMS)
async def test_who_may_start_no_more_threads_says_so_and_goes_on_when_it_may(
    testbed: Testbed, pids_group: PidsGroup, times: int, tell: Callable[[str], None]
) -> None:
    supervisor = await testbed.supervise(*OPTIONS, within=pids_group.within)
    log = supervisor.log
    for number in range(1, times + 1):
        await both_work(testbed, supervisor)
        with pids_group.no_more():
            # The first of them that needs a thread in a worker of which none has had one.
            baked = [*await testbed.add("bake", 0.1, count=8), *await testbed.add("roast", 0.1)]
            await testbed.ended(await testbed.add("cook", 0.1, count=8))
            said = log.read_text().count("cannot start a worker")
            victim = mains(supervisor)[0]
            testbed.kill(victim)
            await gone(victim)
            await says(testbed, supervisor, "cannot start a worker", said)
            if number == 1:
                await says(testbed, supervisor, "no thread for")
                await says(testbed, supervisor, "cannot start a cell")
            await testbed.ended(await testbed.add("cook", 0.1, count=4))
        for record in await testbed.ended(baked):
            assert (record.state, record.failures) == (State.SUCCEEDED, 0), record
            assert record.attempt < 15, "it was handed back without a pause"
        tell(f"{number} of {times} times without threads")
    story = await testbed.quiet()
    assert check(story) == []
    await testbed.until(lambda: len(mains(supervisor)) > 1)
    assert "Resource temporarily unavailable" in log.read_text()
    assert "Traceback" not in log.read_text()
    await testbed.leave()
    assert supervisor.process.returncode == 0


@pytest.mark.processes
async def test_a_fork_bomb_takes_all_processes_until_its_time_is_up(
    testbed: Testbed, pids_group: PidsGroup
) -> None:
    supervisor = await testbed.supervise(*OPTIONS, app="poison:app", within=pids_group.within)
    await testbed.until(lambda: len(mains(supervisor)) > 1)
    await testbed.ended(await testbed.add("cook", 0.05, count=4))
    pids_group.allow(60)
    [bomb] = await testbed.add(
        "fork_bomb_in_cell", module="poison", lane=Lane.CELL, max_attempts=1, timeout=SECOND
    )
    async with testbed.load(("cook", 0.2), ("bake", 0.2), most=12):
        await testbed.until(lambda: len(testbed.leftovers()) > 40)
        done = len(testbed.history.of("end"))
        await testbed.until(lambda: len(testbed.history.of("end")) > done + 10)
        record = await testbed.job(bomb)
        assert (record.state, record.losses, record.failures) == (State.DEAD, 0, 1), record
        assert record.errors[0].kind == "timeout"
        await testbed.until(lambda: len(testbed.leftovers()) < 10)
    story = await testbed.quiet()
    assert [found for found in check(story) if bomb not in found] == []
    assert {r.state for job, r in story.records.items() if job != bomb} == {State.SUCCEEDED}
    await testbed.leave()
    assert supervisor.process.returncode == 0
