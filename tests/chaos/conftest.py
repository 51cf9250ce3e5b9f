"""The testbed of a campaign, and the table at the end of `make chaos`."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.chaos.testbed import Testbed

_ROWS = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
async def testbed(tmp_path: Path) -> AsyncIterator[Testbed]:
    async with Testbed(tmp_path).open() as testbed:
        yield testbed


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Put a line into the table, and on the screen while a long campaign runs."""
    rows = request.config.stash.setdefault(_ROWS, [])
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")

    def line(text: str) -> None:
        rows.append((request.node.name, text))

    def say(text: str) -> None:
        if request.node.get_closest_marker("chaos") and terminal is not None:
            terminal.write_line(f"    {text}")
        line(text)

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(_ROWS, [])
    if not rows or terminalreporter.config.getoption("markexpr") != "chaos":
        return
    terminalreporter.section("what the campaigns counted")
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        terminalreporter.write_line(f"{name:<{width}}  {text}")
