"""Lengths of time as people write them, and as Backline counts them."""

import re
from datetime import timedelta
from typing import Final, TypeAlias

Duration: TypeAlias = float | timedelta | str
"""Seconds, a timedelta, or text such as "500ms", "90s", "5m", "1h30m", "7d"."""

_UNITS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
_LONGEST: Final = 100 * 366 * _UNITS["d"]
_MOST: Final = 100
"""Characters of a text that is looked at: the search for its parts takes their square."""


def micros(length: Duration) -> int:
    """A duration in microseconds.

    Raises ValueError for text that is no duration, for a negative one, for NaN, and for
    more than a hundred years; TypeError for anything else.
    """
    if isinstance(length, bool) or not isinstance(length, int | float | timedelta | str):
        kind = type(length).__qualname__
        raise TypeError(f'seconds, a timedelta or a text such as "5m" is wanted, not a {kind}')
    if isinstance(length, timedelta):
        count = length / timedelta(microseconds=1)
    elif isinstance(length, str):
        count = _parse(length)
    else:
        count = _seconds(length) * 1_000_000
    if not 0 <= count <= _LONGEST:
        given = f"{length:g} s" if isinstance(length, float) else f"{length!s:.40}"
        raise ValueError(f"a duration is between 0 and 100 years, not {given}")
    return round(count)


def text(count: int) -> str:
    """Microseconds as people write them: "1.5s", "5m", "2h30m"."""
    if count < _UNITS["s"]:
        return f"{count / 1_000:g}ms"
    if count < _UNITS["m"]:
        return f"{count / 1_000_000:.3g}s"
    parts: list[str] = []
    rest = round(count / _UNITS["s"]) * _UNITS["s"]
    for unit in ("d", "h", "m", "s"):
        whole, rest = divmod(rest, _UNITS[unit])
        if whole:
            parts.append(f"{whole}{unit}")
    return "".join(parts[:2])


def _seconds(given: float) -> float:
    try:
        return float(given)
    except OverflowError:  # an int too large to be even shown
        raise ValueError("a duration is between 0 and 100 years, not a number so large") from None


def _parse(given: str) -> float:
    if len(given) > _MOST:
        raise ValueError(f"a text of {len(given):,} characters is no duration; write '1h30m'")
    compact = given.replace(" ", "").lower()
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{given!r} is no duration; write 90, '90s', '5m', '1h30m' or '7d'")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
