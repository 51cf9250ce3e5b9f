"""The slots of a rule, one after the other.

The calendar of a cron expression is cronsim's (Debian's cron, with L and #). The changes of
the clocks are ours, since cronsim sees them right only when it is stepped from slot to slot
through a change of a whole hour, on the hour: asked anew within a repeated hour it answers
with the past, and where clocks change by half an hour or at a minute past it loses slots. So
cronsim is given the readings of a clock that is never changed, and two rules turn readings
into instants:

- *Fixed* (neither the minute nor the hour starts with `*`): a reading that clocks show twice
  counts the first time; what they skip counts when they are put forward, and is one slot
  however many readings it is.
- *Wildcard* (one of them does): each real minute whose reading matches. `*/15 * * * *` goes
  on through the repeated hour, and what is skipped never was.
"""

from datetime import UTC, datetime, tzinfo
from typing import Final

from backline.errors import ConfigError
from backline.job import SECOND, Micros
from backline.schedule.clocks import STRIDE, change, first_instant, offset, zone
from backline.schedule.expression import is_wildcard, readings
from backline.schedule.rule import SHORTEST_EVERY, Cron, Every, Rule

LAST_SLOT: Final[Micros] = int(datetime(9900, 1, 1, tzinfo=UTC).timestamp()) * SECOND
"""No slot is later. Far enough from the last year of the calendar that no search runs into it."""


def next_slot(rule: Rule, after: Micros) -> Micros | None:
    """The first slot strictly after `after`; None if there is none.

    Bounded work: some milliseconds at the most. Raises ConfigError for a stored rule that
    cannot work here, see `backline.schedule.rule`.
    """
    after = max(after, -1)
    if after >= LAST_SLOT:
        return None
    slot = _next_every(rule, after) if isinstance(rule, Every) else _next_cron(rule, after)
    return None if slot is None or slot > LAST_SLOT else slot


def _next_every(rule: Every, after: Micros) -> Micros:
    if rule.interval < SHORTEST_EVERY:
        raise ConfigError(
            f"the interval of a schedule is at least a second, not {rule.interval} µs"
        )
    count = (after - rule.start) // rule.interval + 1
    return rule.start + max(0, count) * rule.interval


def _next_cron(rule: Cron, after: Micros) -> Micros | None:
    find = _next_wildcard if is_wildcard(rule.expression) else _next_fixed
    found = find(rule.expression, zone(rule.tz), after // SECOND)
    return None if found is None else found * SECOND


def _next_fixed(expression: str, of: tzinfo, after: int) -> int | None:
    for reading in readings(expression, after + offset(of, after)):
        found = first_instant(of, reading)
        if found > after:  # else `after` lies in a repeated hour, and that was the first time
            return found
    return None


def _next_wildcard(expression: str, of: tzinfo, after: int) -> int | None:
    """From one change of the clocks to the next: between two, readings follow real time."""
    ahead = offset(of, after)
    while (reading := next(readings(expression, after + ahead), None)) is not None:
        found = int(reading.timestamp()) - ahead
        seen = min(found, after + STRIDE)
        changed = change(of, after, seen, ahead)
        if changed is not None:
            after, ahead = changed - 1, offset(of, changed)
        elif seen == found:
            return found
        else:  # until shortly before `found` clocks show nothing that matches, changed or not
            after = max(seen, found - STRIDE)
            ahead = offset(of, after)
    return None
