"""`backline cancel`."""

from collections.abc import Sequence
from typing import Any

import click

from backline.cli.change import Change, Which, bulk_options, change
from backline.cli.flows import cancel_flows
from backline.cli.ids import is_flow
from backline.cli.options import chosen, filter_options, state_option
from backline.cli.session import Session, with_store
from backline.job import JobId
from backline.states import LIVE
from backline.store import Cancelling, Filter


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options()
@state_option("Only jobs in this state; may be repeated.", LIVE)
@bulk_options
@with_store
async def cancel(
    session: Session,
    ids: tuple[str, ...],
    where: Filter,
    states: tuple[str, ...],
    **options: Any,
) -> int:
    """Cancel jobs, by their ids or all that a filter matches; or whole flows, by theirs.

    A job that has not started will not run. One that runs is asked to stop within a second,
    and there will be no further attempt. The ID `-` reads ids from standard input.
    """

    async def act(bite: Sequence[JobId]) -> Sequence[str]:
        return await session.store.cancel(bite)

    how = Change(
        verb="cancel",
        act=act,
        done={
            Cancelling.CANCELLED: "cancelled",
            Cancelling.REQUESTED: "running, asked to stop",
        },
        failed={
            Cancelling.ENDED: "had ended before",
            Cancelling.UNKNOWN: "unknown (purged, or never enqueued here)",
        },
        asks=True,
    )
    where = chosen(where, states, otherwise=LIVE)
    which = Which(ids=ids, where=where, wanted=None, **options)
    if any(map(is_flow, ids)):
        alone = all(map(is_flow, ids)) and where == chosen(Filter(), (), otherwise=LIVE)
        if not alone or which.everything or which.limit or which.after:
            raise click.UsageError(
                "give the ids of flows alone: without jobs, and without a filter"
            )
        how_told = {"dry_run": which.dry_run, "as_json_lines": which.as_json_lines}
        return await cancel_flows(session, ids, **how_told)
    return await change(session, how, which)
