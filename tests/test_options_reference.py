"""docs/reference/options.md names every option there is, with the default it has."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import pytest

from backline import App, Retry, duration
from backline.app.app import DEFAULT_URL
from backline.app.declare import QueueOptions
from backline.cli.worker import worker
from backline.job import MAX_ERRORS, MAX_PAYLOAD
from backline.task.batch import DEFAULT_WAIT
from backline.task.names import MAX_NAME
from backline.task.options import (
    DECLARED_ONLY,
    MAX_HEADERS,
    MAX_TAGS,
    BatchSettings,
    TaskOptions,
)
from backline.task.options import Options as GivenOptions
from backline.worker import WorkerSettings

PAGE: Final = Path(__file__).parents[1] / "docs/reference/options.md"
DURATIONS: Final = {"delay", "timeout", "unique_for", "max_wait", "keep", "keep_dead"}
WORKER_DURATIONS: Final = {"lease", "grace", "refusal", "poll"}

QUEUE_DEFAULTS: Final = {"on_full": "raise"}

CALL_ONLY: Final = {"within", "after", "if_parent_fails"}
"""Options that make no sense where a task is declared."""

IN_WORDS: Final = {
    ("App", "url"): "`BACKLINE_URL`, else `sqlite:///backline.db`",
    ("App", "clock"): "the system's",
    ("@app.task", "name"): "module and function",
    ("@app.task", "executor"): '`"async"` for `async def`, `"thread"` for `def`',
    ("@app.task", "retry"): "`Retry()`",
    ("@app.task", "tz"): '`"UTC"`',
    ("@app.task", "missed"): '`"skip"`',
    ("app.schedule", "tz"): '`"UTC"`',
    (".using", "retry"): "`Retry()`",
    (".using", "after"): "none",
    (".using", "if_parent_fails"): '`"stop"`',
    ("Retry", "jitter"): 'on; off for `"constant"` and `delays`',
    ("Retry", "on"): "every exception",
    ("app.worker", "queues"): "every queue of the app",
    ("WorkerSettings", "queues"): "every queue of the app",
    ("WorkerSettings", "name"): "a fresh id",
    ("backline worker", "--app"): "`BACKLINE_APP`",
    ("backline worker", "-A"): "`BACKLINE_APP`",
}
"""Defaults that are no value."""


def documented(page: str) -> dict[tuple[str, str], str]:
    """Each (owner, option) of the table, and its default as written."""
    found: dict[tuple[str, str], str] = {}
    for line in page.splitlines():
        if not line.startswith("| `"):
            continue
        owners, options, default, *_ = [cell.strip() for cell in line.strip("|").split("|")]
        for owner in re.findall(r"`([^`]+)`", owners):
            for option in re.findall(r"`([^`]+)`", options):
                assert (owner, option) not in found, f"{owner} has {option} twice"
                found[owner, option] = default
    return found


def shown(value: object, *, is_duration: bool = False) -> str:
    """A default as the page writes it."""
    if value is inspect.Parameter.empty:
        return "-"
    if value is None or value is msgspec.UNSET or value == () or value == {}:
        return "none"
    if is_duration and isinstance(value, int):
        return f"`{duration.text(value)}`" if value else "`0`"
    if isinstance(value, str) and not is_duration:
        return f'`"{value}"`'
    return f"`{value}`"


def of_call(owner: str, call: Callable[..., object], durations: set[str]) -> dict[Any, str]:
    return {
        (owner, name): shown(parameter.default, is_duration=name in durations)
        for name, parameter in inspect.signature(call).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }


def of_tasks() -> dict[Any, str]:
    defaults = TaskOptions()
    found: dict[Any, str] = {}
    for owner, names in (
        ("@app.task", set(BatchSettings.__annotations__) - CALL_ONLY),
        (".using", set(GivenOptions.__annotations__) - DECLARED_ONLY),
    ):
        for name in names:
            value = getattr(defaults, "expires_in" if name == "expires" else name, None)
            found[owner, name] = shown(value, is_duration=name in DURATIONS)
    return found


def of_queue() -> dict[Any, str]:
    names = ("name", *QueueOptions.__annotations__)
    return {("app.queue", name): shown(QUEUE_DEFAULTS.get(name)) for name in names} | {
        ("app.queue", "name"): "-"
    }


def of_worker_settings() -> dict[Any, str]:
    return {
        ("WorkerSettings", field.name): shown(
            None if field.default is MISSING else field.default,
            is_duration=field.name in WORKER_DURATIONS,
        ).replace('"', "")
        for field in fields(WorkerSettings)
    }


def of_command() -> dict[Any, str]:
    found: dict[Any, str] = {}
    for parameter in worker.params:
        if not isinstance(parameter, click.Option):
            continue
        told = re.search(r"\[default: (.*)\]", parameter.help or "")
        if told is not None:
            default = told[1]
        elif parameter.is_flag:
            default = "off"
        else:
            default = shown(parameter.to_info_dict()["default"]).replace('"', "")
        for name in (*parameter.opts, *parameter.secondary_opts):
            found["backline worker", name] = default
    return found


def in_code() -> dict[Any, str]:
    found = {
        **of_call("App", App, set()),
        **of_tasks(),
        ("@app.task", "wait"): shown(DEFAULT_WAIT, is_duration=True),
        **of_call("Retry", Retry, {"base", "cap"}),
        **of_queue(),
        **of_call("app.webhooks", App.webhooks, {"timeout"}),
        **of_call("app.schedule", App.schedule, set()),
        ("app.map", "chunk"): shown(None),
        **of_call("app.publish", App.publish, {"event_ttl"}),
        **of_call("app.worker", App.worker, {"lease", "grace"}),
        **of_worker_settings(),
        **of_command(),
    }
    return found | {key: words for key, words in IN_WORDS.items() if key in found}


def differences(page: str) -> list[str]:
    there, wanted = documented(page), in_code()
    return [
        f"{owner} {option}: the page says {there.get((owner, option), 'nothing')}, "
        f"the code {wanted.get((owner, option), 'nothing')}"
        for owner, option in sorted(there.keys() | wanted.keys())
        if there.get((owner, option), "").strip("`")
        != wanted.get((owner, option), "nothing").strip("`")
    ]


def test_the_page_has_every_option_with_its_default() -> None:
    assert differences(PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| `1h` | duration | How long one", "| `2h` | duration | How long one"),
        ("| `concurrency` | `10` |", "| `concurrency` | `20` |"),
        ("`--cells` | `4`", "`--cells` | `5`"),
        ("| `keep_dead` |", "| `keep_died` |"),
    ],
)
def test_a_page_that_is_out_of_date_is_found(old: str, new: str) -> None:
    page = PAGE.read_text()
    assert old in page
    assert differences(page.replace(old, new))


def test_the_page_names_the_limits() -> None:
    page = PAGE.read_text()
    for fact in (
        DEFAULT_URL,
        f"{MAX_PAYLOAD // 1024} KiB",
        f"newest {MAX_ERRORS} errors",
        f"{MAX_NAME} characters",
        f"up to {MAX_TAGS} names",
        f"{MAX_HEADERS:,} characters",
    ):
        assert fact in page
