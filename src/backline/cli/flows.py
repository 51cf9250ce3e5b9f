"""`backline flow`, and `cancel` of whole flows."""

from collections.abc import Sequence

import click

from backline.cli.common import ExitCode, Failure
from backline.cli.ids import flow_id, is_flow
from backline.cli.known import no_flow
from backline.cli.options import json_option
from backline.cli.remedies import command
from backline.cli.session import Session, with_store
from backline.cli.text import note, plural, say, say_facts, say_json
from backline.display import safe
from backline.flow import FlowStatus, status_of
from backline.job import JobId
from backline.store import FlowStats, Store

_BITE = 1_000
"""Jobs of a flow that are cancelled in one commit."""


@click.command()
@click.argument("flow", metavar="ID")
@json_option
@with_store
async def flow(session: Session, flow: str, as_json_lines: bool) -> None:
    """Show how far a workflow is: its status, and how many of its jobs have ended.

    ID is that of the flow, such as f-01a201ee-..., or m-... of a map that was enqueued alone.
    """
    if not is_flow(flow):
        raise Failure(
            f"{safe(flow)} is no id of a flow: those begin with f- or m-",
            fix=command(f"job {flow}"),
            code=ExitCode.USAGE,
        )
    stats = await _known(session.store, flow_id(flow))
    status = status_of(stats)
    if as_json_lines:
        say_json(_as_json(stats))
        return
    say_facts(
        [
            ("id", safe(stats.flow)),
            ("status", status),
            ("jobs", f"{stats.added:,}"),
            ("open", f"{stats.added - stats.ended:,}"),
            ("succeeded", f"{stats.ended - stats.failed:,}"),
            ("failed", f"{stats.failed:,}"),
        ]
    )
    note(f"\nits jobs: {command(f'jobs --flow {safe(stats.flow)}')}")
    if status is FlowStatus.RUNNING:
        note(f"cancel it: {command(f'cancel {safe(stats.flow)}')}")


async def cancel_flows(
    session: Session, given: Sequence[str], *, dry_run: bool, as_json_lines: bool
) -> int:
    """Cancel whole flows, and tell of each; the exit code."""
    code = ExitCode.OK
    for flow in dict.fromkeys(map(flow_id, given)):
        [stats] = await session.store.flows([flow])
        count = 0
        if stats is None:
            code = ExitCode.NOT_DONE
        elif dry_run:
            count = stats.added - stats.ended
        else:
            count = await _cancel(session.store, flow)
        if as_json_lines:
            known = stats is not None
            facts = {"dry_run": dry_run, "flow": flow, "known": known, "jobs": count}
            say_json({"command": "cancel", **facts})
        elif stats is None:
            note(no_flow(flow))
        elif dry_run:
            say(f"would cancel {plural(count, 'job')} of flow {safe(flow)}")
        else:
            say(f"{plural(count, 'job')} of flow {safe(flow)} cancelled, or asked to stop")
    return code


async def _known(store: Store, flow: JobId) -> FlowStats:
    [stats] = await store.flows([flow])
    if stats is None:
        raise Failure(no_flow(flow), fix=f"{command('job ID')} (says the flow of a job)")
    return stats


async def _cancel(store: Store, flow: JobId) -> int:
    total = 0
    while True:
        [bite] = await store.cancel_flows([flow], _BITE)
        if not bite:
            return total
        total += bite


def _as_json(stats: FlowStats) -> dict[str, object]:
    """A flow for programs: its keys are promised."""
    return {
        "id": stats.flow,
        "status": status_of(stats),
        "jobs": stats.added,
        "open": stats.added - stats.ended,
        "succeeded": stats.ended - stats.failed,
        "failed": stats.failed,
        "cancelled": stats.cancelled,
    }
