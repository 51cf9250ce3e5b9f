"""Cron expressions: what they match is cronsim's to say, what is wrong with one is ours."""

import re
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

from backline.display import shown
from backline.errors import ConfigError
from backline.schedule.rule import LONGEST_CRON

FIELDS: Final = {
    "minute": '0-59, as in "*/5 * * * *"',
    "hour": '0-23, as in "0 9-17 * * *"',
    "day-of-month": '1-31, L or LW, as in "0 0 L * *"',
    "month": '1-12 or jan-dec, as in "0 0 1 jan,jul *"',
    "day-of-week": '0-7 or sun-sat (0 and 7 are Sunday), 5L or fri#2, as in "0 3 * * mon-fri"',
}
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def readings(expression: str, after: int) -> CronSim:
    """The times of day and date after `after` that match, in order.

    Here they are readings of a clock that is never changed, and so are written in UTC; `after`
    counts seconds from 1970 on it. Ends when nothing matches for fifty years.

    Raises ConfigError for what is no expression of five fields.
    """
    fields = expression.split()
    if len(expression) > LONGEST_CRON:
        raise ConfigError(f"a cron expression has at most {LONGEST_CRON} characters")
    if len(fields) != len(FIELDS):
        raise ConfigError(f"cron {shown(expression)} {_miscounted(fields)}")
    try:
        return CronSim(expression, datetime.fromtimestamp(after, UTC))
    except CronSimError as error:
        complaint = _complaint(fields, str(error).removeprefix("Bad "))
        raise ConfigError(f"cron {shown(expression)}: {complaint}") from None


def is_wildcard(expression: str) -> bool:
    """Whether it follows real time when the clocks change, in place of running once."""
    return any(field.startswith("*") for field in expression.split()[:2])


def _miscounted(fields: list[str]) -> str:
    nickname = _NICKNAMES.get(fields[0].lower()) if len(fields) == 1 else None
    if nickname:
        return f'is written "{nickname}"'
    found = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
    seconds = '; for less than a minute use every="30s"' if len(fields) > len(FIELDS) else ""
    return (
        f"has {found} of 5 (minute, hour, day of month, month, weekday), "
        f'for example "0 3 * * *"{seconds}'
    )


def _complaint(fields: list[str], name: str) -> str:
    if name not in FIELDS:
        return name
    written = fields[list(FIELDS).index(name)]
    if name == "day-of-month" and re.fullmatch("30|31", written):
        return f'no such month has a day {written}; the last day of a month is "0 0 L * *"'
    return f"{name} {shown(written)} is not {FIELDS[name]}"
