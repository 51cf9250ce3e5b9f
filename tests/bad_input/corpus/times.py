"""Instants and lengths of time."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

BERLIN = ZoneInfo("Europe/Berlin")


class Instant(NamedTuple):
    """Something in the place of a point in time; `micros` since 1970, None: it is refused."""

    name: str
    value: Any
    micros: int | None


class Length(NamedTuple):
    """Something in the place of a duration; None: it is refused."""

    name: str
    value: Any
    micros: int | None


class Nowhere(tzinfo):
    """A zone that does not know how far it is from UTC."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


INSTANTS = [
    Instant("1970", datetime(1970, 1, 1, tzinfo=UTC), 0),
    Instant(
        "a microsecond before 1970", datetime(1970, 1, 1, tzinfo=UTC) - timedelta.resolution, -1
    ),
    Instant("year 1", datetime.min.replace(tzinfo=UTC), -62_135_596_800_000_000),
    Instant("year 9999", datetime.max.replace(tzinfo=UTC), 253_402_300_799_999_999),
    Instant(
        "year 1, east of Greenwich",
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        -62_135_596_800_000_000 - 14 * 3_600_000_000,
    ),
    Instant(
        "year 9999, west of Greenwich",
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        253_402_300_799_999_999 + 14 * 3_600_000_000,
    ),
    Instant("year 2769", datetime(2769, 1, 1, tzinfo=UTC), 25_214_025_600_000_000),
    Instant("2038", datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), 2**31 * 1_000_000),
    Instant(
        "odd offset",
        datetime(2000, 1, 1, tzinfo=timezone(timedelta(seconds=1))),
        946_684_799_000_000,
    ),
    Instant("in the gap", datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), 1_774_747_800_000_000),
    Instant(
        "in the gap, later",
        datetime(2026, 3, 29, 2, 30, fold=1, tzinfo=BERLIN),
        1_774_744_200_000_000,
    ),
    Instant("in the fold", datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), 1_792_888_200_000_000),
    Instant(
        "in the fold, later",
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        1_792_891_800_000_000,
    ),
    Instant("no zone", datetime(2026, 1, 1), None),  # noqa: DTZ001 - that is the case
    Instant("zone without offset", datetime(2026, 1, 1, tzinfo=Nowhere()), None),
    Instant("text", "2026-01-01T00:00:00Z", None),
    Instant("int", 1_764_000_000, None),
    Instant("int as text", "1764000000", None),
    Instant("float", 1.5, None),
    Instant("bool", True, None),
    Instant("date", datetime(2026, 1, 1, tzinfo=UTC).date(), None),
    Instant("time", datetime(2026, 1, 1, tzinfo=UTC).time(), None),
    Instant("nothing", None, None),
    Instant("bytes", b"2026-01-01", None),
]

WRITTEN = [
    Instant("exact", "2026-12-24T18:00:00+01:00", 1_798_131_600_000_000),
    Instant("Zulu", "2026-12-24T17:00:00Z", 1_798_131_600_000_000),
    Instant("space", "2026-12-24 17:00:00Z", 1_798_131_600_000_000),
    Instant("year 9999", "9999-12-31T23:59:59Z", 253_402_300_799_000_000),
    Instant("year 2769", "2769-01-01T00:00:00Z", 25_214_025_600_000_000),
    Instant("year 1", "0001-01-01T00:00:00Z", -62_135_596_800_000_000),
    Instant("29 February", "2028-02-29T00:00:00Z", 1_835_395_200_000_000),
    Instant("year 0", "0000-01-01T00:00:00Z", None),
    Instant("year 10000", "10000-01-01T00:00:00Z", None),
    Instant("negative year", "-0001-01-01T00:00:00Z", None),
    Instant("leap second", "2016-12-31T23:59:60Z", None),
    Instant("30 February", "2026-02-30T00:00:00Z", None),
    Instant("29 February of no leap year", "2026-02-29T00:00:00Z", None),
    Instant("month 13", "2026-13-01T00:00:00Z", None),
    Instant("month 0", "2026-00-01T00:00:00Z", None),
    Instant("25 o'clock", "2026-01-01T25:00:00Z", None),
    Instant("minute 60", "2026-01-01T00:60:00Z", None),
    Instant("offset of 25 hours", "2026-01-01T00:00:00+25:00", None),
    Instant("no zone", "2026-01-01T00:00:00", None),
    Instant("named zone", "2026-01-01T00:00:00 Europe/Berlin", None),
    Instant("date alone", "2026-01-01", None),
    Instant("int", "1764000000", None),
    Instant("nothing", "", None),
    Instant("now", "now", None),
    Instant("tomorrow", "tomorrow", None),
    Instant("digits of other scripts", "\u0662\u0660\u0662\u0666-01-01T00:00:00Z", None),
    Instant("escape sequence", "\x1b[2J2026-01-01T00:00:00Z", None),
    Instant("100,000 characters", "2" * 100_000, None),
]

CENTURY = 100 * 366 * 86_400
LENGTHS = [
    Length("nothing", 0, 0),
    Length("minus nothing", -0.0, 0),
    Length("below a microsecond", 1e-320, 0),
    Length("half a second", 0.5, 500_000),
    Length("a century", CENTURY, CENTURY * 1_000_000),
    Length("a century in days", "36600d", CENTURY * 1_000_000),
    Length("capital letters", "1H30M", 5_400_000_000),
    Length("spaces", " 1 h  30 m ", 5_400_000_000),
    Length("the same unit twice", "1s1s", 2_000_000),
    Length("80 decimals", f"0.{'9' * 80}s", 1_000_000),
    Length("timedelta", timedelta(seconds=1), 1_000_000),
    Length("more than a century", CENTURY + 1, None),
    Length("more than a century in days", "36601d", None),
    Length("negative", -1, None),
    Length("negative text", "-1s", None),
    Length("negative part", "1h-1m", None),
    Length("negative timedelta", timedelta(microseconds=-1), None),
    Length("largest timedelta", timedelta.max, None),
    Length("not a number", float("nan"), None),
    Length("infinite", float("inf"), None),
    Length("int of 400 digits", 10**400, None),
    Length("int of 5,000 digits", 10**5000, None),
    Length("text of 400 digits", "9" * 400 + "s", None),
    Length("text of 100,000 digits", "9" * 100_000, None),
    Length("100,000 digits and a unit", "9" * 100_000 + "s", None),
    Length("a million decimals", "0." + "9" * 1_000_000 + "s", None),
    Length("a million units", "1s" * 1_000_000, None),
    Length("exponent", "1e3s", None),
    Length("huge exponent", "1e400s", None),
    Length("the text nan", "nan", None),
    Length("the text inf", "inf", None),
    Length("no unit", "90", None),
    Length("unknown unit", "1y", None),
    Length("micro", "1\u00b5s", None),
    Length("no number", "s", None),
    Length("empty", "", None),
    Length("two dots", "1.5.5s", None),
    Length("dot before", ".5s", None),
    Length("dot behind", "5.s", None),
    Length("comma", "1,5s", None),
    Length("plus", "+1s", None),
    Length("hexadecimal", "0x1s", None),
    Length("underscore", "1_000s", None),
    Length("Arabic digits", "\u0661s", None),
    Length("mathematical digits", "\U0001d7cfs", None),
    Length("full-width digits", "\uff11s", None),
    Length("superscript", "\u00b2s", None),
    Length("no-break space", "1\u00a0s", None),
    Length("NUL", "\x001s", None),
    Length("line end", "1s\n", None),
    Length("ISO 8601", "PT1S", None),
    Length("clock", "01:30:00", None),
    Length("bool", True, None),
    Length("None", None, None),
    Length("Decimal", Decimal(1), None),
    Length("bytes", b"1s", None),
    Length("list", [1], None),
    Length("complex", 1j, None),
]
