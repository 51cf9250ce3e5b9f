"""A job's arguments from the command line: JSON, and nothing is guessed.

A word that is no JSON could be text or a mistake (is 0123 a number?), so it is refused with
the two ways to write text: quoted, or as a keyword with `--text`.
"""

import json
from collections.abc import Sequence
from typing import Any

import click
import msgspec
from msgspec import Raw

from backline.display import safe

_SHOWN = 60


def payload(args: Sequence[str], kwargs: Sequence[str], texts: Sequence[str]) -> Raw:
    """What the words mean, as a job carries it. Raises click.UsageError."""
    positional = [checked_json(word, f"argument {n}") for n, word in enumerate(args, 1)]
    named: dict[str, str] = {}
    for given in kwargs:
        name, value = _split(given, "--kw name=JSON")
        named[_new(name, named)] = checked_json(value, name)
    for given in texts:
        name, value = _split(given, "--text name=TEXT")
        named[_new(name, named)] = json.dumps(value)
    keywords = ",".join(f"{json.dumps(name)}:{value}" for name, value in named.items())
    return Raw(f"[[{','.join(positional)}],{{{keywords}}}]".encode())


def decoded(carried: Raw) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as plain JSON values."""
    return msgspec.json.decode(carried, type=tuple[list[Any], dict[str, Any]])


def _split(given: str, form: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"{_cut(given)} has not the form {form}")
    return name, value


def _new(name: str, known: dict[str, str]) -> str:
    if name in known:
        raise click.UsageError(f"{name} is given twice")
    return name


def checked_json(text: str, what: str) -> str:
    """A word that is JSON, as it is; `what` names it. Raises click.UsageError."""
    if text.startswith("--"):
        raise click.UsageError(f"no such option: {_cut(text)}")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        quoted = json.dumps(text, ensure_ascii=False)
        raise click.UsageError(
            f"{what} is no JSON: {_cut(text)} ({error}). For text write '{_cut(quoted)}', or "
            "--text name=..."
        ) from None
    except RecursionError:
        raise click.UsageError(f"{what} is nested too deeply") from None
    return text


def _cut(text: str) -> str:
    return safe(text, most=_SHOWN)
