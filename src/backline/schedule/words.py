"""Rules as a line for people."""

import re

from backline import duration
from backline.display import iso, safe
from backline.errors import ConfigError
from backline.job import SECOND, Micros
from backline.schedule.expression import FIELDS, readings
from backline.schedule.rule import Every, Rule

_MOST = 100


def in_words(rule: Rule) -> str:
    """ "every day at 03:00, Europe/Paris", "every 30s": printable, on one line.

    The bare expression where words would be long or would say something else, and for a
    stored rule that is damaged.
    """
    if isinstance(rule, Every):
        since = f" from {iso(rule.start)}" if rule.start else ""
        return f"every {_length(rule.interval)}{since}"
    words = _explained(rule.expression) or f"cron {safe(rule.expression)}"
    return f"{words}, {safe(rule.tz)}"


def _length(interval: Micros) -> str:
    text = duration.text(interval)
    try:
        exact = duration.micros(text) == interval
    except ValueError:  # damage: longer than any that can be given
        exact = False
    return text if exact else f"{interval / SECOND:.15g} s"


def _explained(expression: str) -> str | None:
    fields = expression.split()
    if len(fields) != len(FIELDS) or not _can_be_said(*fields):
        return None
    try:
        words = readings(expression, 0).explain()
    except ConfigError:
        return None
    words = re.sub(r"\b([2-5])([123])th\b", _ordinal, words)
    words = re.sub(r"^At (.+?) (every day\b.*)$", r"\2 at \1", words)
    return f"{words[:1].lower()}{words[1:]}" if len(words) <= _MOST else None


def _can_be_said(minute: str, hour: str, day: str, month: str, weekday: str) -> bool:
    """Whether cronsim's words are those that a reader would take for the expression.

    They are not for uneven steps ("every seventh minute" starts anew each hour), for a day
    "and" a weekday of which either will do, and for a star in a list.
    """
    either = not (day.startswith("*") or weekday.startswith("*"))
    starred = any("," in field and "*" in field for field in (minute, hour, day, month, weekday))
    even = all(
        int(step) > 0 and period % int(step) == 0
        for field, period in ((minute, 60), (hour, 24), (month, 12))
        for step in re.findall("/([0-9]+)", field)
    )
    return even and not either and not starred and "/" not in day + weekday


def _ordinal(found: re.Match[str]) -> str:
    tens, ones = found.groups()
    return tens + ones + {"1": "st", "2": "nd", "3": "rd"}[ones]
