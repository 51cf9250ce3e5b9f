"""Running a command in this process, and what its screen must look like."""

import re
from collections.abc import Collection

from click.testing import CliRunner, Result

from backline.cli import main
from backline.cli.common import Surroundings

LONGEST_LINE = 2_100
_OUR_COLOURS = re.compile(r"\x1b\[[0-9]{0,2}m")
"""What is hostile here brings sequences of another kind along."""


def backline(*words: str, stdin: str | bytes | None = None) -> Result:
    """The outcome of `backline WORDS`, with an environment that names no store."""
    around = Surroundings(environ={})
    runner = CliRunner()
    return runner.invoke(main, words, input=stdin, obj=around, prog_name="backline", color=True)


def clean(result: Result, codes: Collection[int] = frozenset({0})) -> Result:
    """The command ended as it should, and its screen is printable, line by line."""
    assert result.exit_code in codes, result.output[-2_000:]
    assert "a bug in Backline" not in result.output, result.output[-2_000:]
    assert "Traceback" not in result.stderr
    for line in _OUR_COLOURS.sub("", result.output).split("\n"):
        assert line.isprintable(), line[:2_000]
        assert not line.startswith("forged")
    if result.exit_code:
        said = _OUR_COLOURS.sub("", result.stderr).splitlines()
        assert sum(line.startswith("error: ") for line in said) <= 1
        assert all(len(line) <= LONGEST_LINE for line in said)
    return result
