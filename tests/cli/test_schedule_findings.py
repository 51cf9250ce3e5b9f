"""`doctor` on schedules: what stops one is found, and comes with what helps."""

import pytest

from backline.cli.findings import Finding, Level, Patient
from backline.cli.schedule_findings import the_schedules
from backline.job import DAY, HOUR, MINUTE, JobRequest, Lane
from backline.schedule import Cron, Every, ScheduleChange, ScheduleRecord, ScheduleSpec, change
from backline.store import Capabilities, WorkerReport
from backline.testing.clock import START

NOW = START


def schedule(name="nightly", task="app.send", rule=None, **fields):
    spec = ScheduleSpec(rule=rule or Every(HOUR), job=JobRequest(id="", task=task))
    return ScheduleRecord(**{"name": name, "spec": spec, "last": NOW, "next": NOW + HOUR, **fields})


def worker(tasks=("app.send",), **fields):
    return WorkerReport(
        **{
            "worker": "host-1",
            "host": "host",
            "pid": 7,
            "queues": ("mail",),
            "lane": Lane.MAIN,
            "concurrency": 10,
            "tasks": tasks,
            "started_at": NOW,
            "version": "0.1.0",
            **fields,
        }
    )


def look(*schedules, workers=()):
    patient = Patient(
        url="memory://",
        now=NOW,
        schema=1,
        capabilities=Capabilities(product="memory", between_processes=False, survives="nothing"),
        queues=[],
        workers=list(workers),
        queued={},
        newest=[],
        dead={},
        lost=[],
        schedules=list(schedules),
        subscriptions=[],
    )
    return list(the_schedules(patient))


def wrong(*schedules, workers=()) -> Finding:
    [found] = look(*schedules, workers=workers)
    assert (found.check, found.level) == ("schedules", Level.WRONG)
    return found


def test_no_schedule_is_no_finding():
    assert look() == []


def test_schedules_that_work_are_counted():
    paused = schedule("b", paused=True, next=None)
    [found] = look(schedule(), paused, workers=[worker()])
    assert (found.level, found.message) == (Level.OK, "2 schedules, 1 paused")


def test_a_task_that_no_live_worker_knows():
    orphans = [schedule(f"for {n}", task="app.gone") for n in range(5)]
    found = wrong(schedule(), *orphans, workers=[worker()])
    assert found.message == (
        "no live worker knows the task app.gone of 5 schedules, such as for 0: jobs pile up"
    )
    assert found.fix == (
        "deploy the code that has it, or: backline schedules delete 'for 0' 'for 1' 'for 2' ..."
    )


@pytest.mark.parametrize("workers", [[], [worker((), concurrency=0)]])
def test_without_a_worker_no_task_is_called_unknown(workers):
    [found] = look(schedule(), workers=workers)
    assert found.level is Level.OK


def test_what_cannot_be_read():
    found = wrong(schedule(spec=None), workers=[worker()])
    assert found.message == "what is stored of schedule nightly cannot be read: it enqueues nothing"
    assert found.fix.endswith("backline schedules delete nightly")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Cron("0 3 * * *", "Mars/Olympus"), "tz='Mars/Olympus' is no time zone"),
        (Cron("0 99 * * *"), "cron"),
    ],
)
def test_a_rule_that_cannot_work_on_this_machine(rule, why):
    late = schedule(rule=rule, next=NOW - HOUR)
    found = wrong(late, workers=[worker()])
    assert found.message.startswith(f"on this machine schedule nightly cannot work: {why}")
    assert "backline schedules pause nightly" in found.fix


def test_slots_that_nobody_fires():
    late = [schedule(f"s{n}", next=NOW - n * MINUTE) for n in range(1, 5)]
    found = wrong(*late)
    assert found.message == "nobody fires 3 schedules, such as s2: 4m overdue"
    assert found.fix.startswith("backline worker MODULE:APP")
    assert wrong(*late, workers=[worker()]).fix == "read the logs of the workers"


def test_a_schedule_that_waits_for_a_clock_that_was_wrong():
    ahead = schedule(last=NOW + 365 * DAY, next=NOW + 366 * DAY)
    found = wrong(ahead, workers=[worker()])
    assert "schedule nightly waits for it to come" in found.message
    assert "2027-01-01T00:00:00" in found.message
    assert found.fix == "if this clock is right: backline schedules resume nightly"
    [fine] = look(schedule(last=NOW + DAY), workers=[worker()])
    assert fine.level is Level.OK, "clocks of machines differ, and are put back"


def test_what_is_paused_is_not_missed():
    stopped = schedule(task="app.gone", rule=Cron("0 3 * * *", "Mars/Olympus"), last=NOW + 9 * DAY)
    [found] = look(
        schedule(paused=True, next=None, spec=stopped.spec, last=stopped.last),
        workers=[worker()],
    )
    assert found.level is Level.OK


def test_names_are_safe_to_print_and_to_paste():
    found = wrong(schedule("a;b\u202e", spec=None))
    assert "\u202e" not in found.message + found.fix
    assert "delete 'a;b" in found.fix


def test_the_command_tells_it(shell):
    assert "schedules" not in shell.ok("doctor")
    spec = ScheduleSpec(rule=Every(HOUR), job=JobRequest(id="", task="app.send"))
    row = change.created("nightly", spec, shell.clock.now())
    shell.on(lambda store: store.arrange([ScheduleChange("nightly", 0, row)]))
    assert "1 schedule" in shell.ok("doctor")
    shell.clock.advance("3h")
    result = shell.run("doctor")
    assert result.exit_code == 1
    assert "nobody fires schedule nightly: 2h overdue" in result.stdout
