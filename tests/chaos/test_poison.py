"""Jobs that harm their process: charged for it alone, and everybody else goes on."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.chaos.checker import check
from tests.chaos.testbed import Testbed

from backline.job import JobRecord, Lane
from backline.states import State

LONG = pytest.mark.chaos
SHORT = pytest.mark.processes
OPTIONS = ("--processes", "2", "--concurrency", "8", "--cells", "3")
MIB = 1 << 20


@pytest.fixture
def unharmed(testbed: Testbed) -> Callable[..., contextlib.AbstractAsyncContextManager[None]]:
    """Ordinary work goes on while inside, and all of it is done well in the end."""

    @asynccontextmanager
    async def unharmed(
        *options: str, within: tuple[str, ...] = (), kernel_kills: bool = False
    ) -> AsyncIterator[None]:
        supervisor = await testbed.supervise(*OPTIONS, *options, app="poison:app", within=within)
        poisoned = set()
        async with testbed.load(("cook", 0.3), ("bake", 0.3), most=12):
            before = set(testbed.intake.acknowledged)
            await testbed.until(lambda: len(testbed.history.of("end")) > 4)
            yield
            poisoned = {
                job
                for job in set(testbed.intake.acknowledged) - before
                if (await testbed.store.get([job]))[0].task.startswith("poison.")  # type: ignore[union-attr]
            }
        story = await testbed.quiet()
        for job, record in story.records.items():
            if job not in poisoned:
                assert record.state is State.SUCCEEDED, record
                assert record.failures <= kernel_kills, record
        kept = [found for found in check(story) if not any(job in found for job in poisoned)]
        if kernel_kills:  # it may take a neighbour too, before the memory of the first is free
            kept = [found for found in kept if not found.startswith(("c5", "c15"))]
        assert kept == []
        await testbed.leave()
        assert supervisor.process.returncode == 0

    return unharmed


def charged(record: JobRecord, losses: int, failures: int) -> None:
    """It is dead, after so much."""
    assert (record.state, record.losses, record.failures) == (State.DEAD, losses, failures), record
    assert record.attempt >= losses + failures  # it may have been handed back unstarted


@pytest.mark.parametrize(
    ("task", "how"),
    [
        pytest.param("crash", "SIGSEGV", marks=SHORT),
        pytest.param("leave", "exited with code 0", marks=LONG),
        pytest.param("kill_self", "SIGKILL", marks=LONG),
        pytest.param("crash_in_a_fork_too", "SIGKILL", marks=LONG),
    ],
)
async def test_who_ends_its_process_dies_of_it_alone(testbed, unharmed, task, how) -> None:
    async with unharmed():
        [job] = await testbed.add(task, module="poison", max_attempts=2)
        record = await testbed.job(job)
        charged(record, losses=2, failures=2)
        assert record.lane is Lane.CELL
        assert all(each.kind == "lost" and how in each.message for each in record.errors), record


@pytest.mark.processes
async def test_who_ends_its_cell_is_charged_at_once(testbed, unharmed) -> None:
    async with unharmed():
        [job] = await testbed.add("crash_in_cell", module="poison", lane=Lane.CELL, max_attempts=2)
        charged(await testbed.job(job), losses=0, failures=2)


@pytest.fixture
def memory_group(testbed: Testbed) -> Iterator[tuple[str, ...]]:
    """A command that runs another one within so much memory."""
    root = Path("/sys/fs/cgroup/memory")
    if not os.access(root, os.W_OK) or shutil.which("sh") is None:
        pytest.skip("needs a memory cgroup of its own")
    group = root / f"backline-{testbed.mark}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(400 * MIB))
    yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    for pid in map(int, (group / "cgroup.procs").read_text().split()):
        (root / "cgroup.procs").write_text(str(pid))  # none, unless the test has failed
    group.rmdir()


@pytest.mark.parametrize(
    ("task", "losses"),
    [
        pytest.param("eat", 2, marks=LONG),
        pytest.param("eat_in_cell", 0, marks=SHORT),
    ],
)
async def test_who_eats_all_memory_is_killed_and_not_its_supervisor(
    testbed, unharmed, memory_group, task, losses
) -> None:
    lane = Lane.MAIN if losses else Lane.CELL
    async with unharmed(within=memory_group, kernel_kills=True):
        [job] = await testbed.add(task, module="poison", lane=lane, max_attempts=2)
        record = await testbed.job(job)
        charged(record, losses=losses, failures=2)
        assert "SIGKILL (signal 9); peak memory" in record.errors[-1].message
        assert int(record.errors[-1].message.split()[-2]) > 100


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param(["spin_in_cell", "stand_in_c_in_cell", "wait_in_thread"], marks=SHORT),
        pytest.param(["spin_on_the_loop"], marks=LONG),
        pytest.param(["stand_in_c"], marks=LONG),
        pytest.param(["refuse_to_stop"], marks=LONG),
    ],
    ids="+".join,
)
async def test_who_never_ends_is_stopped_at_its_limit(testbed, unharmed, tasks) -> None:
    async with unharmed("--grace", "5s"):
        jobs = []
        for task in tasks:
            lane = Lane.CELL if task.endswith("cell") else Lane.MAIN
            jobs += await testbed.add(
                task, module="poison", lane=lane, max_attempts=1, timeout=1_000_000
            )
        for record in await testbed.ended(jobs):
            charged(record, losses=0, failures=1)
            assert record.errors[0].kind == "timeout"
            assert record.finished_at - record.started_at < 20e6


@pytest.mark.parametrize(
    "task", [pytest.param("throw", marks=SHORT), pytest.param("throw_in_thread", marks=LONG),
             pytest.param("throw_in_cell", marks=LONG)],
)  # fmt: skip
async def test_whatever_is_raised_is_a_failure_of_its_job(testbed, unharmed, task) -> None:
    lane = Lane.CELL if task.endswith("cell") else Lane.MAIN
    async with unharmed():
        jobs = {
            name: (await testbed.add(task, name, module="poison", lane=lane, max_attempts=2))[0]
            for name in ERRORS
        }
        await testbed.ended(list(jobs.values()))
        for name, job in jobs.items():
            record = await testbed.job(job)
            charged(record, losses=0, failures=2)
            kinds = {error.kind.rpartition(".")[2] for error in record.errors}
            assert kinds == {KINDS.get(name, name)} or (
                task != "throw_in_thread" and kinds == {"RuntimeError"} and "Stop" in name
            ), (name, kinds)
            assert all(len(error.message) < 3_000 for error in record.errors)
            assert all(len(error.traceback) < 20_000 for error in record.errors)


ERRORS = [
    *("ValueError", "CancelledError", "TimeoutError", "SystemExit", "KeyboardInterrupt"),
    *("GeneratorExit", "BaseException", "StopIteration", "StopAsyncIteration", "MemoryError"),
    *("RecursionError", "OSError", "BrokenPipeError", "ConnectionResetError", "PermissionError"),
    *("UnicodeDecodeError", "ExceptionGroup", "BaseExceptionGroup", "NotImplementedError"),
    *("AssertionError", "SyntaxError", "ImportError", "Warning", "KeyError"),
    *("surrogate", "huge", "rude", "wordless", "unpicklable", "nameless", "circular", "deep"),
    "noted",
]
KINDS = {
    "Warning": "DeprecationWarning",
    "rude": "Rude",
    "wordless": "Wordless",
    "unpicklable": "Unpicklable",
    "nameless": "<RuntimeError while printing the exception>",
} | dict.fromkeys(["surrogate", "huge", "circular", "deep", "noted"], "ValueError")


@pytest.mark.processes
async def test_what_a_job_leaves_behind_harms_nobody(testbed, unharmed) -> None:
    ends: dict[str, JobRecord] = {}
    async with unharmed():
        jobs = {}
        for task in TROUBLE:
            lane = Lane.CELL if task.endswith("cell") else Lane.MAIN
            [jobs[task]] = await testbed.add(task, module="poison", lane=lane, max_attempts=2)
        for task, job in jobs.items():
            ends[task] = await testbed.job(job)
    # Who ran beside a job that had its process ended is lost with it, and not charged for it.
    record = ends.pop("return_too_much")
    charged(record, losses=record.losses, failures=1)  # to try again would not help
    for task in ("take_all_memory_allowed", "take_all_memory_allowed_in_cell"):
        record = ends.pop(task)
        charged(record, losses=record.losses, failures=2)
        assert record.errors[-1].kind == "MemoryError"
    for task in ("close_all_files", "close_all_files_in_cell"):
        record = ends.pop(task)  # succeeded if its board could still say so, else lost
        assert record.state is State.SUCCEEDED or record.errors[-1].kind == "lost", record
        assert record.failures <= 2
    for task, record in ends.items():
        assert (record.state, record.failures) == (State.SUCCEEDED, 0), (task, record)
        assert record.attempt == 1 + record.losses, (task, record)


TROUBLE = [
    *("return_too_much", "close_all_files", "close_all_files_in_cell", "litter_in_cell"),
    *("change_everything", "change_everything_in_cell", "change_everything_on_the_loop"),
    *("take_all_memory_allowed", "take_all_memory_allowed_in_cell"),
]
