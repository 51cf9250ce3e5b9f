"""What to do about the slots that have come: on time, after an outage, after a clock's step."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from backline.errors import ConfigError
from backline.job import MINUTE, Micros
from backline.schedule.rule import Rule
from backline.schedule.slots import next_slot

GRACE: Final[Micros] = MINUTE
"""A slot that is looked at this late is not missed yet: a restart, a busy host, a slow disk.
Unless the next one has come: else an outage would make a burst of each short interval."""
SLOTS_AT_ONCE: Final = 100
MOST_MISSED: Final = 1_000
"""As many slots a catch-up uses at the most, the newest: a month of minutes, say, is 43,200."""


class Missed(StrEnum):
    """What becomes of the slots that nobody looked at within `GRACE`, or before the next one."""

    SKIP = "skip"
    """They are left out."""
    ONCE = "once"
    """The newest slot that has come stands for all before it."""
    ALL = "all"
    """Each is used, the oldest first; of more than `MOST_MISSED` the newest."""


class Due(Struct, frozen=True):
    """What a look at a schedule found.

    Each of `slots`, oldest first, is to be used once. `last` and `next` are to be stored in
    the same commit: every slot up to `last` is dealt with, and `next` is None if no other
    will come. `left_out`: the first and the last of the slots that were missed, if any were
    and the policy uses them no more.
    """

    slots: tuple[Micros, ...]
    last: Micros
    next: Micros | None
    left_out: tuple[Micros, Micros] | None = None


def due_slots(
    rule: Rule,
    last: Micros,
    now: Micros,
    missed: Missed = Missed.SKIP,
    *,
    limit: int = SLOTS_AT_ONCE,
    grace: Micros = GRACE,
    most: int = MOST_MISSED,
) -> Due:
    """Which slots of (last, now] to use, at most `limit`, and where that leaves the schedule.

    `last` is what the look before returned; at first, when the schedule was made. No slot up
    to it is given out again, wherever the wall clock is put: one that was put back makes the
    schedule wait until it has passed `last`. A slot is missed when it is more than `grace`
    old, or the next one has come; of all that were missed, the newest `most` can be used. With
    more slots due than `limit`, `next` is not after `now`: look again at once.

    A pause is an outage like any other. To leave out its slots whatever the policy, go on
    with the instant of the resume as `last`.

    The work is bounded however long the outage was. Raises ConfigError as `next_slot` does.
    """
    if limit < 1:
        raise ConfigError(f"limit is at least 1 slot, not {limit}")
    first = next_slot(rule, last)
    if first is None or first > now:
        return Due((), last, first)
    if missed is Missed.ALL:
        slots = _newest_slots(rule, last, now, most)[:limit]
    else:
        newest = _newest(rule, first, now)
        slots = (newest,) if missed is Missed.ONCE or now - newest <= grace else ()
    dealt_with = slots[-1] if slots else now
    return Due(
        slots,
        dealt_with,
        next_slot(rule, dealt_with),
        _left_out(rule, first, slots[0] - 1 if slots else now),
    )


def _left_out(rule: Rule, first: Micros, until: Micros) -> tuple[Micros, Micros] | None:
    return (first, _newest(rule, first, until)) if first <= until else None


def _slots(rule: Rule, after: Micros, until: Micros, limit: int) -> tuple[Micros, ...]:
    """The first `limit` slots of (after, until]."""
    slots: list[Micros] = []
    slot = next_slot(rule, after)
    while slot is not None and slot <= until and len(slots) < limit:
        slots.append(slot)
        slot = next_slot(rule, slot)
    return tuple(slots)


def _newest_slots(rule: Rule, after: Micros, until: Micros, count: int) -> tuple[Micros, ...]:
    """The last `count` slots of (after, until].

    A rule tells only what comes next, so this goes back by steps, each of a length that holds
    no more slots than are wanted: twice that of the last, and half of one that held too many.
    """
    found = _slots(rule, after, until, count + 1)
    if len(found) <= count:
        return found
    found = ()
    step = MINUTE
    while len(found) < count and until > after:
        low = max(after, until - step)
        slots = _slots(rule, low, until, count + 1)
        if len(slots) > count:
            step //= 2
        else:
            found, until, step = slots + found, low, 2 * step
    return found[-count:]


def _newest(rule: Rule, known: Micros, until: Micros) -> Micros:
    """The last slot up to `until`, given one: by halving what is left, not by counting up."""
    high = until
    while (following := next_slot(rule, known)) is not None and following <= until:
        middle = (following + high) // 2
        ahead = next_slot(rule, middle)
        if ahead is not None and ahead <= until:
            known = ahead
        else:
            known, high = following, middle
    return known
