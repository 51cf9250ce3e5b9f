"""`backline worker` and `dev`: a supervisor and its workers."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from backline import logs
from backline.cli.common import surroundings
from backline.cli.loading import APP_HELP, target_of
from backline.cli.options import a_duration, a_range, a_size, a_weighting
from backline.cli.reload import replace_workers, watch
from backline.cli.screen import first_screen, say_started
from backline.cli.text import note, say
from backline.display import safe
from backline.job import Micros
from backline.store import Store
from backline.supervisor.loop import supervise
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = ["debug", "info", "warning", "error"]


def common_options(command: F) -> F:
    """What `worker` and `dev` both take."""
    for option in (
        click.option(
            "--grace",
            type=a_duration,
            default="30s",
            show_default=True,
            metavar="DURATION",
            help="What running jobs get to finish at the end; then they are handed back.",
        ),
        click.option(
            "-c",
            "--concurrency",
            type=click.IntRange(1),
            metavar="N",
            help="Jobs at a time in each process.  [default: 10]",
        ),
        click.option(
            "-q",
            "--queues",
            type=a_weighting,
            metavar="QUEUE[=WEIGHT],...",
            help="Serve these queues, by weight.  [default: those of the app]",
        ),
        click.option("-A", "--app", "app_target", metavar="MODULE:APP", help=APP_HELP),
        click.argument("target", metavar="[MODULE:APP]", required=False),
    ):
        command = option(command)
    return command


@click.command()
@common_options
@click.option(
    "-p",
    "--processes",
    type=a_range,
    default="1",
    show_default=True,
    metavar="N|MIN-MAX",
    help="Worker processes: so many, or as many as the load calls for between two numbers.",
)
@click.option(
    "--target-wait",
    type=a_duration,
    default="5s",
    show_default=True,
    metavar="DURATION",
    help="With MIN-MAX: jobs that are ready are to start within this.",
)
@click.option(
    "--cells",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    metavar="N",
    help='One-job processes at a time, for executor="process" and for suspects; 0: none.',
)
@click.option(
    "--lease",
    type=a_duration,
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="A job is free again this long after its whole host is gone.",
)
@click.option(
    "--max-jobs",
    type=click.IntRange(1),
    metavar="N",
    help="Replace a worker process after this many jobs.",
)
@click.option(
    "--max-memory",
    type=a_size,
    metavar="SIZE",
    help="Replace a worker process that takes more memory: 500M, 2G.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "logfmt"]),
    help="How log records look, on standard error.  [default: text]",
)
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
    help="What is logged.",
)
@click.option(
    "--json",
    "as_json_lines",
    is_flag=True,
    help="Say what was started as JSON on standard output, and log as JSON.",
)
def worker(
    target: str | None,
    app_target: str | None,
    queues: dict[str, int] | None,
    processes: tuple[int, int | None],
    log_format: str | None,
    log_level: str,
    as_json_lines: bool,
    **options: Any,
) -> int:
    """Run the jobs of an app: a supervisor with worker processes, until a signal ends it.

    SIGTERM or Ctrl-C: no new jobs, those that run get --grace, the rest is handed back at no
    cost. Again: hand back and end at once. SIGHUP: replace the worker processes one by one.

    \b
        backline worker app:app --processes 2 --concurrency 100 -q mail,default=3
        backline worker app:app --processes 1-8 --target-wait 2s

    Exit status: 0 ended as asked, 1 ended at once by a second signal, 2 bad usage, 3 the
    store refuses, 4 the app cannot be loaded.
    """
    style = cast("logs.LogFormat", log_format or ("json" if as_json_lines else "text"))
    settings = SupervisorSettings(
        target=_target(target, app_target),
        queues=queues,
        processes=processes[0],
        max_processes=processes[1],
        log_format=style,
        log_level=log_level,
        **options,
    )
    logs.configure(log_level, style)

    def announce(hello: Hello, store: Store) -> None:
        if as_json_lines:
            say_started(hello, store, settings)
        elif style == "text":
            note(first_screen(hello, store, settings))

    return supervise(settings, announce)


@click.command()
@common_options
@click.option("--reload", is_flag=True, help="Start afresh when a Python file below here changes.")
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS),
    default="warning",
    show_default=True,
    help="What is logged.",
)
def dev(
    target: str | None,
    app_target: str | None,
    queues: dict[str, int] | None,
    reload: bool,
    log_level: str,
    concurrency: int | None,
    grace: Micros,
) -> int:
    """Develop in one terminal: one worker process, and a line for every job that ends.

    Ctrl-C finishes what runs, a second one ends at once.

    Exit status: as of `backline worker`.
    """
    settings = SupervisorSettings(
        target=_target(target, app_target),
        queues=queues,
        concurrency=concurrency,
        cells=2,
        grace=grace,
        log_level=log_level,
        events=True,
    )
    logs.configure(log_level)

    def announce(hello: Hello, store: Store) -> None:
        say(first_screen(hello, store, settings))
        sys.stdout.flush()
        if reload:
            watch(Path.cwd(), surroundings().clock, _changed)

    return supervise(settings, announce)


def _changed(name: str) -> None:
    note(f"{safe(name)} changed: starting afresh")
    replace_workers()


def _target(target: str | None, app_target: str | None) -> str:
    if target and app_target:
        raise click.UsageError("name the app once: as the argument or with --app")
    return target_of(target or app_target)
