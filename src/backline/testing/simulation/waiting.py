"""The invariants of waits: over once, by the first event of their key, and by no time if that
came before it."""

from collections.abc import Iterator

from backline.job import Micros
from backline.testing.simulation.history import Event, What
from backline.testing.simulation.trace import Life, Trace, number


def i17_waits_end_once(trace: Trace) -> Iterator[str]:
    """Each run that comes to a wait gets the same: the first event, or none."""
    for life in trace.lives.values():
        if len({event.note["event"] for event in life.heard}) > 1:
            yield f"{life.id} got several ends of one wait"
        for event in life.heard:
            first = trace.told.get(str(event.note["key"]))
            if event.note["event"] is None:
                if first is not None and first.seq < event.seq and _in_time(trace, life, first):
                    yield f"{life.id} did not hear of {first.note['event']}, which came in time"
            elif first is None or first.seq > event.seq:
                yield f"{life.id} heard of {event.note['event']} before it was told"
            elif first.note["event"] != event.note["event"]:
                yield f"{life.id} heard of {event.note['event']}, which was not the first"


def woken(trace: Trace, life: Life, ack: Event, start: Event) -> bool:
    """What this ack made the job wait for came before this run began."""
    key = _awaited(life, ack)
    first = None if key is None else trace.told.get(key)
    return first is not None and first.seq < start.seq


def _in_time(trace: Trace, life: Life, told: Event) -> bool:
    """It came before the wait, or certainly before its end."""
    if any(edit.note["due"] is not None for edit in life.edits):
        return False  # which has moved the end
    parked = next((ack for ack in life.applied if _awaited(life, ack) is not None), None)
    if parked is None:
        return False
    until: Micros = parked.wall + number(parked, "delay")
    return told.seq < parked.seq or trace.highest_wall(parked.seq, told.seq) < until


def _awaited(life: Life, ack: Event) -> str | None:
    """The key of the event that the run waits for of which this is the end."""
    attempt = None if ack.what is not What.ACKED else life.attempt(ack.attempt)
    if attempt is None or not attempt.ends or ack.who != attempt.worker:
        return None
    key = attempt.ends[-1].note.get("awaits")
    return None if key is None else str(key)
