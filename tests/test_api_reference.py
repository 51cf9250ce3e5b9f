"""docs/reference/api.md names everything that is public, and nothing that is not."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

import backline
from backline import App, Batch, BatchItem, Job, JobContext, State, Task
from backline.app.schedules import Schedules

PAGE: Final = Path(__file__).parents[1] / "docs/reference/api.md"
TABLES: Final[dict[str, type]] = {
    "App": App,
    "Task": Task,
    "Schedules": Schedules,
    "Job": Job,
    "JobContext": JobContext,
    "Batch": Batch,
    "BatchItem": BatchItem,
}


def sections(page: str) -> dict[str, str]:
    heading, *rest = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    del heading
    return dict(zip(rest[::2], rest[1::2], strict=True))


def named(section: str) -> list[str]:
    """The names in the first column of a section's table."""
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)", cell)]


def members(kind: type, thing: object) -> set[str]:
    return {name for name in {*dir(kind), *dir(thing)} if not name.startswith("_")}


def things() -> dict[str, Any]:
    app = App("memory://")
    task = app.task(name="t")(lambda: None)
    return {
        "App": app,
        "Task": task,
        "Schedules": app.schedules,
        "Job": app.job("x"),
        "JobContext": None,
        "Batch": Batch([]),
        "BatchItem": BatchItem(1),
    }


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_has_every_public_member_once(heading: str) -> None:
    found = named(sections(PAGE.read_text())[heading])
    assert len(found) == len(set(found))
    thing = things()[heading]
    assert set(found) - {heading} == members(TABLES[heading], thing or TABLES[heading])


def test_every_public_name_is_in_one_table() -> None:
    parts = sections(PAGE.read_text())
    found = [name for part in ("Values", "Errors", "Signals") for name in named(parts[part])]
    assert len(found) == len(set(found))
    assert {*found, *TABLES} - {"Schedules"} == set(backline.__all__)


def test_the_states_are_all_of_them() -> None:
    [line] = [line for line in PAGE.read_text().splitlines() if line.startswith("| `State`")]
    assert re.findall(r"`([a-z]+)`", line) == [state.value for state in State]
