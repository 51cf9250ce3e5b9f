"""`backline purge`."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from backline.cli.change import Change, Which, bulk_options, change
from backline.cli.options import a_duration, chosen, filter_options, state_option
from backline.cli.session import Session, with_store
from backline.job import JobId, JobRecord, Micros
from backline.states import QUEUED, TERMINAL, State
from backline.store import Filter

_DEFAULT: Final = TERMINAL - {State.DEAD}


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options()
@state_option(
    "Jobs in this state; may be repeated.  [default: succeeded, cancelled, expired]", TERMINAL
)
@click.option(
    "--older-than",
    type=a_duration,
    metavar="DURATION",
    help="Only jobs that ended (or, not started, were enqueued) this long ago: 90s, 12h, 7d.",
)
@click.option(
    "--waiting", is_flag=True, help="Also jobs that have not started: cancel and purge them."
)
@bulk_options
@with_store
async def purge(
    session: Session,
    ids: tuple[str, ...],
    where: Filter,
    states: tuple[str, ...],
    older_than: Micros | None,
    waiting: bool,
    **options: Any,
) -> int:
    """Delete finished jobs now instead of when their keep is over.

    By their ids, or all that a filter matches. Dead jobs go only if `--state dead` says so,
    and jobs that have not started only with `--waiting`. There is no way back.
    """

    async def act(bite: Sequence[JobId]) -> Sequence[str]:
        if waiting:
            await session.store.cancel(bite)
        return ["purged" if each else "kept" for each in await session.store.purge(bite)]

    how = Change(
        verb="purge",
        act=act,
        done={"purged": "purged"},
        failed={"kept": "not finished, too young, or unknown"},
        unwanted="kept",
        asks=True,
    )
    where = chosen(where, states, otherwise=TERMINAL if ids else _DEFAULT)
    if waiting:
        where = chosen(where, where.states | QUEUED)
    wanted = None if older_than is None else _older(session.now - older_than)
    return await change(session, how, Which(ids=ids, where=where, wanted=wanted, **options))


def _older(than: Micros) -> Callable[[JobRecord], bool]:
    return lambda job: (job.finished_at or job.enqueued_at) <= than
