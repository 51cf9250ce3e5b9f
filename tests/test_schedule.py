"""Schedules: what is taken and refused, which slots there are, and that each is used once."""

import random
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.schedule_oracle import EXPRESSIONS, moments, pattern
from tests.schedule_race import race

from backline import schedule
from backline.errors import ConfigError
from backline.job import DAY, FARTHEST, HOUR, MINUTE, SECOND, Micros
from backline.schedule import (
    GRACE,
    MOST_MISSED,
    SLOTS_AT_ONCE,
    Cron,
    Due,
    Every,
    Missed,
    Rule,
    clocks,
    cron,
    due_slots,
    every,
    in_words,
    next_slot,
)

PARIS: Final = ZoneInfo("Europe/Paris")


def at(text: str) -> Micros:
    """An instant: "2025-03-30 01:00", in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def seen(instant: Micros | None, tz: str = "Europe/Paris") -> str:
    """What clocks show at an instant, and how far they are ahead."""
    if instant is None:
        return "never"
    return f"{datetime.fromtimestamp(instant / SECOND, ZoneInfo(tz)):%Y-%m-%d %H:%M %z}"


def slots(rule: Rule, after: Micros, count: int) -> list[Micros]:
    found: list[Micros] = []
    for _ in range(count):
        slot = next_slot(rule, found[-1] if found else after)
        if slot is None:
            break
        found.append(slot)
    return found


def slots_until(rule: Rule, after: Micros, until: Micros) -> list[Micros]:
    found: list[Micros] = []
    slot = next_slot(rule, after)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = next_slot(rule, slot)
    return found


# ------------------------------------------------------------------------------- declaring


def test_a_rule_is_plain_data() -> None:
    for rule, kept in [
        (
            cron("  0 3 *  * mon-fri ", tz="Europe/Paris"),
            b'{"kind":"cron","expression":"0 3 * * mon-fri","tz":"Europe/Paris"}',
        ),
        (every("90s"), b'{"kind":"every","interval":90000000,"start":0}'),
    ]:
        assert msgspec.json.encode(rule) == kept
        assert msgspec.json.decode(kept, type=Rule) == rule
        assert hash(msgspec.json.decode(kept, type=Rule)) == hash(rule)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "cron '' has 0 fields of 5"),
        ("5", "cron '5' has 1 field of 5"),
        ("* * * *", "has 4 fields of 5 (minute, hour, day of month, month, weekday)"),
        ("* * * * * *", 'for less than a minute use every="30s"'),
        ("@daily", "cron '@daily' is written \"0 0 * * *\""),
        ("@reboot", "cron '@reboot' has 1 field of 5"),
        ("60 * * * *", "minute '60' is not 0-59, as in \"*/5 * * * *\""),
        ("-1 * * * *", "minute '-1' is not 0-59"),
        ("*/0 * * * *", "minute '*/0' is not 0-59"),
        ("1,,2 * * * *", "minute '1,,2' is not 0-59"),
        ("0 24 * * *", "hour '24' is not 0-23"),
        ("0 9-5 * * *", "hour '9-5' is not 0-23"),
        ("0 0 0 * *", "day-of-month '0' is not 1-31, L or LW"),
        ("0 0 1 13 *", "month '13' is not 1-12 or jan-dec"),
        ("0 0 * * 8", "day-of-week '8' is not 0-7 or sun-sat"),
        ("0 0 * * fri#6", "day-of-week 'fri#6' is not"),
        ("0 0 31 2 *", 'no such month has a day 31; the last day of a month is "0 0 L * *"'),
        ("0 0 30 feb *", "no such month has a day 30"),
        ("0 0 31 4,6 *", "no such month has a day 31"),
        ("0 0 */30 2 1#5", "never matches"),
        ("\N{FULLWIDTH DIGIT FIVE} * * * *", "minute '\N{FULLWIDTH DIGIT FIVE}' is not 0-59"),
        ("1," * 5_120, "cron takes at most 200 characters, not 10,240"),
        (" " * 10_240 + "0 3 * * *", "cron takes at most 200 characters"),
        ("0 3 * * *" + " " * 300 + "junk", "cron takes at most 200 characters"),
    ],
)
def test_a_bad_expression_is_refused_with_one_that_works(expression: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cron(expression)

    message = str(refused.value)
    assert complaint in message
    assert len(message) < 300
    assert message.isprintable()
    examples = [each for each in message.split('"') if each[:1] in set("*0")]
    assert examples
    for each in examples:
        cron(each)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'cron takes text such as "0 3 \* \* \*", not 5'):
        cron(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match='tz takes a name such as "Europe/Paris", not zoneinfo'):
        cron("0 3 * * *", tz=PARIS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tz", "hint"),
    [
        ("europe/paris", 'did you mean "Europe/Paris"?'),
        ("paris", 'did you mean "Europe/Paris"?'),
        ("New_York", 'did you mean "America/New_York"?'),
        ("rom", 'did you mean "Europe/Rome"?'),
        ("Europe/Pariss", 'did you mean "Europe/Paris"?'),
        ("Europe", "Europe/"),
        ("Paris", "/Paris"),
        ("", 'write "UTC" or "Europe/Paris"'),
        ("+02:00", 'write "UTC" or "Europe/Paris"'),
        ("../etc/passwd", "no time zone"),
        ("/etc/localtime", "no time zone"),
        ("zone.tab", "no time zone"),
        ("localtime", "no time zone"),
        ("posixrules", "no time zone"),
        ("right/Europe/Paris", "no time zone"),
        ("Europe/Paris\0", "no time zone"),
        ("Europe/Paris\n", "no time zone"),
        ("\ud800", "no time zone"),
        ("x" * 10_000, "no time zone"),
    ],
)
def test_what_is_no_zone_is_refused(tz: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        cron("0 3 * * *", tz=tz)

    message = str(refused.value)
    assert hint in message
    assert len(message) < 200
    assert message.isprintable()


def test_a_machine_without_zones_has_utc_and_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> ZoneInfo:
        raise KeyError(name)

    monkeypatch.setattr(clocks, "ZoneInfo", absent)
    monkeypatch.setattr(clocks, "available_timezones", set[str])
    clocks._known_names.cache_clear()
    clocks.zone.cache_clear()
    try:
        assert next_slot(cron("0 3 * * *"), 0) == 3 * HOUR
        with pytest.raises(ConfigError, match="this machine has none but UTC; install tzdata"):
            cron("0 3 * * *", tz="Europe/Paris")
    finally:
        clocks._known_names.cache_clear()


@pytest.mark.parametrize(
    ("interval", "complaint"),
    [
        ("0s", "every='0s' is under a second"),
        ("999ms", "every='999ms' is under a second"),
        (-5, "a duration is between 0 and 100 years"),
        (float("nan"), "a duration is between 0 and 100 years"),
        ("often", "'often' is no duration"),
        (None, "every=None"),
        ("9" * 10_000 + "s", "is no duration"),
        ("101 years", "is no duration"),
        ("6000w", "a duration is between 0 and 100 years"),
    ],
)
def test_a_bad_interval_is_refused_with_one_that_works(interval: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        every(interval)

    message = str(refused.value)
    assert complaint in message
    assert 'every="30s"' in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (datetime(2030, 1, 1), "has no time zone; write datetime(2030, 1, 1, 6, tzinfo=UTC)"),  # noqa: DTZ001
        ("2030-01-01", "is no instant; write datetime(2030"),
        (datetime(1969, 12, 31, tzinfo=UTC), "does not lie between the years 1970 and 9900"),
        (datetime(9901, 1, 1, tzinfo=UTC), "does not lie between the years 1970 and 9900"),
    ],
)
def test_a_start_is_an_instant(start: datetime, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        every("1h", start=start)

    assert complaint in str(refused.value)


def test_a_start_keeps_its_microseconds_and_its_zone() -> None:
    start = datetime(2290, 7, 1, 6, 30, 0, 123_457, tzinfo=PARIS)

    assert every("1d", start=start).start == at("2290-07-01 04:30") + 123_457


# ----------------------------------------------------------------------------------- slots


def test_intervals_count_from_1970_or_from_their_start() -> None:
    assert slots(every("30s"), at("2025-01-01 12:00") + 1, 2) == [
        at("2025-01-01 12:00") + 30 * SECOND,
        at("2025-01-01 12:01"),
    ]
    assert next_slot(every("1d"), at("2025-01-01 12:00")) == at("2025-01-02 00:00")
    assert next_slot(every("1w"), at("2025-01-01 12:00")) == at("2025-01-02 00:00")  # Thursday
    started = every("7h", start=datetime(2025, 3, 30, 1, 30, tzinfo=UTC))
    assert slots(started, 0, 2) == [at("2025-03-30 01:30"), at("2025-03-30 08:30")]
    assert next_slot(started, at("2025-03-30 01:30") - 1) == at("2025-03-30 01:30")


@pytest.mark.parametrize(
    ("expression", "after", "found"),
    [
        # 30 March 2025: clocks are put forward from 02:00 to 03:00
        ("30 2 * * *", "2025-03-29 12:00", ["2025-03-30 03:00 +0200", "2025-03-31 02:30 +0200"]),
        ("0,30 2 * * *", "2025-03-29 12:00", ["2025-03-30 03:00 +0200", "2025-03-31 02:00 +0200"]),
        ("0 2,3 * * *", "2025-03-30 00:00", ["2025-03-30 03:00 +0200", "2025-03-31 02:00 +0200"]),
        ("30 * * * *", "2025-03-30 00:00", ["2025-03-30 01:30 +0100", "2025-03-30 03:30 +0200"]),
        ("0 */2 * * *", "2025-03-29 23:30", ["2025-03-30 04:00 +0200", "2025-03-30 06:00 +0200"]),
        ("*/30 1 * 7 *", "2025-01-15 12:00", ["2025-07-01 01:00 +0200", "2025-07-01 01:30 +0200"]),
        ("*/30 1 * 1 *", "2025-07-15 12:00", ["2026-01-01 01:00 +0100", "2026-01-01 01:30 +0100"]),
        # 26 October 2025: clocks are put back from 03:00 to 02:00
        ("30 2 * * *", "2025-10-25 12:00", ["2025-10-26 02:30 +0200", "2025-10-27 02:30 +0100"]),
        ("30 2 * * *", "2025-10-26 01:15", ["2025-10-27 02:30 +0100", "2025-10-28 02:30 +0100"]),
        ("0 3 * * *", "2025-10-26 00:30", ["2025-10-26 03:00 +0100", "2025-10-27 03:00 +0100"]),
        ("30 * * * *", "2025-10-26 00:00", ["2025-10-26 02:30 +0200", "2025-10-26 02:30 +0100"]),
        ("0 */2 * * *", "2025-10-25 23:30", ["2025-10-26 02:00 +0200", "2025-10-26 02:00 +0100"]),
        # days
        ("0 0 L 2 *", "2024-01-01 00:00", ["2024-02-29 00:00 +0100", "2025-02-28 00:00 +0100"]),
        ("0 0 29 2 *", "2096-02-29 12:00", ["2104-02-29 00:00 +0100", "2108-02-29 00:00 +0100"]),
        ("0 9 * * fri#2", "2025-01-01 00:00", ["2025-01-10 09:00 +0100", "2025-02-14 09:00 +0100"]),
        ("0 9 * * 5L", "2025-01-01 00:00", ["2025-01-31 09:00 +0100", "2025-02-28 09:00 +0100"]),
        ("0 0 13 * fri", "2025-01-01 00:00", ["2025-01-03 00:00 +0100", "2025-01-10 00:00 +0100"]),
        ("0 0 LW MAY *", "2025-01-01 00:00", ["2025-05-30 00:00 +0200", "2026-05-29 00:00 +0200"]),
    ],
)
def test_slots_of_cron(expression: str, after: str, found: list[str]) -> None:
    rule = cron(expression, tz="Europe/Paris")

    assert [seen(slot) for slot in slots(rule, at(after), 2)] == found


def test_a_day_that_never_was_runs_at_the_start_of_the_next() -> None:
    """Samoa went from 29 December 2011 straight to the 31st."""
    rule = cron("0 3 * * *", tz="Pacific/Apia")

    assert [seen(slot, "Pacific/Apia") for slot in slots(rule, at("2011-12-29 14:00"), 3)] == [
        "2011-12-31 00:00 +1400",
        "2011-12-31 03:00 +1400",
        "2012-01-01 03:00 +1400",
    ]


def test_half_an_hour_is_repeated_on_lord_howe() -> None:
    rule = cron("45 * * * *", tz="Australia/Lord_Howe")

    found = slots(rule, at("2024-04-06 14:00"), 3)

    assert [seen(slot, "Australia/Lord_Howe") for slot in found] == [
        "2024-04-07 01:45 +1100",
        "2024-04-07 01:45 +1030",
        "2024-04-07 02:45 +1030",
    ]


def test_the_repeated_hour_before_a_month_of_fasting_is_not_jumped_over() -> None:
    """Moroccan clocks are put back for Ramadan, and forward again before the year is out."""
    rule = cron("*/30 2 23 2 *", tz="Africa/Casablanca")

    found = slots(rule, at("2025-02-23 00:30"), 5)

    assert [seen(slot, "Africa/Casablanca") for slot in found] == [
        "2025-02-23 02:00 +0100",
        "2025-02-23 02:30 +0100",
        "2025-02-23 02:00 +0000",
        "2025-02-23 02:30 +0000",
        "2026-02-23 02:00 +0000",
    ]


def test_a_far_slot_is_found_across_all_changes_of_the_clocks() -> None:
    rule = cron("*/30 1 * 2 sun#5", tz="America/New_York")

    assert [seen(slot, "America/New_York") for slot in slots(rule, at("2025-01-01 00:00"), 3)] == [
        "2032-02-29 01:00 -0500",
        "2032-02-29 01:30 -0500",
        "2060-02-29 01:00 -0500",
    ]


def test_a_season_minute_by_minute_agrees_with_the_oracle() -> None:
    """Days, months and weekdays, which the windows around changes of the clocks hardly see."""
    tz = "America/Santiago"
    expressions = [
        "0 0 l * *",
        "15 10 lw */2 *",
        "0 12 * * 5l",
        "30 6 * * tue#3",
        "0 0 1,15 * mon",
        "*/20 5 */10 * 1-5/2",
        "0 18 29-31 jan-jun *",
        "5 4 * * sat,7",
    ]
    first, last = at("2024-01-25 00:00") // SECOND, at("2024-04-10 00:00") // SECOND
    read = {expression: pattern(expression) for expression in expressions}
    expected: dict[str, list[Micros]] = {expression: [] for expression in expressions}
    for moment in moments(ZoneInfo(tz), first, last):
        for expression, meant in read.items():
            if meant.due(moment):
                expected[expression].append(moment.second * SECOND)
    for expression, right in expected.items():
        assert len(right) > 1
        assert slots(cron(expression, tz=tz), first * SECOND - 1, len(right)) == right


@pytest.mark.parametrize("after", [-FARTHEST, -1, 0, at("2100-01-01 00:00"), 2**62])
@pytest.mark.parametrize("rule", [cron("0 0 * * *", tz="Africa/Monrovia"), every("1d")])
def test_no_instant_is_too_far(rule: Rule, after: Micros) -> None:
    slot = next_slot(rule, after)

    if after == FARTHEST:
        assert slot is None
    else:
        assert slot is not None
        assert slot > max(after, -1)


def test_slots_end_with_the_year_9900() -> None:
    end = at("9900-01-01 00:00")
    for rule in (cron("0 0 * * *"), cron("* * * * *", tz="Europe/Paris"), every("1m")):
        assert next_slot(rule, end - 1) == end
        assert next_slot(rule, end) is None
    assert next_slot(cron("0 0 29 2 *"), at("9896-03-01 00:00")) is None


def test_a_stored_rule_that_cannot_work_here_says_so_when_asked() -> None:
    for rule in (Cron("0 3 * * *", "Mars/Olympus"), Cron("61 * * * *"), Cron("*"), Every(0)):
        with pytest.raises(ConfigError):
            next_slot(rule, 0)
        assert in_words(rule).isprintable()
    for damaged in (b'{"kind":"every","interval":0}', b'{"kind":"cron","expression":5}', b"{}"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(damaged, type=Rule)


TERM: Final = st.one_of(
    st.sampled_from(["*", "L", "LW", "mon", "jan-mar", "5L", "fri#2", "0", "31", "59", "-", "/"]),
    st.integers(0, 61).map(str),
    st.tuples(st.integers(0, 31), st.integers(0, 60)).map(lambda two: f"{two[0]}-{two[1]}"),
    st.integers(0, 70).map(lambda step: f"*/{step}"),
    st.tuples(st.integers(0, 59), st.integers(0, 70)).map(lambda two: f"{two[0]}/{two[1]}"),
)
FIELD: Final = st.lists(TERM, min_size=1, max_size=3).map(",".join)
ANY_CRON: Final = st.lists(FIELD, min_size=5, max_size=5).map(" ".join)


@settings(max_examples=150)
@given(st.one_of(ANY_CRON, st.text(max_size=60), st.text("0159*,-/#Ll \t", max_size=240)))
@example("0 0 */30 2 1#5")
@example("59 23 29 2 1#5")
@example("0/1/2 * * * *")
@example("* * L/2,5-7/3 * 0L")
@example("\N{SUPERSCRIPT TWO} * * * \N{SUPERSCRIPT TWO}L")
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        rule = cron(text, tz="Europe/Paris")
    except ConfigError:
        return
    first = next_slot(rule, at("2025-06-01 00:00"))
    assert first is not None
    assert in_words(rule).isprintable()
    assert msgspec.json.decode(msgspec.json.encode(rule), type=Rule) == rule


ZONE: Final = st.sampled_from(
    ["UTC", "Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]
)
RULE: Final = st.one_of(
    st.builds(Cron, st.sampled_from([*EXPRESSIONS, "*/30 1 * 7 *", "* 3 1 1,6 *"]), ZONE),
    st.builds(Every, st.integers(SECOND, 2 * DAY), st.integers(0, at("2030-01-01 00:00"))),
)
INSTANT: Final = st.one_of(
    st.integers(at("1999-01-01 00:00"), at("2040-01-01 00:00")),
    # around the changes of clocks of the zones above
    st.builds(
        lambda change, off: at(change) + off,
        st.sampled_from(
            [
                *("2011-03-13 03:31", "2011-11-06 02:31", "2011-12-30 10:00", "2024-04-06 15:00"),
                *("2024-10-05 15:30", "2025-03-30 01:00", "2025-10-26 01:00"),
            ]
        ),
        st.integers(-4 * HOUR, 4 * HOUR),
    ),
)


@settings(max_examples=150)
@given(RULE, INSTANT, st.fractions(0, 1))
def test_the_next_slot_does_not_depend_on_when_one_asks(
    rule: Rule, after: Micros, part: Fraction
) -> None:
    slot = next_slot(rule, after)

    assert slot is not None
    assert slot > after
    assert next_slot(rule, after + int((slot - 1 - after) * part)) == slot
    assert next_slot(rule, slot - 1) == slot
    following = next_slot(rule, slot)
    assert following is not None
    assert following > slot


# ------------------------------------------------------------------------ what to do about them

HOURLY: Final = cron("0 * * * *")
NOON: Final = at("2025-01-01 12:00")


def test_before_the_first_slot_nothing_is_due() -> None:
    assert due_slots(HOURLY, NOON, NOON + HOUR - 1) == Due((), NOON, NOON + HOUR)


@pytest.mark.parametrize("missed", Missed)
@pytest.mark.parametrize("late", [0, SECOND, GRACE])
def test_a_slot_on_time_is_used_under_any_policy(missed: Missed, late: Micros) -> None:
    slot = NOON + HOUR

    assert due_slots(HOURLY, NOON, slot + late, missed) == Due((slot,), slot, slot + HOUR)


def test_an_outage_under_each_policy() -> None:
    """F70: down from noon to half past four."""
    now = NOON + 4 * HOUR + 30 * MINUTE
    one, two, three, four, five = (NOON + count * HOUR for count in range(1, 6))

    assert due_slots(HOURLY, NOON, now, Missed.SKIP) == Due((), now, five, (one, four))
    assert due_slots(HOURLY, NOON, now, Missed.ONCE) == Due((four,), four, five, (one, three))
    assert due_slots(HOURLY, NOON, now, Missed.ALL) == Due((one, two, three, four), four, five)


def test_an_outage_that_ends_at_a_slot() -> None:
    now = NOON + 4 * HOUR + 3 * SECOND
    one, two, three, four, five = (NOON + count * HOUR for count in range(1, 6))

    assert due_slots(HOURLY, NOON, now, Missed.SKIP) == Due((four,), four, five, (one, three))
    assert due_slots(HOURLY, NOON, now, Missed.ONCE) == Due((four,), four, five, (one, three))
    assert due_slots(HOURLY, NOON, now, Missed.ALL) == Due((one, two, three, four), four, five)


@pytest.mark.parametrize("interval", ["1s", "5s", "30s", "1m"])
@pytest.mark.parametrize("missed", [Missed.SKIP, Missed.ONCE])
def test_an_outage_makes_no_burst_of_a_short_interval(interval: str, missed: Missed) -> None:
    """A slot is missed when the next one has come, if that is sooner than the grace."""
    rule = every(interval)
    now = NOON + HOUR
    due = due_slots(rule, NOON, now + rule.interval - 1, missed)

    assert (due.slots, due.left_out) == ((now,), (NOON + rule.interval, now - rule.interval))


def test_all_that_was_missed_comes_in_bites() -> None:
    now = NOON + 100 * HOUR
    last, used = NOON, []
    looks = 0
    while (due := due_slots(HOURLY, last, now, Missed.ALL, limit=7)).slots:
        assert len(due.slots) <= 7
        used += due.slots
        last = due.last
        looks += 1
        assert due.next is not None
        assert (due.next <= now) == (len(used) < 100)
    assert used == [NOON + count * HOUR for count in range(1, 101)]
    assert looks == 15


def test_a_catch_up_has_a_bound_and_takes_the_newest() -> None:
    now = NOON + 30 * DAY
    newest = [NOON + 30 * DAY - count * MINUTE for count in reversed(range(MOST_MISSED))]
    rule, last, used = cron("* * * * *"), NOON, []
    left_out = []
    while (due := due_slots(rule, last, now, Missed.ALL)).slots:
        assert len(due.slots) <= SLOTS_AT_ONCE
        used += due.slots
        left_out.append(due.left_out)
        last = due.last
    assert used == newest
    assert left_out == [(NOON + MINUTE, newest[0] - MINUTE), *[None] * 9]


@pytest.mark.parametrize(
    "rule",
    [
        every("1s"),
        every("36h"),
        cron("* * * * *"),
        cron("* 3 * * *", tz="Europe/Paris"),
        cron("* * * 1-6 *"),  # half a year of nothing, then more than can be walked through
        cron("0 0 29 2 *"),
    ],
)
def test_the_newest_slots_are_found_from_behind(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the outage was; told again by going through its end slot by slot."""
    asked = 0

    def counted(rule: Rule, after: Micros) -> Micros | None:
        nonlocal asked
        asked += 1
        return next_slot(rule, after)

    monkeypatch.setattr(schedule.due, "next_slot", counted)
    now = at("2025-12-30 12:00") + 30 * SECOND
    due = due_slots(rule, 0, now, Missed.ALL, limit=MOST_MISSED)

    assert asked < 25 * MOST_MISSED
    assert due.slots == tuple(slots_until(rule, due.slots[0] - 1, now))
    if due.left_out is None:
        assert len(due.slots) < MOST_MISSED
        assert due.slots[0] == next_slot(rule, 0)
    else:
        assert len(due.slots) == MOST_MISSED
        assert due.left_out[0] == next_slot(rule, 0)
        assert next_slot(rule, due.left_out[1]) == due.slots[0]


def test_a_limit_is_one_slot_at_least() -> None:
    with pytest.raises(ConfigError, match="at least 1 slot, not 0"):
        due_slots(HOURLY, NOON, NOON + HOUR, limit=0)


def test_a_pause_can_be_left_out_under_any_policy() -> None:
    resumed = NOON + 10 * HOUR + MINUTE

    assert due_slots(HOURLY, resumed, resumed, Missed.ALL) == Due((), resumed, NOON + 11 * HOUR)


def test_a_schedule_that_will_not_run_again_has_no_next() -> None:
    end = at("9900-01-01 00:00")

    assert due_slots(HOURLY, end - HOUR, end) == Due((end,), end, None)
    assert due_slots(HOURLY, end, end + DAY) == Due((), end, None)


def test_a_clock_that_was_put_back_repeats_nothing() -> None:
    used = due_slots(HOURLY, NOON, NOON + HOUR)
    assert used.slots == (NOON + HOUR,)

    for back in (1, SECOND, HOUR, 30 * DAY):
        again = due_slots(HOURLY, used.last, NOON + HOUR - back, Missed.ALL)
        assert again == Due((), used.last, NOON + 2 * HOUR)


def test_a_long_outage_is_no_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty years of seconds and minutes: the newest is found by halving."""
    asked = 0

    def counted(rule: Rule, after: Micros) -> Micros | None:
        nonlocal asked
        asked += 1
        return next_slot(rule, after)

    monkeypatch.setattr(schedule.due, "next_slot", counted)
    now = NOON + 20 * 365 * DAY + 30 * SECOND
    for rule, newest in [
        (every("1s"), now),
        (cron("* * * * *", tz="Europe/Paris"), now - 30 * SECOND),
        (HOURLY, now - 30 * SECOND),
    ]:
        due = due_slots(rule, NOON, now, Missed.ONCE, grace=-1)
        assert due.slots == (newest,)
    assert asked < 3 * 120


@settings(max_examples=150)
@given(RULE, INSTANT, st.integers(0, 40 * DAY))
def test_the_newest_slot_is_the_newest(rule: Rule, last: Micros, outage: Micros) -> None:
    due = due_slots(rule, last, last + outage, Missed.ONCE, grace=-1)

    if not due.slots:
        assert (next_slot(rule, last) or FARTHEST) > last + outage
        return
    (newest,) = due.slots
    assert last < newest <= last + outage
    assert due.next == next_slot(rule, newest)
    assert (due.next or FARTHEST) > last + outage


@pytest.mark.parametrize("steps", [False, True])
@settings(max_examples=25, deadline=None)
@given(rule=RULE, start=INSTANT, seed=st.integers(0, 2**32))
def test_five_schedulers_use_each_slot_once(
    rule: Rule, start: Micros, seed: int, steps: bool
) -> None:
    used, until = race(rule, start, start + 3 * HOUR, random.Random(seed), steps=steps)

    assert all(earlier < later for earlier, later in pairwise(used))
    assert used == slots_until(rule, start, until)


@settings(max_examples=100, deadline=None)
@given(
    rule=RULE,
    start=INSTANT,
    missed=st.sampled_from(Missed),
    gaps=st.lists(st.integers(-3 * HOUR, 30 * HOUR), min_size=1, max_size=25),
)
def test_each_slot_is_used_or_left_out_by_the_policy(
    rule: Rule, start: Micros, missed: Missed, gaps: list[Micros]
) -> None:
    """Whatever the sequence of looks, told again by a model that looks at each slot."""
    last, now = start, start
    used: list[Micros] = []
    for gap in gaps:
        now += gap
        due = due_slots(rule, last, now, missed, limit=10)
        fresh: list[Micros] = []
        slot = next_slot(rule, last)
        while slot is not None and slot <= now and len(fresh) < 2_000:
            fresh.append(slot)
            slot = next_slot(rule, slot)
        if len(fresh) == 2_000:  # more than the model will count
            last = due.last
            continue
        wanted = {
            Missed.SKIP: [slot for slot in fresh[-1:] if now - slot <= GRACE],
            Missed.ONCE: fresh[-1:],
            Missed.ALL: fresh[-MOST_MISSED:],
        }[missed][:10]
        assert list(due.slots) == wanted
        out = [slot for slot in fresh if not wanted or slot < wanted[0]]
        assert due.left_out == ((out[0], out[-1]) if out else None)
        assert due.last >= last
        assert due.next is None or due.next > due.last
        used += due.slots
        last = due.last
    assert all(earlier < later for earlier, later in pairwise(used))


# ----------------------------------------------------------------------------------- words


LONG: Final = "1,2,4,8,16,32 1,3,5,7,9,11 1,3,5,7,9,11 1,3,5,7 *"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (cron("0 3 * * *", tz="Europe/Paris"), "every day at 03:00, Europe/Paris"),
        (cron("30 8,20 * * *"), "every day at 08:30 and 20:30, UTC"),
        (cron("*/5 * * * *"), "every fifth minute of every hour, UTC"),
        (cron("0 9 * * mon-fri"), "at 09:00 on Monday through Friday, UTC"),
        (cron("0 0 L * *"), "at 00:00 on the last day of every month, UTC"),
        (cron("0 0 21 * *"), "at 00:00 on the 21st day of every month, UTC"),
        (
            cron("0 0 12,22,31 * *"),
            "at 00:00 on the 12th, the 22nd, and the 31st day of month, UTC",
        ),
        (cron("0 0 * 1,6 *"), "every day in January and June at 00:00, UTC"),
        (cron("0 9 * * 5#2"), "at 09:00 on the second Friday of the month, UTC"),
        # words that would say something else, or too much
        (cron("*/7 * * * *"), "cron */7 * * * *, UTC"),
        (cron("0 */5 * * *"), "cron 0 */5 * * *, UTC"),
        (cron("0 0 */2 * *"), "cron 0 0 */2 * *, UTC"),
        (cron("0 0 13 * fri"), "cron 0 0 13 * fri, UTC"),
        (cron("0 0 1-31 * 1"), "cron 0 0 1-31 * 1, UTC"),
        (cron("*/15,7 * * * *"), "cron */15,7 * * * *, UTC"),
        (cron(LONG), f"cron {LONG}, UTC"),
        (every("30s"), "every 30s"),
        (every("1h30m"), "every 1h30m"),
        (every("1d2h3s"), "every 93603 s"),
        (every(1.25), "every 1.25s"),
        (every(1.2345), "every 1.2345 s"),
        (Every(DAY, at("2030-01-01 06:00")), "every 1d from 2030-01-01T06:00:00.000000Z"),
        (Every(FARTHEST), "every 4611686018427.39 s"),
        (Cron("no\ncron", "no\tzone"), "cron no\\ncron, no\\tzone"),
        (Cron("61 * * * *"), "cron 61 * * * *, UTC"),
    ],
)
def test_rules_in_words(rule: Rule, words: str) -> None:
    assert in_words(rule) == words
