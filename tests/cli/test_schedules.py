"""`backline schedules`: the list, and what people do to it."""

import re
from datetime import UTC, datetime

import pytest
from msgspec import Raw
from msgspec.structs import replace

from backline.cli.common import ExitCode
from backline.cli.screen import first_screen
from backline.job import DAY, HOUR, JobRequest, Lane, Micros
from backline.schedule import Cron, Every, Rule, ScheduleChange, ScheduleSpec, change
from backline.scheduler import Scheduler
from backline.store import WorkerReport
from backline.stores.memory import MemoryStore
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings
from backline.testing.clock import START

NIGHTLY = Cron("0 3 * * *", "Europe/Paris")


def make(shell, name: str, rule: Rule | None = None, *, declared: bool = False, **fields) -> None:
    job = JobRequest(**{"id": "", "task": "app.report", "queue": "mail", **fields})
    spec = ScheduleSpec(rule=rule or Every(HOUR), job=job)
    now = shell.clock.now()
    new = change.declared(None, name, spec, now) if declared else change.created(name, spec, now)
    assert shell.on(lambda store: store.arrange([ScheduleChange(name, 0, new)])) == [True]


def report(shell, **fields) -> None:
    """Have a worker report that it lives."""
    given = {
        "worker": "host-1", "host": "host", "pid": 7, "queues": ("mail",), "lane": Lane.MAIN,
        "concurrency": 10, "tasks": (), "started_at": shell.clock.now(), "version": "0.1.0",
    }  # fmt: skip
    worker = WorkerReport(**{**given, **fields})
    shell.on(lambda store: store.report([worker], HOUR))


def fire(shell) -> None:
    """Do what any live worker does about the slots that have come."""
    shell.on(lambda store: Scheduler(store, shell.clock).fire())


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_the_list_says_when_next_and_when_last_in_words(shell):
    make(shell, "nightly", NIGHTLY)
    make(shell, "hourly")
    shell.clock.advance("1h1s")
    fire(shell)
    head, hourly, nightly = shell.ok("schedules").splitlines()
    assert cells(head) == ["SCHEDULE", "WHEN", "NEXT", "LAST", "TASK"]

    def local(at: Micros) -> str:
        return f"{datetime.fromtimestamp(at / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"

    assert cells(hourly) == [
        "hourly",
        "every 1h",
        f"{local(START + 2 * HOUR)} (in 59m59s)",
        f"{local(START + HOUR)} (1 s ago) ready",
        "app.report",
    ]
    assert cells(nightly) == [
        "nightly",
        "every day at 03:00, Europe/Paris",
        f"{local(START + 2 * HOUR)} (in 59m59s)",
        "app.report",
    ]


def test_the_list_says_how_the_last_run_ended(shell):
    make(shell, "hourly")
    shell.clock.advance("1h1s")
    fire(shell)
    shell.end(shell.lease(), "dead")
    assert "(1 s ago) dead" in shell.ok("schedules")
    [found] = shell.json("schedules")
    assert found["last_state"] == "dead"
    assert shell.json("job", found["last_job"])[0]["task"] == "app.report"


def test_a_slot_that_its_unique_key_suppressed_is_said_to_be_skipped(shell):
    make(shell, "poll", unique_key="k")
    shell.clock.advance("1h1s")
    fire(shell)
    [first] = shell.json("schedules")
    assert (first["last_state"], first["last_job"]) == ("ready", shell.jobs()[0].id)
    shell.clock.advance("1h")
    fire(shell)
    assert "(1 s ago) skipped: unique key" in shell.ok("schedules")
    [found] = shell.json("schedules")
    assert found["last_at"] == "2026-01-01T02:00:00.000000Z"
    assert (found["last_state"], found["last_job"]) == ("skipped", None)


@pytest.mark.parametrize(("key", "age"), [(None, "1m"), ("k", "8d")])
def test_a_job_that_was_purged_is_not_called_skipped(shell, key, age):
    make(shell, "nightly", unique_key=key)
    shell.clock.advance("1h1s")
    fire(shell)
    [job] = shell.jobs()
    shell.on(lambda store: store.cancel([job.id]))
    shell.on(lambda store: store.purge([job.id]))
    assert shell.jobs() == []
    shell.clock.advance(age)
    assert "skipped" not in shell.ok("schedules")
    [found] = shell.json("schedules")
    assert (found["last_state"], found["last_job"]) == (None, job.id)


def test_json_has_every_promised_key(shell):
    make(shell, "nightly", NIGHTLY, declared=True)
    make(shell, "hourly")
    hourly, nightly = shell.json("schedules")
    assert nightly == {
        "schedule": "nightly",
        "when": "every day at 03:00, Europe/Paris",
        "cron": "0 3 * * *",
        "tz": "Europe/Paris",
        "every_seconds": None,
        "missed": "skip",
        "task": "app.report",
        "queue": "mail",
        "task_known": None,
        "paused": False,
        "declared": True,
        "edited": False,
        "next_at": "2026-01-01T02:00:00.000000Z",
        "last_at": None,
        "last_job": None,
        "last_state": None,
    }
    assert (hourly["every_seconds"], hourly["cron"], hourly["declared"]) == (3600.0, None, False)


def test_a_task_that_no_live_worker_knows_is_remarked(shell):
    make(shell, "nightly")
    make(shell, "orphan", task="app.gone")
    assert "no worker knows" not in shell.ok("schedules"), "there is none to ask"
    report(shell, tasks=("app.report",))
    nightly, orphan = shell.ok("schedules").splitlines()[1:]
    assert cells(orphan)[-2:] == ["app.gone", "no worker knows its task"]
    assert cells(nightly)[-1] == "app.report"
    assert [found["task_known"] for found in shell.json("schedules")] == [True, False]
    shell.ok("schedules", "pause", "orphan")
    assert "paused, no worker knows its task" in shell.ok("schedules")


def test_a_supervisor_without_a_worker_knows_no_task(shell):
    make(shell, "nightly")
    report(shell, concurrency=0, tasks=(), healthy=False)
    assert "no worker knows" not in shell.ok("schedules")


def test_no_schedule_says_how_to_make_one(shell):
    result = shell.run("schedules")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "@app.task(cron=" in result.stderr
    assert shell.json("schedules") == []


def test_pause_and_resume(shell):
    make(shell, "a")
    make(shell, "b")
    assert shell.ok("schedules", "pause", "a", "b") == "a: paused\nb: paused\n"
    assert shell.ok("schedules", "pause", "a") == "a: paused, as before\n"
    assert [cells(line)[-1] for line in shell.ok("schedules").splitlines()[1:]] == ["paused"] * 2
    shell.clock.advance("5h")
    fire(shell)
    assert shell.jobs() == []
    assert shell.json("schedules", "resume", "a") == [
        {"schedule": "a", "paused": False, "changed": True}
    ]
    fire(shell)
    assert shell.jobs() == [], "a pause is not made up for"
    assert [found["paused"] for found in shell.json("schedules")] == [False, True]


def test_resume_brings_one_back_from_what_a_wrong_clock_showed(shell):
    make(shell, "a")
    [row] = shell.on(lambda store: store.schedules(limit=1)).schedules
    ahead = replace(row, last=START + 365 * DAY, next=START + 366 * DAY)
    shell.on(lambda store: store.arrange([ScheduleChange("a", row.version, ahead)]))
    assert shell.ok("schedules", "resume", "a") == "a: goes on\n"
    assert shell.ok("schedules", "resume", "a") == "a: goes on, as before\n"
    assert shell.json("schedules")[0]["next_at"] == "2026-01-01T01:00:00.000000Z"


def test_run_enqueues_a_job_now_and_leaves_the_schedule_as_it_is(shell):
    make(shell, "nightly", NIGHTLY, payload=Raw(b'[["x"],{}]'), priority=4)
    before = shell.json("schedules")
    job_id = shell.ok("schedules", "run", "nightly").strip()
    [job] = shell.jobs()
    assert (job.id, job.priority, bytes(job.payload)) == (job_id, 4, b'[["x"],{}]')
    [told] = shell.json("schedules", "run", "nightly")
    assert told == {"schedule": "nightly", "id": told["id"], "added": True}
    assert shell.json("schedules") == before


def test_run_says_when_the_unique_key_is_taken(shell):
    make(shell, "nightly", NIGHTLY, unique_key="k")
    first = shell.ok("schedules", "run", "nightly").strip()
    result = shell.run("schedules", "run", "nightly")
    assert result.stdout.strip() == first
    assert "not added" in result.stderr


def test_delete_says_that_code_brings_it_back(shell):
    make(shell, "mine", declared=True)
    make(shell, "theirs")
    assert "brings it back" not in shell.run("schedules", "delete", "theirs").stderr
    result = shell.run("schedules", "delete", "mine")
    assert (result.exit_code, result.stdout) == (0, "mine: deleted\n")
    assert "backline schedules pause mine" in result.stderr
    assert shell.json("schedules") == []


@pytest.mark.parametrize("command", ["pause", "resume", "run", "delete"])
def test_an_unknown_name_changes_nothing(shell, command):
    make(shell, "nightly")
    result = shell.run("schedules", command, "nightly", "nihgtly")
    assert result.exit_code == ExitCode.NOT_DONE
    assert "there is no schedule 'nihgtly'; did you mean 'nightly'?" in result.stderr
    assert "backline schedules" in result.stderr
    assert [found["paused"] for found in shell.json("schedules")] == [False]
    assert shell.jobs() == []


def test_options_before_a_command_are_not_dropped_in_silence(shell):
    result = shell.run("schedules", "--json", "pause", "x")
    assert result.exit_code == ExitCode.USAGE
    assert "options go behind pause" in result.stderr


def test_what_is_damaged_is_shown_and_can_be_deleted(shell):
    make(shell, "fine")
    make(shell, "bad\u202ename", Cron("0 3 * * *"))
    shell.plant("update schedule set spec = '{' where name <> 'fine'")
    out = shell.ok("schedules")
    assert "damaged" in out
    assert "\u202e" not in out
    found = {each["schedule"]: each for each in shell.json("schedules")}
    assert (found["bad\u202ename"]["when"], found["bad\u202ename"]["task"]) == (
        "what is stored cannot be read",
        None,
    )
    assert shell.run("schedules", "run", "bad\u202ename").exit_code == ExitCode.USAGE
    shell.ok("schedules", "delete", "bad\u202ename")
    assert [each["schedule"] for each in shell.json("schedules")] == ["fine"]


def test_the_first_screen_of_a_worker_says_what_runs_by_itself():
    hello = Hello(
        url="memory://",
        queues=("default",),
        tasks=("a", "b"),
        concurrency=10,
        schedules=(("a", "every 30s"), ("b", "every day at 03:00, Europe/Paris")),
    )
    screen = first_screen(hello, MemoryStore(), SupervisorSettings(target="app:app"))
    assert "a (every 30s), b (every day at 03:00, Europe/Paris)" in screen
