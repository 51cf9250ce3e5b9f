"""`backline schedules`: what runs by itself, and its pause, resume, run and delete."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import click

from backline.app import App, Schedule
from backline.app.arranging import BITE, every_schedule
from backline.cli.findings import known_tasks
from backline.cli.known import require_known
from backline.cli.options import json_option
from backline.cli.remedies import command
from backline.cli.session import Session, run_on, store_of, store_options, with_store
from backline.cli.text import coloured, note, say, say_json, say_table
from backline.display import iso, moment, safe
from backline.job import JobId, JobRecord, Micros
from backline.schedule import Cron, ScheduleRecord, slot_id

_HEAD: Final = ["SCHEDULE", "WHEN", "NEXT", "LAST", "TASK", ""]


@click.group(invoke_without_command=True)
@json_option
@store_options
@click.pass_context
def schedules(
    context: click.Context, as_json_lines: bool, store_url: str | None, app_target: str | None
) -> None:
    """Show what runs by itself: when, when next, when last and how that ended.

    Without a command of its own it lists them. Times are those of this machine's clock;
    a schedule's rule follows the time zone that it names.
    """
    if context.invoked_subcommand is None:
        store = store_of(store_url, app_target)
        run_on(store, lambda session: _list(session, as_json_lines=as_json_lines))
    elif as_json_lines or store_url or app_target:
        name = context.invoked_subcommand
        raise click.UsageError(f"options go behind {name}: backline schedules {name} ... --json")


@schedules.command()
@click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)
@json_option
@with_store
async def pause(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Let schedules enqueue nothing until they are resumed."""
    await _each(session, names, "paused", lambda app, name: app.schedules.apause(name),
                as_json_lines=as_json_lines)  # fmt: skip


@schedules.command()
@click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)
@json_option
@with_store
async def resume(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Let paused schedules go on from now; what the pause left out is not made up for.

    So does one that waits for what a wrong clock once showed.
    """
    await _each(session, names, "goes on", lambda app, name: app.schedules.aresume(name),
                as_json_lines=as_json_lines)  # fmt: skip


@schedules.command()
@click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)
@json_option
@with_store
async def run(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Enqueue the jobs of schedules now, besides those of their times; print the jobs' ids.

    A repeat enqueues another, unless a job of it holds its unique key.
    """
    await _known(session, names)
    async with App(clock=session.clock, store=session.store) as app:
        for name in dict.fromkeys(names):
            job = await app.schedules.arun(name)
            if as_json_lines:
                say_json({"schedule": name, "id": job.id, "added": job.added})
            else:
                say(job.id)
            if not job.added:
                note(f"{safe(name)}: not added: this job holds the unique key")


@schedules.command()
@click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)
@json_option
@with_store
async def delete(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Delete schedules; the jobs they have enqueued stay.

    One that stands in code is back within a minute, while its workers live: pause it instead.
    """
    found = await _known(session, names)
    async with App(clock=session.clock, store=session.store) as app:
        for name, schedule in found.items():
            deleted = await app.schedules.adelete(name)
            if as_json_lines:
                say_json({"schedule": name, "deleted": deleted})
            else:
                say(f"{safe(name)}: deleted")
            if schedule.declared:
                note(
                    f"{safe(name)} stands in code, or did: a process that still declares it "
                    f"brings it back; to stop it: {command(f'schedules pause {safe(name)}')}"
                )


async def _each(
    session: Session,
    names: Sequence[str],
    word: str,
    change: Callable[[App, str], Awaitable[Schedule]],
    *,
    as_json_lines: bool,
) -> None:
    before = await _known(session, names)
    async with App(clock=session.clock, store=session.store) as app:
        for name, old in before.items():
            new = await change(app, name)
            back = new.record.last < old.record.last  # from what a wrong clock once showed
            changed = old.paused != new.paused or back
            if as_json_lines:
                say_json({"schedule": name, "paused": new.paused, "changed": changed})
            else:
                say(f"{safe(name)}: {word}{'' if changed else ', as before'}")


async def _known(session: Session, names: Sequence[str]) -> dict[str, Schedule]:
    """The schedules of these names. Raises Failure for the first that there is not."""
    records = {record.name: record for record in await every_schedule(session.store)}
    require_known(names, records, "schedule", fix=command("schedules"))
    return {name: Schedule(records[name]) for name in dict.fromkeys(names)}


class _Last(NamedTuple):
    """What became of the newest slot of a schedule."""

    job: JobId | None = None
    state: str | None = None
    """Of the job, if it is not purged; or "skipped": it added none."""
    words: str = ""


async def _list(session: Session, *, as_json_lines: bool) -> None:
    records = await every_schedule(session.store)
    last = await _last_runs(session, records)
    tasks = known_tasks(await session.store.workers())
    if not records and not as_json_lines:
        note('no schedules yet: declare one with @app.task(cron="0 3 * * *")')
        return
    rows: list[list[str]] = []
    for record in records:
        schedule, its_last = Schedule(record), last.get(record.name, _Last())
        if as_json_lines:
            say_json(_json(schedule, its_last, tasks))
        else:
            rows.append([*_row(schedule, its_last, session.now), _remark(schedule, tasks)])
    if rows:
        say_table(_HEAD, rows)


async def _last_runs(session: Session, records: Sequence[ScheduleRecord]) -> dict[str, _Last]:
    """What became of the newest slots, by schedule."""
    ids = {record.name: slot_id(record.name, record.ran) for record in records if record.ran}
    found: dict[str, JobRecord | None] = {}
    names = list(ids)
    for start in range(0, len(names), BITE):
        bite = names[start : start + BITE]
        jobs = await session.store.get([ids[name] for name in bite])
        found |= dict(zip(bite, jobs, strict=True))
    return {
        record.name: _last(record, ids[record.name], found[record.name], session.now)
        for record in records
        if record.name in ids
    }


def _last(record: ScheduleRecord, job_id: JobId, job: JobRecord | None, now: Micros) -> _Last:
    if job is not None:
        return _Last(job_id, job.state, coloured(job.state))
    if record.spec is not None and record.spec.job.unique_key is not None and record.ran:
        terms = record.spec.job.terms
        if now - record.ran < min(terms.keep, terms.keep_dead):  # it would not be purged yet
            return _Last(None, "skipped", "skipped: unique key")
    return _Last(job_id)


def _row(schedule: Schedule, last: _Last, now: Micros) -> list[str]:
    record = schedule.record
    return [
        safe(schedule.name, most=40),
        safe(schedule.when, most=60),
        "" if record.next is None else moment(record.next, now),
        "" if record.ran is None else f"{moment(record.ran, now)} {last.words}".rstrip(),
        safe(schedule.task, most=40),
    ]


def _remark(schedule: Schedule, tasks: set[str] | None) -> str:
    if schedule.record.spec is None:
        return click.style("damaged", fg="red")
    remarks: list[str] = []
    if schedule.paused:
        remarks.append(click.style("paused", fg="yellow"))
    elif schedule.edited:
        remarks.append("edited")
    if tasks is not None and schedule.task not in tasks:
        remarks.append(click.style("no worker knows its task", fg="red"))
    return ", ".join(remarks)


def _json(schedule: Schedule, last: _Last, tasks: set[str] | None) -> dict[str, Any]:
    """A schedule for programs; the keys are promised."""
    record, spec = schedule.record, schedule.record.spec
    rule = None if spec is None else spec.rule
    return {
        "schedule": record.name,
        "when": schedule.when,
        "cron": rule.expression if isinstance(rule, Cron) else None,
        "tz": rule.tz if isinstance(rule, Cron) else None,
        "every_seconds": None if rule is None or isinstance(rule, Cron) else rule.interval / 1e6,
        "missed": None if spec is None else spec.missed,
        "task": None if spec is None else spec.job.task,
        "queue": None if spec is None else spec.job.queue,
        "task_known": None if spec is None or tasks is None else spec.job.task in tasks,
        "paused": record.paused,
        "declared": schedule.declared,
        "edited": schedule.edited,
        "next_at": None if record.next is None else iso(record.next),
        "last_at": None if record.ran is None else iso(record.ran),
        "last_job": last.job,
        "last_state": last.state,
    }
