"""The invariants of time: nothing begins early, and what is over is settled soon."""

from collections.abc import Iterator
from typing import Final

from backline.job import REPLACED_KEEP, SECOND, Backoff, Charge, Micros
from backline.states import State
from backline.testing.simulation.history import Event, What
from backline.testing.simulation.plan import How
from backline.testing.simulation.trace import Life, Trace, number
from backline.testing.simulation.waiting import woken

SLACK: Final[Micros] = 4 * SECOND
"""How long settling a lease that is over, or telling of a cancel, may take in quiet times."""
PUT_BACK: Final = (1, 2, 4, 8, 16, 32, 60)
"""Seconds that a job of an unknown task waits after its n-th release."""


def c13_not_early(trace: Trace) -> Iterator[str]:
    """No run begins before its time, by the store's clock; retries wait as their rule says."""
    for life in trace.lives.values():
        if life.added is None:
            continue
        first = life.request.due(life.added.wall, _first_under_its_key(trace, life))
        waits: list[tuple[Event, Micros]] = [(life.added, first)]
        for ack in life.applied:
            low, high = _wait_after(life, ack)
            if not low <= number(ack, "delay") <= high:
                yield f"{life.id} waits {ack.note['delay']} µs, not {low} to {high}"
            if ack.note["state"] == State.SCHEDULED:
                waits.append((ack, ack.wall + low))
        edits = [edit for edit in life.edits if edit.note["due"] is not None]
        waits += [(edit, number(edit, "due")) for edit in edits]
        for event, due in waits:
            later = (a.leased for a in life.attempts if a.leased.seq > event.seq)
            start = next(later, None)
            free = any(event.seq < e.seq for e in life.redrives) or (
                start is not None and woken(trace, life, event, start)
            )
            if start is None or free or any(event.seq < e.seq < start.seq for e in edits):
                continue
            if trace.highest_wall(event.seq, start.seq) < due:
                yield f"{life.id} attempt {start.attempt} began {due - start.wall} µs early"


def _first_under_its_key(trace: Trace, life: Life) -> Micros:
    """Its `max_wait` counts from no earlier time; from which, the model says."""
    return min(
        other.added.wall
        for other in trace.lives.values()
        if other.added is not None
        and (other is life or other.request.unique_key == life.request.unique_key)
    )


def _wait_after(life: Life, ack: Event) -> tuple[Micros, Micros]:
    """The shortest and the longest delay that an ack may carry."""
    if ack.note["state"] != State.SCHEDULED:
        return 0, 0
    before = [a for a in life.applied if a.seq < ack.seq]
    redriven = max((e.seq for e in life.redrives if e.seq < ack.seq), default=-1)
    attempt = life.attempt(ack.attempt)
    own = attempt is not None and attempt.ends and ack.who == attempt.worker
    end = attempt.ends[-1] if attempt is not None and own else None
    if ack.note["charge"] == Charge.RELEASE:
        count = sum(a.note["charge"] == Charge.RELEASE for a in before)
        wait = PUT_BACK[min(count, len(PUT_BACK) - 1)] * SECOND
        return wait, wait
    if end is not None and end.note["how"] in (How.LATER, How.SNOOZE, How.SLEEP):
        return number(end, "wait"), number(end, "wait")
    failures = sum(a.note["charge"] == Charge.FAILURE and a.seq > redriven for a in before)
    return _backoff(life.request.terms.backoff, failures + 1)


def _backoff(rule: Backoff, failures: int) -> tuple[Micros, Micros]:
    if rule.delays:
        wait = rule.delays[min(failures, len(rule.delays)) - 1]
        return wait, wait
    wait = rule.base
    for _ in range(failures - 1):
        wait = min(rule.cap, round(wait * rule.factor))
    wait = min(wait, rule.cap)
    return (0 if rule.jitter else wait - 1), wait + 1


def c14_recovery(trace: Trace) -> Iterator[str]:
    """A lease that is over is settled soon, as soon as anybody can."""
    for life in trace.lives.values():
        for attempt in life.attempts:
            late = min(attempt.over, trace.events[-1].tick) - attempt.until
            allowed = SLACK + trace.slowest
            if late > allowed and late > allowed + trace.disturbed(
                attempt.until, attempt.until + late
            ):
                yield f"{life.id} attempt {attempt.number} was settled {late / SECOND:.1f} s late"


def clean_stop(trace: Trace) -> Iterator[str]:
    """A worker that stopped by itself gave back whatever it held, if the store was there."""
    if not trace.stopped:
        yield "a supervisor did not stop when it was told to"
    stops = {event.who: event for event in trace.events if event.what is What.STOPPED}
    for life in trace.lives.values():
        for attempt in life.attempts:
            stop = stops.get(attempt.worker)
            if stop is None or trace.hurt(attempt.worker, attempt.leased.tick, stop.tick):
                continue
            if attempt.settled is None or attempt.settled.seq > stop.seq:
                yield f"{attempt.worker} stopped with attempt {attempt.number} of {life.id}"


def time_limit(trace: Trace) -> Iterator[str]:
    """A run past its time limit is stopped soon, unless its process stood still."""
    for life in trace.lives.values():
        for attempt in life.attempts:
            if not attempt.runs or not attempt.ends:
                continue
            begin, end = attempt.runs[0].tick, attempt.ends[0].tick
            late = end - begin - life.request.terms.timeout
            stood = any(w.who == attempt.worker and w.begin <= end for w in trace.windows)
            if late > SLACK and not stood and not trace.hurt(attempt.worker, begin, end):
                yield f"{life.id} attempt {attempt.number} ran {late / SECOND:.1f} s too long"


def time_to_live(trace: Trace) -> Iterator[str]:
    """Nothing starts for the first time past its expiry, and nothing is swept too soon."""
    for life in trace.lives.values():
        limit = life.request.expires_in
        if life.added is not None and limit is not None and life.attempts and not life.redrives:
            late = life.attempts[0].leased.wall - life.added.wall - limit
            if late >= 0:
                yield f"{life.id} began {late} µs after it had expired"
        if life.purged is not None and life.purged.note["by"] == "sweep":
            yield from _swept(trace, life, life.purged)


def _swept(trace: Trace, life: Life, purged: Event) -> Iterator[str]:
    ends = [end for end in life.ends() if end.seq < purged.seq]
    if not ends:
        return  # see C1
    end = max(ends, key=lambda event: event.seq)
    terms = life.request.terms
    keep = terms.keep_dead if end.note.get("state") == State.DEAD else terms.keep
    if end.what is What.REPLACED and not life.attempts:
        keep = min(keep, REPLACED_KEEP)
    left = end.wall + keep - trace.highest_wall(end.seq, purged.seq)
    if left > 0:
        yield f"{life.id} was swept {left} µs before its time"
