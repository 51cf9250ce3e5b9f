"""Rules as people write them, checked."""

from datetime import UTC, datetime, timedelta
from typing import Final

from backline import duration
from backline.display import shown
from backline.duration import Duration
from backline.errors import ConfigError
from backline.schedule.clocks import zone
from backline.schedule.expression import readings
from backline.schedule.rule import LONGEST_CRON, SHORTEST_EVERY, Cron, Every
from backline.schedule.slots import next_slot

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = "write datetime(2030, 1, 1, 6, tzinfo=UTC)"


def cron(expression: str, *, tz: str = "UTC") -> Cron:
    """A rule of five fields: minute, hour, day of month, month, weekday.

    Fields take numbers, `*`, ranges, lists and steps; months and weekdays names, too; days
    `L` and `LW` (the last one, the last from Monday to Friday); weekdays `5L` and `5#2` (the
    last Friday, the second). When a day and a weekday are given either will do, unless one of
    them starts with `*`. `tz` is the name of an IANA zone.

    A fixed time that the clocks skip in spring runs once, when they are put forward, and one
    that they show twice runs the first time. If the minute or the hour starts with `*`, the
    schedule follows real time: it runs whenever clocks show a time that matches.

    Raises ConfigError for what is no such expression or never matches, and for a zone that
    this machine does not know.
    """
    if not isinstance(expression, str):
        raise ConfigError(f'cron takes text such as "0 3 * * *", not {shown(expression)}')
    if not isinstance(tz, str):
        raise ConfigError(f'tz takes a name such as "Europe/Paris", not {shown(tz)}')
    if len(expression) > LONGEST_CRON:
        raise ConfigError(
            f"cron takes at most {LONGEST_CRON} characters, not {len(expression):,}; "
            'ranges and steps are shorter than lists: "0-30/5 9-17 * * mon-fri"'
        )
    rule = Cron(" ".join(expression.split()), tz)
    readings(rule.expression, 0)  # what is wrong with it comes first
    zone(tz)
    if next_slot(rule, 0) is None:
        raise ConfigError(
            f"cron {shown(rule.expression)} never matches; "
            'the last day of each month is "0 0 L * *", a leap day "0 0 29 2 *"'
        )
    return rule


def every(interval: Duration, *, start: datetime | None = None) -> Every:
    """A rule of one slot each `interval`, which is at least a second ("30s", "1h30m").

    Slots are the multiples of the interval from 1970 (UTC) or, with a `start`, from there on
    (see `Every`). Raises ConfigError for what is no such length, and for a start that is no
    instant: it needs its time zone.
    """
    try:
        length = duration.micros(interval)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'every={shown(interval)}: {error}; for example every="30s"') from None
    if length < SHORTEST_EVERY:
        raise ConfigError(f'every={shown(interval)} is under a second; for example every="30s"')
    if start is None:
        return Every(length)
    if not isinstance(start, datetime):
        raise ConfigError(f"start={shown(start)} is no instant; {_INSTANT}")
    if start.utcoffset() is None:
        raise ConfigError(f"start={shown(start)} has no time zone; {_INSTANT}")
    rule = Every(length, max(-1, (start - _EPOCH) // timedelta(microseconds=1)))
    if rule.start < 0 or next_slot(rule, 0) is None:
        raise ConfigError(f"start={shown(start)} does not lie between the years 1970 and 9900")
    return rule
