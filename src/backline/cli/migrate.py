"""`backline migrate`."""

import click

from backline.cli.options import json_option
from backline.cli.session import Session, run_on, store_of, store_options
from backline.cli.text import say, say_json
from backline.display import without_secrets
from backline.outbox import Outbox


@click.command()
@click.option(
    "--outbox",
    "outbox_url",
    metavar="URL",
    help="Make the tables of an outbox in this database of yours instead: sqlite:///business.db.",
)
@store_options
@json_option
def migrate(
    outbox_url: str | None, store_url: str | None, app_target: str | None, as_json_lines: bool
) -> None:
    """Make the store, or bring its schema to this version.

    Safe from many processes at once, and to repeat. There is no way back: an older Backline
    refuses a newer schema. SQLite stores do it by themselves when they are first opened; the
    tables of an outbox are made only by this, and nothing else of that database is touched.
    """
    if outbox_url is not None:
        _migrate_outbox(outbox_url, as_json_lines=as_json_lines)
        return
    store = store_of(store_url, app_target, create=True)

    async def work(session: Session) -> int:
        return await session.store.migrate()

    version = run_on(store, work)
    product, shown_url = store.capabilities.product, without_secrets(store.url)
    if as_json_lines:
        say_json({"store": shown_url, "product": product, "schema": version})
    else:
        say(f"{shown_url} ({product}) has schema {version}")


def _migrate_outbox(url: str, *, as_json_lines: bool) -> None:
    outbox = Outbox(url)
    version = outbox.migrate()
    if as_json_lines:
        say_json({"outbox": outbox.url, "version": version})
    else:
        say(f"{outbox.url} has an outbox and an inbox, version {version}")
