"""What `cancel`, `retry`, `redrive` and `purge` share: by ids or by filter, and the account."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from backline.cli.bulk import Act, Halfway, Tally, Wanted, count, on_each, on_ids, progress_bar
from backline.cli.common import ExitCode, Failure
from backline.cli.ids import resolve_all
from backline.cli.options import json_option
from backline.cli.queues import require_known
from backline.cli.session import Session
from backline.cli.text import note, plural, say, say_json
from backline.job import JobRecord
from backline.store import Filter

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command does to jobs, and how it speaks of it."""

    verb: str
    act: Act
    done: Mapping[str, str]
    """Outcomes that are what was asked for, each with its words after a number of jobs."""
    failed: Mapping[str, str]
    """Outcomes that are not."""
    asks: bool = False
    """Whoever does it by a filter on a terminal is asked first: it cannot be undone."""


@dataclass(frozen=True, kw_only=True)
class Which:
    """Which jobs, and how far to go with them."""

    ids: Sequence[str]
    where: Filter
    wanted: Wanted | None
    everything: bool
    limit: int | None
    dry_run: bool
    yes: bool
    as_json_lines: bool

    @property
    def filtered(self) -> bool:
        """Something beside the state narrows them down."""
        return bool(self.where.queue or self.where.task or self.where.tag)

    def takes(self, job: JobRecord) -> bool:
        """Whether a job given by its id is in a state to be changed."""
        return job.state in self.where.states and (self.wanted is None or self.wanted(job))


def bulk_options(command: F) -> F:
    """What the commands that work by filter have in common, `which` without its filter."""
    for option in (
        json_option,
        click.option("-y", "--yes", is_flag=True, help="Do not ask, on a terminal either."),
        click.option("--dry-run", is_flag=True, help="Say how many; change nothing."),
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
            f"{how.verb} which jobs? Give ids, or --queue, --task, --tag or --all"
        )
    if which.where.queue is not None:
        require_known(await session.store.stats(), [which.where.queue])
    return await _by_filter(session, how, which)


async def _by_ids(session: Session, how: Change, which: Which) -> int:
    if which.filtered or which.everything:
        raise click.UsageError("give ids or a filter, not both")
    ids = await resolve_all(session.store, which.ids)
    if which.dry_run:
        found = [job for job in await session.store.get(ids) if job is not None]
        return _would(how, which, sum(map(which.takes, found)))
    tally = Tally()
    with progress_bar(how.verb, len(ids), shown=not which.as_json_lines) as bar:
        await on_ids(how.act, ids, tally, bar)
    return _account(how, which, tally)


async def _by_filter(session: Session, how: Change, which: Which) -> int:
    asking = how.asks and not which.yes and sys.stdin.isatty() and sys.stderr.isatty()
    total = 0
    if which.dry_run or asking or sys.stderr.isatty():
        total = await count(session, which.where, wanted=which.wanted)
        total = total if which.limit is None else min(total, which.limit)
    if which.dry_run:
        return _would(how, which, total)
    if asking and total and not click.confirm(f"{how.verb} {plural(total, 'job')}?", err=True):
        note("nothing was changed")
        return ExitCode.NOT_DONE
    tally = Tally()
    try:
        with progress_bar(how.verb, total, shown=not which.as_json_lines) as bar:
            await on_each(
                session,
                which.where,
                how.act,
                tally=tally,
                wanted=which.wanted,
                limit=which.limit,
                bar=bar,
            )
    except Halfway as halfway:
        _account(how, which, tally)
        raise Failure(
            f"the store failed on the way: {halfway.error}",
            fix="the same command again, to go on",
            code=ExitCode.STORE,
        ) from halfway
    except asyncio.CancelledError:  # Ctrl-C
        note("")
        _account(how, which, tally)
        note("the same command again goes on from here")
        raise
    return _account(how, which, tally)


def _would(how: Change, which: Which, total: int) -> int:
    if which.as_json_lines:
        say_json({"command": how.verb, "dry_run": True, "matched": total})
    else:
        say(f"would {how.verb} {plural(total, 'job')}")
    return ExitCode.OK


def _account(how: Change, which: Which, tally: Tally) -> int:
    """Tell what was done."""
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
    return ExitCode.NOT_DONE if failed else ExitCode.OK
