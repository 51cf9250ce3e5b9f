"""The invariants of steps: what is recorded is not done again, and is what later runs get."""

from collections.abc import Iterator

from backline.testing.simulation.history import Event, What
from backline.testing.simulation.plan import How
from backline.testing.simulation.trace import Attempt, Life, Trace


def once_recorded_never_again(trace: Trace) -> Iterator[str]:
    """A step that is recorded is done by no later attempt, and by the same one no more.

    A run whose record was refused does nothing further.
    """
    for life in trace.lives.values():
        recorded = _recorded(life)
        refused: dict[int, Event] = {}
        for event in life.steps:
            name = f"{life.id} attempt {event.attempt}"
            if event.what is What.RECORDED and not event.note["ok"]:
                refused.setdefault(event.attempt, event)
            if event.what is not What.EFFECT:
                continue
            if event.attempt in refused:
                yield f"{name} went on to {event.note['step']} without its lease"
            record = recorded.get(str(event.note["step"]))
            attempt = life.attempt(event.attempt)
            if record is None or attempt is None or record.seq > event.seq:
                continue
            if event.attempt == record.attempt or attempt.leased.seq > record.seq:
                yield f"{name} did {event.note['step']} again, recorded by {record.attempt}"


def steps_return_what_was_recorded(trace: Trace) -> Iterator[str]:
    """What a step returns is on record, and a run that went through had each of its steps."""
    for life in trace.lives.values():
        recorded = _recorded(life)
        for event in life.steps:
            record = recorded.get(str(event.note["step"]))
            if event.what is not What.GOT:
                continue
            if record is None or record.seq > event.seq or event.note["by"] != record.attempt:
                yield f"{life.id} got {event.note['step']} of attempt {event.note['by']}"
        for attempt in life.attempts:
            if any(end.note["how"] == How.OK for end in attempt.ends):
                yield from _missing(life, attempt)


def _missing(life: Life, attempt: Attempt) -> Iterator[str]:
    got = {e.note["step"] for e in life.steps if e.what is What.GOT and e.attempt == attempt.number}
    for step in {e.note["step"] for e in life.steps if e.what is What.EFFECT} - got:
        yield f"{life.id} attempt {attempt.number} succeeded without {step}"


def _recorded(life: Life) -> dict[str, Event]:
    """The first record of each step."""
    found: dict[str, Event] = {}
    for event in life.steps:
        if event.what is What.RECORDED and event.note["ok"]:
            found.setdefault(str(event.note["step"]), event)
    return found
