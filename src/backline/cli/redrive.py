"""`backline retry` and `redrive`: jobs that ended badly, run again."""

from collections.abc import Sequence
from typing import Any, Final

import click
from msgspec.structs import replace

from backline.cli.change import Change, Which, bulk_options, change
from backline.cli.common import ExitCode
from backline.cli.options import chosen, filter_options, state_option
from backline.cli.queues import require_queues
from backline.cli.session import Session, with_store
from backline.job import JobId
from backline.states import TERMINAL, State
from backline.store import Filter

_AGAIN: Final = TERMINAL - {State.SUCCEEDED}


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options()
@state_option("Jobs in this state; may be repeated.  [default: dead]", _AGAIN)
@bulk_options
@with_store
async def retry(
    session: Session,
    ids: tuple[str, ...],
    where: Filter,
    states: tuple[str, ...],
    **options: Any,
) -> int:
    """Run dead, cancelled or expired jobs again, their failures forgotten.

    By their ids, or all that a filter matches. The ID `-` reads ids from standard input.
    """
    where = chosen(where, states, otherwise=_AGAIN if ids else {State.DEAD})
    which = Which(ids=ids, where=where, wanted=None, **options)
    return await change(session, _again(session, "retry"), which)


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@filter_options(queue=False)
@bulk_options
@with_store
async def redrive(
    session: Session,
    names: tuple[str, ...],
    where: Filter,
    **options: Any,
) -> int:
    """Empty the dead-letter queue: put the dead jobs of QUEUE back to ready.

    The oldest go first, their failures forgotten. To take single jobs: `backline retry ID`.
    """
    if names and options["everything"]:
        raise click.UsageError("give queues or --all, not both")
    if not (names or where != Filter() or options["everything"]):
        raise click.UsageError(
            "redrive which jobs? Name queues, or give a filter such as --task, or --all"
        )
    if names:
        require_queues(await session.store.stats(), names)
    code: int = ExitCode.OK
    for name in names or (None,):
        dead = replace(where, queue=name, states=frozenset({State.DEAD}))
        which = Which(ids=(), where=dead, wanted=None, **options)
        code = max(code, await change(session, _again(session, "redrive"), which))
    return code


def _again(session: Session, verb: str) -> Change:
    async def act(bite: Sequence[JobId]) -> Sequence[str]:
        done = await session.store.redrive(bite)
        return ["ready" if each else "refused" for each in done]

    return Change(
        verb=verb,
        act=act,
        done={"ready": "ready to run again"},
        failed={"refused": "not dead, cancelled or expired (any more), or unknown"},
    )
