"""The first screen of `worker` and `dev`: what works for whom, before anything happens."""

import click

from backline._version import __version__
from backline.cli.text import say_json
from backline.display import ELLIPSIS, safe, without_secrets
from backline.store import Store
from backline.supervisor.messages import Hello

_MOST = 12


def first_screen(hello: Hello, store: Store, processes: int) -> str:
    """Store, workers, queues and tasks, on a few lines."""
    dim = "bright_black"
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
    lines.append(click.style("Ctrl-C: finish what runs, then end; again: end now", fg=dim))
    return "\n".join(lines)


def say_started(hello: Hello, store: Store, processes: int) -> None:
    """The same as one line of JSON."""
    say_json(
        {
            "event": "started",
            "version": __version__,
            "store": without_secrets(store.url),
            "product": store.capabilities.product,
            "processes": processes,
            "concurrency": hello.concurrency,
            "queues": list(hello.queues),
            "tasks": list(hello.tasks),
        }
    )


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(safe(name) for name in names[:_MOST])
    more = len(names) - _MOST
    return f"{shown}, {ELLIPSIS} and {more} more" if more > 0 else shown
