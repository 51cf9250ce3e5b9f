"""Processes killed under load: workers, supervisors."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from tests.chaos.checker import Recovery, Story, cancel_delays, check, recoveries
from tests.chaos.history import Run
from tests.chaos.processes import Pulse, SupervisorProcess, gone
from tests.chaos.testbed import Testbed

from backline.job import SECOND, JobId, JobRecord, Lane, Micros
from backline.states import TERMINAL, State

MEALS = (("cook", 0.3), ("bake", 0.3), ("roast", 0.3), ("spill_once", 0.1), ("burn", 0.1))
SHORT_AND_LONG = [
    pytest.param("short", marks=pytest.mark.processes),
    pytest.param("full", marks=pytest.mark.chaos),
]


@pytest.mark.parametrize("form", SHORT_AND_LONG)
async def test_killed_workers_lose_nothing(
    testbed: Testbed, form: str, tell: Callable[[str], None]
) -> None:
    kills = {"short": 6, "full": 200}[form]
    supervisor = await testbed.supervise("--processes", "3", "--concurrency", "6", "--cells", "2")
    pulse = Pulse()
    with pulse.felt():
        async with testbed.load(*MEALS, most=24, mixed=True):
            await testbed.until(lambda: len(testbed.history.of("end")) > 10)
            testbed.measure()
            for number in range(1, kills + 1):
                if number % 3 == 1:
                    await _cancel_what_runs(testbed)
                await _kill_a_busy_worker(testbed, supervisor)
                testbed.measure()
                if number % 20 == 0:
                    tell(f"{number} of {kills} workers killed")
        story = await testbed.quiet()
    _judge(story, pulse, tell, settled=SECOND, running=2 * SECOND)
    delays = cancel_delays(story)
    tell(f"{len(story.intake.cancels)} cancels; what ran ended after {_spread(delays)}")
    assert max(delays, default=0) < _TOLD + round(4 * pulse.worst * SECOND)
    assert story.usage, "no process was measured twice"
    await testbed.leave()


_TOLD: Micros = 3 * SECOND // 2
"""A heartbeat goes round once a second."""


async def _cancel_what_runs(testbed: Testbed) -> None:
    """A job that takes much longer than it should take to be told."""
    [job] = await testbed.add("cook", 10.0)
    await testbed.until(lambda: job in {run.start.job for run in testbed.history.running()})
    await testbed.cancel(job)


async def _kill_a_busy_worker(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    """Kill one that runs a job, while another has room; then see what it cut off go on."""

    def busy() -> list[int]:
        mains = {each.pid for each in supervisor.workers() if each.lane is Lane.MAIN}
        if len(mains) < 3:
            return []
        return sorted(mains & {run.start.pid for run in testbed.history.running()})

    victim = testbed.rng.choice(await testbed.until(busy))
    testbed.kill(victim)
    await gone(victim)
    testbed.history.read()
    hit = [run for run in testbed.history.runs() if run.start.pid == victim and run.end is None]

    await _go_on(testbed, hit)


async def _go_on(testbed: Testbed, cut: Sequence[Run]) -> None:
    """Wait until what was cut off runs again, unless somebody cancelled it or it has ended.

    It may: a job that lost its process again and again dies, whoever killed them, and one that
    waits for its next attempt may be replaced. Whether it did so rightly is for the checker.
    """
    left: list[JobRecord | None] = []

    async def again() -> bool:
        newest = {run.start.job: run.start.attempt for run in testbed.history.runs()}
        cancelled = {cancel.job for cancel in testbed.intake.cancels}
        waits = [
            run.start.job
            for run in cut
            if run.start.job not in cancelled and newest[run.start.job] <= run.start.attempt
        ]
        records = await testbed.store.get(waits)
        left[:] = [each for each in records if each is None or each.state not in TERMINAL]
        return not left

    try:
        await testbed.until(again)
    except TimeoutError:
        raise AssertionError(f"cut off, and not running again: {left}") from None


def _judge(
    story: Story,
    pulse: Pulse,
    tell: Callable[[str], None],
    *,
    settled: Micros,
    running: Micros,
) -> None:
    found = check(story)
    assert not found, "\n".join(found[:20])
    healed = recoveries(story)
    assert healed, "no kill hit a run"
    states = Counter(record.state.value for record in story.records.values())
    twice = sum(count - 1 for count in story.ledgers.unfenced.values())
    tell(f"{len(story.intake.acknowledged)} jobs: {dict(states)}; 0 lost")
    tell(f"{len(story.deaths)} kills cut off {len(healed)} runs; {twice} effects came twice")
    settles = [each.settled for each in healed if each.settled is not None]
    starts = [each.running for each in healed if each.running is not None and not each.alone]
    tell(f"settled after {_spread(settles)}; running after {_spread(starts)}")
    tell(f"the machine itself stood still for up to {pulse.worst:.2f} s")
    patience = round(4 * pulse.worst * SECOND)
    healed = [each for each in healed if not _to_be_cancelled(story, each.token[0])]
    assert _late(healed, settled + patience, running + patience) == []


def _to_be_cancelled(story: Story, job: JobId) -> bool:
    """Somebody asked for it, or another job took its key while it waited for its next attempt."""
    replaced = story.records[job].state is State.CANCELLED and story.replaced(job)
    return replaced or any(cancel.job == job for cancel in story.intake.cancels)


def _late(healed: Sequence[Recovery], settled: Micros, running: Micros) -> list[Recovery]:
    return [
        each
        for each in healed
        if (each.settled is not None and each.settled > settled)
        or (not each.alone and (each.running is None or each.running > running))
    ]


def _spread(times: Sequence[Micros]) -> str:
    if not times:
        return "none"
    middle, worst = statistics.median(times) / SECOND, max(times) / SECOND
    return f"{middle:.3f} s (median), {worst:.3f} s (worst of {len(times)})"


@pytest.mark.parametrize("form", SHORT_AND_LONG)
async def test_killed_supervisors_take_everything_along_and_lose_nothing(
    testbed: Testbed, form: str, tell: Callable[[str], None]
) -> None:
    kills, lease = {"short": 2, "full": 50}[form], 2
    options = ("--processes", "2", "--concurrency", "6", "--cells", "1", "--lease", f"{lease}s")
    supervisors = [
        await testbed.supervise(*options, run_dir="a"),
        await testbed.supervise(*options),
    ]
    pulse = Pulse()
    with pulse.felt():
        async with testbed.load(("cook", 0.5), ("bake", 0.5), ("roast", 0.5), most=24, mixed=True):
            for number in range(1, kills + 1):
                supervisor, other = supervisors.pop(0), supervisors[0]
                await _at_work(testbed, other)  # who only starts up can settle nothing yet
                await _kill_with_all_its_workers(testbed, supervisor)
                # Every other one shares no run directory with anybody: another host.
                supervisors.append(await testbed.supervise(*options, run_dir="ab"[number % 2]))
                if number % 5 == 0:
                    tell(f"{number} of {kills} supervisors killed")
        story = await testbed.quiet()
    bound = (lease + 1) * SECOND
    _judge(story, pulse, tell, settled=bound, running=bound)
    await testbed.leave()


async def _at_work(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    def has_ended_some() -> bool:
        pids = {worker.pid for worker in supervisor.workers()}
        return not pids.isdisjoint(event.pid for event in testbed.history.of("end"))

    await testbed.until(has_ended_some)


async def _kill_with_all_its_workers(testbed: Testbed, supervisor: SupervisorProcess) -> None:
    def busy() -> bool:
        pids = {worker.pid for worker in supervisor.workers()}
        return len(pids & {run.start.pid for run in testbed.history.running()}) > 1

    await testbed.until(busy)
    workers = supervisor.workers()
    for pid in (*(worker.pid for worker in workers), supervisor.pid):
        testbed.history.note("kill", pid)
    supervisor.process.kill()
    await asyncio.gather(*(gone(worker.pid, within=5) for worker in workers), supervisor.end())
    testbed.history.read()
    hit = [run for run in testbed.history.runs() if run.start.pid in {w.pid for w in workers}]
    cut = [run for run in hit if run.end is None]

    await _go_on(testbed, cut)
