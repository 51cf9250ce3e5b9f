"""The invariants that no simulation may violate, each a small function.

Each takes a `Trace` and yields what is wrong with it, one line a violation. Their numbers
are those of the project's reliability plan.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from backline.job import SECOND, Charge
from backline.states import TERMINAL, State
from backline.testing.simulation.history import Event, What
from backline.testing.simulation.plan import How
from backline.testing.simulation.timing import (
    SLACK,
    c13_not_early,
    c14_recovery,
    clean_stop,
    time_limit,
)
from backline.testing.simulation.trace import Attempt, Life, Trace, number, replaces

Invariant: TypeAlias = Callable[[Trace], Iterator[str]]


def c1_no_loss(trace: Trace) -> Iterator[str]:
    """What a producer was told is enqueued ends in one terminal state."""
    for life in trace.lives.values():
        record = trace.final.get(life.id)
        if record is not None and record.state not in TERMINAL:
            yield f"{life.id} is still {record.state} after the quiet period"
        if record is None and any(_is_stored(answer) for answer in life.answers):
            yield f"{life.id} is lost: its producer was told it is stored"
        if record is None and life.added is not None:
            yield f"{life.id} is lost: the store had added it"


def c2_no_invention(trace: Trace) -> Iterator[str]:
    """Every job was enqueued, with this payload; every run was leased, to this worker."""
    for job, record in trace.final.items():
        request = trace.requests.get(job)
        if request is None or trace.lives[job].added is None:
            yield f"{job} was never enqueued"
        elif bytes(record.payload) != bytes(request.payload) or record.task != request.task:
            yield f"{job} is not what was enqueued"
    for life in trace.lives.values():
        for stray in life.strays:
            yield f"{life.id} attempt {stray.attempt} was {stray.what} and never leased"
        for attempt in life.attempts:
            for run in attempt.runs:
                if run.who != attempt.worker or run.note.get("own") is False:
                    yield f"{life.id} attempt {attempt.number} ran on {run.who}, not its holder"


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
        How.SNOOZE: (Charge.NONE, (State.SCHEDULED,)),
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
    killed = {window.who: window.begin for window in trace.windows if window.what is What.KILLED}
    for attempt in life.attempts:
        ack = attempt.settled
        if ack is None or not attempt.runs or attempt.ends or attempt.worker not in killed:
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
    stored = (record.attempt, record.failures, record.losses, record.releases)
    expected = (len(life.attempts), failures, charged[Charge.LOSS], charged[Charge.RELEASE])
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


def c8_unique(trace: Trace) -> Iterator[str]:
    """One live job per unique key, but for a successor that waits."""
    keyed: dict[str, list[Life]] = {}
    for life in trace.lives.values():
        key = life.request.unique_key
        if key is not None and life.added is not None and not life.redrives:
            keyed.setdefault(key, []).append(life)
    for key, lives in keyed.items():
        for life in lives:
            for other in lives:
                if other is not life:
                    yield from _shares(trace, key, life, other)


def _shares(trace: Trace, key: str, life: Life, earlier: Life) -> Iterator[str]:
    """`life` was added, or ran, while `earlier` lived."""
    assert life.added is not None
    assert earlier.added is not None
    if earlier.added.seq > life.added.seq:
        return
    end = min((event.seq for event in earlier.ends()), default=len(trace.events))
    record = trace.final.get(earlier.id)
    silent = record is not None and record.state in (State.EXPIRED, State.CANCELLED)
    if end < life.added.seq or (silent and not _runs_at(earlier, life.added.seq)):
        return  # it had ended, or it ended without a trace in the history: it did not run
    if not replaces(life):
        yield f"{life.id} was added under {key!r}, which {earlier.id} held"
    elif life.attempts and life.attempts[0].leased.seq < end:
        yield f"{life.id} ran before {earlier.id} gave {key!r} back"


def _runs_at(life: Life, seq: int) -> bool:
    return any(
        attempt.leased.seq < seq and (attempt.settled is None or attempt.settled.seq > seq)
        for attempt in life.attempts
    )


def c11_sums(trace: Trace) -> Iterator[str]:
    """In every snapshot the states of a queue add up to what was enqueued there."""
    added: Counter[str] = Counter()
    for event in trace.events:
        if event.what is What.ADDED:
            added[trace.requests[event.job].queue] += 1
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
            if trace.calm and ack.note["charge"] == Charge.NONE and _runs_again(ack, attempt):
                yield f"{name} ran in vain, and nothing had been done to the system"


def _runs_again(ack: Event, attempt: Attempt) -> bool:
    snoozed = any(end.note["how"] == How.SNOOZE for end in attempt.ends)
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


def c18_backpressure(trace: Trace) -> Iterator[str]:
    """No enqueue takes a queue above its limit, and what was refused is not there."""
    for index, event in enumerate(trace.events):
        if event.what is What.ADDED:
            after = _counts_after(trace, index, trace.requests[event.job].queue)
            limit = None if after is None else after.note["max_depth"]
            if after is not None and isinstance(limit, int) and number(after, "depth") > limit:
                yield f"{event.job} took its queue to {after.note['depth']} of {limit}"
        fits = number(event, "depth") + number(event, "jobs") <= number(event, "max_depth")
        if event.what is What.FULL and fits:
            yield f"a call was refused at {event.note['depth']} of {event.note['max_depth']}"
    for life in trace.lives.values():
        refused = any(answer.what is What.REFUSED for answer in life.answers)
        if refused and life.added is not None:
            yield f"{life.id} was refused, and is there all the same"


INVARIANTS: Final[tuple[Invariant, ...]] = (
    c1_no_loss,
    c2_no_invention,
    c3_one_outcome,
    c4_fencing,
    no_theft,
    c5_attempts,
    c8_unique,
    c11_sums,
    c13_not_early,
    c14_recovery,
    c15_explained,
    c17_cancel,
    c18_backpressure,
    clean_stop,
    time_limit,
)


def check(trace: Trace) -> list[str]:
    """Every violation, each with the name of its invariant; empty if all is well."""
    return [f"{each.__name__}: {text}" for each in INVARIANTS for text in each(trace)]


def _is_stored(answer: Event) -> bool:
    return answer.what is What.ENQUEUED and answer.note.get("holder") is None


def _attempts_before(life: Life, seq: int) -> list[Attempt]:
    return [attempt for attempt in life.attempts if attempt.leased.seq < seq]


def _counts_after(trace: Trace, index: int, queue: str) -> Event | None:
    """The snapshot that was taken right after an enqueue."""
    for event in trace.events[index + 1 :]:
        if event.what is What.COUNTS and event.note["queue"] == queue:
            return event
        if event.what not in (What.ADDED, What.TAKEN, What.FULL, What.COUNTS):
            return None
    return None
