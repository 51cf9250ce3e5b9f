"""`backline publish` and `backline subscriptions`."""

import asyncio
from typing import Any

import click
import msgspec

from backline.app.publishing import EVENT_TTL
from backline.app.subscribing import drop_subscription, every_subscription
from backline.cli.arguments import checked_json
from backline.cli.enqueue import producing_app
from backline.cli.findings import known_tasks
from backline.cli.known import require_known
from backline.cli.options import a_duration, json_option
from backline.cli.remedies import command
from backline.cli.session import (
    Session,
    run_on,
    store_of,
    store_options,
    with_store,
)
from backline.cli.text import note, say, say_json, say_table
from backline.display import safe
from backline.fanout import SubscriptionRecord
from backline.job import SECOND, Micros

_HEAD = ["SUBSCRIPTION", "EVENTS", "QUEUE", ""]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[PAYLOAD]", default="null")
@click.option("--id", "event_id", metavar="ID", help="Publish it once, however often it is sent.")
@click.option("--key", metavar="KEY", help="What it is about: the first of a key is kept.")
@click.option(
    "--event-ttl",
    type=a_duration,
    metavar="DURATION",
    default=EVENT_TTL,
    show_default=True,
    help="How long its id is remembered.",
)
@json_option
@store_options
def publish(
    name: str,
    payload: str,
    event_id: str | None,
    key: str | None,
    event_ttl: Micros,
    as_json_lines: bool,
    store_url: str | None,
    app_target: str | None,
) -> None:
    """Publish an event, and print its id once the jobs of its subscribers are stored.

    PAYLOAD is JSON: 42, '"text"', '{"a": [1, 2]}'; without one it is null. Who subscribes is in
    the store: `backline subscriptions`.

    \b
        backline publish user.registered '{"id": 42}' --id user-42-registered
    """
    value = msgspec.json.decode(checked_json(payload, "the payload"))
    app, _ = producing_app(store_url, app_target)
    ttl = event_ttl / SECOND

    async def send() -> None:
        async with app:
            event = await app.apublish(name, value, id=event_id, key=key, event_ttl=ttl)
        jobs = {task: job.id for task, job in event.jobs.items()}
        if as_json_lines:
            say_json({"id": event.id, "added": event.added, "jobs": jobs})
            return
        say(event.id)
        if not event.added:
            note("not added: an event of this id was published before")
        elif not jobs:
            note(f"nobody subscribes to {safe(name)}: {command('subscriptions')}")

    asyncio.run(send())


@click.group(invoke_without_command=True)
@json_option
@store_options
@click.pass_context
def subscriptions(
    context: click.Context, as_json_lines: bool, store_url: str | None, app_target: str | None
) -> None:
    """Show which tasks get a job for which events.

    Without a command of its own it lists them. In a pattern * stands for one word of the
    name of an event, # for any number of words.
    """
    if context.invoked_subcommand is None:
        store = store_of(store_url, app_target)
        run_on(store, lambda session: _list(session, as_json_lines=as_json_lines))
    elif as_json_lines or store_url or app_target:
        name = context.invoked_subcommand
        raise click.UsageError(
            f"options go behind {name}: backline subscriptions {name} ... --json"
        )


@subscriptions.command()
@click.argument("names", metavar="SUBSCRIPTION...", nargs=-1, required=True)
@json_option
@with_store
async def drop(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Drop subscriptions; the jobs they have got stay.

    One that stands in code is back within a minute, while its workers live. To hold events
    back without losing any, pause the queue of the task: backline pause QUEUE.
    """
    known = {record.name for record in await every_subscription(session.store)}
    require_known(names, known, "subscription", fix=command("subscriptions"))
    for name in dict.fromkeys(names):
        dropped = await drop_subscription(session.store, name)
        if as_json_lines:
            say_json({"subscription": name, "dropped": dropped})
        else:
            say(f"{safe(name)}: dropped")
            note("a worker whose code still has it brings it back within a minute")


async def _list(session: Session, *, as_json_lines: bool) -> None:
    records = await every_subscription(session.store)
    tasks = known_tasks(await session.store.workers())
    if not records and not as_json_lines:
        note('no subscriptions yet: declare one with @app.on("user.registered")')
        return
    rows: list[list[str]] = []
    for record in records:
        if as_json_lines:
            say_json(_json(record, tasks))
        else:
            rows.append(_row(record, tasks))
    if rows:
        say_table(_HEAD, rows)


def _row(record: SubscriptionRecord, tasks: set[str] | None) -> list[str]:
    spec = record.spec
    if spec is None:
        return [safe(record.name, most=40), "", "", click.style("damaged", fg="red")]
    unknown = tasks is not None and spec.job.task not in tasks
    return [
        safe(record.name, most=40),
        safe(", ".join(spec.patterns), most=60),
        safe(spec.job.queue, most=30),
        click.style("no worker knows its task", fg="red") if unknown else "",
    ]


def _json(record: SubscriptionRecord, tasks: set[str] | None) -> dict[str, Any]:
    """A subscription for programs; the keys are promised."""
    spec = record.spec
    return {
        "subscription": record.name,
        "patterns": None if spec is None else list(spec.patterns),
        "task": None if spec is None else spec.job.task,
        "queue": None if spec is None else spec.job.queue,
        "whole_event": None if spec is None else spec.whole,
        "task_known": None if spec is None or tasks is None else spec.job.task in tasks,
    }
