"""Flows, and the steps of long jobs, on the command line."""

import pytest

from backline.job import Step
from backline.states import State


def test_job_shows_the_newest_of_many_steps(shell):
    [job] = shell.enqueue()
    shell.lease()
    shell.on(lambda store: store.record([Step(job, 1, f"bite {n}") for n in range(1, 26)]))
    out = shell.ok("job", job)
    assert [line.split()[1] for line in out.splitlines() if line.startswith("bite")] == [
        str(n) for n in range(16, 26)
    ]
    assert "the newest 10 of 25 steps; all of them: --json" in out
    assert len(shell.json("job", job)[0]["recorded"]) == 25


def flow(shell, count=3):
    """A flow of so many jobs, named as an app does, and the jobs."""
    first = shell.clock.new_id()
    name = f"f-{first}"
    return name, shell.enqueue(count, flow=name)


def test_flow_shows_how_far_it_is(shell):
    name, jobs = flow(shell)
    shell.lease(count=1)
    shell.end(jobs[:1])
    out = shell.ok("flow", name)
    for line in (f"id         {name}", "status     running", "jobs       3", "open       2"):
        assert line in out, out
    assert f"backline cancel {name}" in shell.run("flow", name).stderr
    [found] = shell.json("flow", name)
    assert found == {
        "id": name,
        "status": "running",
        "jobs": 3,
        "open": 2,
        "succeeded": 1,
        "failed": 0,
        "cancelled": False,
    }
    shell.lease()
    shell.end(jobs[1:], State.DEAD)
    [found] = shell.json("flow", name)
    assert (found["status"], found["open"], found["failed"]) == ("failed", 0, 2)


def test_cancel_of_flows(shell):
    name, _ = flow(shell, 3)
    other, _ = flow(shell, 1)
    assert shell.ok("cancel", name, "--dry-run") == f"would cancel 3 jobs of flow {name}\n"
    assert shell.ok("cancel", name) == f"3 jobs of flow {name} cancelled, or asked to stop\n"
    assert shell.states() == {"cancelled": 3, "ready": 1}
    assert shell.ok("cancel", name).startswith("0 jobs")
    assert shell.json("flow", name)[0]["status"] == "cancelled"
    assert shell.json("cancel", other) == [
        {"command": "cancel", "dry_run": False, "flow": other, "known": True, "jobs": 1}
    ]


@pytest.mark.parametrize("words", [["flow"], ["cancel"], ["cancel", "--dry-run"]])
def test_a_flow_that_is_not_there(shell, words):
    result = shell.run(*words, "f-01234567-89ab-7def-8123-456789abcdef")
    assert result.exit_code == 1
    assert "no flow has the id f-01234567" in result.stderr


def test_the_ids_of_flows_and_of_jobs_are_told_apart(shell):
    name, [job] = flow(shell, 1)
    result = shell.run("job", name)
    assert result.exit_code == 2
    assert f"backline flow {name}" in result.stderr
    result = shell.run("flow", job)
    assert result.exit_code == 2
    assert f"backline job {job}" in result.stderr
    for words in ([name, job], [name, "-q", "mail"], [name, "--all"], [name, "-n", "1"]):
        assert shell.run("cancel", *words).exit_code == 2
    assert shell.states() == {"ready": 1}


def test_the_jobs_of_a_flow(shell):
    name, jobs = flow(shell, 3)
    shell.enqueue(2)
    shell.lease(count=2)
    shell.end(jobs[:1], State.DEAD)
    ids = [job["id"] for job in shell.json("jobs", "--flow", f" {name.upper()}")]
    assert ids == jobs[::-1]
    assert [job["id"] for job in shell.json("dead", "--flow", name)] == jobs[:1]
    assert f"its jobs: backline jobs --flow {name}" in shell.run("flow", name).stderr
    shell.ok("cancel", "--flow", name, "-s", "ready")
    shell.ok("retry", "--flow", name)
    assert shell.states() == {"ready": 3, "cancelled": 1, "running": 1}
    assert shell.json("jobs", "--flow", name, "-s", "succeeded") == []
    result = shell.run("jobs", "--flow", jobs[0])
    assert result.exit_code == 2
    assert "is no id of a flow: those begin with f- or m-" in result.stderr
    result = shell.run("jobs", "--flow", f"{name}0")
    assert f"no flow has the id {name}0" in result.stderr
