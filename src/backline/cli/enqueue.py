"""`backline enqueue`, and `run`, which waits for the result."""

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import click
from msgspec import Raw

from backline.app import App
from backline.cli.arguments import decoded, payload
from backline.cli.common import ExitCode, Failure, surroundings
from backline.cli.loading import load_app
from backline.cli.options import a_duration, a_time, json_option
from backline.cli.records import as_json
from backline.cli.remedies import command, the_app
from backline.cli.session import refuse_memory, store_of, store_options
from backline.cli.text import note, say, say_json, say_raw
from backline.display import safe, safe_lines
from backline.errors import JobFailed, ResultTimeout
from backline.job import SECOND, Micros
from backline.task import AnyTask, Job, remote_task

F = TypeVar("F", bound=Callable[..., Any])


_JOB_OPTIONS: Final = (
    json_option,
    store_options,
    click.option(
        "--header",
        "headers",
        metavar="NAME=TEXT",
        multiple=True,
        help="Sent beside the arguments.",
    ),
    click.option("--tag", "tags", metavar="TAG", multiple=True, help="A label; may be repeated."),
    click.option(
        "--idempotency-key",
        metavar="KEY",
        help="For 24 h: no second job under this key, and an error for other arguments.",
    ),
    click.option(
        "--max-wait",
        metavar="DURATION",
        help="Due this long after the first, however often it is replaced.",
    ),
    click.option(
        "--on-conflict",
        type=click.Choice(["skip", "replace", "raise"]),
        help="If the unique key is taken.  [default: skip]",
    ),
    click.option("--unique-for", metavar="DURATION", help="The key stays taken this long."),
    click.option("--unique-key", metavar="KEY", help="No second job under this key."),
    click.option(
        "--max-attempts",
        type=int,
        metavar="N",
        help="Failures that make the job dead; 1: no retry.",
    ),
    click.option("--timeout", metavar="DURATION", help="How long one attempt may run."),
    click.option("--expires", metavar="DURATION", help="Not any more after this long."),
    click.option(
        "--run-at", type=a_time, metavar="TIME", help="Not before: 2026-12-24T18:00:00+01:00."
    ),
    click.option("--delay", metavar="DURATION", help="Not before this long from now."),
    click.option("--priority", type=int, metavar="N", help="-100 to 100; higher is sooner."),
    click.option("-q", "--queue", metavar="QUEUE", help="Another queue than the task's own."),
    click.option(
        "-t",
        "--text",
        "texts",
        metavar="NAME=TEXT",
        multiple=True,
        help="A keyword argument that is text, as it stands.",
    ),
    click.option(
        "-k",
        "--kw",
        "kwargs",
        metavar="NAME=JSON",
        multiple=True,
        help="A keyword argument, as JSON.",
    ),
    click.argument("args", metavar="[ARGUMENT]...", nargs=-1),
    click.argument("task", metavar="TASK"),
)
"""What to enqueue, and how: the task, its arguments and the options of the job, last first."""


def job_options(command: F) -> F:
    """Give a command the arguments and options that describe a job."""
    for option in _JOB_OPTIONS:
        command = option(command)
    return command


@click.command(context_settings={"ignore_unknown_options": True})
@job_options
def enqueue(as_json_lines: bool, **options: Any) -> None:
    """Enqueue a job of TASK by its name, and print the job's id once it is stored.

    Each ARGUMENT is JSON: 42, true, '"text"', '{"a": [1, 2]}'. With an app its code checks
    them and gives the job its policy; with a store alone, any task is taken at its word.

    \b
        backline enqueue app.welcome 42 --text name=Ann --delay 5m
    """

    async def work(producer: "Producer") -> None:
        job = await producer.enqueue()
        if as_json_lines:
            say_json({"id": job.id, "task": job.task, "queue": producer.queue, "added": job.added})
            return
        say(job.id)
        if not job.added:
            note(f"not added: this job {producer.why_not_added}")

    _produce(options, work)


@click.command(context_settings={"ignore_unknown_options": True})
@job_options
@click.option(
    "--wait", type=a_duration, metavar="DURATION", help="Give up waiting after this long."
)
def run(as_json_lines: bool, wait: Micros | None, **options: Any) -> None:
    """Enqueue a job of TASK, wait for a worker to run it, and print its result as JSON.

    Takes what `backline enqueue` takes. The job goes on if the waiting is given up.

    Exit status: 0 it succeeded, 1 it did not, or not in time.
    """

    async def work(producer: "Producer") -> None:
        job = await producer.enqueue()
        await producer.warn_if_nobody_works()
        see = command(f"job {job.id}")
        try:
            await job.aresult(None if wait is None else wait / SECOND)
        except JobFailed as error:
            note(safe_lines(error.traceback, "  "))
            raise Failure(str(error), fix=see) from error
        except ResultTimeout as error:
            raise Failure(str(error), fix=see) from error
        except asyncio.CancelledError:  # Ctrl-C
            note(f"\nthe job goes on: {see}, or: {command(f'cancel {job.id}')}")
            raise
        assert job.record is not None, "a job with a result was seen"
        if as_json_lines:
            say_json(as_json(job.record))
        else:
            say_raw(job.record.result)

    _produce(options, work)


class Producer:
    """What the options describe: a task of an app, its arguments, its options."""

    def __init__(self, app: App, task: AnyTask, carried: Raw, *, typed: bool) -> None:
        self._app = app
        self._task = task
        self._carried = carried
        self._typed = typed

    @property
    def queue(self) -> str:
        """Where its jobs go."""
        return self._task.options.queue

    @property
    def why_not_added(self) -> str:
        """What a job in the place of which another was answered has done, or may have."""
        holds, came = "holds the unique key", "was enqueued under the idempotency key"
        options = self._task.options
        if options.idempotency_key is None:
            return holds
        return came if options.unique_key is None else f"{holds} or {came}"

    async def enqueue(self) -> Job[Any]:
        """Enqueue the job. Raises what `Task.aenqueue` raises; Failure if it was shed."""
        codec = self._task.codec
        args, kwargs = codec.decode(self._carried) if self._typed else decoded(self._carried)
        job: Job[Any] = await self._task.aenqueue(*args, **kwargs)
        if not job.accepted:
            raise Failure(f"queue {self.queue!r} is full and sheds: nothing was enqueued")
        return job

    async def warn_if_nobody_works(self) -> None:
        """Somebody who waits should know that nobody is there to do it."""
        if not await self._app.store.workers():
            note(f"no worker is alive yet; start one: backline worker {the_app()}")


def producing_app(url: str | None, target: str | None) -> tuple[App, bool]:
    """The app to produce with, and whether it is the user's own: else it knows no tasks."""
    if url and target:
        raise click.UsageError("give --store or --app, not both")
    around = surroundings()
    target = target or (None if url else around.environ.get("BACKLINE_APP"))
    if not target:
        return App(clock=around.clock, store=store_of(url, None, create=True)), False
    app = load_app(target)
    refuse_memory(app.url)
    return app, True


def _produce(
    options: dict[str, Any], work: Callable[[Producer], Coroutine[Any, Any, None]]
) -> None:
    url, target = options.pop("store_url"), options.pop("app_target")
    name = options.pop("task")
    carried = payload(options.pop("args"), options.pop("kwargs"), options.pop("texts"))
    app, loaded = producing_app(url, target)
    task = _known(app, name) if loaded else remote_task(name, app)
    task = task.using(**_job_options(options))
    if not loaded:
        note("the task's own policy is not known without --app: defaults stand in for it")
    producer = Producer(app, task, carried, typed=loaded)

    async def session() -> None:
        async with _closing(app):
            await work(producer)

    asyncio.run(session())


@asynccontextmanager
async def _closing(app: App) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await app.aclose()


def _known(app: App, name: str) -> AnyTask:
    task = app.registry.get(name)
    if task is not None:
        return task
    names = app.registry.names()
    close = difflib.get_close_matches(name, names, 1) or [
        each for each in names if each.rpartition(".")[2] == name
    ]
    guess = f"; did you mean {close[0]!r}?" if close else ""
    raise Failure(
        f"the app has no task {safe(name, most=80)!r}{guess}",
        fix=f"one of {', '.join(names[:8])}" if names else "declare one with @app.task",
        code=ExitCode.USAGE,
    )


def _job_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options of the job that were given, as `Task.using` takes them."""
    options = {name: value for name, value in given.items() if value not in (None, ())}
    if "headers" in options:
        pairs = [header.partition("=") for header in options["headers"]]
        if not all(equals for _, equals, _ in pairs):
            raise click.UsageError("a header has the form NAME=TEXT")
        options["headers"] = {name: value for name, _, value in pairs}
    return options
