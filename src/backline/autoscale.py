"""How many worker processes to run: a pure rule over figures, without clock or I/O.

**How many are needed.** By Little's law (J. D. C. Little, "A Proof for the Queuing Formula
L = λW", Operations Research 9(3), 1961) jobs that arrive λ times a second and take S seconds
keep λ·S slots busy. Slots are to be busy for `BUSY` of the time and no more, or jobs would
wait for each other; and of the jobs that wait now, each slot does one every S seconds, so
that waiting·S/W further slots clear them within the target wait W. How long a job takes is
measured by the same law: what the slots were busy for, divided by the jobs that ended.

**When to move.** As the Horizontal Pod Autoscaler of Kubernetes does: up at once, at most to
twice as many in a step, and down only to the most that was wanted at any moment of a
stabilisation window. Beyond that: down by one process at a time, and only where those left
would be busy for no more than `CALM`, so that no load is just between two answers.

**When not to.** While there are no fresh figures; while processes that were started are not
there yet; where nobody waits; where the last step up did not raise what gets done, for then
the bottleneck is elsewhere (the cores, a rate limit, a database) and more would not help.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Final

from backline.display import span
from backline.job import HOUR, MINUTE, SECOND, Micros

TARGET_WAIT: Final[Micros] = 5 * SECOND
BUSY: Final = 0.8
"""The share of slots that may be busy before there are to be more."""
CALM: Final = 0.64
"""The share that may be busy with one process fewer, before there is one fewer."""
WINDOW: Final[Micros] = 5 * MINUTE
"""The stabilisation window: for so long fewer processes must have been enough."""
STEP: Final[Micros] = 15 * SECOND
"""At least so long between a process more or fewer and the next one fewer."""
STALE: Final[Micros] = 10 * SECOND
"""With such a gap between two samples, what was before it says nothing any more."""
EVIDENCE: Final[Micros] = 5 * SECOND
"""How long all processes of a step up must have worked before it is judged."""
UNJUDGED: Final[Micros] = 15 * SECOND
"""Where so few jobs end that nothing can be judged, the next step up comes after this."""
ENDINGS: Final = 10
"""So many jobs must have been bound to end before a step up is judged."""
GAIN: Final = 0.25
"""A step up helped if at least this share of the processes it added shows in what gets done."""
RELIEF: Final = 1.5
"""So many times what got done at a ceiling, and the bottleneck is gone."""
HOLD: Final[Micros] = 5 * MINUTE
LONGEST_HOLD: Final[Micros] = HOUR
"""How long nothing is added where adding did not help; doubles each time, up to an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a user sets."""

    low: int
    """At least so many processes; 0: none while there is nothing to do."""
    high: int
    target_wait: Micros = TARGET_WAIT
    """Jobs that wait are to start within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The figures of one moment. Of the queues served: paused ones and cells do not count."""

    tick: Micros
    processes: int
    """Those of this supervisor that take jobs, or will once they have started."""
    working: int
    """How many of them have started."""
    concurrency: int
    """Slots in each."""
    busy: float
    """Slots of these processes that were busy in the last seconds, on average."""
    done: float
    """Jobs that these processes ended in a second, lately."""
    service: float | None
    """Seconds that a job takes; None: nobody knows yet."""
    ready: int
    """Jobs that wait for a worker, any worker."""
    arrivals: float
    """Jobs that become ready in a second."""
    oldest: Micros = 0
    """How long the oldest ready job has waited."""
    elsewhere: int = 0
    """Slots of other supervisors' and embedded workers that serve the same queues."""
    idle_elsewhere: int = 0
    """Those of them that run nothing."""
    room: int | None = None
    """How many more processes the memory of the machine has room for; None: nobody knows."""
    settled: bool = True
    """False: processes are being replaced, so that none is to go."""

    @property
    def share(self) -> float:
        """What of the load is this supervisor's: its part of all slots; while it has none, as
        if it had one process."""
        ours = max(self.processes, 1) * self.concurrency
        return ours / (ours + self.elsewhere)


@dataclass(frozen=True, slots=True)
class Trial:
    """A step up that has yet to show what it is good for."""

    before: int
    """How many processes there were."""
    done: float
    """What they got done in a second."""
    since: Micros | None = None
    """Since when all those that were started work; None: they do not yet."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Where adding did not help."""

    processes: int
    done: float
    until: Micros


@dataclass(frozen=True, slots=True)
class Past:
    """What a decision remembers for the next one."""

    wishes: tuple[tuple[Micros, int], ...] = ()
    """(tick, how many would have been enough) of each sample of the window, without a gap."""
    moved_at: Micros | None = None
    trial: Trial | None = None
    ceiling: Ceiling | None = None
    vain: int = 0
    """How often in a row adding did not help."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many processes there are to be, why, and what to pass to the next decision."""

    processes: int
    why: str
    past: Past = field(repr=False)


_STARTING: Final = "those started last do not work yet"


def decide(rules: Rules, past: Past, now: Sample) -> Decision:
    """How many processes there are to be; the caller sees to it before the next sample."""
    past = _remembered(rules, past, now)
    if now.processes < rules.low:
        return _move(rules.low, "fewer than the least", past, now)
    if now.processes > rules.high:
        return _move(now.processes - 1, "more than the most", past, now)
    if wanted(rules, now) > now.processes:
        return _up(rules, past, now)
    if past.trial is not None and _age(past.trial, now) >= EVIDENCE:
        past = changed(past, trial=None, vain=0)  # nobody asks for more: it was enough
    return _down(past, now)


def wanted(rules: Rules, now: Sample) -> int:
    """How many processes the load calls for at this moment, within the bounds."""
    needed = _slots(rules, now, BUSY)
    if now.processes:  # a slot that nobody waits for helps nobody
        needed = min(needed, now.busy + _waiting(rules, now))
    elif now.ready <= now.idle_elsewhere and now.oldest <= rules.target_wait:
        needed = 0.0  # others are about to take them
    return _bounded(rules, needed, now)


def enough(rules: Rules, now: Sample) -> int:
    """With how many processes it would still be calm."""
    return max(_bounded(rules, _slots(rules, now, CALM), now), math.ceil(now.busy / _each(now)))


def load(now: Sample) -> float:
    """The slots that the jobs which arrive keep busy: by Little's law, or as was seen."""
    return max(now.arrivals * now.share * (now.service or 0.0), now.busy)


def _slots(rules: Rules, now: Sample, busy: float) -> float:
    waiting = _waiting(rules, now)
    service = (now.service or 0.0) * SECOND
    # A job takes one slot at most, however much sooner than its own length it was to be done.
    clearing = waiting * min(1.0, service / max(rules.target_wait, 1))
    slots = load(now) / busy + clearing
    return max(slots, 1.0) if waiting else slots


def _waiting(rules: Rules, now: Sample) -> float:
    """Of the jobs that wait, ours; all of them once others have not come to them in time."""
    late = now.oldest > rules.target_wait
    return max(now.ready, 0) * (1.0 if late else now.share)


def _bounded(rules: Rules, slots: float, now: Sample) -> int:
    most = rules.high * _each(now)
    return max(rules.low, math.ceil(min(slots, most) / _each(now) - 1e-9))


def _each(now: Sample) -> int:
    return max(now.concurrency, 1)


def _remembered(rules: Rules, past: Past, now: Sample) -> Past:
    """What still counts, with this sample."""
    if past.wishes and not 0 <= now.tick - past.wishes[-1][0] <= STALE:
        past = Past(ceiling=past.ceiling, vain=past.vain)
    wish = (now.tick, enough(rules, now))
    # The newest of those that are older than the window stays: it says that none is missing.
    late = [at for at, _ in past.wishes if at <= now.tick - WINDOW]
    kept = tuple(each for each in past.wishes if not late or each[0] >= late[-1])
    trial = past.trial
    if trial is not None and trial.since is None and now.working >= now.processes:
        trial = changed(trial, since=now.tick)
    ceiling = past.ceiling
    if ceiling is not None and now.done > RELIEF * ceiling.done:
        ceiling = None
    return changed(past, wishes=(*kept, wish), trial=trial, ceiling=ceiling)


def _up(rules: Rules, past: Past, now: Sample) -> Decision:
    if now.working < now.processes:
        return _stay(_STARTING, past, now)
    past, verdict = _judged(past, now)
    if verdict is not None:
        return _stay(verdict, past, now)
    ceiling = past.ceiling
    if ceiling is not None and now.processes >= ceiling.processes and now.tick < ceiling.until:
        return _stay("more did not help: the bottleneck is elsewhere", past, now)
    most = now.processes + 1 if ceiling is not None else max(1, 2 * now.processes)
    target = min(wanted(rules, now), most)
    if now.room is not None:
        target = min(target, now.processes + max(now.room, 0 if now.processes else 1))
    if target <= now.processes:
        return _stay("there is no memory for another", past, now)
    trial = past.trial or Trial(now.processes, now.done)
    past = changed(past, trial=changed(trial, since=None))
    return _move(target, "jobs wait", past, now)


def _judged(past: Past, now: Sample) -> tuple[Past, str | None]:
    """What the last step up was good for; and why it is too soon, or no use, to take another."""
    trial = past.trial
    if trial is None or now.processes <= trial.before or not trial.before:
        return changed(past, trial=None), None
    age = _age(trial, now)
    if age < EVIDENCE:
        return past, "looking what the last step up is good for"
    if trial.done * age / SECOND < ENDINGS:
        # The baseline stays, so that several steps are judged together at last.
        return past, None if age >= UNJUDGED else "looking what the last step up is good for"
    added = now.processes / trial.before - 1
    if now.done >= trial.done * (1 + GAIN * added):
        return changed(past, trial=None, ceiling=None, vain=0), None
    hold = min(LONGEST_HOLD, HOLD << min(past.vain, 8))
    ceiling = Ceiling(now.processes, now.done, now.tick + hold)
    past = changed(past, trial=None, ceiling=ceiling, vain=past.vain + 1)
    return past, "the last step up did not help: the bottleneck is elsewhere"


def _age(trial: Trial, now: Sample) -> Micros:
    """For how long all that were started have worked."""
    return 0 if trial.since is None else now.tick - trial.since


def _down(past: Past, now: Sample) -> Decision:
    if not past.wishes or now.tick - past.wishes[0][0] < WINDOW:
        return _stay("as many as are needed", past, now)
    if max(wish for _, wish in past.wishes) >= now.processes:
        return _stay("as many as are needed", past, now)
    if now.working < now.processes:  # what it is to say of itself is worth hearing
        return _stay(_STARTING, past, now)
    recently = past.moved_at is not None and now.tick - past.moved_at < STEP
    if recently or not now.settled:
        return _stay("one at a time", past, now)
    past = changed(past, trial=None, ceiling=None)
    return _move(now.processes - 1, "fewer have been enough for 5 minutes", past, now)


def _move(processes: int, why: str, past: Past, now: Sample) -> Decision:
    return Decision(processes, why, changed(past, moved_at=now.tick))


def _stay(why: str, past: Past, now: Sample) -> Decision:
    return Decision(now.processes, why, past)


def figures(rules: Rules, now: Sample) -> str:
    """What led to a decision, for people."""
    service = "unknown" if now.service is None else span(round(now.service * SECOND))
    others = f", {1 - now.share:.0%} of it others'" if now.elsewhere else ""
    return (
        f"{now.ready:,} ready, the oldest for {span(now.oldest)} of "
        f"{span(rules.target_wait)}; {now.arrivals:.3g}/s arrive{others}, "
        f"{now.done:.3g}/s done, {service} each; "
        f"{now.busy:.1f} of {now.processes * now.concurrency} slots busy"
    )


_LATELY: Final[Micros] = 5 * SECOND
"""What is busy, and what gets done, is the mean of so long."""
_SHORT: Final[Micros] = 15 * SECOND
"""How long a job takes is the mean of so long at least..."""
_FEW: Final = 20
"""...and of so many jobs, if there were so many within..."""
_LONG: Final[Micros] = 10 * MINUTE
"""...so long."""


class Meter:
    """How busy slots are and how long jobs take, from looks at how many run and have ended.

    Whatever the jobs are like, looks at even intervals see a slot busy as often as it is.
    """

    def __init__(self) -> None:
        self.service: float | None = None
        """Seconds that a job takes; None: none was seen. Of jobs that run for longer than has
        been looked, what has been seen of them."""
        self.busy = 0.0
        """Slots that were busy lately, on average."""
        self.done = 0.0
        """Jobs that ended in a second, lately."""
        self._worked = 0
        self._finished = 0
        self._looked_at: Micros | None = None
        self._kept: deque[tuple[Micros, int, int]] = deque()
        """(tick, slots times microseconds busy until then, jobs ended until then)."""

    def look(self, tick: Micros, running: int, ended: int) -> None:
        """So many jobs run now, and so many have ended since the last look."""
        elapsed = 0 if self._looked_at is None else tick - self._looked_at
        self._looked_at = tick
        self._worked += running * max(0, min(elapsed, STALE))
        self._finished += ended
        kept = self._kept
        if kept and tick - kept[-1][0] < SECOND:
            return
        while kept and kept[0][0] < tick - _LONG:
            kept.popleft()
        kept.append((tick, self._worked, self._finished))
        at, worked, finished = self._since(_LATELY, 0)
        seconds = max(tick - at, 1) / SECOND
        self.busy = (self._worked - worked) / SECOND / seconds
        self.done = (self._finished - finished) / seconds
        _, worked, finished = self._since(_SHORT, _FEW)
        if self._worked > worked:
            # Those that still run count as if they ended now, or a few long ones would look
            # endless, and the first ones as long as all of them together.
            jobs = self._finished - finished + running
            self.service = (self._worked - worked) / SECOND / max(jobs, 1)

    def _since(self, age: Micros, ended: int) -> tuple[Micros, int, int]:
        """The newest note of that age, and with so many jobs ended since; else the oldest."""
        now = self._kept[-1]
        for each in reversed(self._kept):
            if now[0] - each[0] >= age and now[2] - each[2] >= ended:
                return each
        return self._kept[0]
