"""Processes that stand still: stopped as a whole, or held up by their own jobs."""

from collections import Counter
from collections.abc import Callable

import pytest
from tests.chaos.checker import check
from tests.chaos.processes import SupervisorProcess
from tests.chaos.testbed import Testbed

from backline.job import Lane
from backline.states import State

SHORT_AND_LONG = [
    pytest.param("short", marks=pytest.mark.processes),
    pytest.param("full", marks=pytest.mark.chaos),
]
LEASE = 1.0
WHO = ("both", "workers", "both", "supervisor")


@pytest.mark.parametrize("form", SHORT_AND_LONG)
async def test_what_was_frozen_comes_back_too_late_to_be_believed(
    testbed: Testbed, form: str, tell: Callable[[str], None]
) -> None:
    """Supervisor, workers, or both of them, while another host goes on."""
    pauses = {"short": [0.5, 2.0], "full": [0.5 + 4.5 * n / 59 for n in range(60)]}[form]
    options = ("--processes", "1", "--concurrency", "6", "--cells", "1", "--lease", "1s")
    supervisors = [await testbed.supervise(*options, run_dir=each) for each in "ab"]
    async with testbed.load(("cook", 0.5), ("bake", 0.5), ("roast", 0.5), most=16):
        for number, pause in enumerate(pauses, 1):
            who = WHO[number % len(WHO)]
            await _freeze(testbed, supervisors[number % 2], who, pause * LEASE)
            if number % 10 == 0:
                tell(f"{number} of {len(pauses)} pauses")
    story = await testbed.quiet()
    found = check(story)
    assert not found, "\n".join(found[:20])
    late = Counter(record.losses for record in story.records.values())
    late.pop(0, 0)
    twice = sum(count - 1 for count in story.ledgers.unfenced.values())
    jobs = len(story.intake.acknowledged)
    tell(f"{jobs} jobs, {len(pauses)} pauses: {late.total()} leases were lost")
    tell(f"{twice} effects came twice; 0 outcomes of an older attempt were taken")
    await testbed.leave()


async def _freeze(
    testbed: Testbed, supervisor: SupervisorProcess, who: str, seconds: float
) -> None:
    def busy() -> set[int]:
        mains = {worker.pid for worker in supervisor.workers()}
        return mains & {run.start.pid for run in testbed.history.running()}

    await testbed.until(busy)
    workers = [worker.pid for worker in supervisor.workers()]
    frozen = {"both": [supervisor.pid, *workers], "workers": workers}.get(who, [supervisor.pid])
    await testbed.freeze(*frozen)
    for pid in {*workers} - {*frozen}:  # nobody keeps their leases: they stop in time
        testbed.history.note("stop", pid)
    await testbed.nothing_from(frozen, seconds)
    testbed.thaw(*frozen)


@pytest.mark.parametrize("leases", [
    pytest.param(4, marks=pytest.mark.processes),
    pytest.param(10, marks=pytest.mark.chaos),
])  # fmt: skip
async def test_a_job_that_holds_everything_up_for_many_leases_runs_once(
    testbed: Testbed, leases: int
) -> None:
    await testbed.supervise("--processes", "2", "--concurrency", "1", "--lease", "1s")
    seconds = leases * LEASE
    ids = [
        *await testbed.add("block_the_loop", seconds),
        *await testbed.add("hold_the_gil", int(seconds)),
        *await testbed.add("hold_the_gil_of_a_cell", int(seconds), lane=Lane.CELL),
    ]
    for record in await testbed.ended(ids):
        assert (record.state, record.attempt, record.losses) == (State.SUCCEEDED, 1, 0), record
    story = await testbed.quiet()
    assert check(story) == []
    assert [len(story.runs[job]) for job in ids] == [1, 1, 1]
    assert (
        min(run.end.mono - run.start.mono for [run] in story.runs.values() if run.end)
        > 0.99e6 * seconds
    )
    await testbed.leave()
