"""Fault points: off, they do nothing; hooked, the innermost hook is called."""

import pytest

from backline.faults import fault, hooked


def test_off_it_does_nothing() -> None:
    fault("exchange.after_commit")


def test_the_innermost_hook_is_called_and_the_outer_one_comes_back() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with hooked(outer.append):
        fault("a")
        with hooked(inner.append):
            fault("b")
        fault("c")
    fault("d")
    assert (outer, inner) == (["a", "c"], ["b"])


def test_a_hook_may_raise_and_is_gone_after_an_error() -> None:
    def break_down(point: str) -> None:
        raise OSError(point)

    with pytest.raises(OSError, match="disk"), hooked(break_down):
        fault("disk")
    fault("disk")
