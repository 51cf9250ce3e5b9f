"""What `backline` offers: complete, sorted, and quick to import."""

import subprocess
import sys

import pytest

import backline
from backline import errors


def test_the_public_names_are_sorted_and_there() -> None:
    assert backline.__all__ == sorted(backline.__all__)
    assert len(set(backline.__all__)) == len(backline.__all__)
    for name in backline.__all__:
        assert getattr(backline, name) is not None


def test_every_error_and_signal_is_public() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert raised <= set(backline.__all__)


ALIASES = {"CallNext"}
"""Types that have no room for words of their own."""


def test_public_names_say_what_they_are() -> None:
    for name in set(backline.__all__) - ALIASES:
        assert getattr(backline, name).__doc__, name


@pytest.mark.processes
def test_importing_it_brings_no_store_that_is_not_asked_for() -> None:
    program = "import sys, backline; print(sorted(sys.modules))"

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    for heavy in ("apsw", "click", "starlette", "pydantic", "backline.stores.sqlite", "sqlite3"):
        assert f"'{heavy}'" not in ran.stdout, heavy
