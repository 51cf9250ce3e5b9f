"""What a campaign must have seen: the rare branches, by name.

A simulation whose faults never strike where it matters holds every invariant and proves
nothing: "sometimes" assertions, over all seeds of a campaign, say that they did.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from backline.testing.simulation.history import Event, What
from backline.testing.simulation.plan import FAULT_POINTS, Act, How
from backline.testing.simulation.run import Report
from backline.testing.simulation.trace import Attempt, Life, Trace, number

_EVENTS: Final = tuple(what.value for what in What if what not in (What.DIFFERS, What.UNFORESEEN))
_OF_EVENTS: Final = (
    *(f"acked applied {state}" for state in ("succeeded", "dead", "cancelled", "ready")),
    "acked applied scheduled",
    *(f"acked {answer} succeeded" for answer in ("already", "lost")),
    *(f"charged {charge}" for charge in ("none", "failure", "loss", "release", "clean")),
    *(f"leased {lane}" for lane in ("main", "cell")),
    *(f"ended {how.value}" for how in How),
    *(f"cancel {answer}" for answer in ("cancelled", "requested", "ended", "unknown")),
    *(f"edit {answer}" for answer in ("edited", "running", "ended", "unknown")),
    *(f"purged by {by}" for by in ("sweep", "operator")),
    "several calls in one commit",
    "redriven in vain",
)
_FAULTS: Final = ("refused", "lost", "late", "repeated", "full", "delayed", "cut")


def rarities(report: Report) -> Iterator[str]:
    """The names of what happened in a run, as in `RARE`; some more than once."""
    for event in report.history.events:
        yield event.what.value
        yield from _of_event(event)
    yield from (f"final {job.state}" for job in report.trace.final.values())
    yield from (f"act {blow.act.value}" for blow in report.plan.blows)
    yield from (f"fault {name}" for name in report.struck)
    yield from (f"reached {point}" for point in report.reached)
    trace = report.trace
    for name, found in _OF_LIVES.items():
        if any(found(trace, life) for life in trace.lives.values()):
            yield name


def _of_event(event: Event) -> Iterator[str]:
    note = event.note
    match event.what:
        case What.ACKED:
            yield f"acked {note['answer']} {note['state']}"
            yield f"charged {note['charge']}"
        case What.LEASED:
            yield f"leased {note['lane']}"
        case What.ENDED:
            yield f"ended {note['how']}"
        case What.CANCEL:
            yield f"cancel {note['answer']}"
        case What.EDITED:
            yield f"edit {note['answer']}"
        case What.PURGED:
            yield f"purged by {note['by']}"
        case What.BATCH if note["calls"] != 1:
            yield "several calls in one commit"
        case What.REDRIVEN if not note["done"]:
            yield "redriven in vain"
        case _:
            pass


def _settlers(life: Life) -> Iterator[tuple[Attempt, Event]]:
    for attempt in life.attempts:
        if attempt.settled is not None and attempt.settled.who != attempt.worker:
            yield attempt, attempt.settled


def _settled_by_reaper(trace: Trace, life: Life) -> bool:
    return any(ack.note["if_overdue"] for _, ack in _settlers(life))


def _settled_by_supervisor(trace: Trace, life: Life) -> bool:
    return any(not ack.note["if_overdue"] for _, ack in _settlers(life))


def _adopted_from_host(trace: Trace, life: Life) -> bool:
    """Another host's supervisor settled from a board that a dead one had left."""
    hosts = trace.host_of
    return any(
        not ack.note["if_overdue"] and hosts.get(ack.who) != hosts.get(attempt.worker)
        for attempt, ack in _settlers(life)
    )


def _succeeded_on_the_board(trace: Trace, life: Life) -> bool:
    return any(ack.note["state"] == "succeeded" for _, ack in _settlers(life))


def _ran_after_it_was_lost(trace: Trace, life: Life) -> bool:
    """A run went on, or was acked, when its lease was another's by then."""
    return any(ack.note["answer"] == "lost" for ack in life.acks)


def _lost_while_running(trace: Trace, life: Life) -> bool:
    """A run was stopped because its lease was no longer its own."""
    return any(
        end.note["how"] == How.STOPPED
        for attempt in life.attempts
        for end in attempt.ends
        if attempt.settled is not None and attempt.settled.seq < end.seq
    )


def _suspect(trace: Trace, life: Life) -> bool:
    lanes = [attempt.leased.note["lane"] for attempt in life.attempts]
    return "cell" in lanes and "main" in lanes


def _dead_of_losses(trace: Trace, life: Life) -> bool:
    return any(ack.note["kind"] == "lost" and ack.note["state"] == "dead" for ack in life.applied)


def _killed_for_its_limit(trace: Trace, life: Life) -> bool:
    return any(ack.note["kind"] == "timeout" for _, ack in _settlers(life))


def _held_by_window(trace: Trace, life: Life) -> bool:
    """Its key was taken by a job that had ended: only the window held it."""
    for event in life.taken:
        holder = trace.lives.get(str(event.note["holder"]))
        if holder is not None and holder.ended_before(event.seq):
            return True
    return False


def _waited_behind_a_run(trace: Trace, life: Life) -> bool:
    """It replaced a running job, and ran after it."""
    key = life.request.unique_key
    return life.added is not None and any(
        other.request.unique_key == key
        and other is not life
        and any(
            attempt.leased.seq < life.added.seq < attempt.settled.seq
            for attempt in other.attempts
            if attempt.settled is not None
        )
        for other in trace.lives.values()
        if key is not None
    )


def _same_again(trace: Trace, life: Life) -> bool:
    """It was answered by another, for its idempotency key alone."""
    once = life.request.idempotency_key is not None and life.request.unique_key is None
    return once and any(not event.note["mismatch"] for event in life.taken)


def _something_else(trace: Trace, life: Life) -> bool:
    """Its idempotency key stood for another payload."""
    return any(event.note["mismatch"] for event in life.taken)


def _not_put_off(trace: Trace, life: Life) -> bool:
    """It was due before the end of its own delay."""
    record, request = trace.final.get(life.id), life.request
    if record is None or request.run_at is not None or request.max_wait is None:
        return False
    wait = record.due - record.enqueued_at
    return 0 < wait < min(request.delay, request.max_wait)


def _asked_again_after_purge(trace: Trace, life: Life) -> bool:
    purged = life.purged
    return purged is not None and any(asked.seq > purged.seq for asked in life.asked)


def _doubt_resolved(trace: Trace, life: Life) -> bool:
    """No answer came, and then, sent again, it turned out to be there."""
    answers = [answer.what for answer in life.answers]
    return What.UNKNOWN in answers and answers[-1] is What.ENQUEUED


def _room_at_last(trace: Trace, life: Life) -> bool:
    answers = [answer.what for answer in life.answers]
    return What.REFUSED in answers and answers[-1] is What.ENQUEUED


def _redriven_and_ran(trace: Trace, life: Life) -> bool:
    return any(a.leased.seq > each.seq for each in life.redrives for a in life.attempts)


def _moved_and_ran(trace: Trace, life: Life) -> bool:
    return any(
        trace.queue_of(life.id, attempt.leased.seq) != life.request.queue
        for attempt in life.attempts
    )


def _waited_again(trace: Trace, life: Life) -> bool:
    """It had been put off to a later time, and was brought forward from there."""
    dues = [number(edit, "due") - edit.wall for edit in life.edits if edit.note["due"]]
    return any(sooner <= 0 < later for later, sooner in pairwise(dues))


def _step_found_by_another(trace: Trace, life: Life) -> bool:
    """A later attempt got what an earlier one had recorded."""
    return any(e.what is What.GOT and e.attempt != e.note["by"] for e in life.steps)


def _step_done_twice(trace: Trace, life: Life) -> bool:
    """A crash, or a lost lease, came between a step and its record."""
    done = [e.note["step"] for e in life.steps if e.what is What.EFFECT]
    return len(done) > len(set(done))


def _step_refused(trace: Trace, life: Life) -> bool:
    return any(e.what is What.RECORDED and not e.note["ok"] for e in life.steps)


def _woken_by_an_event(trace: Trace, life: Life) -> bool:
    """The event came after the wait had begun."""
    return any(before < told.seq for before, told in _heard(trace, life))


def _event_before_its_wait(trace: Trace, life: Life) -> bool:
    return any(told.seq < before for before, told in _heard(trace, life))


def _heard(trace: Trace, life: Life) -> Iterator[tuple[int, Event]]:
    """When its first run ended by a wait, and the event that ended this."""
    waits = [a.ends[-1].seq for a in life.attempts if a.ends and a.ends[-1].note.get("awaits")]
    for event in life.heard:
        if event.note["event"] is not None and waits:
            yield min(waits), trace.told[str(event.note["key"])]


def _waited_in_vain(trace: Trace, life: Life) -> bool:
    return any(event.note["event"] is None for event in life.heard)


_OF_LIVES: Final[Mapping[str, Callable[[Trace, Life], bool]]] = {
    "settled by a reaper": _settled_by_reaper,
    "settled by a supervisor": _settled_by_supervisor,
    "adopted from another host": _adopted_from_host,
    "a success read from a board": _succeeded_on_the_board,
    "an ack was refused": _ran_after_it_was_lost,
    "a lease lost while running": _lost_while_running,
    "a suspect went to a cell": _suspect,
    "dead of losses": _dead_of_losses,
    "killed for its time limit": _killed_for_its_limit,
    "held by a window alone": _held_by_window,
    "waited behind a run": _waited_behind_a_run,
    "answered for its idempotency key": _same_again,
    "an idempotency key of something else": _something_else,
    "put off no further": _not_put_off,
    "asked for again after its purge": _asked_again_after_purge,
    "a doubt resolved": _doubt_resolved,
    "room at last": _room_at_last,
    "redriven, and ran": _redriven_and_ran,
    "moved to another queue, and ran": _moved_and_ran,
    "put off and brought forward": _waited_again,
    "a step found by another attempt": _step_found_by_another,
    "a step done twice": _step_done_twice,
    "a record of a step refused": _step_refused,
    "woken by an event": _woken_by_an_event,
    "an event before its wait": _event_before_its_wait,
    "waited in vain": _waited_in_vain,
}

RARE: Final = (
    *_EVENTS,
    *_OF_EVENTS,
    *(f"final {state}" for state in ("succeeded", "dead", "cancelled", "expired")),
    *(f"act {act.value}" for act in Act),
    *(f"fault {name}" for name in _FAULTS),
    *(f"reached {point}" for point in FAULT_POINTS),
    *_OF_LIVES,
)
"""What every campaign of some hundred seeds must have seen at least once."""
