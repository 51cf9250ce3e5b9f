"""What `cancel`, `edit`, `retry`, `redrive` and `purge` share: by ids or by filter, the dry run,
and the account."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
from msgspec.structs import replace

from backline.cli.bulk import (
    BITE,
    Act,
    Search,
    Tally,
    Wanted,
    count,
    matching,
    on_each,
    on_ids,
    progress_bar,
)
from backline.cli.common import ExitCode, Failure
from backline.cli.ids import resolve, resolve_all
from backline.cli.known import strange_task
from backline.cli.options import json_option
from backline.cli.queues import require_queues
from backline.cli.session import Session
from backline.cli.text import coloured, note, plural, say, say_json, say_table
from backline.display import safe
from backline.errors import StoreError
from backline.job import JobId, JobRecord
from backline.states import State
from backline.store import Filter

F = TypeVar("F", bound=Callable[..., Any])

MANY: Final = 1_000
"""Whoever means more jobs than this by a filter, on a terminal, is asked."""
_SHOWN: Final = 20
_NAME: Final = 40


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command does to jobs, and how it speaks of it."""

    verb: str
    act: Act
    done: Mapping[str, str]
    """Outcomes that are what was asked for, each with its words after a number of jobs."""
    failed: Mapping[str, str]
    """Outcomes that are not."""
    unwanted: str = ""
    """The outcome of a job that is given by its id and is not `wanted`."""
    asks: bool = False
    """Whoever does it by a filter on a terminal is always asked: it cannot be undone."""
    repeats: bool = True
    """What was done no longer matches, so that the same command goes on."""


@dataclass(frozen=True, kw_only=True)
class Which:
    """Which jobs, and how far to go with them."""

    ids: Sequence[str]
    where: Filter
    wanted: Wanted | None
    everything: bool
    limit: int | None
    after: str | None
    dry_run: bool
    yes: bool
    as_json_lines: bool

    @property
    def filtered(self) -> bool:
        """Something beside the state narrows them down."""
        return replace(self.where, states=frozenset()) != Filter()

    def takes(self, job: JobRecord) -> bool:
        """Whether a job given by its id is in a state to be changed, and is to be."""
        return job.state in self.where.states and (self.wanted is None or self.wanted(job))


def bulk_options(command: F) -> F:
    """What the commands that work by filter have in common, `which` without its filter."""
    for option in (
        json_option,
        click.option("-y", "--yes", is_flag=True, help="Do not ask, on a terminal either."),
        click.option(
            "--dry-run", is_flag=True, help="Count them by queue, task and state; change nothing."
        ),
        click.option("--after", metavar="ID", help="Only jobs after this one: to go on."),
        click.option(
            "-n", "--limit", type=click.IntRange(1), help="At most this many, the oldest first."
        ),
        click.option("--all", "everything", is_flag=True, help="The jobs of every queue."),
    ):
        command = option(command)
    return command


async def change(session: Session, how: Change, which: Which) -> int:
    """Do it, tell what was done, and return the exit code."""
    if which.ids:
        return await _by_ids(session, how, which)
    if not which.filtered and not which.everything:
        raise click.UsageError(
            f"{how.verb} which jobs? Give ids, or a filter such as --queue or --task, or --all"
        )
    if which.where.queue is not None:
        require_queues(await session.store.stats(), [which.where.queue])
    if strange := await strange_task(session.store, which.where.task):
        note(strange)
    return await _by_filter(session, how, which)


async def _by_ids(session: Session, how: Change, which: Which) -> int:
    if which.filtered or which.everything or which.after:
        raise click.UsageError("give ids or a filter, not both")
    ids = await resolve_all(session.store, which.ids)
    if which.dry_run:
        return await _would(how, which, _taken(session, which, ids))
    tally = Tally()
    if which.wanted is not None:
        left_out = {
            job.id
            for bite in _bites(ids)
            for job in await session.store.get(bite)
            if job is not None and not which.wanted(job)
        }
        tally.outcomes[how.unwanted] += len(left_out)
        ids = [job_id for job_id in ids if job_id not in left_out]
    try:
        with progress_bar(how.verb, len(ids), shown=not which.as_json_lines) as bar:
            await on_ids(how.act, ids, tally, bar)
    except (StoreError, asyncio.CancelledError) as stopped:
        _stopped(how, which, tally, len(ids), stopped)
        raise
    return _account(how, which, tally)


async def _by_filter(session: Session, how: Change, which: Which) -> int:
    after = None if which.after is None else await resolve(session.store, which.after)
    search = Search(where=which.where, wanted=which.wanted, limit=which.limit, after=after)
    if which.dry_run:
        return await _would(how, which, matching(session, search))
    seen = sys.stderr.isatty()
    total = await count(session, search) if seen else None
    asking = seen and sys.stdin.isatty() and not which.yes and (how.asks or (total or 0) > MANY)
    if asking and total and not click.confirm(f"{how.verb} {plural(total, 'job')}?", err=True):
        note("nothing was changed")
        return ExitCode.NOT_DONE
    tally = Tally()
    try:
        with progress_bar(how.verb, total or 0, shown=not which.as_json_lines) as bar:
            await on_each(session, search, how.act, tally, bar)
    except (StoreError, asyncio.CancelledError) as stopped:
        _stopped(how, which, tally, total, stopped)
        raise
    return _account(how, which, tally)


def _stopped(how: Change, which: Which, tally: Tally, total: int | None, by: BaseException) -> None:
    """Tell how far it came when Ctrl-C, or the store, put an end to it, and how to go on.

    Raises Failure if it was the store.
    """
    interrupted = isinstance(by, asyncio.CancelledError)
    if interrupted:
        note("")
    _account(how, which, tally, stopped=True)
    same = "the same command again"
    go_on = same if how.repeats or which.ids or tally.last is None else ""
    if tally.last is not None and not which.ids:
        quicker = f"--after {safe(tally.last)}"
        go_on = f"{go_on}, or quicker: with {quicker}" if go_on else f"{same} with {quicker}"
    if not interrupted:
        raise Failure(
            f"the store failed on the way: {by}", fix=f"{go_on}, to go on", code=ExitCode.STORE
        ) from by
    of = "" if total is None else f" of {total:,}"
    note(f"stopped after {tally.total:,}{of}; to go on: {go_on}")


async def _taken(
    session: Session, which: Which, ids: Sequence[JobId]
) -> AsyncIterator[list[JobRecord]]:
    for bite in _bites(ids):
        yield [job for job in await session.store.get(bite) if job is not None and which.takes(job)]


def _bites(ids: Sequence[JobId]) -> list[Sequence[JobId]]:
    return [ids[at : at + BITE] for at in range(0, len(ids), BITE)]


async def _would(how: Change, which: Which, found: AsyncIterator[list[JobRecord]]) -> int:
    """The dry run: what it would be done to, an example, and nothing is."""
    counts: Counter[tuple[str, str, State]] = Counter()
    example: JobId | None = None
    async for bite in found:
        counts.update((job.queue, job.task, job.state) for job in bite)
        if bite and example is None:
            example = bite[0].id
    total = counts.total()
    if which.as_json_lines:
        listed = [
            {"queue": queue, "task": task, "state": state, "count": n}
            for (queue, task, state), n in counts.most_common()
        ]
        say_json(
            {
                "command": how.verb,
                "dry_run": True,
                "matched": total,
                "counts": listed,
                "example": example,
            }
        )
        return ExitCode.OK
    rows = [
        [f"{n:,}", coloured(state), safe(queue, most=_NAME), safe(task, most=_NAME)]
        for (queue, task, state), n in counts.most_common(_SHOWN)
    ]
    if rows:
        say_table(["JOBS", "STATE", "QUEUE", "TASK"], rows, right=frozenset({0}))
    if len(counts) > _SHOWN:
        say(f"... and {len(counts) - _SHOWN:,} more kinds")
    such_as = "" if example is None else f", such as {safe(example)}"
    say(f"would {how.verb} {plural(total, 'job')}{such_as}")
    return ExitCode.OK


def _account(how: Change, which: Which, tally: Tally, *, stopped: bool = False) -> int:
    """Tell what was done.

    What a filter found and somebody else changed meanwhile no longer matches it: that is told,
    and is no failure.
    """
    failed = sum(tally.outcomes[outcome] for outcome in how.failed)
    if which.as_json_lines:
        say_json(
            {
                "command": how.verb,
                "dry_run": False,
                "matched": tally.total,
                "done": tally.total - failed,
                "failed": failed,
                "outcomes": {
                    outcome: tally.outcomes[outcome] for outcome in (*how.done, *how.failed)
                },
                "complete": not stopped,
                "after": tally.last,
            }
        )
    else:
        told = [
            f"{plural(tally.outcomes[outcome], 'job')} {words}"
            for outcome, words in how.done.items()
            if tally.outcomes[outcome]
        ]
        if told or not failed:
            say(", ".join(told) or f"no jobs to {how.verb}")
        for outcome, said in how.failed.items():
            if tally.outcomes[outcome]:
                note(f"{plural(tally.outcomes[outcome], 'job')} {said}")
    return ExitCode.NOT_DONE if failed and which.ids else ExitCode.OK
