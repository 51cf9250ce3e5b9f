"""`cancel`, `retry`, `redrive`, `purge`: by ids, in bulk, halfway."""

import pytest

from backline.errors import StoreUnavailable
from backline.job import JobRequest
from backline.states import State


def test_cancel_by_ids(shell):
    first, second, third = shell.enqueue(3)
    assert shell.ok("cancel", first, second) == "2 jobs cancelled\n"
    assert shell.states() == {"cancelled": 2, "ready": 1}
    [told] = shell.json("cancel", third[:13] + "…" + third[-4:])
    assert told == {
        "command": "cancel",
        "dry_run": False,
        "matched": 1,
        "done": 1,
        "failed": 0,
        "outcomes": {"cancelled": 1, "requested": 0, "ended": 0, "unknown": 0},
        "complete": True,
        "after": third,
    }


def test_cancel_of_a_running_job_asks_it_to_stop(shell):
    [job] = shell.enqueue()
    shell.lease()
    assert shell.ok("cancel", job) == "1 job running, asked to stop\n"
    assert "a cancel was asked for" in shell.ok("job", job)


def test_cancel_of_what_has_ended_is_not_done(shell):
    [ended] = shell.dead()
    [live] = shell.enqueue()
    result = shell.run("cancel", ended, live, "01234567-89ab-7def-8123-456789abcdef")
    assert result.exit_code == 1
    assert result.stdout == "1 job cancelled\n"
    assert "1 job had ended before" in result.stderr
    assert "1 job unknown" in result.stderr


def test_ids_from_standard_input(shell):
    ids = shell.enqueue(3)
    shell.ok("cancel", "-", stdin="\n".join(ids[:2]) + "\n")
    assert shell.states() == {"cancelled": 2, "ready": 1}


def test_cancel_by_filter_works_in_bites(shell):
    first, *_ = shell.enqueue(450)
    shell.enqueue(3, queue="pdf")
    assert shell.ok("cancel", "-q", "mail", "--dry-run").splitlines() == [
        "JOBS  STATE  QUEUE  TASK",
        " 450  ready  mail   app.send",
        f"would cancel 450 jobs, such as {first}",
    ]
    assert shell.states() == {"ready": 453}
    assert shell.ok("cancel", "-q", "mail", "--limit", "210") == "210 jobs cancelled\n"
    assert [job.state for job in shell.jobs(queue="mail")][:210] == [State.CANCELLED] * 210
    assert shell.json("cancel", "-q", "mail")[0]["done"] == 240
    assert shell.states() == {"cancelled": 450, "ready": 3}


def test_cancel_by_state_and_tag(shell):
    shell.enqueue(2, tags=("eu",))
    shell.enqueue(1, delay=60_000_000, tags=("eu",))
    shell.enqueue(1)
    shell.ok("cancel", "--tag", "eu", "-s", "scheduled")
    assert shell.states() == {"ready": 3, "cancelled": 1}
    shell.ok("cancel", "--all")
    assert shell.states() == {"cancelled": 4}


@pytest.mark.parametrize("command", ["cancel", "retry", "redrive", "purge"])
def test_nothing_happens_to_everything_by_mistake(shell, command):
    shell.dead(2)
    result = shell.run(command)
    assert result.exit_code == 2
    assert "--all" in result.stderr
    assert shell.states() == {"dead": 2}


@pytest.mark.parametrize("command", ["cancel", "retry", "purge"])
def test_ids_and_a_filter_do_not_go_together(shell, command):
    [job] = shell.enqueue()
    for words in ([job, "-q", "mail"], [job, "--all"]):
        assert shell.run(command, *words).exit_code == 2
    assert shell.run("redrive", "mail", "--all").exit_code == 2
    assert shell.states() == {"ready": 1}


@pytest.mark.parametrize("command", [["cancel", "-q"], ["redrive"], ["purge", "-q"]])
def test_a_queue_that_is_not_there(shell, command):
    shell.enqueue()
    result = shell.run(*command, "mial")
    assert result.exit_code == 1
    assert "did you mean 'mail'?" in result.stderr


def test_retry_by_id_forgets_failures(shell):
    [dead] = shell.dead()
    [cancelled] = shell.enqueue()
    shell.ok("cancel", cancelled)
    assert shell.ok("retry", dead, cancelled) == "2 jobs ready to run again\n"
    assert shell.states() == {"ready": 2}
    assert [job.failures for job in shell.jobs()] == [0, 0]
    assert shell.run("retry", dead).exit_code == 1


def test_retry_by_filter_takes_dead_ones_unless_told(shell):
    shell.dead(2)
    shell.enqueue(3)
    shell.ok("cancel", "-q", "mail")
    shell.ok("retry", "-q", "mail")
    assert shell.states() == {"ready": 2, "cancelled": 3}
    shell.ok("retry", "-q", "mail", "-s", "cancelled")
    assert shell.states() == {"ready": 5}


def test_redrive_empties_the_dead_letter_queue(shell):
    shell.dead(3)
    shell.dead(2, queue="pdf", task="app.render")
    assert "would redrive 3 jobs, such as" in shell.ok("redrive", "mail", "--dry-run")
    assert shell.ok("redrive", "mail", "-n", "1") == "1 job ready to run again\n"
    assert shell.ok("redrive", "mail", "pdf", "--task", "app.send") == (
        "2 jobs ready to run again\nno jobs to redrive\n"
    )
    [cancelled] = shell.enqueue()
    shell.ok("cancel", cancelled)
    assert shell.json("redrive", "--all")[0]["outcomes"] == {"ready": 2, "refused": 0}
    assert shell.states() == {"ready": 5, "cancelled": 1}


def test_a_job_that_dies_again_meanwhile_is_not_redriven_twice(shell):
    shell.dead(3)
    shell.clock.advance("1s")
    shell.ok("redrive", "mail")
    assert shell.states() == {"ready": 3}
    shell.end(shell.lease(), State.DEAD)
    assert shell.states() == {"dead": 3}


def test_purge_takes_finished_jobs_but_dead_ones_only_if_told(shell):
    shell.dead(2)
    done = shell.enqueue(2)
    shell.end(shell.lease(), State.SUCCEEDED)
    shell.enqueue(1)
    assert shell.ok("purge", "-q", "mail") == "2 jobs purged\n"
    assert shell.states() == {"dead": 2, "ready": 1}
    assert shell.run("job", done[0]).exit_code == 1
    assert shell.ok("purge", "-q", "mail", "-s", "dead") == "2 jobs purged\n"
    assert shell.states() == {"ready": 1}
    assert shell.json("queues")[0]["purged"] == 4


def test_purge_by_age(shell):
    shell.enqueue(2)
    shell.end(shell.lease())
    shell.clock.advance("2h")
    shell.enqueue(3)
    shell.end(shell.lease())
    assert "would purge 2 jobs" in shell.ok("purge", "--all", "--older-than", "1h", "--dry-run")
    assert shell.ok("purge", "--all", "--older-than", "1h") == "2 jobs purged\n"
    assert shell.states() == {"succeeded": 3}
    assert shell.run("purge", "--all", "--older-than", "soon").exit_code == 2


def test_purge_of_waiting_jobs_takes_a_flag(shell):
    shell.enqueue(2)
    shell.enqueue(1, delay=60_000_000)
    running = shell.lease(count=1)
    assert shell.ok("purge", "--all") == "no jobs to purge\n"
    assert shell.ok("purge", "--all", "--waiting") == "2 jobs purged\n"
    assert [job.id for job in shell.jobs()] == running


def test_purge_by_id(shell):
    [done] = shell.dead()
    [live] = shell.enqueue()
    result = shell.run("purge", done, live)
    assert result.exit_code == 1
    assert result.stdout == "1 job purged\n"
    assert shell.states() == {"ready": 1}
    shell.ok("purge", live, "--waiting")
    assert shell.states() == {}


def test_dry_run_by_ids_counts_what_would_change(shell):
    [done] = shell.dead()
    [live] = shell.enqueue()
    for command, job, state in (
        ("cancel", live, "ready"),
        ("retry", done, "dead"),
        ("purge", done, "dead"),
    ):
        assert shell.json(command, done, live, "--dry-run") == [
            {
                "command": command,
                "dry_run": True,
                "matched": 1,
                "counts": [{"queue": "mail", "task": "app.send", "state": state, "count": 1}],
                "example": job,
            }
        ]
    assert shell.states() == {"dead": 1, "ready": 1}


def test_jobs_enqueued_after_the_start_are_left_alone(shell, monkeypatch):
    shell.enqueue(450)
    store_type = type(shell.open_store(shell.url, clock=shell.clock))
    cancel = store_type.cancel

    async def cancel_while_producers_go_on(self, ids):
        shell.clock.advance("1s")
        late = JobRequest(id=shell.clock.new_id(), task="app.send", queue="mail")
        await self.enqueue([[late]])
        return await cancel(self, ids)

    monkeypatch.setattr(store_type, "cancel", cancel_while_producers_go_on)
    assert shell.ok("cancel", "--all") == "450 jobs cancelled\n"
    assert shell.states() == {"cancelled": 450, "ready": 3}


def test_a_store_that_fails_halfway_is_told_and_the_command_can_be_repeated(shell, monkeypatch):
    ids = shell.enqueue(450)
    store_type = type(shell.open_store(shell.url, clock=shell.clock))
    cancel, calls = store_type.cancel, []

    async def fails_once(self, ids):
        calls.append(len(ids))
        if len(calls) == 2:
            raise StoreUnavailable("the disk went away")
        return await cancel(self, ids)

    monkeypatch.setattr(store_type, "cancel", fails_once)
    result = shell.run("cancel", "--all")
    assert result.exit_code == 3
    assert result.stdout == "200 jobs cancelled\n"
    assert result.stderr.splitlines() == [
        "error: the store failed on the way: the disk went away",
        f"  try: the same command again, or quicker: with --after {ids[199]}, to go on",
    ]
    assert shell.ok("cancel", "--all") == "250 jobs cancelled\n"


def test_redrive_of_nothing_in_particular_says_what_it_takes(shell):
    result = shell.run("redrive")
    assert result.exit_code == 2
    assert "Name queues, or give a filter such as --task, or --all" in result.stderr
