"""`doctor`: what is wrong is found, and comes with the command that fixes it."""

import shutil
from collections import namedtuple

import pytest

from backline.cli import findings
from backline.job import AttemptError, Lane
from backline.states import State
from backline.store import QueueSettings, Scaling, WorkerReport
from backline.webhooks.settings import NO_SECRET


def report(shell, **fields):
    """Have a worker report that it lives."""
    worker = WorkerReport(
        **{
            "worker": "host-1",
            "host": "host",
            "pid": 7,
            "queues": ("mail",),
            "lane": Lane.MAIN,
            "concurrency": 10,
            "tasks": ("app.send",),
            "started_at": shell.clock.now(),
            "version": "0.1.0",
            **fields,
        }
    )
    shell.on(lambda store: store.report([worker], 3_600_000_000))


def wrong(shell):
    """What is wrong, by check; the exit code agrees."""
    result = shell.run("doctor", "--json")
    found = shell.json("doctor", code=result.exit_code)
    bad = {finding["check"]: finding for finding in found if finding["level"] == "wrong"}
    assert result.exit_code == (1 if bad else 0)
    return bad


def test_an_idle_store_is_fine(shell):
    assert wrong(shell) == {}
    out = shell.ok("doctor")
    assert "no worker is alive; 0 jobs wait" in out
    assert "an acknowledged job survives" in out


def test_jobs_that_no_worker_is_there_for(shell):
    shell.enqueue(2)
    assert wrong(shell)["workers"]["message"] == "no worker is alive; 2 jobs wait"
    assert wrong(shell)["workers"]["fix"] == "backline worker MODULE:APP"
    report(shell)
    assert wrong(shell) == {}


def test_a_task_that_no_live_worker_knows(shell):
    shell.enqueue(3, task="app.gone")
    report(shell)
    finding = wrong(shell)["tasks"]
    assert "app.gone: at least 3 jobs" in finding["message"]
    assert "backline cancel --task app.gone" in finding["fix"]


def test_webhooks_that_nobody_can_sign(shell):
    job = shell.enqueue(task="backline.webhook")[0]
    report(shell, tasks=("backline.webhook",))
    assert wrong(shell) == {}
    errors = f'[{{"attempt":1,"kind":"RetryLater","message":"{NO_SECRET} HOOKS: none"}}]'
    shell.plant("update job set errors = ? where id = ?", errors, job)
    finding = wrong(shell)["webhooks"]
    assert finding["message"] == f"1 webhook could not be signed: {NO_SECRET} HOOKS: none"


def test_a_queue_that_no_live_worker_serves(shell):
    shell.enqueue(queue="pdf")
    report(shell)
    finding = wrong(shell)["queues"]
    assert finding["message"] == "no live worker serves 1 job of queue pdf"
    assert finding["fix"] == "backline worker MODULE:APP -q pdf"
    report(shell, worker="cell", lane=Lane.CELL, queues=("pdf",))
    assert "queues" in wrong(shell), "cells serve only what needs a cell"
    report(shell, worker="host-2", queues=("pdf",))
    assert wrong(shell) == {}


def test_a_worker_that_is_started_again_and_again(shell):
    report(shell, healthy=False, restarts=9)
    assert "again and again (9 times)" in wrong(shell)["workers"]["message"]


def test_a_worker_of_another_version_is_worth_a_note(shell):
    report(shell, version="0.0.1")
    assert wrong(shell) == {}
    assert "some run Backline 0.0.1" in shell.ok("doctor")


def test_a_supervisor_whose_workers_cannot_work(shell):
    """They are gone as soon as they come, so it speaks for itself."""
    report(shell, worker="host-supervisor-7", concurrency=0, tasks=(), healthy=False, restarts=9)
    result = shell.run("doctor")
    assert result.exit_code == 1
    assert "no worker is alive; 0 jobs wait" in result.stdout
    assert "process 7 on host, has no worker: none can work" in result.stdout
    assert "started again and again (9 times)" in result.stdout
    assert "read the log of process 7 on host" in result.stdout
    assert "backline worker" not in result.stdout, "there is one, and it tries"
    shell.enqueue(task="app.other")
    assert set(wrong(shell)) == {"workers"}


def test_jobs_that_are_running_with_nobody(shell):
    [first, _] = shell.enqueue(2)
    shell.lease()
    report(shell)
    assert wrong(shell) == {}, "whoever is alive settles it in a moment"
    shell.clock.advance("4s")
    finding = wrong(shell)["leases"]
    assert finding["message"].startswith("2 jobs counted as running, though the lease is over")
    assert f"job {first} of worker w1" in finding["message"]
    assert finding["fix"].startswith("backline worker MODULE:APP")
    assert "lease over" in shell.ok("top")


def test_a_draining_worker_serves_no_queue_any_more(shell):
    shell.enqueue()
    report(shell, draining=True)
    assert "1 worker alive, 0 of 10 slots busy, 1 draining" in shell.run("doctor").stdout
    assert "draining" in shell.ok("top")
    report(shell, worker="host-2", queues=("pdf",))
    assert "queues" in wrong(shell)


def test_a_task_that_workers_know_under_another_name(shell):
    """The same file, imported from another folder."""
    shell.enqueue(task="sub.main.send")
    report(shell, tasks=("app.other", "main.send"))
    finding = wrong(shell)["tasks"]
    assert "they know main.send" in finding["message"]
    assert finding["fix"].startswith("if it is the same code, import it as main where now sub.main")


def test_dead_jobs_are_no_fault_but_worth_a_note(shell):
    """They stay for 30 days; a health check that fails so long says nothing."""
    shell.dead(2)
    report(shell)
    assert wrong(shell) == {}
    [finding] = [each for each in shell.json("doctor") if each["check"] == "dead"]
    assert (finding["level"], finding["message"]) == ("note", "2 dead jobs in queue mail")
    assert finding["fix"] == "backline dead -q mail, then: backline redrive mail"


def test_dead_jobs_that_killed_their_process_are_mended_before_they_run_again(shell):
    shell.dead()
    error = AttemptError(attempt=1, kind="lost", message="was killed by SIGSEGV")
    shell.enqueue()
    shell.end(shell.lease(), State.DEAD, error=error)
    [finding] = [each for each in shell.json("doctor") if each["check"] == "dead"]
    assert finding["message"].endswith("of the newest 2, 1 killed the process that ran them")
    assert finding["fix"] == (
        "backline dead -q mail, then, with the task mended: backline redrive mail"
    )


def test_a_full_queue(shell):
    shell.on(lambda store: store.configure([QueueSettings(queue="mail", max_depth=2)]))
    shell.enqueue(2)
    report(shell)
    assert "2 of 2 jobs" in wrong(shell)["queues"]["message"]


def test_a_paused_queue_is_worth_a_note(shell):
    shell.enqueue()
    report(shell)
    shell.ok("pause", "mail")
    assert wrong(shell) == {}
    assert "backline resume mail" in shell.ok("doctor")


def test_a_backlog_is_worth_a_note(shell):
    shell.enqueue()
    shell.clock.advance("10m")
    report(shell)
    assert wrong(shell) == {}
    assert "became ready 10m ago" in shell.ok("doctor")


def test_jobs_that_wait_for_cells_where_there_are_none(shell):
    shell.enqueue(lane=Lane.CELL)
    shell.clock.advance("10m")
    report(shell)
    assert "must run in a cell" in wrong(shell)["queues"]["message"]
    report(shell, worker="cell", lane=Lane.CELL)
    assert wrong(shell) == {}


def test_a_clock_that_was_set_back(shell):
    shell.enqueue()
    report(shell)
    shell.clock.step_wall(-3600)
    assert "1h ahead of this clock" in wrong(shell)["clock"]["message"]
    [later] = shell.enqueue()
    assert shell.jobs()[-1].id == later, "ids go on, whatever the clock does"
    assert "1h ahead of this clock" in wrong(shell)["clock"]["message"]


@pytest.mark.parametrize(
    ("free", "level"), [(50 << 20, "wrong"), (500 << 20, "note"), (9 << 30, "ok")]
)
def test_room_on_the_disk(shell, monkeypatch, free, level):
    usage = namedtuple("Usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, free))
    [disk] = [f for f in shell.json("doctor", code=int(level == "wrong")) if f["check"] == "disk"]
    assert disk["level"] == level
    assert (disk["fix"] is None) == (level == "ok")


def test_a_file_in_memory_is_worth_a_note(shell, monkeypatch):
    mounts = shell.folder / "mounts"
    monkeypatch.setattr(findings, "MOUNTS", mounts)
    mounts.write_text("1 1 0:1 / / rw - ext4 /dev/x rw\n")
    assert "backline.db lies on ext4" in shell.ok("doctor")
    mounts.write_text(f"1 1 0:1 / {shell.folder} rw - tmpfs none rw\n")
    assert "a reboot loses every job" in shell.ok("doctor")
    mounts.unlink()
    assert "an unknown kind" in shell.ok("doctor")


def test_a_store_that_may_lose_jobs_in_a_power_cut_is_worth_a_note(shell):
    shell.environ["BACKLINE_URL"] = f"{shell.url}?durability=normal"
    assert "but no power cut" in shell.ok("doctor")


def test_no_store_is_exit_code_3(shell):
    shell.environ["BACKLINE_URL"] = f"sqlite:///{shell.folder}/missing/none.db"
    result = shell.run("doctor")
    assert result.exit_code == 3
    assert "try: mkdir -p" in result.stderr


def scaling(**fields):
    """What a supervisor says of itself that has no worker at the moment, and need not."""
    decided = {"low": 0, "high": 4, "processes": 0, "why": "fewer\x1b[2J", "decided_at": 0}
    return {
        "worker": "host-supervisor-7",
        "concurrency": 0,
        "tasks": (),
        "scaling": Scaling(**{**decided, **fields}),
    }


def test_a_supervisor_that_scaled_to_zero_is_no_lack_of_workers(shell):
    shell.enqueue(2)
    report(shell, **scaling(decided_at=shell.clock.now()))
    assert wrong(shell) == {}
    out = shell.ok("doctor")
    assert "0 of 0-4 processes" in out
    assert "\x1b[2J" not in out
    shell.enqueue(queue="pdf")
    assert wrong(shell)["queues"]["message"] == "no live worker serves 1 job of queue pdf"


def test_top_shows_what_was_decided_and_why(shell):
    report(shell, **scaling(decided_at=shell.clock.now(), processes=3, why="jobs wait (a lot)"))
    out = shell.ok("top", "--once")
    assert "3 of 0-4" in out
    assert "jobs wait (a lot)" in out
