"""What every command shares: exit codes, errors with their remedy, the world around them."""

import functools
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import click

from backline.cli.foreign import command_here, option_here
from backline.clock import SYSTEM_CLOCK, Clock
from backline.display import ELLIPSIS, safe
from backline.errors import (
    BacklineError,
    ConfigError,
    InvalidArguments,
    PayloadTooLarge,
    SchemaMismatch,
    StoreError,
    StoreRefused,
)
from backline.store import Store
from backline.stores import open_store

_LONGEST = 2_000


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    NOT_DONE = 1
    """What was asked for did not happen, or not all of it."""
    USAGE = 2
    STORE = 3
    """The store cannot be reached, or refuses to be used as it is."""
    APP = 4
    """The app could not be loaded."""
    INTERRUPTED = 130
    """By Ctrl-C; what was done until then is done."""


class Failure(click.ClickException):
    """An error of the command line: what went wrong, and the command or change that helps."""

    def __init__(self, message: str, *, fix: str = "", code: ExitCode = ExitCode.NOT_DONE) -> None:
        super().__init__(message)
        self.fix = fix
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the commands take from the world; tests and programs that embed them pass others."""

    clock: Clock = SYSTEM_CLOCK
    open_store: Callable[..., Store] = open_store
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def surroundings() -> Surroundings:
    """Those of the command that runs; outside of any, the world's."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_object(Surroundings)
    return Surroundings() if found is None else found


class Commands(click.Group):
    """A group whose errors are one or two lines on standard error, with the promised code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order they were added: as one comes to need them."""
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Alone it shows its help on standard error, which is bad usage but no error to tell."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Who asks for a command of another queue hears what it is called here."""
        here = "" if args[0] in self.commands else command_here(args[0])
        if here:
            raise Failure(f"No such command {args[0]!r}.", fix=here, code=ExitCode.USAGE)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command. Standing alone it ends in SystemExit with the command's exit code."""
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        words = sys.argv[1:] if args is None else list(args)
        call: Callable[[], Any] = functools.partial(
            super().main,
            words,
            prog_name,
            complete_var,
            standalone_mode=False,
            windows_expand_args=windows_expand_args,
            **extra,
        )
        if not standalone_mode:
            return call()
        _open_closed_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # terminals without Unicode
        sys.exit(_printed(_done(functools.partial(_refuse_bytes, words)) or _done(call)))


def _printed(code: int) -> int:
    """The exit code, once all that was printed is out or lost."""
    try:
        sys.stdout.flush()
    except OSError as error:  # the interpreter would try it again, and end with a code of its own
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return code or _fail(str(error), "", ExitCode.NOT_DONE)
    return code


def _open_closed_streams() -> None:
    """Let those of the standard streams that whoever started us closed lead nowhere.

    Python has None in their place, which no code expects; and the next file that is opened
    would get the number of one, and with it whatever a library prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - until the end


def _refuse_bytes(words: Sequence[str]) -> None:
    """What a shell handed over that is no text can be no name, no id and no argument."""
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = safe(word, most=60)
            raise click.UsageError(f"argument {number} is no valid Unicode: {shown}") from None


def _done(call: Callable[[], Any]) -> int:
    """Run a command; returns its exit code, and says what went wrong."""
    try:
        code = call()
    except click.Abort:
        return _fail("interrupted", "", ExitCode.INTERRUPTED)
    except click.ClickException as error:
        return _fail(*_explained(error))
    except BacklineError as error:
        return _fail(*explain(error))
    except OSError as error:
        return _fail(str(error), "", ExitCode.NOT_DONE)
    except Exception as error:
        if os.environ.get("BACKLINE_TRACEBACK"):
            raise
        what = f"a bug in Backline, please report it: {type(error).__name__}: {error}"
        return _fail(what, "set BACKLINE_TRACEBACK=1 to see where", ExitCode.NOT_DONE)
    return code if isinstance(code, int) else ExitCode.OK


def explain(error: BacklineError) -> tuple[str, str, ExitCode]:
    """What to say of an error of the library: what went wrong, what helps, the exit code."""
    if isinstance(error, SchemaMismatch | StoreRefused):
        return str(error), "", ExitCode.STORE
    if isinstance(error, StoreError):
        return f"the store is not available: {error}", "backline doctor", ExitCode.STORE
    if isinstance(error, ConfigError | InvalidArguments | PayloadTooLarge):
        return str(error), "", ExitCode.USAGE
    return str(error), "", ExitCode.NOT_DONE


def _explained(error: click.ClickException) -> tuple[str, str, int]:
    if isinstance(error, Failure):
        return error.message, error.fix, error.code
    if isinstance(error, click.NoSuchOption) and (here := option_here(error)):
        return error.format_message(), here, error.exit_code
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "backline"
        return error.format_message(), f"{path} --help", error.exit_code
    return error.format_message(), "", error.exit_code


def _fail(message: str, fix: str, code: int) -> int:
    lines = [_fitting(safe(line)) for line in message.splitlines() if line.strip()] or ["failed"]
    click.echo(f"{click.style('error:', fg='red')} {lines[0]}", err=True)
    for line in lines[1:]:
        click.echo(f"  {line}", err=True)
    if fix:
        click.echo(f"  {click.style('try:', bold=True)} {_fitting(safe(fix))}", err=True)
    return code


def _fitting(line: str) -> str:
    """A line that repeats something long, without its middle: the ends say what is wrong."""
    if len(line) <= _LONGEST:
        return line
    half = _LONGEST // 2
    return f"{line[:half]}{ELLIPSIS}{line[-half:]}"
