"""Every command and option explains itself, in the terminal and in the reference."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from backline.cli import main
from backline.cli.common import ExitCode
from backline.cli.reference import MARKER, refreshed

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"
PROMISED = {
    *("dev", "worker", "run", "enqueue", "drain", "jobs", "job", "cancel", "edit", "retry", "dead"),
    *("redrive", "purge", "queues", "pause", "resume", "schedules", "migrate", "relay", "doctor"),
    *("publish", "subscriptions", "top", "demo", "flow"),
}
FOR_PEOPLE = {"dev", "top", "demo"}


def every(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """All commands, those of commands too, by how they are called."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[before + name] = command
        if isinstance(command, click.Group):
            found |= every(command, f"{before}{name} ")
    return found


def silent(group: click.Group) -> list[str]:
    """What does not explain itself."""
    found = []
    for name, command in every(group).items():
        if not command.help or not command.get_short_help_str():
            found.append(name)
        for param in command.params:
            if isinstance(param, click.Option) and not param.help:
                found.append(f"{name} {param.opts[0]}")
            if isinstance(param, click.Argument) and not param.metavar:
                found.append(f"{name} {param.name}")
    return found


def test_every_promised_command_is_there():
    assert set(main.commands) == PROMISED


def test_every_command_and_option_has_help():
    assert not silent(main)


def test_a_silent_command_and_a_silent_option_are_found():
    @click.group()
    def group() -> None: ...

    @group.command()
    @click.option("--x")
    def quiet(x: str) -> None: ...

    assert silent(group) == ["quiet", "quiet --x"]


def test_every_command_for_programs_has_json():
    without = {
        name
        for name, command in every(main).items()
        if not any("--json" in param.opts for param in command.params)
    }
    assert without == FOR_PEOPLE


@pytest.mark.parametrize("name", sorted(every(main)))
def test_help_fits_a_terminal(name):
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_the_reference_is_up_to_date():
    page = PAGE.read_text()
    assert MARKER in page
    assert page == refreshed(page), "run: python -m backline.cli.reference docs/reference/cli.md"
    for name in every(main):
        assert f"\n## {name}\n" in page


def test_the_reference_and_the_help_list_every_exit_code():
    help_text = CliRunner().invoke(main, ["--help"]).stdout
    for code in ExitCode:
        assert f"\n      {code.value:<5}" in help_text
        assert f"\n| {code.value} |" in PAGE.read_text()


def test_the_version():
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("backline 0.")
