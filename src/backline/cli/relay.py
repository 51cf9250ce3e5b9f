"""`backline relay`."""

import asyncio
import signal

import click

from backline.app import App
from backline.cli.common import ExitCode, Failure
from backline.cli.loading import APP_HELP, load_app
from backline.cli.options import json_option
from backline.cli.session import refuse_memory
from backline.cli.text import note, plural, say, say_json
from backline.display import without_secrets
from backline.outbox import Outbox


@click.command()
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("-A", "--app", "app_target", metavar="MODULE:APP", help=APP_HELP)
@click.option("--once", is_flag=True, help="Move what is committed now, then end.")
@click.option("--retry", is_flag=True, help="First take up again what was set aside.")
@json_option
def relay(
    target: str | None, app_target: str | None, once: bool, retry: bool, as_json_lines: bool
) -> int:
    """Move jobs from the outboxes of an app to its store, until a signal ends it.

    Workers do it by themselves. This is for scripts and tests (--once), and for where no
    worker runs. Any number of relays do no harm.

    Exit status: 0 done, 1 rows are set aside (`backline doctor --app` tells which).
    """
    if target and app_target:
        raise click.UsageError("name the app once: as the argument or with --app")
    app = load_app(target or app_target)
    refuse_memory(app.url)
    if not app.outboxes:
        raise Failure(
            "the app declares no outbox: there is nothing to relay",
            fix='app.outbox("sqlite:///business.db") in the code',
        )
    if retry:
        note(f"{plural(sum(map(_retry, app.outboxes)), 'row')} taken up again")
    moved = asyncio.run(_once(app) if once else _serve(app))
    failed = sum(map(_failed, app.outboxes))
    if as_json_lines:
        say_json({"relayed": moved, "set_aside": failed})
    elif once:
        say(f"{plural(moved or 0, 'row')} relayed, {failed:,} set aside")
    return ExitCode.NOT_DONE if failed else ExitCode.OK


async def _once(app: App) -> int:
    failed = sum(map(_failed, app.outboxes))
    try:
        gone = await app.arelay()
    finally:
        await app.aclose()
    return gone - (sum(map(_failed, app.outboxes)) - failed)


async def _serve(app: App) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    await app.aopen()
    async with app.relaying():
        urls = ", ".join(outbox.url for outbox in app.outboxes)
        note(f"relaying {urls} to {without_secrets(app.url)}; Ctrl-C ends it")
        await over.wait()
    await app.aclose()


def _retry(outbox: Outbox) -> int:
    database = outbox.open()
    try:
        return database.try_again()
    finally:
        database.close()


def _failed(outbox: Outbox) -> int:
    database = outbox.open()
    try:
        return database.count_failed()
    finally:
        database.close()
