"""What clocks show in a time zone, and when. All counts are whole seconds since 1970 (UTC).

`zoneinfo` says how far a zone is from UTC at an instant, and no more; a change of the clocks
is found by looking at both sides of it and halving what lies between.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from backline.display import shown
from backline.errors import ConfigError
from backline.schedule.rule import LONGEST_TZ

STRIDE: Final = 2 * 86_400
"""Seconds. Since 1970 no zone has changed its clocks twice in so short a time (a week is the
shortest), nor by more than half of it, so one look a stride sees every change."""

_NAME: Final = re.compile(r"(?!posix/|right/)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_NOT_ZONES: Final = {"localtime", "posixrules", "Factory"}
"""Files beside the zones: what they hold is up to each machine."""


@lru_cache(maxsize=1024)  # zoneinfo itself holds on to eight
def zone(name: str) -> tzinfo:
    """The zone of an IANA name; "UTC" needs no files. Raises ConfigError if there is none."""
    if name == "UTC":
        return UTC
    if len(name) <= LONGEST_TZ and _NAME.fullmatch(name) and name not in _NOT_ZONES:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # no file; no zone in it; a directory
            pass
    raise ConfigError(f"tz={shown(name)} is no time zone: {_hint(name[:LONGEST_TZ])}")


def offset(of: tzinfo, instant: int) -> int:
    """How many seconds the clocks of a zone are ahead of UTC."""
    return _seconds(datetime.fromtimestamp(instant, of).utcoffset())


def change(of: tzinfo, low: int, high: int, ahead: int) -> int | None:
    """The first instant of (low, high] at which clocks are no longer `ahead`; None if they stay.

    `low` and `high` are a `STRIDE` apart at most.
    """
    if offset(of, high) == ahead:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if offset(of, middle) == ahead:
            low = middle
        else:
            high = middle
    return high


def first_instant(of: tzinfo, reading: datetime) -> int:
    """When the clocks first show `reading`; if they skip it, when they are put forward.

    Readings are written in UTC, as those of a clock that is never changed.
    """
    count = int(reading.timestamp())
    by_old = count - _seconds(reading.replace(tzinfo=of).utcoffset())
    ahead = offset(of, by_old)
    if count - ahead == by_old:
        return by_old
    earlier = count - ahead
    put_forward = change(of, earlier, by_old, offset(of, earlier))
    return by_old if put_forward is None else put_forward


def _seconds(ahead: timedelta | None) -> int:
    return 0 if ahead is None else ahead // timedelta(seconds=1)


def _hint(name: str) -> str:
    known = _known_names()
    if not known:
        return "this machine has none but UTC; install tzdata (the system's package, or pip's)"
    alike = get_close_matches(name.lower(), known, n=1)
    return f'did you mean "{known[alike[0]]}"?' if alike else 'write "UTC" or "Europe/Paris"'


@lru_cache(maxsize=1)
def _known_names() -> dict[str, str]:
    """The zones by their names and by their cities, in lower case."""
    zones = sorted(available_timezones() - _NOT_ZONES)
    cities = {zone.rpartition("/")[2].lower(): zone for zone in zones}
    return cities | {zone.lower(): zone for zone in zones}
