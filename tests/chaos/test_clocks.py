"""Clocks that step under load: the wall clock by an hour, and a boot clock from elsewhere."""

import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest
from tests.chaos.checker import check
from tests.chaos.processes import backline
from tests.chaos.testbed import Testbed

from backline.clock import SystemClock
from backline.job import HOUR, MINUTE, SECOND, Backoff, JobRecord, Micros
from backline.states import State

STEPPED = Path(__file__).parent / "stepped"
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
OPTIONS = ("--processes", "1", "--concurrency", "8", "--cells", "1")
PROMPT = 20.0
"""Seconds within which a job is done that nothing holds up, on a busy machine."""
LEASES = 2
"""How many leases the long jobs take."""


class WallClock(SystemClock):
    """The wall clock of a machine that somebody sets."""

    def __init__(self) -> None:
        self.stepped: Micros = 0
        super().__init__()

    def now(self) -> Micros:
        return super().now() + self.stepped

    def step(self, by: Micros) -> None:
        """Set it forward or back."""
        self.stepped += by


class Steps(Protocol):
    """What carries a step into processes that run."""

    environment: Mapping[str, str]

    def set(self, clock: WallClock) -> None:
        """From now on their clocks show what this one does."""


class InPython:
    """Every reading of the wall clock passes `stepped/sitecustomize.py`."""

    def __init__(self, file: Path, path: str) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.environment = {
            "CHAOS_WALL_CLOCK": str(file),
            "PYTHONPATH": os.pathsep.join([str(STEPPED), path]),
        }

    def set(self, clock: WallClock) -> None:
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", clock.stepped))


class InTheLibrary:
    """libfaketime, for C as well: SQLite, the logging, the jobs."""

    def __init__(self, file: Path, path: str) -> None:
        if FAKETIME is None:
            pytest.skip("libfaketime is not installed (on Debian: apt-get install faketime)")
        self._file = file
        file.write_text("+0")
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",  # slow: each look at a clock reads the file
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": path,
        }

    def set(self, clock: WallClock) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{clock.stepped / SECOND:+.6f}")
        new.replace(self._file)


class Machine:
    """A testbed whose processes have wall clocks that can be set."""

    def __init__(self, testbed: Testbed, clock: WallClock, ways: list[Steps], lease: float) -> None:
        self.testbed = testbed
        self.lease = lease
        self.clock = clock
        self.ways = ways

    def step(self, by: Micros) -> None:
        """Set the clock of every process, and ours."""
        self.clock.step(by)
        self.testbed.history.note("step", 0, how=f"{by / SECOND:+g} s")
        for way in self.ways:
            way.set(self.clock)

    def skew(self, by: Micros) -> None:
        """Set the clock of one host only, from what ours shows."""
        other = WallClock()
        other.step(self.clock.stepped + by)
        self.ways[0].set(other)


@pytest.fixture
async def machine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Machine]:
    way, lease = request.param
    clock = WallClock()
    async with Testbed(tmp_path, clock=clock).open() as testbed:
        path = testbed.environment["PYTHONPATH"]
        ways = [way(tmp_path / f"step-{each}", path) for each in "ab"]
        for each, way in zip("ab", ways, strict=True):
            options = (*OPTIONS, "--lease", f"{lease}s")
            await testbed.supervise(*options, run_dir=each, environment=way.environment)
        yield Machine(testbed, clock, ways, lease)


async def long_jobs(testbed: Testbed, lease: float = 2.0) -> list[str]:
    """Jobs of every kind that run for several leases, all of them started."""
    seconds = LEASES * lease
    ids = [
        *await testbed.add("cook", seconds, count=2),
        *await testbed.add("bake", seconds, count=2),
        *await testbed.add("roast", seconds),
    ]
    await testbed.until(lambda: set(ids) <= {event.job for event in testbed.history.of("start")})
    return ids


async def undisturbed(testbed: Testbed, ids: list[str]) -> None:
    """They ran once, and nobody thought them lost."""
    for record in await testbed.ended(ids):
        runs = record.attempt - record.releases  # leased ahead in vain, it is given back
        assert (record.state, runs, record.losses) == (State.SUCCEEDED, 1, 0), record


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param((InPython, 2), id="short", marks=pytest.mark.processes),
        pytest.param((InTheLibrary, 10), id="full", marks=pytest.mark.chaos),
    ],
    indirect=True,
)
async def test_leases_take_no_notice_of_the_wall_clock_and_due_times_follow_it(
    machine: Machine,
) -> None:
    testbed = machine.testbed
    running = await long_jobs(testbed, machine.lease)
    for by in (HOUR, -HOUR, 0):  # one host has another time than the other
        machine.skew(by)
        await testbed.ended(await testbed.add("cook", 0.05, count=4), within=PROMPT)
    [soon] = await testbed.add("cook", 0.05, delay=30 * MINUTE)
    machine.step(HOUR)
    await starts(testbed, soon)
    [later] = await testbed.add("cook", 0.05, delay=SECOND)
    machine.step(-HOUR)
    await the_command_copes(machine, soon)
    failing = await testbed.add("spill_once", 0.05, backoff=Backoff(delays=(SECOND // 10,)))
    await testbed.ended([*failing, *await testbed.add("cook", 0.05)], within=PROMPT)
    await testbed.nothing_from([], 1.1)
    assert (await look(testbed, later)).state is State.SCHEDULED, "its time has not come again"
    await undisturbed(testbed, running)
    machine.step(HOUR + SECOND)
    await starts(testbed, later)
    story = await testbed.quiet()
    assert check(story) == []
    for queue in story.queues:  # a rate is measured by the clock that does not step
        assert 0 <= queue.drain_rate <= len(story.intake.acknowledged)
    assert max(queue.drain_rate for queue in story.queues) > 0.05
    assert len(await testbed.store.workers()) >= 2
    for supervisor in testbed.supervisors:
        assert "let its lease run out" not in supervisor.log.read_text()
        assert "the clock of leases moved" not in supervisor.log.read_text()
    await testbed.leave()
    assert [each.process.returncode for each in testbed.supervisors] == [0, 0]


async def starts(testbed: Testbed, job: str) -> None:
    """It is done soon after a reaper looks, which it does every second."""
    [record] = await testbed.ended([job], within=PROMPT)
    assert record.state is State.SUCCEEDED


async def look(testbed: Testbed, job: str) -> JobRecord:
    [record] = await testbed.store.get([job])
    assert record is not None
    return record


async def the_command_copes(machine: Machine, job: str) -> None:
    """With times that lie in the future."""
    testbed, way = machine.testbed, machine.ways[0]
    store = ("--store", f"sqlite:///{testbed.database}")
    environment = {**testbed.environment, **way.environment}
    for words, code in ((("jobs",), 0), (("job", job), 0), (("queues",), 0), (("doctor",), 1)):
        found, said = await backline(*words, *store, environment=environment)
        assert found == code, said
        assert "a bug" not in said
    assert "set back" in said


@pytest.mark.chaos
@pytest.mark.parametrize(
    "machine", [(InPython, 3), (InTheLibrary, 3)], ids=["python", "library"], indirect=True
)
async def test_a_hundred_steps_under_load_lose_nothing(
    machine: Machine, tell: Callable[[str], None]
) -> None:
    testbed = machine.testbed
    async with testbed.load(("cook", 0.5), ("bake", 0.5), ("roast", 0.5), most=24):
        for number in range(1, 101):
            by = testbed.rng.choice([SECOND, MINUTE, HOUR]) * testbed.rng.choice([-1, 1])
            if number % 3:
                machine.step(by)
            else:
                machine.skew(by)
            await testbed.ended(await testbed.add("cook", 0.2), within=10)
            if number % 20 == 0:
                tell(f"{number} of 100 steps, now {machine.clock.stepped / HOUR:+.2f} h")
    story = await testbed.quiet()
    assert check(story) == []
    assert sum(record.losses for record in story.records.values()) == 0
    assert {len(runs) for runs in story.runs.values()} == {1}
    tell(f"{len(story.intake.acknowledged)} jobs, each of which ran once")
    await testbed.leave()


def time_namespace() -> tuple[str, ...]:
    """A command that runs another one an hour after the boot."""
    command = ("unshare", "--time", "--boottime", "3600")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a time namespace of its own: root, Linux 5.6")
    return command


@pytest.mark.processes
async def test_a_boot_clock_of_its_own_takes_no_lease_away(testbed: Testbed) -> None:
    """A time namespace shifts the clock of leases for the processes in it, not the boot."""
    unshare = time_namespace()
    await testbed.supervise(*OPTIONS, "--lease", "2s", run_dir="a")
    running = await long_jobs(testbed)
    await testbed.supervise(*OPTIONS, "--lease", "2s", run_dir="b", within=unshare)
    mine = {worker.pid for worker in testbed.supervisors[0].workers()}
    both = await testbed.add("cook", 1.5, count=20)  # more than one of them may run at a time
    await testbed.until(lambda: {r.start.pid for r in testbed.history.running()} - mine)
    await undisturbed(testbed, [*running, *both])
    assert check(await testbed.quiet()) == []
    await testbed.leave()
