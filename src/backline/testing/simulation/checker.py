"""The invariants that no simulation may violate, each a small function.

Each takes a `Trace` and yields what is wrong with it, one line a violation. Their numbers
are those of the project's reliability plan.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from backline.job import SECOND, Charge
from backline.states import TERMINAL, State
from backline.testing.simulation.answers import (
    answers_true,
    c8_idempotent,
    c8_unique,
    c18_backpressure,
    every_call_ends,
    i9_after_its_parents,
    is_stored,
)
from backline.testing.simulation.history import Event, What
from backline.testing.simulation.limited import limits_hold
from backline.testing.simulation.plan import MANY, How
from backline.testing.simulation.stepping import (
    once_recorded_never_again,
    steps_return_what_was_recorded,
)
from backline.testing.simulation.timing import (
    SLACK,
    c13_not_early,
    c14_recovery,
    clean_stop,
    time_limit,
    time_to_live,
)
from backline.testing.simulation.trace import Attempt, Life, Trace, number
from backline.testing.simulation.waiting import i17_waits_end_once

Invariant: TypeAlias = Callable[[Trace], Iterator[str]]


def c1_no_loss(trace: Trace) -> Iterator[str]:
    """What a producer was told is enqueued ends in one terminal state."""
    for life in trace.lives.values():
        record = trace.final.get(life.id)
        if record is not None and record.state not in TERMINAL:
            yield f"{life.id} is still {record.state} after the quiet period"
        if life.purged is not None:
            if not life.ended_before(life.purged.seq):
                yield f"{life.id} was purged before it had ended"
        elif record is None and any(is_stored(answer) for answer in life.answers):
            yield f"{life.id} is lost: its producer was told it is stored"
        elif record is None and life.added is not None:
            yield f"{life.id} is lost: the store had added it"


def c2_no_invention(trace: Trace) -> Iterator[str]:
    """Every job was enqueued, with this payload; every run was leased, to this worker."""
    for job, record in trace.final.items():
        request = trace.requests.get(job)
        added = None if request is None else trace.lives[job].added
        if request is None or added is None:
            yield f"{job} was never enqueued"
        elif not (_was_asked_for(trace.lives[job], added) or "after" in added.note):
            yield f"{job} was added before anybody had asked for it"
        elif bytes(record.payload) != bytes(request.payload) or record.task != request.task:
            yield f"{job} is not what was enqueued"
    for life in trace.lives.values():
        for stray in life.strays:
            yield f"{life.id} attempt {stray.attempt} was {stray.what} and never leased"
        for attempt in life.attempts:
            for run in attempt.runs:
                if run.who != attempt.worker or run.note.get("own") is False:
                    yield f"{life.id} attempt {attempt.number} ran on {run.who}, not its holder"


def _was_asked_for(life: Life, added: Event) -> bool:
    return any(asked.seq < added.seq for asked in life.asked)


def c3_one_outcome(trace: Trace) -> Iterator[str]:
    """One terminal outcome per job (and redrive), and it is what the run came to."""
    for life in trace.lives.values():
        ends = [ack for ack in life.applied if life.lands_in(ack) in TERMINAL]
        if len(ends) > 1 + len(life.redrives):
            yield f"{life.id} has {len(ends)} terminal outcomes"
        for attempt in life.attempts:
            if attempt.settled is not None:
                yield from _true_to_the_run(life, attempt, attempt.settled)
        record = trace.final.get(life.id)
        succeeded = [ack for ack in ends if ack.note["state"] == State.SUCCEEDED]
        if record is not None and (record.state is State.SUCCEEDED) != bool(succeeded):
            yield f"{life.id} is {record.state}, but {len(succeeded)} successes were recorded"


def _true_to_the_run(life: Life, attempt: Attempt, ack: Event) -> Iterator[str]:
    ends = [end for end in attempt.ends if end.seq < ack.seq]
    how = ends[-1].note["how"] if ends else None
    name = f"{life.id} attempt {attempt.number}"
    if ack.note["state"] == State.SUCCEEDED:
        if how != How.OK:
            yield f"{name} is recorded as a success, but its run came to {how}"
        return
    if ack.who != attempt.worker or how in (None, How.STOPPED):
        return  # settled by others after a crash, or stopped on the way: see C5
    expected = {
        How.ERROR: (Charge.FAILURE, (State.SCHEDULED, State.DEAD)),
        How.LATER: (Charge.FAILURE, (State.SCHEDULED, State.DEAD)),
        How.FATAL: (Charge.FAILURE, (State.DEAD,)),
        How.SNOOZE: (Charge.CLEAN, (State.SCHEDULED,)),
        How.SLEEP: (Charge.CLEAN, (State.SCHEDULED,)),
        How.CANCEL: (Charge.NONE, (State.CANCELLED,)),
    }.get(How(str(how)))
    if expected is None:
        yield f"{name} succeeded, but {ack.note['state']} was recorded"
    elif ack.note["charge"] != expected[0] or ack.note["state"] not in expected[1]:
        yield f"{name} came to {how}, but {ack.note['state']}/{ack.note['charge']} was recorded"


def c4_fencing(trace: Trace) -> Iterator[str]:
    """Nothing is accepted from an older token; tokens of accepted writes never decrease."""
    for life in trace.lives.values():
        for ack in life.applied:
            current = _attempts_before(life, ack.seq)[-1:]
            if [a.number for a in current] != [ack.attempt]:
                yield f"{life.id}: an ack of attempt {ack.attempt} was applied, out of date"
        settled = Counter(ack.attempt for ack in life.applied)
        for attempt_number, count in settled.items():
            if count > 1:
                yield f"{life.id} attempt {attempt_number} was settled {count} times"
        for attempt in life.attempts:
            for event in attempt.extended:
                newest = _attempts_before(life, event.seq)[-1]
                over = attempt.settled is not None and attempt.settled.seq < event.seq
                if newest is not attempt or over:
                    yield f"{life.id} attempt {attempt.number} was extended after its end"


def no_theft(trace: Trace) -> Iterator[str]:
    """Nobody but its holder settles a lease before it is over, while the holder lives."""
    gone = {
        event.who: event.seq for event in trace.events if event.what in (What.KILLED, What.STOPPED)
    }
    for life in trace.lives.values():
        for attempt in life.attempts:
            ack = attempt.settled
            if ack is None or ack.who == attempt.worker:
                continue
            until = max(
                number(event, "until")
                for event in (attempt.leased, *attempt.extended)
                if event.seq < ack.seq
            )
            if gone.get(attempt.worker, ack.seq) >= ack.seq and ack.tick < until:
                yield f"{ack.who} took attempt {attempt.number} of {life.id} from {attempt.worker}"
    for event in trace.events:
        if event.what is What.KILLED and event.note.get("adopted"):
            supervisor = trace.supervisor_of(event.who)
            if gone.get(supervisor, event.seq) >= event.seq:
                yield f"{event.who} was killed as an orphan, and {supervisor} lives"


def c5_attempts(trace: Trace) -> Iterator[str]:
    """Attempts are numbered 1 to n; each is charged for what happened to it, and no more."""
    for life in trace.lives.values():
        numbers = [attempt.number for attempt in life.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{life.id} had the attempts {numbers}"
        yield from _charges(trace, life)
        yield from _counters(trace, life)
        yield from _ran_out(life)


def _charges(trace: Trace, life: Life) -> Iterator[str]:
    """A run that was cut off by a kill is a loss (alone in a cell: a failure)."""
    for attempt in life.attempts:
        ack = attempt.settled
        if ack is None or not attempt.runs or attempt.ends or attempt.worker not in trace.killed:
            continue
        if ack.note["charge"] not in (Charge.LOSS, Charge.FAILURE):
            yield (
                f"{life.id} attempt {attempt.number} was running when its worker was killed, "
                f"and was charged {ack.note['charge']}"
            )


def _counters(trace: Trace, life: Life) -> Iterator[str]:
    """What is stored of a job's past is what the acks said."""
    record = trace.final.get(life.id)
    if record is None:
        return
    since = max((event.seq for event in life.redrives), default=-1)
    charged = Counter(str(ack.note["charge"]) for ack in life.applied)
    failures = sum(a.note["charge"] == Charge.FAILURE and a.seq > since for a in life.applied)
    clean = max((a.seq for a in life.applied if a.note["charge"] == Charge.CLEAN), default=-1)
    losses = sum(a.note["charge"] == Charge.LOSS and a.seq > clean for a in life.applied)
    stored = (record.attempt, record.failures, record.losses, record.releases)
    expected = (len(life.attempts), failures, losses, charged[Charge.RELEASE])
    if stored != expected:
        yield (f"{life.id} holds (attempts, failures, losses, releases) {stored}, not {expected}")


def _ran_out(life: Life) -> Iterator[str]:
    """Dead only at the last failure or by a fatal error, and at the last failure dead."""
    failures = 0
    moves = sorted((*life.applied, *life.redrives), key=lambda event: event.seq)
    for event in moves:
        if event.what is What.REDRIVEN:
            failures = 0
            continue
        failures += event.note["charge"] == Charge.FAILURE
        attempt = life.attempt(event.attempt)
        fatal = attempt is not None and any(e.note["how"] == How.FATAL for e in attempt.ends)
        spent = failures >= life.request.terms.max_attempts
        dead = event.note["state"] == State.DEAD
        if dead and not (spent or fatal):
            yield f"{life.id} died after {failures} failures"
        if event.note["charge"] == Charge.FAILURE and spent and not dead:
            yield f"{life.id} lives on after {failures} failures"


def follow_ups(trace: Trace) -> Iterator[str]:
    """Each end of a job enqueues once what is to follow it, told of that end; nothing else does."""
    found: dict[str, Counter[str]] = {job: Counter() for job in trace.lives}
    for life in trace.lives.values():
        if life.added is not None and "after" in life.added.note:
            parent = str(life.added.note["after"])
            found.setdefault(parent, Counter())[str(life.added.note["told"])] += 1
            if parent not in trace.lives or not trace.lives[parent].request.follow_ups:
                yield f"{life.id} follows {parent}, which nothing is to follow"
    for life in trace.lives.values():
        expected: Counter[str] = Counter()
        for end in life.ends():
            state = life.ends_in(end)
            expected[state] += sum(state in each.on for each in life.request.follow_ups)
        if found[life.id] != +expected:
            yield f"{life.id} is followed by {dict(found[life.id])}, not by {dict(+expected)}"


def c11_sums(trace: Trace) -> Iterator[str]:
    """In every snapshot the states of a queue add up to what was enqueued or moved there."""
    added: Counter[str] = Counter()
    for event in trace.events:
        if event.what is What.ADDED:
            added[trace.queue_of(event.job)] += 1
        elif event.what is What.EDITED and event.note["answer"] == "edited":
            added[trace.queue_of(event.job, event.seq)] -= 1
            added[trace.queue_of(event.job, event.seq + 1)] += 1
        elif event.what is What.COUNTS:
            queue = str(event.note["queue"])
            held = sum(number(event, state.value) for state in State) + number(event, "purged")
            if held != added[queue]:
                yield f"{queue} counts {held} jobs, {added[queue]} were added"
    for stats in trace.queues:
        found = Counter(job.state for job in trace.final.values() if job.queue == stats.queue)
        if +Counter(stats.counts) != found:
            yield f"{stats.queue} counts {stats.counts}, but holds {dict(found)}"


def c15_explained(trace: Trace) -> Iterator[str]:
    """Attempt k+1 begins after attempt k was settled; every loss has a fault that explains it."""
    for life in trace.lives.values():
        for earlier, later in zip(life.attempts, life.attempts[1:], strict=False):
            if earlier.settled is None or earlier.settled.seq > later.leased.seq:
                yield f"{life.id} attempt {later.number} began while {earlier.number} was held"
        for attempt in life.attempts:
            name = f"{life.id} attempt {attempt.number}"
            if len(attempt.runs) > 1:
                yield f"{name} ran {len(attempt.runs)} times"
            ack = attempt.settled
            if ack is None:
                continue
            lost = ack.note["kind"] == "lost" or ack.note["if_overdue"]
            if lost and not trace.hurt(attempt.worker, attempt.leased.tick, ack.tick):
                yield f"{name} was lost, and nothing had been done to {attempt.worker}"
            # Of a batch, another job's time limit stops it too.
            calm = trace.calm and life.request.task != MANY
            if calm and ack.note["charge"] == Charge.NONE and _runs_again(ack, attempt):
                yield f"{name} ran in vain, and nothing had been done to the system"


def _runs_again(ack: Event, attempt: Attempt) -> bool:
    snoozed = any(end.note["how"] in (How.SNOOZE, How.SLEEP) for end in attempt.ends)
    again = ack.note["state"] in (State.READY, State.SCHEDULED)
    return again and bool(attempt.runs) and not snoozed


def c17_cancel(trace: Trace) -> Iterator[str]:
    """A cancelled job does not start; of a running one, the run is told and is the last."""
    for life in trace.lives.values():
        for cancel in life.cancels:
            if cancel.note["answer"] not in ("cancelled", "requested"):
                continue
            redriven = min((e.seq for e in life.redrives if e.seq > cancel.seq), default=None)
            for attempt in life.attempts:
                begun = attempt.leased.seq
                if begun > cancel.seq and (redriven is None or begun < redriven):
                    yield f"{life.id} attempt {attempt.number} began after it was cancelled"
            if cancel.note["answer"] == "requested":
                yield from _told(trace, life, cancel)


def _told(trace: Trace, life: Life, cancel: Event) -> Iterator[str]:
    """The run that is cancelled hears of it soon, if nothing keeps the news from it."""
    attempt = _attempts_before(life, cancel.seq)[-1]
    if not attempt.runs:
        return
    end = min([attempt.over, *(event.tick for event in attempt.ends)])
    took = end - max(cancel.tick, attempt.runs[0].tick)
    allowed = SLACK + trace.slowest
    stood = any(window.who == attempt.worker for window in trace.windows)
    if took > allowed and not stood and not trace.hurt(attempt.worker, cancel.tick, end):
        yield f"{life.id} ran on for {took / SECOND:.1f} s after it was cancelled"


def as_the_model(trace: Trace) -> Iterator[str]:
    """The store answered every call, and ended, as the reference model."""
    for event in trace.events:
        if event.what is What.DIFFERS:
            note = event.note
            yield f"{note['call']}: {note['answer']}, not {note['expected']} (event {event.seq})"


def nothing_unforeseen(trace: Trace) -> Iterator[str]:
    """What is survived in use, lest one bug stops all, is a bug all the same."""
    for event in trace.events:
        if event.what is What.UNFORESEEN:
            yield f"{event.who}: {event.note['error']}"


def pauses_hold(trace: Trace) -> Iterator[str]:
    """Nothing is leased from a paused queue."""
    paused: set[str] = set()
    for event in trace.events:
        if event.what is What.SET:
            queue = str(event.note["queue"])
            (paused.add if event.note["paused"] else paused.discard)(queue)
        elif event.what is What.LEASED and trace.queue_of(event.job, event.seq) in paused:
            yield f"{event.job} was leased while its queue was paused"


INVARIANTS: Final[tuple[Invariant, ...]] = (
    c1_no_loss,
    c2_no_invention,
    c3_one_outcome,
    c4_fencing,
    no_theft,
    c5_attempts,
    c8_unique,
    c8_idempotent,
    c11_sums,
    follow_ups,
    c13_not_early,
    c14_recovery,
    c15_explained,
    c17_cancel,
    c18_backpressure,
    answers_true,
    i9_after_its_parents,
    every_call_ends,
    as_the_model,
    nothing_unforeseen,
    once_recorded_never_again,
    pauses_hold,
    limits_hold,
    steps_return_what_was_recorded,
    clean_stop,
    time_limit,
    time_to_live,
    i17_waits_end_once,
)


def check(trace: Trace) -> list[str]:
    """Every violation, each with the name of its invariant; empty if all is well."""
    return [f"{each.__name__}: {text}" for each in INVARIANTS for text in each(trace)]


def _attempts_before(life: Life, seq: int) -> list[Attempt]:
    return [attempt for attempt in life.attempts if attempt.leased.seq < seq]
