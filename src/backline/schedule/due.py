"""What to do about the slots that have come: on time, after an outage, after a clock's step."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from backline.errors import ConfigError
from backline.job import MINUTE, Micros
from backline.schedule.rule import Rule
from backline.schedule.slots import next_slot

GRACE: Final[Micros] = MINUTE
"""A slot that is looked at this late is not missed yet: a restart, a busy host, a slow disk."""
SLOTS_AT_ONCE: Final = 100


class Missed(StrEnum):
    """What becomes of the slots that nobody looked at within `GRACE`."""

    SKIP = "skip"
    """They are left out."""
    ONCE = "once"
    """The newest stands for all of them, unless a later one is due on time."""
    ALL = "all"
    """Each is used, the oldest first."""


class Due(Struct, frozen=True):
    """What a look at a schedule found.

    Each of `slots`, oldest first, is to be used once. `last` and `next` are to be stored in
    the same commit: every slot up to `last` is dealt with, and `next` is None if no other
    will come. `skipped` says that the policy has left slots out.
    """

    slots: tuple[Micros, ...]
    last: Micros
    next: Micros | None
    skipped: bool = False


def due_slots(
    rule: Rule,
    last: Micros,
    now: Micros,
    missed: Missed = Missed.SKIP,
    *,
    limit: int = SLOTS_AT_ONCE,
    grace: Micros = GRACE,
) -> Due:
    """Which slots of (last, now] to use, at most `limit`, and where that leaves the schedule.

    `last` is what the look before returned; at first, when the schedule was made. No slot up
    to it is given out again, wherever the wall clock is put: one that was put back makes the
    schedule wait until it has passed `last`. A slot is missed when it is more than `grace`
    old. With more slots due than `limit`, `next` is not after `now`: look again at once.

    A pause is an outage like any other. To leave out its slots whatever the policy, go on
    with the instant of the resume as `last`.

    The work is bounded however long the outage was. Raises ConfigError as `next_slot` does.
    """
    if limit < 1:
        raise ConfigError(f"limit is at least 1 slot, not {limit}")
    first = next_slot(rule, last)
    if first is None or first > now:
        return Due((), last, first)
    on_time = last if missed is Missed.ALL else max(last, now - grace - 1)
    slots = _slots(rule, on_time, now, limit)
    if not slots and missed is Missed.ONCE:
        slots = (_newest(rule, first, now),)
    dealt_with = slots[-1] if slots else now
    return Due(
        slots, dealt_with, next_slot(rule, dealt_with), skipped=not slots or slots[0] > first
    )


def _slots(rule: Rule, after: Micros, until: Micros, limit: int) -> tuple[Micros, ...]:
    """The first `limit` slots of (after, until]."""
    slots: list[Micros] = []
    slot = next_slot(rule, after)
    while slot is not None and slot <= until and len(slots) < limit:
        slots.append(slot)
        slot = next_slot(rule, slot)
    return tuple(slots)


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
