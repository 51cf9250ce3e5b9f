"""`edit`, and what bulk work has in common: filters, the dry run, going on after a stop."""

import asyncio
import importlib
import itertools
import os
import signal
import types

import pytest

from backline.job import SECOND
from backline.stores.sqlite import finding

HOUR = 3_600 * SECOND


def places(shell, **where):
    """(queue, priority, state) of the jobs that match, oldest first."""
    return [(job.queue, job.priority, job.state.value) for job in shell.jobs(**where)]


@pytest.fixture
def store_type(shell):
    return type(shell.open_store(shell.url, clock=shell.clock))


def test_edit_by_ids(shell):
    first, second, third = shell.enqueue(3)
    assert shell.ok("edit", first, second, "--to-priority", "7") == "2 jobs edited\n"
    assert places(shell) == [("mail", 7, "ready"), ("mail", 7, "ready"), ("mail", 0, "ready")]
    [told] = shell.json("edit", third, first, "--to-priority", "7")
    assert told == {
        "command": "edit",
        "dry_run": False,
        "matched": 2,
        "done": 2,
        "failed": 0,
        "outcomes": {"edited": 1, "same": 1, "running": 0, "ended": 0, "unknown": 0},
        "complete": True,
        "after": third,
    }


def test_edit_by_ids_says_what_it_left_alone(shell):
    [dead] = shell.dead()
    [running] = shell.enqueue()
    shell.lease()
    [ready] = shell.enqueue()
    result = shell.run("edit", dead, running, ready, shell.clock.new_id(), "--delay", "1h")
    assert result.exit_code == 1
    assert result.stdout == "1 job edited\n"
    assert result.stderr.splitlines() == [
        "1 job running, left alone",
        "1 job had ended before",
        "1 job unknown (purged, or never enqueued here)",
    ]
    assert shell.states() == {"dead": 1, "running": 1, "scheduled": 1}


def test_edit_by_filter_moves_and_then_nothing_matches(shell):
    shell.enqueue(450)
    shell.enqueue(5, task="app.digest")
    shell.enqueue(1, queue="slow")
    shell.lease(count=3)
    words = ["edit", "-q", "mail", "--task", "app.send", "--to-queue", "slow"]
    assert shell.ok(*words, "--dry-run").splitlines()[:2] == [
        "JOBS  STATE  QUEUE  TASK",
        " 447  ready  mail   app.send",
    ]
    assert shell.ok(*words) == "447 jobs edited\n"
    assert shell.ok(*words) == "no jobs to edit\n"
    assert len(shell.jobs(queue="slow")) == 448
    assert {queue["queue"]: queue["depth"] for queue in shell.json("queues")} == {
        "mail": 5,
        "slow": 448,
    }


def test_what_is_as_asked_does_not_match(shell):
    shell.enqueue(2, priority=5)
    shell.enqueue(3)
    assert shell.ok("edit", "--all", "--to-priority", "5") == "3 jobs edited\n"
    when = "2026-12-24T18:00:00+01:00"
    assert shell.ok("edit", "--all", "--run-at", when) == "5 jobs edited\n"
    assert shell.ok("edit", "--all", "--run-at", when) == "no jobs to edit\n"
    assert shell.states() == {"scheduled": 5}
    assert shell.ok("edit", "--all", "--delay", "1h") == "5 jobs edited\n"


def test_now_is_for_those_that_wait_for_their_time(shell):
    ready = shell.enqueue(2)
    [later] = shell.enqueue(1, delay=HOUR)
    shell.clock.advance("1s")
    assert shell.ok("edit", "-q", "mail", "--now") == "1 job edited\n"
    assert shell.ok("edit", *ready, "--now") == "2 jobs already so\n"
    assert shell.lease() == [*ready, later]


def test_a_queue_that_is_new_takes_a_flag(shell):
    shell.enqueue(2)
    result = shell.run("edit", "-q", "mail", "--to-queue", "mial")
    assert result.exit_code == 1
    assert "did you mean 'mail'?" in result.stderr
    assert "--new" in result.stderr
    result = shell.run("edit", "-q", "mail", "--to-queue", "slow", "--new")
    assert result.stdout == "2 jobs edited\n"
    assert "no worker serves the queue slow now" in result.stderr
    assert shell.run("edit", "--all", "--to-queue", "", "--new").exit_code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--all"], "edit what?"),
        (["--to-priority", "5"], "edit which jobs?"),
        (["--all", "--to-priority", "101"], "--to-priority"),
        (["--all", "--now", "--delay", "1h"], "give one of"),
        (["--all", "--run-at", "tomorrow"], "is no time"),
        (["--all", "--run-at", "2026-12-24T18:00:00"], "no time zone"),
        (["--all", "--now", "-s", "dead"], "dead"),
        (["--all", "--now", "--enqueued-before", "soon"], "or how long ago: 2h, 7d"),
        (["--all", "--now", "--priority", "9" * 30], "--priority"),
        (["0197", "--now", "--after", "0197"], "not both"),
    ],
)
def test_bad_usage_changes_nothing(shell, words, told):
    shell.enqueue(1, delay=HOUR)
    result = shell.run("edit", *words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert shell.states() == {"scheduled": 1}


def test_every_filter_is_there_for_every_command(shell):
    shell.dead(2, priority=3)
    shell.clock.advance("2h")
    shell.enqueue(1, priority=3)
    shell.dead(1, queue="pdf")
    now = shell.clock.now()

    def matched(*words):
        return shell.json(*words, "--dry-run")[0]["matched"]

    assert matched("cancel", "--priority", "3") == 1
    assert matched("retry", "--priority", "3") == 2
    assert matched("retry", "--enqueued-before", "1h") == 2
    assert matched("retry", "--enqueued-after", "1h") == 1
    assert matched("purge", "-s", "dead", "--error", "app.Broken") == 3
    assert matched("redrive", "mail", "--error", "app.Other") == 0
    assert matched("redrive", "--error", "app.Broken") == 3
    assert matched("edit", "--enqueued-before", "2100-01-01T00:00:00Z", "--now") == 0
    assert matched("edit", "--enqueued-before", "2100-01-01T00:00:00Z", "--delay", "1h") == 1
    found = shell.json("jobs", "--error", "app.Broken", "--enqueued-after", "1h")
    assert [job["queue"] for job in found] == ["pdf"]
    assert len(shell.jobs(enqueued_before=now)) == 2


def test_jobs_that_started_meanwhile_are_told_and_are_no_failure(shell, store_type, monkeypatch):
    shell.enqueue(3)
    edit = store_type.edit

    async def edit_behind_a_worker(self, ids, change):
        asked = {("mail", "main"): 1}
        await self.exchange("w", 1, [], asked, HOUR)
        return await edit(self, ids, change)

    monkeypatch.setattr(store_type, "edit", edit_behind_a_worker)
    result = shell.run("edit", "-q", "mail", "--to-priority", "9")
    assert (result.exit_code, result.stdout) == (0, "2 jobs edited\n")
    assert result.stderr == "1 job running, left alone\n"


def test_ctrl_c_counts_what_was_being_committed_and_says_how_to_go_on(
    shell, store_type, monkeypatch
):
    ids = shell.enqueue(700)
    edit, calls = store_type.edit, []

    async def interrupted(self, bite, change):
        calls.append(bite)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)  # the command is told before this is done
        return await edit(self, bite, change)

    with monkeypatch.context() as patch:
        patch.setattr(store_type, "edit", interrupted)
        result = shell.run("edit", "--all", "--delay", "1h")
    assert result.exit_code == 130
    assert result.stdout == "400 jobs edited\n"
    again = f"the same command again with --after {ids[399]}"
    assert f"stopped after 400; to go on: {again}\n" in result.stderr
    assert shell.states() == {"scheduled": 400, "ready": 300}
    assert shell.ok("edit", "--all", "--delay", "1h", "--after", ids[399]) == "300 jobs edited\n"


def test_jobs_far_behind_others_are_found(shell, monkeypatch):
    """A page may be empty and not the last."""
    shell.enqueue(300, task="app.other")
    shell.enqueue(2)
    with monkeypatch.context() as patch:
        patch.setattr(finding, "FEW", -1)
        patch.setattr(finding, "STRETCH", 10)
        assert shell.ok("edit", "--task", "app.send", "--to-priority", "1") == "2 jobs edited\n"
    assert len(shell.jobs(priority=1)) == 2


def test_between_bites_others_have_the_store_as_long(shell, monkeypatch):
    bulk = importlib.import_module("backline.cli.bulk")
    rests = []

    async def sleep(seconds):
        rests.append(seconds)

    asleep = types.SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr(bulk, "asyncio", asleep)
    ticks = itertools.count(0, SECOND // 10)
    monkeypatch.setattr(shell.clock, "tick", lambda: next(ticks))
    shell.enqueue(450)
    shell.ok("edit", "--all", "--to-priority", "1")
    assert len(rests) == 3
    assert all(0 < rest <= 0.25 for rest in rests)


def test_a_dry_run_reads_no_payloads(shell, store_type, monkeypatch):
    asked = []
    find = store_type.find

    async def noted(self, where, **options):
        asked.append(options["payloads"])
        return await find(self, where, **options)

    monkeypatch.setattr(store_type, "find", noted)
    shell.enqueue(3)
    shell.ok("edit", "--all", "--delay", "1h", "--dry-run")
    assert asked == [False]
