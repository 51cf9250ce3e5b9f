"""What `backline doctor` looks at in the schedules of a store."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from backline.cli.findings import Finding, Findings, Level, Patient, known_tasks
from backline.cli.remedies import command, the_app
from backline.cli.text import plural
from backline.display import iso, safe, span
from backline.errors import ConfigError
from backline.job import Micros
from backline.schedule import GRACE, ScheduleRecord, next_slot

_NAMED: Final = 3
"""So many schedules are named in a finding, or in a command that helps."""


def the_schedules(patient: Patient) -> Findings:
    """Readable, of a rule that can work here and a task that workers know, and fired."""
    fine = True
    for finding in _wrong(patient):
        fine = False
        yield finding
    if fine and patient.schedules:
        told = plural(len(patient.schedules), "schedule")
        paused = sum(schedule.paused for schedule in patient.schedules)
        told += f", {paused:,} paused" if paused else ""
        yield Finding("schedules", Level.OK, told)


def _wrong(patient: Patient) -> Findings:
    damaged = [schedule for schedule in patient.schedules if schedule.spec is None]
    if damaged:
        yield Finding(
            "schedules",
            Level.WRONG,
            f"what is stored of {_named(damaged)} cannot be read: it enqueues nothing",
            f"restart what declares it, or: {command(f'schedules delete {_words(damaged)}')}",
        )
    active = [each for each in patient.schedules if not each.paused and each.spec is not None]
    yield from _unworkable(active, patient.now)
    yield from _unknown(active, known_tasks(patient.workers))
    yield from _ahead(active, patient.now)
    yield from _overdue(active, patient)


def _unworkable(active: Iterable[ScheduleRecord], now: Micros) -> Findings:
    """Rules may come from a machine that knows more time zones."""
    broken: defaultdict[str, list[ScheduleRecord]] = defaultdict(list)
    for schedule in active:
        if why := _why_not(schedule, now):
            broken[why].append(schedule)
    for why, schedules in sorted(broken.items()):
        yield Finding(
            "schedules",
            Level.WRONG,
            f"on this machine {_named(schedules)} cannot work: {safe(why)}",
            f"mend what it says, or pause it: {command(f'schedules pause {_words(schedules)}')}",
        )


def _why_not(schedule: ScheduleRecord, now: Micros) -> str:
    assert schedule.spec is not None
    try:
        next_slot(schedule.spec.rule, now)
    except ConfigError as error:
        return str(error)
    return ""


def _unknown(active: Iterable[ScheduleRecord], known: set[str] | None) -> Findings:
    """The task was renamed or deleted, its schedule stayed: jobs that nobody can run pile up."""
    if known is None:
        return
    orphans: defaultdict[str, list[ScheduleRecord]] = defaultdict(list)
    for schedule in active:
        if schedule.spec is not None and schedule.spec.job.task not in known:
            orphans[schedule.spec.job.task].append(schedule)
    for task, schedules in sorted(orphans.items()):
        yield Finding(
            "schedules",
            Level.WRONG,
            f"no live worker knows the task {safe(task)} of {_named(schedules)}: jobs pile up",
            f"deploy the code that has it, or: {command(f'schedules delete {_words(schedules)}')}",
        )


def _ahead(active: Sequence[ScheduleRecord], now: Micros) -> Findings:
    ahead = [schedule for schedule in active if schedule.is_ahead(now)]
    if ahead:
        last = max(schedule.last for schedule in ahead)
        yield Finding(
            "schedules",
            Level.WRONG,
            f"a clock once showed {iso(last)}, and {_named(ahead)} waits for it to come",
            f"if this clock is right: {command(f'schedules resume {_words(ahead)}')}",
        )


def _overdue(active: Iterable[ScheduleRecord], patient: Patient) -> Findings:
    late = [
        schedule
        for schedule in active
        if schedule.next is not None
        and patient.now - schedule.next > GRACE
        and not _why_not(schedule, patient.now)
    ]
    if late:
        oldest = min(schedule.next for schedule in late if schedule.next is not None)
        yield Finding(
            "schedules",
            Level.WRONG,
            f"nobody fires {_named(late)}: {span(patient.now - oldest)} overdue",
            "read the logs of the workers"
            if patient.workers
            else f"backline worker {the_app()}: any live worker fires all schedules",
        )


def _named(schedules: Sequence[ScheduleRecord]) -> str:
    """ "schedule a", "3 schedules, such as a": safe to print."""
    first = safe(schedules[0].name)
    count = len(schedules)
    return f"schedule {first}" if count == 1 else f"{plural(count, 'schedule')}, such as {first}"


def _words(schedules: Sequence[ScheduleRecord]) -> str:
    """The first of them as words of a command."""
    names = [shlex.quote(safe(schedule.name)) for schedule in schedules[:_NAMED]]
    return " ".join([*names, "..."] if len(schedules) > _NAMED else names)
