"""Durations, as people write them and as they are counted."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backline.duration import micros, text

CENTURY = 100 * 366 * 86_400


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (90, 90_000_000),
        (0.5, 500_000),
        (timedelta(hours=1), 3_600_000_000),
        (timedelta(microseconds=1), 1),
        ("500ms", 500_000),
        ("0.001ms", 1),
        ("90s", 90_000_000),
        ("5m", 300_000_000),
        ("1h30m", 5_400_000_000),
        ("1h 30m", 5_400_000_000),
        ("7D", 604_800_000_000),
        ("1w", 604_800_000_000),
        ("1.5h", 5_400_000_000),
        (CENTURY, CENTURY * 1_000_000),
    ],
)
def test_a_duration_is_read(written: float | str | timedelta, count: int) -> None:
    assert micros(written) == count


@pytest.mark.parametrize(
    "written",
    [
        -1,
        -0.001,
        timedelta(seconds=-1),
        float("nan"),
        float("inf"),
        CENTURY + 1,
        timedelta.max,
        "",
        " ",
        "5",
        "m",
        "-5m",
        "5 minutes",
        "5m!",
        "1h30",
        "5m junk 3s",
        "1e3s",
        "99999999999999999999w",
        "\N{ARABIC-INDIC DIGIT FIVE}m",
        "\N{FULLWIDTH DIGIT FIVE}m",
        "\N{MATHEMATICAL BOLD DIGIT FIVE}m",
        "9" * 100_000,
        10**400,
    ],
)
def test_what_is_no_duration_is_refused(written: float | str | timedelta) -> None:
    with pytest.raises(ValueError, match="duration"):
        micros(written)


@pytest.mark.parametrize("given", [None, True, b"5m", 1j, [5]])
def test_what_is_of_another_kind_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match="seconds, a timedelta or a text"):
        micros(given)  # type: ignore[arg-type]


@given(st.integers(0, CENTURY * 1_000_000 - 1))
def test_every_timedelta_is_read_to_the_microsecond(count: int) -> None:
    assert micros(timedelta(microseconds=count)) == count


@given(st.integers(0, CENTURY * 1_000_000))
def test_what_is_written_reads_back_close(count: int) -> None:
    written = text(count)
    # Two units are shown, or three digits: never off by more than 4%, or half a second.
    assert abs(micros(written) - count) <= max(count * 0.04, 500_000)


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0ms"),
        (1_500, "1.5ms"),
        (999_000, "999ms"),
        (1_500_000, "1.5s"),
        (59_000_000, "59s"),
        (60_000_000, "1m"),
        (5_400_000_000, "1h30m"),
        (86_400_000_000, "1d"),
        (90_061_000_000, "1d1h"),
    ],
)
def test_a_count_is_written(count: int, written: str) -> None:
    assert text(count) == written


@given(st.text())
def test_any_text_is_read_or_refused(written: str) -> None:
    try:
        assert micros(written) >= 0
    except ValueError as refusal:
        assert "duration" in str(refusal)  # noqa: PT017 - either outcome is right
