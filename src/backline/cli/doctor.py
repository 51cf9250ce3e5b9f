"""`backline doctor`."""

import click

from backline.cli.common import ExitCode, explain
from backline.cli.findings import CHECKS, Finding, Level, examine
from backline.cli.loading import load_app
from backline.cli.options import json_option
from backline.cli.outboxes import examine_outboxes
from backline.cli.schedule_findings import the_schedules
from backline.cli.session import Session, run_on, store_of, store_options
from backline.cli.subscription_findings import the_subscriptions
from backline.cli.text import say, say_json
from backline.cli.webhook_findings import the_webhooks
from backline.errors import StoreError

_MARKS = {Level.OK: ("ok", "green"), Level.NOTE: ("note", "yellow"), Level.WRONG: ("wrong", "red")}


@click.command()
@store_options
@json_option
def doctor(store_url: str | None, app_target: str | None, as_json_lines: bool) -> int:
    """Look for what is wrong, and name the command that fixes it.

    Checks the store, its disk and clock, the workers that report to it, jobs that were lost
    with their worker, tasks that no worker knows, queues that none serves, paused, full and
    slow queues, dead jobs, schedules that nobody fires, that cannot work or whose task no
    worker knows, and subscriptions of such tasks. With --app, also the outboxes that the app
    declares.

    "wrong": now, and until somebody acts, jobs are not taken in, not done, or not safe.
    "note": worth knowing, such as dead jobs, a paused queue, or no worker and no job.

    Exit status: 0 nothing is wrong, 1 something is, 3 the store cannot be used.
    """
    code = ExitCode.OK
    try:
        store = store_of(store_url, app_target)
        outboxes = load_app(app_target).outboxes if app_target else ()

        async def look(session: Session) -> list[Finding]:
            return [*await _findings(session), *await examine_outboxes(session, outboxes)]

        findings = run_on(store, look)
    except StoreError as error:
        message, fix, code = explain(error)
        fix = "" if fix == "backline doctor" else fix
        findings = [Finding("store", Level.WRONG, message, fix)]
    for finding in findings:
        _show(finding, as_json_lines=as_json_lines)
    if code is ExitCode.OK and any(finding.level is Level.WRONG for finding in findings):
        return ExitCode.NOT_DONE
    return code


async def _findings(session: Session) -> list[Finding]:
    patient = await examine(session)
    checks = (*CHECKS, the_schedules, the_subscriptions, the_webhooks)
    return [finding for check in checks for finding in check(patient)]


def _show(finding: Finding, *, as_json_lines: bool) -> None:
    if as_json_lines:
        say_json(
            {
                "check": finding.check,
                "level": finding.level,
                "message": finding.message,
                "fix": finding.fix or None,
            }
        )
        return
    word, colour = _MARKS[finding.level]
    say(f"{click.style(f'{word:5}', fg=colour)}  {finding.check:11}  {finding.message}")
    if finding.fix:
        say(f"{'':20}try: {finding.fix}")
