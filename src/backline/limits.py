"""Formulas of flow control over figures of the store: pure, no I/O.

**Rates** follow the generic cell rate algorithm (GCRA, ITU-T I.371, annex A): a key has an
arrival time, on the store's ticks, which each start moves on by one interval. How far that
time lies ahead of now says how much of the burst is used up.
"""

from typing import Final

from backline.job import FARTHEST, MOST_AT_ONCE, Micros, Pacing

SHORTEST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 3_600.0


def retry_after(depth: int, max_depth: int, jobs: int, drain_rate: float) -> float | None:
    """Seconds until a queue that drains at `drain_rate` jobs per second has room for `jobs`.

    None if nothing has left it lately, or if that many never fit. Never below
    `SHORTEST_RETRY`: room for a refused call may be gone again when it comes back.
    """
    if drain_rate <= 0 or jobs > max_depth:
        return None
    excess = max(0, depth + jobs - max_depth)
    return min(LONGEST_RETRY, max(SHORTEST_RETRY, excess / drain_rate))


def startable(pacing: Pacing, arrival: Micros, tick: Micros) -> int:
    """How many starts the rate allows now, from 0 to `pacing.burst`."""
    ahead = max(0, arrival - tick)
    return max(0, pacing.burst - -(-ahead // max(1, pacing.interval)))


def started(pacing: Pacing, arrival: Micros, tick: Micros, count: int) -> Micros:
    """The arrival time after `count` starts at `tick`: a pause before them saves up nothing."""
    return min(max(arrival, tick) + count * pacing.interval, FARTHEST)


def repaced(old: Pacing, new: Pacing, arrival: Micros, tick: Micros) -> Micros:
    """The arrival time once another rate holds: as many starts are used up as were."""
    ahead = max(0, arrival - tick)
    if not ahead or new == old:
        return arrival
    used = min(-(-ahead // max(1, old.interval)), MOST_AT_ONCE)
    return min(tick + used * new.interval, FARTHEST)


def opens_at(pacing: Pacing, arrival: Micros, count: int) -> Micros | None:
    """The tick from which on `count` starts are allowed; None: so many never are."""
    if count > pacing.burst:
        return None
    return arrival - (pacing.burst - count) * pacing.interval
