"""Supervisors told to end while there is work: rolling restarts, impatience, and PID 1."""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import psutil
import pytest
from tests.chaos.checker import check
from tests.chaos.history import Run, monotonic
from tests.chaos.processes import Pulse, SupervisorProcess
from tests.chaos.testbed import Testbed

from backline.job import SECOND, Micros
from backline.states import State
from backline.supervisor.settings import EXIT_OK, EXIT_QUIT

NO_NEW_LEASE: Micros = SECOND // 10
HANDED_BACK: Micros = SECOND
LONGEST = 0.8
"""Seconds that a job of the load takes at most."""
MEALS = (("cook", LONGEST), ("bake", LONGEST), ("roast", LONGEST), ("spill_once", 0.1))
OPTIONS = ("--processes", "2", "--concurrency", "6", "--cells", "1")
PATIENT, HASTY = 10.0, 0.2
"""Seconds of grace: longer than any job, and shorter than most."""
FORMS = [
    pytest.param(2, id="short", marks=pytest.mark.processes),
    pytest.param(100, id="full", marks=pytest.mark.chaos),
]


@pytest.mark.parametrize("restarts", FORMS)
async def test_rolling_restarts_hand_everything_on(
    testbed: Testbed, restarts: int, tell: Callable[[str], None]
) -> None:
    """One host after the other, as a deployment does it; every other one is in a hurry."""
    both = [await _start(testbed, n, grace) for n, grace in enumerate([PATIENT, HASTY])]
    took: dict[float, list[Micros]] = {PATIENT: [], HASTY: []}
    with Pulse().felt() as pulse:
        async with testbed.load(*MEALS, most=24, mixed=True):
            for number in range(1, restarts + 1):
                old, grace = both.pop(0)
                await _busy(testbed, old)
                took[grace].append(await _restart(testbed, old, grace, pulse))
                both.append(await _start(testbed, number + 1, grace))
                if number % 10 == 0:
                    tell(f"{number} of {restarts} restarts")
        story = await testbed.quiet()
    found = check(story)
    assert not found, "\n".join(found[:20])
    assert sum(record.losses for record in story.records.values()) == 0
    # `spill_once` fails once; nothing else is charged, however often it was handed back.
    charged = [r for r in story.records.values() if r.failures > ("spill_once" in r.task)]
    assert charged == []
    states = Counter(record.state.value for record in story.records.values())
    again = sum(max(0, len(runs) - 1) for runs in story.runs.values())
    tell(f"{len(story.records)} jobs: {dict(states)}; {again} runs were begun anew")
    for grace, times in took.items():
        tell(f"with a grace of {grace} s it took {min(times) / SECOND:.2f} s or more, at most "
             f"{max(times) / SECOND:.2f} s")  # fmt: skip
    await testbed.leave()


async def _start(testbed: Testbed, number: int, grace: float) -> tuple[SupervisorProcess, float]:
    """On another host each time: it adopts nothing."""
    options = (*OPTIONS, "--grace", f"{round(grace * 1000)}ms")
    return await testbed.supervise(*options, run_dir=f"host-{number}"), grace


async def _busy(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    def several_run() -> bool:
        pids = {worker.pid for worker in supervisor.workers()}
        return len([run for run in testbed.history.running() if run.start.pid in pids]) > 2

    await testbed.until(several_run)


async def _restart(
    testbed: Testbed, supervisor: SupervisorProcess, grace: float, pulse: Pulse
) -> Micros:
    """SIGTERM; returns how long it took to end."""
    workers = supervisor.workers()
    pids = {supervisor.pid, *(worker.pid for worker in workers)}
    for pid in pids:
        testbed.history.note("term", pid)
    told = monotonic()
    supervisor.process.terminate()
    assert await supervisor.end() == EXIT_OK
    took = monotonic() - told
    patience = round(4 * pulse.worst * SECOND)
    assert took <= round(grace * SECOND) + HANDED_BACK + patience
    for worker in workers:  # handed back: nobody has to wait for a lease to run out
        assert await testbed.store.held(worker.name) == []
    testbed.history.read()
    late = [
        event
        for event in testbed.history.of("start")
        if event.pid in pids and event.mono > told + NO_NEW_LEASE + patience
    ]
    assert late == []
    if grace == PATIENT:
        cut = [run for run in _interrupted(testbed, pids) if not _cancelled(testbed, run)]
        assert cut == []
    return took


def _interrupted(testbed: Testbed, pids: Collection[int]) -> list[Run]:
    runs = [run for run in testbed.history.runs() if run.start.pid in pids]
    return [run for run in runs if run.end is None or run.end.how not in {"ok", "ValueError"}]


def _cancelled(testbed: Testbed, run: Run) -> bool:
    return run.start.job in {cancel.job for cancel in testbed.intake.cancels}


@pytest.mark.processes
async def test_the_second_sigterm_ends_it_at_once_and_nothing_is_charged(testbed: Testbed) -> None:
    impatient = await testbed.supervise(*OPTIONS, "--grace", "30s", run_dir="a")
    ids = [
        *await testbed.add("cook", 4.0, count=2),
        *await testbed.add("bake", 4.0, count=2),
        *await testbed.add("roast", 4.0),
    ]
    await testbed.until(lambda: len(testbed.history.running()) > 4)
    other = await testbed.supervise(*OPTIONS, run_dir="b")
    for pid in (impatient.pid, *(worker.pid for worker in impatient.workers())):
        testbed.history.note("term", pid)
    impatient.process.terminate()
    await testbed.until(lambda: "draining" in impatient.log.read_text())
    with pytest.raises(TimeoutError):  # sooner it would count as the first one, sent twice
        await asyncio.wait_for(impatient.process.wait(), 0.4)
    told = monotonic()
    impatient.process.terminate()
    assert await impatient.end() == EXIT_QUIT
    assert monotonic() - told < 2 * SECOND
    for record in await testbed.ended(ids):
        assert (record.state, record.losses, record.failures) == (State.SUCCEEDED, 0, 0), record
    mine = {worker.pid for worker in other.workers()}
    story = await testbed.quiet()
    assert check(story) == []
    finished = {runs[-1].start.pid for runs in story.runs.values()}
    assert finished & mine, "nothing was handed on"
    await testbed.leave()


@pytest.mark.processes
async def test_as_pid_1_it_outlives_its_workers_and_reaps_whatever_they_leave(
    testbed: Testbed,
) -> None:
    supervisor = await testbed.supervise(*OPTIONS, within=_pid_namespace())
    await testbed.until(lambda: len(_workers_inside(supervisor)) > 1)
    async with testbed.load(("cook", 0.3), ("bake", 0.3), ("roast", 0.3), most=16):
        orphans = await testbed.add("leave_orphans", 20)
        await testbed.ended(orphans)
        await testbed.until(lambda: len(testbed.history.of("end")) > 10)
        victim = _workers_inside(supervisor)[0]
        testbed.history.note("kill", _pid_inside(victim))
        victim.kill()
        await testbed.until(lambda: len(_workers_inside(supervisor)) > 1)
        await testbed.until(lambda: _zombies(supervisor) == [])
    story = await testbed.quiet()
    assert check(story) == []
    lasting = await testbed.add("cook", 1.0, count=4)
    await testbed.until(lambda: len(testbed.history.running()) > 3)
    _first_inside(supervisor).send_signal(signal.SIGTERM)
    assert await supervisor.end() == EXIT_OK
    for record in await testbed.ended(lasting):
        assert (record.state, record.attempt) == (State.SUCCEEDED, 1)
    await testbed.leave()


def _pid_namespace() -> tuple[str, ...]:
    """A command that runs another one as PID 1."""
    command = ("unshare", "--pid", "--fork", "--mount-proc")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs a PID namespace of its own: root")
    return command


def _first_inside(supervisor: SupervisorProcess) -> psutil.Process:
    """The supervisor itself, which is PID 1 to its children."""
    [first] = psutil.Process(supervisor.pid).children()
    assert _pid_inside(first) == 1
    return first


def _workers_inside(supervisor: SupervisorProcess) -> list[psutil.Process]:
    """Main workers, by the settings on their command line."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error, ValueError):
        for child in _first_inside(supervisor).children():
            with contextlib.suppress(psutil.Error, ValueError):
                command = child.cmdline()
                if "backline.child" in command and json.loads(command[-1])["lane"] == "main":
                    found.append(child)
    return found


def _zombies(supervisor: SupervisorProcess) -> list[int]:
    left: list[int] = []
    for child in _first_inside(supervisor).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.status() == psutil.STATUS_ZOMBIE:
                left.append(child.pid)
    return left


def _pid_inside(process: psutil.Process) -> int:
    """Its id in the innermost namespace."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])
