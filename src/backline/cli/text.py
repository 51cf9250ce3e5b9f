"""Writing to the terminal: tables, JSON lines, and colour where it is seen."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec
from msgspec import Raw

from backline.display import safe, valid_json
from backline.states import State

GAP: Final = "  "
COLOURS: Final[Mapping[State, str]] = {
    State.SUCCEEDED: "green",
    State.DEAD: "red",
    State.RUNNING: "cyan",
    State.CANCELLED: "yellow",
    State.EXPIRED: "yellow",
}


def say(text: str = "", **style: Any) -> None:
    """A line on standard output."""
    click.echo(click.style(text, **style) if style else text)


def note(text: str) -> None:
    """A line for people on standard error, where it is in nobody's way."""
    click.echo(text, err=True)


def coloured(state: State, text: str | None = None) -> str:
    """A state, in its colour if it has one."""
    colour = COLOURS.get(state)
    text = state.value if text is None else text
    return click.style(text, fg=colour) if colour else text


def say_json(value: Mapping[str, object]) -> None:
    """One line of JSON whose text cannot drive a terminal either."""
    _say_escaped(msgspec.json.encode(value).decode(errors="replace"))


def say_raw(raw: Raw | None) -> None:
    """Stored JSON on one line; what is none, as the text it is, in quotes."""
    line = b"null" if raw is None else bytes(valid_json(raw) or msgspec.json.encode(repr(raw)))
    _say_escaped(line.decode(errors="replace"))


def _say_escaped(line: str) -> None:
    if not line.isprintable():
        line = "".join(char if char.isprintable() else _escaped(char) for char in line)
    click.echo(line)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> list[str]:
    """Columns as wide as they need be; on a terminal the last one is cut to fit.

    Cells are styled or escaped by the caller. `right`: columns to align on the right.
    """
    lines = [list(head), *map(list, rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(head))]
    room = _room() - sum(widths[:-1]) - len(GAP) * (len(head) - 1)
    out: list[str] = []
    for line in lines:
        cells = [
            _padded(cell, widths[column], right=column in right)
            for column, cell in enumerate(line[:-1])
        ]
        last = line[-1]
        if len(head) - 1 in right:
            last = _padded(last, widths[-1], right=True)
        elif width(last) > max(room, 20):
            last = safe(click.unstyle(last), most=max(room, 20))
        out.append(GAP.join([*cells, last]).rstrip())
    return out


def say_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> None:
    """A table on standard output, its head dimmed."""
    first, *rest = table(head, rows, right=right)
    say(first, dim=True)
    for line in rest:
        say(line)


def say_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, a line each."""
    listed = list(facts)
    wide = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        say(f"{click.style(name.ljust(wide), dim=True)}{GAP}{value}")


def width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    plain = click.unstyle(text)
    if plain.isascii():
        return len(plain)
    return sum(_columns(char) for char in plain)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(text: str, wanted: int, *, right: bool) -> str:
    pad = " " * (wanted - width(text))
    return pad + text if right else text + pad


def _room() -> int:
    """Columns of the terminal; a file takes any line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000


def _escaped(char: str) -> str:
    data = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[at]:02x}{data[at + 1]:02x}" for at in range(0, len(data), 2))


def plural(count: int, noun: str) -> str:
    """ "1 job", "2,000 jobs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
