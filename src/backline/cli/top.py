"""`backline top`: queues, workers and running jobs, live."""

import asyncio
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import click

from backline.cli.options import a_duration
from backline.cli.queues import HEAD, queue_rows
from backline.cli.records import signature
from backline.cli.session import Session, with_store
from backline.cli.text import plural, say, table, width
from backline.display import ago, clock_time, rate, safe, short_id, without_secrets
from backline.errors import StoreError
from backline.job import SECOND, JobId, JobRecord, Micros
from backline.states import State
from backline.store import Filter, QueueStats, WorkerReport

_RUNNING_SHOWN = 200
_ENTER = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _TO_LINE_END, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.option(
    "--interval",
    type=a_duration,
    default="1s",
    show_default=True,
    metavar="DURATION",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Print one picture and end, as without a terminal.")
@with_store
async def top(session: Session, interval: Micros, once: bool) -> None:
    """Watch queues, workers and running jobs, until Ctrl-C."""
    if once or not sys.stdout.isatty():
        for line in await picture(session):
            say(line)
        return
    with _other_screen():
        try:
            while True:
                _draw(await _picture_or_error(session))
                await asyncio.sleep(interval / SECOND)
        except asyncio.CancelledError:  # Ctrl-C: that is how it ends
            return


async def picture(session: Session) -> list[str]:
    """What is going on, as lines."""
    queues = await session.store.stats()
    workers = await session.store.workers()
    where = Filter(states=frozenset({State.RUNNING}))
    running = await session.store.find(where, limit=_RUNNING_SHOWN, oldest_first=True)
    overdue = {lease.id for lease in await session.store.overdue(_RUNNING_SHOWN)}
    now = session.now
    lines = [_summary(session, queues, workers), ""]
    lines += _headed(table(HEAD, queue_rows(queues, now), right=frozenset(range(1, 10))))
    if workers:
        lines += ["", *_headed(_workers(workers, now))]
    lines += _scaling(workers, now)
    if running.jobs:
        lines += ["", *_headed(_running(running.jobs, overdue, now))]
    return lines


async def _picture_or_error(session: Session) -> list[str]:
    try:
        return await picture(session)
    except StoreError as error:
        return [click.style(safe(str(error)), fg="red"), "trying again"]


def _summary(session: Session, queues: list[QueueStats], workers: list[WorkerReport]) -> str:
    depth = sum(queue.depth for queue in queues)
    running = sum(queue.counts.get(State.RUNNING, 0) for queue in queues)
    pace = rate(sum(queue.drain_rate for queue in queues))
    slots = sum(worker.concurrency for worker in workers)
    return "   ".join(
        [
            click.style(clock_time(session.now), bold=True),
            without_secrets(session.store.url),
            f"{plural(depth, 'job')} queued",
            f"{running:,} running",
            f"{pace} done",
            f"{plural(sum(worker.concurrency > 0 for worker in workers), 'worker')}, {slots} slots",
        ]
    )


def _workers(workers: list[WorkerReport], now: Micros) -> list[str]:
    rows = [
        [
            safe(worker.worker, most=40),
            safe(worker.host, most=30),
            str(worker.pid),
            f"{worker.running}/{worker.concurrency}",
            ago(worker.started_at, now),
            _health(worker),
            safe(", ".join(worker.queues), most=80),
        ]
        for worker in workers
    ]
    return table(["WORKER", "HOST", "PID", "BUSY", "STARTED", "HEALTH", "QUEUES"], rows)


def _scaling(workers: list[WorkerReport], now: Micros) -> list[str]:
    """Of each supervisor that scales, its last decision."""
    rows = [
        [
            f"{scaling.low}-{scaling.high}",
            str(scaling.processes),
            ago(scaling.decided_at, now),
            safe(scaling.why, most=200),
        ]
        for worker in workers
        if (scaling := worker.scaling) is not None
    ]
    return ["", *_headed(table(["SCALES", "TO", "DECIDED", "BECAUSE"], rows))] if rows else []


def _health(worker: WorkerReport) -> str:
    if worker.scaling is not None:
        return f"{worker.scaling.processes} of {worker.scaling.low}-{worker.scaling.high}"
    if not worker.concurrency:
        return click.style("has no worker", fg="red")
    if not worker.healthy:
        return click.style("unhealthy", fg="red")
    return "draining" if worker.draining else "healthy"


def _running(jobs: list[JobRecord], overdue: Collection[JobId], now: Micros) -> list[str]:
    rows = [
        [
            short_id(job.id),
            safe(job.queue, most=30),
            safe(job.task, most=40),
            str(job.attempt),
            "" if job.started_at is None else ago(job.started_at, now),
            click.style("lease over", fg="red") if job.id in overdue else _done(job),
            signature(job, most=200),
        ]
        for job in jobs
    ]
    return table(["RUNNING", "QUEUE", "TASK", "RUNS", "STARTED", "DONE", "ARGUMENTS"], rows)


def _done(job: JobRecord) -> str:
    if job.progress is None:
        return ""
    done, total = job.progress.done, job.progress.total
    return f"{done:g}" if not total else f"{done / total:.0%}"


def _headed(lines: list[str]) -> list[str]:
    return [click.style(lines[0], dim=True), *lines[1:]]


@contextmanager
def _other_screen() -> Iterator[None]:
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _draw(lines: list[str]) -> None:
    size = shutil.get_terminal_size()
    shown = lines[: size.lines - 1]
    if len(lines) > len(shown):
        shown[-1] = f"and {len(lines) - len(shown) + 1} more lines"
    text = "\n".join(f"{_fitting(line, size.columns)}{_TO_LINE_END}" for line in shown)
    sys.stdout.write(f"{_HOME}{text}{_TO_END}")
    sys.stdout.flush()


def _fitting(line: str, columns: int) -> str:
    """A line that wraps would push the others down."""
    while width(line) > columns:
        line = click.unstyle(line)[: columns if line.isascii() else len(line) - 1]
    return line
