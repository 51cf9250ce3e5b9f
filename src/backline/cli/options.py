"""Options that several commands share, and the types of their values."""

import functools
import re
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import click
import msgspec

from backline import duration
from backline.app.working import weights
from backline.cli.common import surroundings
from backline.cli.ids import flow_id, is_flow
from backline.display import shown
from backline.errors import ConfigError
from backline.job import MAX_PRIORITY, MIN_PRIORITY, JobId, Micros
from backline.states import State
from backline.store import Filter
from backline.task.options import instant

F = TypeVar("F", bound=Callable[..., Any])

_LEAST_SIZE: Final = 1024 * 1024
A_PRIORITY: Final = click.IntRange(MIN_PRIORITY, MAX_PRIORITY)
_FILTERS: Final = frozenset(Filter.__struct_fields__) - {"states"}


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


def a_range(text: str) -> tuple[int, int | None]:
    """The type of an option that is a number of processes, or as many as the load calls for
    between two: 4, 1-8, 0-4. Of one number the second is None."""
    found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", text)
    if found is None:
        raise click.BadParameter(f"{shown(text)} is no number of processes; write 4 or 1-8")
    low, high = int(found[1]), None if found[2] is None else int(found[2])
    if (low if high is None else high) < 1:
        raise click.BadParameter("at least one process must be allowed; write 1, or 0-1")
    if high is not None and high < low:
        raise click.BadParameter(f"{shown(text)} is the wrong way round; write {high}-{low}")
    return low, high


def a_weighting(text: str) -> dict[str, int]:
    """The type of an option that names queues and their weights: mail,default=3."""
    try:
        found = weights(text, ())
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    if min(found.values()) < 1:
        raise click.BadParameter("a weight is 1 or more")
    return found


def a_time(text: str) -> datetime:
    """The type of an option that is a time, with its zone: 2026-12-24T18:00:00+01:00."""
    try:
        when = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise click.BadParameter(
            f"{shown(text)} is no time; write 2026-12-24T18:00:00+01:00"
        ) from None
    if when.tzinfo is None:
        raise click.BadParameter(f"{text} has no time zone; write {text}Z if it is UTC")
    return when


def a_moment(text: str) -> Micros:
    """The type of an option that is a time, or a length of time before now: 2h, 7d."""
    try:
        return surroundings().clock.now() - a_duration(text)
    except click.BadParameter:
        pass
    try:
        return instant(a_time(text))
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message}, or how long ago: 2h, 7d") from None


def a_flow(text: str) -> JobId:
    """The type of an option that is the id of a workflow."""
    if not is_flow(text):
        raise click.BadParameter(
            f"{shown(text)} is no id of a flow: those begin with f- or m-; `backline job ID` says "
            "the flow of a job"
        )
    return flow_id(text)


def filter_options(*, queue: bool = True) -> Callable[[F], F]:
    """`--queue`, `--task`, `--tag` and the others that say which jobs, as `where`, a `Filter`
    without states; without `queue`, all but that one."""
    options = [
        click.option(
            "--error",
            metavar="KIND",
            help="Only jobs whose newest error is of this KIND, its module or not.",
        ),
        click.option(
            "--enqueued-before",
            type=a_moment,
            metavar="WHEN",
            help="Only jobs enqueued before: a time, or 2h, 7d ago.",
        ),
        click.option(
            "--enqueued-after",
            "enqueued_from",
            type=a_moment,
            metavar="WHEN",
            help="Only jobs enqueued then or later: a time, or 2h, 7d ago.",
        ),
        click.option(
            "--priority", type=A_PRIORITY, metavar="N", help="Only jobs of this priority."
        ),
        click.option(
            "--flow", type=a_flow, metavar="FLOW", help="Only jobs of the workflow with this id."
        ),
        click.option("--tag", metavar="TAG", help="Only jobs with this tag."),
        click.option("--task", metavar="TASK", help="Only jobs of this task."),
    ]
    if queue:
        options.append(
            click.option("-q", "--queue", metavar="QUEUE", help="Only jobs of this queue.")
        )

    def give(command: F) -> F:
        @functools.wraps(command)
        def filtered(*args: Any, **given: Any) -> Any:
            said = {name: given.pop(name) for name in _FILTERS if name in given}
            return command(*args, where=Filter(**said), **given)

        for option in options:
            filtered = option(filtered)
        return cast("F", filtered)

    return give


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
    where: Filter, states: Iterable[str], *, otherwise: AbstractSet[State] = frozenset()
) -> Filter:
    """The filter with these states; without one, with the states `otherwise`."""
    wanted = frozenset(map(State, states)) or frozenset(otherwise)
    return msgspec.structs.replace(where, states=wanted)
