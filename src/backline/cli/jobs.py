"""`backline jobs`, `job` and `dead`: looking at jobs."""

from collections import Counter
from collections.abc import AsyncIterator

import click

from backline.cli.bulk import Search, matching
from backline.cli.common import Failure
from backline.cli.ids import resolve
from backline.cli.known import closest, no_flow, strange_task
from backline.cli.options import chosen, filter_options, json_option, state_option
from backline.cli.records import as_json, signature
from backline.cli.remedies import command
from backline.cli.session import Session, with_store
from backline.cli.steps import asleep, show_steps
from backline.cli.text import coloured, note, plural, say, say_facts, say_json, say_table
from backline.display import ago, moment, pace, safe, safe_json, safe_lines, span
from backline.duration import text as length
from backline.job import FollowUp, JobId, JobRecord, Limits, Micros, StepRecord
from backline.states import TERMINAL, State
from backline.store import Filter, Page

_PAGE = 200
_NAME = 40
_TEXT = 200
_ARGUMENTS = 80


@click.command()
@filter_options()
@state_option("Only jobs in this state; may be repeated.")
@click.option("-n", "--limit", type=click.IntRange(1), help="Show this many.  [default: 50]")
@click.option("--all", "everything", is_flag=True, help="Show all, however many.")
@click.option("--after", metavar="ID", help="Go on after this job: the next page.")
@click.option("--oldest-first", is_flag=True, help="Begin with the oldest.")
@json_option
@with_store
async def jobs(
    session: Session,
    where: Filter,
    states: tuple[str, ...],
    limit: int | None,
    everything: bool,
    after: str | None,
    oldest_first: bool,
    as_json_lines: bool,
) -> None:
    """List jobs, the newest first.

    A job's ID may be cut to as much of its beginning as is unique wherever one is asked for.
    """
    where = chosen(where, states)
    start = None if after is None else await resolve(session.store, after)
    most = None if everything else limit or 50
    pages = _pages(session, where, most, start, oldest_first=oldest_first)
    last: JobId | None = None
    shown = 0
    async for page in pages:
        if as_json_lines:
            for job in page.jobs:
                say_json(as_json(job))
        elif page.jobs:
            _show(page.jobs, session.now)
        shown += len(page.jobs)
        last = page.after
    if as_json_lines:
        return
    if shown == 0:
        nothing = "no jobs match" if where != Filter() or start else "no jobs"
        note(nothing + await _meant(session, where))
    elif last is not None:
        note(f"{plural(shown, 'job')} shown; for the next: --after {safe(last)}")


@click.command()
@click.argument("job_id", metavar="ID")
@json_option
@with_store
async def job(session: Session, job_id: str, as_json_lines: bool) -> None:
    """Show everything about one job: its arguments, times, steps, errors with tracebacks, result.

    ID may be cut to as much of its beginning as is unique.
    """
    known = await resolve(session.store, job_id)
    [record] = await session.store.get([known])
    if record is None:
        raise Failure(
            f"no job has the id {known} (purged, or never enqueued here)", fix=command("jobs")
        )
    [steps] = await session.store.steps([known]) if record.steps else [[]]
    if as_json_lines:
        say_json(as_json(record, steps))
        return
    say_facts(_facts(record, steps, session.now))
    if steps:
        say()
        show_steps(steps, session.now)
    for error in record.errors:
        when = "" if error.at is None else f", {moment(error.at, session.now)}"
        say()
        say(f"attempt {error.attempt}{when}", bold=True)
        say(f"  {click.style(safe(error.kind), fg='red')}: {safe(error.message)}")
        if error.traceback:
            say(safe_lines(error.traceback, "    "))
    for hint in _hints(record):
        note(f"\n{hint}")


@click.command()
@filter_options()
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Show this many."
)
@click.option("--reasons", is_flag=True, help="Count them by task and error instead.")
@json_option
@with_store
async def dead(
    session: Session,
    where: Filter,
    limit: int,
    reasons: bool,
    as_json_lines: bool,
) -> None:
    """List the dead-letter queue, the newest first: jobs that are out of attempts, and why."""
    where = chosen(where, (State.DEAD,))
    if reasons:
        await _reasons(session, where, as_json_lines)
        return
    found: list[JobRecord] = []
    async for page in _pages(session, where, limit, None, oldest_first=False):
        found += page.jobs
    if as_json_lines:
        for each in found:
            say_json(as_json(each))
    elif not found:
        note("no dead jobs" + await _meant(session, where))
    else:
        rows = [
            [
                safe(each.id),
                safe(each.queue, most=_NAME),
                safe(each.task, most=_NAME),
                f"{each.failures}/{each.terms.max_attempts}",
                ago(each.finished_at or each.due, session.now),
                _why(each),
            ]
            for each in found
        ]
        say_table(["ID", "QUEUE", "TASK", "FAILED", "DIED", "WHY"], rows)
        again = f"{command('retry ID')}, {command('redrive QUEUE')}"
        note(f"one in full: {command('job ID')}    run again: {again}")


async def _meant(session: Session, where: Filter) -> str:
    """A question about the name of a queue or a task that is not there, or a flow."""
    if strange := await strange_task(session.store, where.task):
        return f": {strange}"
    if where.flow is not None and await session.store.flows([where.flow]) == [None]:
        return f": {no_flow(where.flow)}"
    queue, known = where.queue, [each.queue for each in await session.store.stats()]
    guess = None if queue is None else closest(queue, known)
    return f"; did you mean the queue {guess!r}?" if guess and queue not in known else ""


async def _pages(
    session: Session, where: Filter, most: int | None, after: JobId | None, *, oldest_first: bool
) -> AsyncIterator[Page]:
    """Pages of what matches, up to `most` jobs in all; the last may be empty."""
    while True:
        limit = _PAGE if most is None else min(_PAGE, most)
        page = await session.store.find(where, limit=limit, after=after, oldest_first=oldest_first)
        yield page
        after = page.after
        if most is not None:
            most -= len(page.jobs)
        if after is None or most == 0:
            return


def _show(found: list[JobRecord], now: Micros) -> None:
    rows = [
        [
            safe(each.id),
            coloured(each.state),
            safe(each.queue, most=_NAME),
            safe(each.task, most=_NAME),
            str(each.attempt),
            ago(each.enqueued_at, now),
            signature(each, most=_ARGUMENTS),
        ]
        for each in found
    ]
    say_table(
        ["ID", "STATE", "QUEUE", "TASK", "RUNS", "ENQUEUED", "ARGUMENTS"],
        rows,
        right=frozenset({4}),
    )


async def _reasons(session: Session, where: Filter, as_json_lines: bool) -> None:
    counts: Counter[tuple[str, str, str]] = Counter()
    async for bite in matching(session, Search(where=where, payloads=True)):
        counts.update(
            (each.queue, each.task, each.errors[-1].kind if each.errors else "") for each in bite
        )
    if as_json_lines:
        for (queue, task, kind), count in counts.most_common():
            say_json({"queue": queue, "task": task, "kind": kind, "count": count})
        return
    if not counts:
        note("no dead jobs")
        return
    rows = [
        [f"{count:,}", safe(queue, most=_NAME), safe(task, most=_NAME), safe(kind)]
        for (queue, task, kind), count in counts.most_common()
    ]
    say_table(["JOBS", "QUEUE", "TASK", "ERROR"], rows, right=frozenset({0}))


def _why(dead_job: JobRecord) -> str:
    if not dead_job.errors:
        return ""
    last = dead_job.errors[-1]
    return f"{safe(last.kind)}: {safe(last.message, most=_TEXT)}"


def _facts(record: JobRecord, steps: list[StepRecord], now: Micros) -> list[tuple[str, str]]:
    state = coloured(record.state)
    if record.cancel and record.state not in TERMINAL:
        state += " (a cancel was asked for)"
    if record.asleep:
        state += f" ({asleep(record, steps, now)})"
    facts = [
        ("id", safe(record.id)),
        ("task", safe(record.task)),
        ("queue", safe(record.queue) + (" (in a cell)" if record.lane.value == "cell" else "")),
        ("state", state),
    ]
    facts += [(name, value) for name, value in _details(record, now) if value]
    return facts


def _details(record: JobRecord, now: Micros) -> list[tuple[str, str]]:
    def at(then: Micros | None) -> str:
        return "" if then is None else moment(then, now)

    ended, began = record.finished_at, record.started_at
    took = f", after {span(ended - began)}" if ended is not None and began is not None else ""
    counts = f"{record.attempt}; failed {record.failures} of {record.terms.max_attempts}"
    if record.redrives:
        counts += f"; begun anew {record.redrives} times"
    if record.losses:
        counts += f"; its worker was lost {record.losses} times"
    if record.releases:
        counts += f"; put back {record.releases} times by workers that do not know the task"
    return [
        ("arguments", signature(record)),
        ("result", "" if record.result is None else safe_json(record.result)),
        ("progress", _progress(record)),
        ("runs", counts),
        ("priority", str(record.priority) if record.priority else ""),
        ("enqueued", at(record.enqueued_at)),
        ("due", at(record.due) if record.due != record.enqueued_at else ""),
        ("started", at(began)),
        ("finished", at(ended) + took if ended is not None else ""),
        ("expires", at(record.expires_at)),
        ("purged", at(record.purge_at)),
        ("worker", "" if record.worker is None else safe(record.worker)),
        ("timeout", length(record.terms.timeout)),
        ("unique key", "" if record.unique_key is None else safe(record.unique_key)),
        ("limits", "; ".join(_limits(record.limits))),
        ("fair key", "" if record.fair_key is None else safe(record.fair_key)),
        ("flow", "" if record.flow is None else safe(record.flow)),
        ("after", ", ".join(f"{safe(one.id)} ({one.ended or 'open'})" for one in record.after)),
        ("before", ", ".join(map(safe, record.before))),
        ("tags", ", ".join(map(safe, record.tags))),
        ("callbacks", ", ".join(map(_callback, record.follow_ups))),
        ("headers", ", ".join(f"{safe(k)}: {safe(v)}" for k, v in record.headers.items())),
    ]


def _limits(limits: Limits | None) -> list[str]:
    if limits is None:
        return []
    words: list[str] = []
    if limits.key is not None:
        words.append(f"{limits.slots:,} of the key {safe(limits.key)} at a time")
    if limits.rate_key is not None:
        words.append(f"{safe(limits.rate_key)} starts {pace(limits.pacing)}")
    return words


def _callback(follow_up: FollowUp) -> str:
    return f"{safe(follow_up.job.task)} on {'/'.join(follow_up.on)}"


def _progress(record: JobRecord) -> str:
    if record.progress is None:
        return ""
    done, total, remark = record.progress.done, record.progress.total, record.progress.note
    share = f"{done:g}" if total is None else f"{done:g} of {total:g}"
    return f"{share} {safe(remark)}".rstrip()


def _hints(record: JobRecord) -> list[str]:
    if record.state in (State.DEAD, State.CANCELLED, State.EXPIRED):
        return [f"run it again: {command(f'retry {safe(record.id)}')}"]
    if record.state not in TERMINAL:
        return [f"cancel it: {command(f'cancel {safe(record.id)}')}"]
    return []
