"""Options that several commands share, and the types of their values."""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

import click

from backline import duration
from backline.app.working import weights
from backline.display import shown
from backline.errors import ConfigError
from backline.job import Micros
from backline.states import State
from backline.store import Filter

F = TypeVar("F", bound=Callable[..., Any])

_LEAST_SIZE: Final = 1024 * 1024


def json_option(command: F) -> F:
    """`--json`, as `as_json_lines`."""
    return click.option(
        "--json", "as_json_lines", is_flag=True, help="JSON, one object a line, for programs."
    )(command)


def a_duration(text: str) -> Micros:
    """The type of an option that is a length of time: 90, 90s, 5m, 1h30m, 7d."""
    bare = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text)
    try:
        return duration.micros(float(text) if bare else text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def a_size(text: str) -> int:
    """The type of an option that is an amount of memory in bytes: 500M, 2G, 1048576."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?) ?([KMGT]?)(?:I?B)?", text.upper())
    if found is None:
        raise click.BadParameter(f"{shown(text)} is no amount of memory; write 500M or 2G")
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))
    if size < _LEAST_SIZE:
        raise click.BadParameter(f"{shown(text)} is less than any process takes; write 500M or 2G")
    return size


def a_weighting(text: str) -> dict[str, int]:
    """The type of an option that names queues and their weights: mail,default=3."""
    try:
        found = weights(text, ())
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    if min(found.values()) < 1:
        raise click.BadParameter("a weight is 1 or more")
    return found


def filter_options(command: F) -> F:
    """`--queue`, `--task` and `--tag`: which jobs."""
    for option in (
        click.option("--tag", metavar="TAG", help="Only jobs with this tag."),
        click.option("--task", metavar="TASK", help="Only jobs of this task."),
        click.option("-q", "--queue", metavar="QUEUE", help="Only jobs of this queue."),
    ):
        command = option(command)
    return command


def state_option(help_text: str, states: frozenset[State] = frozenset(State)) -> Callable[[F], F]:
    """`--state`, which may be repeated, as `states`."""
    return click.option(
        "-s",
        "--state",
        "states",
        multiple=True,
        type=click.Choice([state.value for state in State if state in states]),
        help=help_text,
    )


def chosen(
    queue: str | None,
    task: str | None,
    tag: str | None,
    states: tuple[str, ...],
    *,
    otherwise: AbstractSet[State] = frozenset(),
) -> Filter:
    """The filter that these options mean; without a state, the states `otherwise`."""
    wanted = frozenset(map(State, states)) or frozenset(otherwise)
    return Filter(queue=queue, task=task, tag=tag, states=wanted)
