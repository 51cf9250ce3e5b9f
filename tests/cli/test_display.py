"""How times, lengths and ids look, and that text from anywhere stays on its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backline import display
from backline.cli.text import table, width
from backline.job import DAY, HOUR, MINUTE, SECOND


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb\u2028", "a\\u202eb\\u2028"),
        ("\U000e0001", "\\U000e0001"),
        ("\udc80", "\\udc80"),
        ("naïve 日本 🎉", "naïve 日本 🎉"),
    ],
)
def test_safe(given, shown):
    assert display.safe(given) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////srv/a:b@c.db?durability=normal", "sqlite:////srv/a:b@c.db?durability=normal"),
        ("memory://", "memory://"),
        ("no url", "no url"),
        ("postgres://me:pa:ss@host:5432/jobs", "postgres://me:***@host:5432/jobs"),
        ("postgres://me:p/a?s#s@w@host/jobs", "postgres://me:***@host/jobs"),
        ("valkey://:secret@host", "valkey://:***@host"),
        ("x://me@host/jobs", "x://me@host/jobs"),
        (
            "x://h/jobs?sslpassword=a%26b&Token=c&mode=d",
            "x://h/jobs?sslpassword=***&Token=***&mode=d",
        ),
        ("x://me:a\nb@h\x1b", "x://me:***@h\\x1b"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown):
    assert display.without_secrets(url) == shown


@given(st.text(), st.one_of(st.none(), st.integers(1, 50)))
def test_safe_text_is_printable_and_no_longer_than_asked(text, most):
    shown = display.safe(text, most=most)
    assert shown.isprintable()
    assert most is None or len(shown) <= most
    assert display.safe(shown) == shown


@given(st.text())
def test_safe_lines_are_all_indented(text):
    for line in display.safe_lines(text, "    ").split("\n"):
        assert line.isprintable()
        assert line.startswith("    ") or not text


@given(st.binary())
def test_stored_bytes_never_break_a_line(data):
    assert display.safe_json(data).isprintable()
    checked = display.valid_json(data)
    assert checked is None or b"\n" not in bytes(checked)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (0, "0 µs"),
        (850, "850 µs"),
        (4_120, "4.12 ms"),
        (SECOND - 1, "1000 ms"),
        (2_500_000, "2.5 s"),
        (3 * MINUTE + 12 * SECOND, "3m12s"),
        (8 * DAY + 4 * HOUR + MINUTE, "8d4h"),
        (-SECOND, "-1 s"),
    ],
)
def test_span(length, shown):
    assert display.span(length) == shown


def test_times():
    now = 1_767_225_600 * SECOND
    assert display.iso(now + 1) == "2026-01-01T00:00:00.000001Z"
    assert display.ago(now - 90 * SECOND, now) == "1m30s ago"
    assert display.ago(now + 5 * SECOND, now) == "in 5 s"
    assert display.ago(now + 5, now) == "now"
    assert display.moment(now, now).endswith("(now)")


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_time_can_be_shown(then):
    assert display.iso(then)
    assert display.moment(then, 0)
    assert display.ago(then, 0)


def test_years_have_four_digits():
    assert display.iso(-62_135_596_800_000_000) == "0001-01-01T00:00:00.000000Z"


def test_rate():
    rates = [0, 12.34, 12_345.6, 0.01, 0.0001]
    assert [display.rate(each) for each in rates] == ["0/s", "12.3/s", "12,346/s", "36/h", "8.64/d"]


def test_short_id():
    assert display.short_id("019b76da-a800-7427-8f7a-082f53701dec") == "019b76da-a800…1dec"
    assert display.short_id("x\n") == "x\\n"


def test_tables_are_aligned_by_columns_of_the_terminal():
    lines = table(["A", "N", "B"], [["日本", "1", "x"], ["\x1b[31mred\x1b[0m", "10", "y"]])
    assert {width(line.rstrip()) for line in lines} == {len("日本  10  x") + 2}
    assert [width(line) for line in table(["A", "N"], [["x", "1"]], right=frozenset({1}))] == [4, 4]
