"""Limits as people write them, and what a job carries of them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from backline.display import shown
from backline.duration import micros
from backline.errors import ConfigError
from backline.job import DAY, MOST_AT_ONCE, SECOND, Limits, Micros, OnPoison, Pacing
from backline.task.keys import WITHOUT_UNIQUE_KEY, UniqueKey, key_of

if TYPE_CHECKING:
    from backline.task.options import TaskOptions

LIMIT_OPTIONS: Final = (
    "concurrency_key",
    "concurrency",
    "on_poison",
    "rate_key",
    "rate",
    "burst",
    "weight",
)

_PARTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "concurrency": {"concurrency_key": None, "on_poison": OnPoison.SKIP},
    "rate": {"rate_key": None, "burst": None, "weight": 1},
    "unique_key": WITHOUT_UNIQUE_KEY,
}
"""What says more of a limit or a key, and what it is where there is none."""
_RATE: Final = re.compile(r"([0-9]+)/([0-9]*[a-z]+)")
_SLOWEST: Final[Micros] = 366 * DAY
_LATENESS: Final[Micros] = SECOND // 5
"""A start may come so late without a loss: what it missed is made up for by the burst."""


def interval_of(value: object) -> Micros:
    """The time between two starts of a rate: "100/m", "5/s", "1/10m". Never a faster one.

    Raises TypeError, ValueError.
    """
    if not isinstance(value, str):
        raise TypeError(f'a text such as "100/m" is wanted, not {shown(value)}')
    parts = _RATE.fullmatch(value.replace(" ", "").lower())
    if parts is None:
        raise ValueError(f'{shown(value)} is no rate; write "10/s", "100/m", "5/h" or "1/10m"')
    count, per = int(parts[1]), parts[2]
    period = micros(per if per[0].isdigit() else f"1{per}")
    if not 1 <= count <= period:
        raise ValueError(f"{shown(value)} is no rate: from 1 to one each microsecond is possible")
    interval = -(-period // count)
    if interval > _SLOWEST:
        raise ValueError(f"{shown(value)} is slower than one a year")
    return interval


def burst_of(interval: Micros) -> int:
    """How many may start at once unless the user says so: one, or for a fast rate what makes up
    for starts that come late.
    """
    if interval >= _LATENESS:
        return 1
    return min(MOST_AT_ONCE, 1 + -(-_LATENESS // interval))


def pacing_of(interval: Micros | None, burst: int | None) -> Pacing | None:
    """A rate with its burst; None: there is none."""
    if interval is None:
        return None
    return Pacing(interval, burst_of(interval) if burst is None else burst)


def lifted(given: Mapping[str, object]) -> dict[str, Any]:
    """What goes with the limits and the key that are None, unless it is given beside them."""
    gone = (parts for name, parts in _PARTS.items() if name in given and given[name] is None)
    return {name: none for parts in gone for name, none in parts.items() if name not in given}


def check_limits(options: "TaskOptions", where: str) -> None:
    """Raises ConfigError for limits that contradict each other."""
    limited = options.concurrency is not None or options.concurrency_key is not None
    if options.on_poison is OnPoison.BLOCK and not (limited and options.concurrency in (None, 1)):
        raise ConfigError(f'on_poison="block" of {where} needs concurrency=1')
    if options.rate is None:
        for name in ("rate_key", "burst"):
            if getattr(options, name) is not None:
                raise ConfigError(f"{name}= of {where} needs a rate=")
        if options.weight != 1:
            raise ConfigError(f"weight= of {where} needs a rate=")
        return
    pacing = pacing_of(options.rate, options.burst)
    if pacing is not None and options.weight > pacing.burst:
        raise ConfigError(
            f"weight={options.weight} of {where} is more than may ever start at once; give "
            f"burst= of at least that (it is {pacing.burst})"
        )


def limits_of(
    options: "TaskOptions", task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Limits | None:
    """What limits a job of the task with these arguments; None: nothing.

    A key that is not given is the task's own. Raises InvalidArguments for a key that cannot be.
    """
    limited = options.concurrency is not None or options.concurrency_key is not None
    key = _key(options.concurrency_key, "concurrency_key", task, args, kwargs) if limited else None
    pacing = pacing_of(options.rate, options.burst)
    rate_key = None if pacing is None else _key(options.rate_key, "rate_key", task, args, kwargs)
    if key is None and rate_key is None:
        return None
    return Limits(
        key=key,
        slots=options.concurrency or 1,
        on_poison=options.on_poison,
        rate_key=rate_key,
        pacing=Pacing(0) if pacing is None or rate_key is None else pacing,
        weight=options.weight,
    )


def fair_key_of(
    options: "TaskOptions", task: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str | None:
    """Whose a job of the task with these arguments is; None: nobody's in particular.

    Raises InvalidArguments for a key that cannot be.
    """
    if options.fair_key is None:
        return None
    return _key(options.fair_key, "fair_key", task, args, kwargs)


def _key(
    key: UniqueKey | None,
    option: str,
    task: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> str | None:
    if key is None:
        return task
    return key_of(key, option, task, args, kwargs) if callable(key) else key
