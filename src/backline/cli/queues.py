"""`backline queues`, `pause` and `resume`."""

from collections.abc import Sequence

import click

from backline.cli.known import require_known
from backline.cli.options import json_option
from backline.cli.remedies import command
from backline.cli.session import Session, with_store
from backline.cli.text import note, say, say_json, say_table
from backline.display import iso, pace, rate, safe, span
from backline.job import Micros
from backline.states import State
from backline.store import QueueSettings, QueueStats
from backline.task import name_text


@click.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@json_option
@with_store
async def queues(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Show queues: how many jobs in each state, how long the oldest waits, how fast it drains.

    DEPTH is ready + scheduled + waiting, without those asleep in a step: what counts towards the
    limit. RATE is how many jobs ended per second lately.
    """
    stats = await session.store.stats()
    require_queues(stats, names)
    found = [queue for queue in stats if not names or queue.queue in names]
    if as_json_lines:
        for queue in found:
            say_json(queue_json(queue, session.now))
    elif not found:
        note("no queues yet: the first job or setting makes one")
    else:
        show_queues(found, session.now)


@click.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@click.option("--new", is_flag=True, help="Also if the queue has had no job yet.")
@json_option
@with_store
async def pause(session: Session, names: tuple[str, ...], new: bool, as_json_lines: bool) -> None:
    """Stop handing out the jobs of queues; they go on taking new ones.

    Jobs that run already finish. `backline resume` ends it.
    """
    await _set_paused(session, names, paused=True, new=new, as_json_lines=as_json_lines)


@click.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
@json_option
@with_store
async def resume(session: Session, names: tuple[str, ...], as_json_lines: bool) -> None:
    """Hand out the jobs of paused queues again."""
    await _set_paused(session, names, paused=False, new=False, as_json_lines=as_json_lines)


async def _set_paused(
    session: Session, names: Sequence[str], *, paused: bool, new: bool, as_json_lines: bool
) -> None:
    stats = await session.store.stats()
    if not new:
        require_queues(stats, names, fix="add --new to pause a queue before its first job")
    before = {queue.queue: queue.paused for queue in stats}
    for name in names:
        if name not in before:
            check_name(name)
    wanted = list(dict.fromkeys(names))
    await session.store.configure([QueueSettings(queue=name, paused=paused) for name in wanted])
    for name in wanted:
        changed = before.get(name, False) != paused
        if as_json_lines:
            say_json({"queue": name, "paused": paused, "changed": changed})
        else:
            state = "paused" if paused else "handing out jobs"
            say(f"{safe(name)}: {state}{'' if changed else ', as before'}")


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a queue."""
    try:
        name_text(name)
    except ValueError as error:
        raise click.UsageError(f"a queue's name: {error}") from None


def require_queues(stats: Sequence[QueueStats], names: Sequence[str], *, fix: str = "") -> None:
    """Raises Failure for the first of `names` that is no queue of the store."""
    require_known(names, [queue.queue for queue in stats], "queue", fix=fix or command("queues"))


def queue_json(queue: QueueStats, now: Micros) -> dict[str, object]:
    """A queue for programs; the keys are promised."""
    oldest, pacing = queue.oldest_ready, queue.pacing
    return {
        "queue": queue.queue,
        "paused": queue.paused,
        "depth": queue.depth,
        "max_depth": queue.max_depth,
        "concurrency": queue.concurrency,
        "rate_interval_seconds": None if pacing is None else pacing.interval / 1_000_000,
        "burst": None if pacing is None else pacing.burst,
        **{state.value: queue.counts.get(state, 0) for state in State},
        "purged": queue.purged,
        "waiting_for_cell": queue.cells,
        "oldest_ready_at": None if oldest is None else iso(oldest),
        "oldest_ready_seconds": None if oldest is None else max(0, now - oldest) / 1_000_000,
        "drain_rate": queue.drain_rate,
        "arrival_rate": queue.arrival_rate,
        "asleep": queue.asleep,
        "fair": queue.fair,
        "weights": dict(queue.weights),
        "ageing_seconds": None if queue.ageing is None else queue.ageing / 1_000_000,
    }


HEAD = ["QUEUE", "READY", "SCHEDULED", "WAITING", "RUNNING", "SUCCEEDED", "DEAD", "DEPTH"]
HEAD += ["OLDEST", "RATE", ""]


def queue_rows(stats: Sequence[QueueStats], now: Micros) -> list[list[str]]:
    """Queues as the rows of a table under HEAD."""
    return [_row(queue, now) for queue in stats]


def show_queues(stats: Sequence[QueueStats], now: Micros) -> None:
    """Queues as a table."""
    say_table(HEAD, queue_rows(stats, now), right=frozenset(range(1, 10)))


def _row(queue: QueueStats, now: Micros) -> list[str]:
    def count(state: State) -> str:
        return f"{queue.counts.get(state, 0):,}"

    dead = queue.counts.get(State.DEAD, 0)
    depth = f"{queue.depth:,}"
    if queue.max_depth is not None:
        depth += f"/{queue.max_depth:,}"
    full = queue.max_depth is not None and queue.depth >= queue.max_depth
    return [
        safe(queue.queue, most=40),
        count(State.READY),
        count(State.SCHEDULED),
        count(State.WAITING),
        count(State.RUNNING) + ("" if queue.concurrency is None else f"/{queue.concurrency:,}"),
        count(State.SUCCEEDED),
        click.style(f"{dead:,}", fg="red") if dead else "0",
        click.style(depth, fg="red") if full else depth,
        "" if queue.oldest_ready is None else span(max(0, now - queue.oldest_ready)),
        rate(queue.drain_rate),
        "; ".join(_remarks(queue)),
    ]


def _remarks(queue: QueueStats) -> list[str]:
    remarks = [click.style("paused", fg="yellow")] if queue.paused else []
    remarks += [] if queue.pacing is None else [f"starts {pace(queue.pacing)}"]
    remarks += ["fair"] if queue.fair else []
    return remarks if queue.ageing is None else [*remarks, f"ageing {span(queue.ageing)}"]
