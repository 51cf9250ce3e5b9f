"""`backline edit`: another queue, priority or time for jobs that have not started."""

from datetime import datetime
from typing import Any

import click
from msgspec import UNSET

from backline.cli.bulk import Wanted
from backline.cli.change import Change, Which, bulk_options, change
from backline.cli.options import (
    A_PRIORITY,
    a_duration,
    a_time,
    chosen,
    filter_options,
    state_option,
)
from backline.cli.queues import check_name, require_queues
from backline.cli.session import Session, with_store
from backline.cli.text import note
from backline.display import safe
from backline.job import JobRecord, Micros
from backline.states import QUEUED
from backline.store import Edit, Edited, Filter
from backline.task.options import instant


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--to-queue", metavar="QUEUE", help="Move them to this queue, full or not.")
@click.option("--new", is_flag=True, help="Also if that queue has had no job yet.")
@click.option(
    "--to-priority",
    type=A_PRIORITY,
    metavar="N",
    help="-100 to 100; higher is sooner.",
)
@click.option(
    "--run-at", type=a_time, metavar="TIME", help="Not before: 2026-12-24T18:00:00+01:00."
)
@click.option("--delay", type=a_duration, metavar="DURATION", help="Not before this long from now.")
@click.option("--now", is_flag=True, help="Those that wait for their time, now; no others.")
@filter_options()
@state_option(
    "Only jobs in this state; may be repeated.  [default: waiting, scheduled, ready]", QUEUED
)
@bulk_options
@with_store
async def edit(
    session: Session,
    ids: tuple[str, ...],
    where: Filter,
    states: tuple[str, ...],
    to_queue: str | None,
    new: bool,
    to_priority: int | None,
    run_at: datetime | None,
    delay: Micros | None,
    now: bool,
    **options: Any,
) -> int:
    """Give jobs that have not started another queue, another priority or another time.

    By their ids, or all that a filter matches. A running job is left alone; one that waits for
    a retry can be changed. Jobs keep their place among those enqueued, their unique key and the
    time at which they expire. The ID `-` reads ids from standard input.

    \b
        backline edit -q mail --task app.digest --to-queue slow --dry-run
        backline edit -s scheduled --error app.RateLimited --now

    Exit status: 0 done, 1 some of the ids were running, had ended or are unknown.
    """
    wanted = _edit(to_queue, to_priority, run_at, delay, now=now)
    if to_queue is not None:
        await _check_target(session, to_queue, new=new)

    how = Change(
        verb="edit",
        act=lambda bite: session.store.edit(bite, wanted),
        done={Edited.EDITED: "edited", "same": "already so"},
        failed={
            Edited.RUNNING: "running, left alone",
            Edited.ENDED: "had ended before",
            Edited.UNKNOWN: "unknown (purged, or never enqueued here)",
        },
        unwanted="same",
        repeats=now or delay is None,
    )
    which = Which(
        ids=ids,
        where=chosen(where, states, otherwise=QUEUED),
        wanted=_differs(wanted, session.now if now else None),
        **options,
    )
    return await change(session, how, which)


def _edit(
    queue: str | None,
    priority: int | None,
    run_at: datetime | None,
    delay: Micros | None,
    *,
    now: bool,
) -> Edit:
    """The change that these options mean. Raises click.UsageError if they mean none."""
    if sum((run_at is not None, delay is not None, now)) > 1:
        raise click.UsageError("give one of --run-at, --delay and --now")
    wanted = Edit(
        queue=UNSET if queue is None else queue,
        priority=UNSET if priority is None else priority,
        run_at=UNSET if run_at is None else instant(run_at),
        delay=0 if now else UNSET if delay is None else delay,
    )
    if wanted == Edit():
        raise click.UsageError(
            "edit what? Give --to-queue, --to-priority, --run-at, --delay or --now"
        )
    return wanted


def _differs(change: Edit, now: Micros | None) -> Wanted:
    """Whether a job is not as it is to be; with `now`, whether its time has not come."""

    def wanted(job: JobRecord) -> bool:
        if now is not None:
            return job.due > now
        return (
            change.delay is not UNSET
            or change.queue not in (UNSET, job.queue)
            or change.priority not in (UNSET, job.priority)
            or change.run_at not in (UNSET, job.due)
        )

    return wanted


async def _check_target(session: Session, queue: str, *, new: bool) -> None:
    check_name(queue)
    if not new:
        known = await session.store.stats()
        require_queues(known, [queue], fix="add --new to move them to a queue that is new")
    if not any(queue in worker.queues for worker in await session.store.workers()):
        note(f"no worker serves the queue {safe(queue)} now")
