"""The first screen of `worker` and `dev`: what works for whom, before anything happens."""

import click

from backline._version import __version__
from backline.cli.text import say_json
from backline.display import ELLIPSIS, safe, without_secrets
from backline.store import Store
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings

_MOST = 12


def first_screen(hello: Hello, store: Store, settings: SupervisorSettings) -> str:
    """Store, workers, queues, tasks, what runs by itself or for events, on a few lines."""
    dim = "bright_black"
    rules = settings.rules
    processes = str(settings.processes) if rules is None else f"{rules.low}-{rules.high}"
    head = [
        click.style(f"backline {__version__}", bold=True),
        f"store {without_secrets(store.url)} ({store.capabilities.product})",
        f"worker {processes}×{hello.concurrency}",  # noqa: RUF001 - processes times jobs
    ]
    lines = [
        "  ".join(head),
        f"{click.style('queues', fg=dim)}  {_list(hello.queues)}",
        f"{click.style('tasks ', fg=dim)}  {_list(hello.tasks)}",
    ]
    if not hello.tasks:
        lines[-1] += "none: declare one with @app.task in a module that the app's module imports"
    if hello.schedules:
        timed = tuple(f"{name} ({when})" for name, when in hello.schedules)
        lines.append(f"{click.style('runs  ', fg=dim)}  {_list(timed, most=4)}")
    if hello.subscriptions:
        heard = tuple(f"{name} ({patterns})" for name, patterns in hello.subscriptions)
        lines.append(f"{click.style('events', fg=dim)}  {_list(heard, most=4)}")
    lines.append(click.style("Ctrl-C: finish what runs, then end; again: end now", fg=dim))
    return "\n".join(lines)


def say_started(hello: Hello, store: Store, settings: SupervisorSettings) -> None:
    """The same as one line of JSON."""
    say_json(
        {
            "event": "started",
            "version": __version__,
            "store": without_secrets(store.url),
            "product": store.capabilities.product,
            "processes": settings.processes,
            "max_processes": settings.max_processes or settings.processes,
            "concurrency": hello.concurrency,
            "queues": list(hello.queues),
            "tasks": list(hello.tasks),
            "schedules": [name for name, _ in hello.schedules],
            "subscriptions": [name for name, _ in hello.subscriptions],
        }
    )


def _list(names: tuple[str, ...], most: int = _MOST) -> str:
    shown = ", ".join(safe(name) for name in names[:most])
    more = len(names) - most
    return f"{shown}, {ELLIPSIS} and {more} more" if more > 0 else shown
