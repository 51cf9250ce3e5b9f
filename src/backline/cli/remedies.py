"""Commands that help: on the app and the store that the one which runs was given."""

import shlex
from typing import Any, Final

import click

from backline.cli.common import surroundings
from backline.display import safe, without_secrets

ANY_APP: Final = "MODULE:APP"
"""For people to replace, where nothing names their app."""


def the_app() -> str:
    """The app as its user named it, on the command line or in the environment, for a shell."""
    given = _given()
    named = (
        given.get("target") or given.get("app_target") or surroundings().environ.get("BACKLINE_APP")
    )
    return safe(shlex.quote(named)) if named else ANY_APP


def command(words: str) -> str:
    """`backline WORDS` on the store that the command line named; the environment stays as it is."""
    given = _given()
    if url := given.get("store_url"):
        return f"backline {words} --store {shlex.quote(without_secrets(url))}"
    if app := given.get("app_target"):
        return f"backline {words} -A {safe(shlex.quote(app))}"
    return f"backline {words}"


def _given() -> dict[str, Any]:
    """The options of the command that runs."""
    context = click.get_current_context(silent=True)
    return {} if context is None else context.params
