"""Batches in real worker processes that are killed."""

import os
import signal

import pytest
from msgspec import Raw
from tests.supervisor.conftest import Site

from backline.job import SECOND
from backline.states import State
from backline.store import Filter

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("task", ["crowd", "crowd_in_thread"])
async def test_a_worker_killed_in_mid_batch_loses_no_job_and_repeats_none_that_had_ended(
    site: Site, task: str
) -> None:
    await site.supervise(processes=1, lease=5 * SECOND)
    ids = await site.add(task, *"abcdefghij", queue=f"kitchen.{task}")
    [first] = await site.ears.visitors(1)
    if task == "crowd_in_thread":  # or its loop may not have heard of them
        for job_id in ids[:3]:
            await site.job(job_id)
    os.kill(first.pid, signal.SIGKILL)
    [second] = await site.ears.visitors(1)
    assert (second.attempt, second.pid != first.pid) == (2, True)
    second.let_go()
    done = [await site.job(job_id) for job_id in ids]
    assert {job.state for job in done} == {State.SUCCEEDED}
    first_pid, second_pid = Raw(str(first.pid).encode()), Raw(str(second.pid).encode())
    for job in done[:3]:  # it had ended, on the board if not in the store
        assert (job.attempt, job.losses, job.result) == (1, 0, first_pid)
    for job in done[3:]:
        assert (job.attempt, job.losses, job.failures, job.result) == (2, 1, 0, second_pid)
        assert [error.kind for error in job.errors] == ["lost"]
    found = await site.store.find(Filter(), limit=100)
    assert sorted(job.id for job in found.jobs) == sorted(ids)


async def test_the_job_that_kills_is_found_among_those_of_its_batch(site: Site) -> None:
    """They are lost together twice; then each runs alone, and only one of them does it again."""
    await site.supervise(processes=1, cells=2)
    names = [*"abcd", "poison"]
    ids = await site.add("feast", *names, queue="kitchen.feast", max_attempts=2)
    done = dict(zip(names, [await site.job(job_id) for job_id in ids], strict=True))
    killer = done.pop("poison")
    assert (killer.state, killer.failures, killer.losses) == (State.DEAD, 2, 2)
    for job in done.values():
        assert (job.state, job.failures, job.losses) == (State.SUCCEEDED, 0, 2)
        assert job.result == Raw(b"1")
