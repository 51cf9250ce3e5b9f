"""A history, ordered by job and by fault, for the checker to ask."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from backline.job import JobId, JobRecord, JobRequest, Micros, OnConflict
from backline.states import TERMINAL, State
from backline.store import QueueStats
from backline.testing.simulation.history import Event, What

_NEVER: Final = 1 << 62
_LISTS: Final = {
    What.ASKED: "asked",
    What.ENQUEUED: "answers",
    What.REFUSED: "answers",
    What.SHED: "answers",
    What.CONFLICT: "answers",
    What.UNKNOWN: "answers",
    What.EXPIRED: "silent",
    What.REPLACED: "silent",
    What.BARRED: "silent",
    What.TAKEN: "taken",
    What.CANCEL: "cancels",
    What.ACKED: "acks",
    What.EFFECT: "steps",
    What.RECORDED: "steps",
    What.GOT: "steps",
    What.HEARD: "heard",
}
"""Where in a `Life` each kind of event goes."""
_BEGINS: Final = {What.PAUSED: What.RESUMED, What.CUT: What.HEALED, What.DOWN: What.UP}


@dataclass(eq=False)
class Attempt:
    """One lease of a job, and what came of it."""

    leased: Event
    settled: Event | None = None
    """The ack that was applied."""
    extended: list[Event] = field(default_factory=list)
    runs: list[Event] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Attempts count from 1."""
        return self.leased.attempt

    @property
    def worker(self) -> str:
        return self.leased.who

    @property
    def until(self) -> Micros:
        """When the lease was over, by the store's tick, had nobody settled it."""
        return max(number(event, "until") for event in (self.leased, *self.extended))

    @property
    def over(self) -> Micros:
        """The tick at which it was settled; far away if it never was."""
        return _NEVER if self.settled is None else self.settled.tick


@dataclass(eq=False)
class Life:
    """All that happened to one job, each list in the order of the history."""

    request: JobRequest
    added: Event | None = None
    answers: list[Event] = field(default_factory=list)
    """What its producer was told."""
    taken: list[Event] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    acks: list[Event] = field(default_factory=list)
    """Every ack that reached the store, applied or not."""
    cancels: list[Event] = field(default_factory=list)
    redrives: list[Event] = field(default_factory=list)
    """Those that were done."""
    edits: list[Event] = field(default_factory=list)
    """Those that were done."""
    silent: list[Event] = field(default_factory=list)
    """How it expired or was replaced."""
    purged: Event | None = None
    asked: list[Event] = field(default_factory=list)
    """Each time its producer sent it."""
    strays: list[Event] = field(default_factory=list)
    """Runs and extensions of attempts that were never leased."""
    steps: list[Event] = field(default_factory=list)
    """Their effects, their records, and what they returned."""
    heard: list[Event] = field(default_factory=list)
    """The ends of its waits, as its runs saw them."""

    @property
    def id(self) -> JobId:
        return self.request.id

    @property
    def applied(self) -> list[Event]:
        """The acks that were applied."""
        return [ack for ack in self.acks if ack.note["answer"] == "applied"]

    def attempt(self, number: int) -> Attempt | None:
        """The latest lease of that number."""
        return next((a for a in reversed(self.attempts) if a.number == number), None)

    def asked_to_cancel(self, seq: int) -> bool:
        """A cancel was requested before `seq`, and no redrive made it void."""
        redriven = max((e.seq for e in self.redrives if e.seq < seq), default=-1)
        return any(redriven < e.seq < seq and e.note["answer"] == "requested" for e in self.cancels)

    def lands_in(self, ack: Event) -> State:
        """The state that an applied ack leads to: a requested cancel beats another run."""
        state = State(str(ack.note["state"]))
        if state not in TERMINAL and self.asked_to_cancel(ack.seq):
            return State.CANCELLED
        return state

    def ended_before(self, seq: int) -> bool:
        """It had ended by then, and no redrive had begun it anew."""
        since = max((e.seq for e in self.redrives if e.seq < seq), default=-1)
        return any(since < end.seq < seq for end in self.ends())

    def ends_in(self, end: Event) -> State:
        """The state in which one of `ends` left it."""
        if end.what is What.ACKED:
            return self.lands_in(end)
        return State.EXPIRED if end.what is What.EXPIRED else State.CANCELLED

    def ends(self) -> list[Event]:
        """The commits that ended it, as far as the history shows them."""
        acked = [ack for ack in self.applied if self.lands_in(ack) in TERMINAL]
        cancelled = [e for e in self.cancels if e.note["answer"] == "cancelled"]
        return [*acked, *cancelled, *self.silent]


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which something was done to a host, or (`*`) to all of them."""

    what: What
    host: str
    begin: Micros
    end: Micros
    who: str = ""
    """The process, if it was one alone."""


@dataclass(eq=False)
class Trace:
    """What a simulation was asked to do, what happened, and what the store holds at the end."""

    requests: dict[JobId, JobRequest]
    events: Sequence[Event]
    final: dict[JobId, JobRecord]
    queues: Sequence[QueueStats]
    lease: Micros
    calm: bool
    """Nothing was done to the system."""
    stopped: bool = True
    """Every supervisor ended when it was told to."""
    slowest: Micros = 0
    """The longest that a call of the store may take, faults aside."""

    @cached_property
    def lives(self) -> dict[JobId, Life]:
        """What happened to each job of the plan."""
        lives = {job: Life(request) for job, request in self.requests.items()}
        for event in self.events:
            life = lives.get(event.job)
            if life is not None:
                _enter(life, event)
        return lives

    @cached_property
    def told(self) -> dict[str, Event]:
        """The first event of each key."""
        found: dict[str, Event] = {}
        for event in self.events:
            if event.what is What.TOLD and event.note["added"]:
                found.setdefault(str(event.note["key"]), event)
        return found

    @cached_property
    def host_of(self) -> dict[str, str]:
        """The host of each process."""
        started = (event for event in self.events if event.what is What.STARTED)
        return {event.who: str(event.note["host"]) for event in started}

    def queue_of(self, job: JobId, seq: int = -1) -> str:
        """The queue that a job was in by then; by the plan, before any edit. None for a job that
        the plan does not know."""
        life = self.lives.get(job)
        if life is None:
            return ""
        moves = [e.note["queue"] for e in life.edits if e.seq < seq and e.note["queue"]]
        return str(moves[-1]) if moves else life.request.queue

    @cached_property
    def windows(self) -> list[Window]:
        """Every kill (of no length), pause, partition and outage."""
        return list(self._windows())

    @cached_property
    def killed(self) -> set[str]:
        """The processes that were killed, but for those that their own supervisor killed."""
        kills = (event for event in self.events if event.what is What.KILLED)
        return {event.who for event in kills if not event.note.get("ours")}

    @cached_property
    def quiet(self) -> Micros:
        """The tick from which on nothing was done any more."""
        return next((e.tick for e in self.events if e.what is What.QUIET), _NEVER)

    def hurt(self, worker: str, begin: Micros, end: Micros) -> bool:
        """Something was done in that time that may have cost the worker its leases.

        A pause of the worker alone is no excuse: its heartbeat lives in another process.
        """
        host = self.host_of.get(worker, "")
        for window in self.windows:
            if window.begin > end or window.end < begin or window.host not in ("*", host):
                continue
            if window.what is What.KILLED and window.who not in (
                worker,
                self.supervisor_of(worker),
            ):
                continue
            if window.what is What.PAUSED and window.who == worker:
                continue
            return True
        return False

    def disturbed(self, begin: Micros, end: Micros) -> Micros:
        """How much of that time something was going on, anywhere, a lease's time after it
        included: reapers that stood still themselves wait as long.
        """
        spans = sorted(
            (max(begin, window.begin), min(end, window.end + self.lease))
            for window in self.windows
            if window.begin <= end and window.end + self.lease >= begin
        )
        total, reached = 0, begin
        for start, stop in spans:
            total += max(0, stop - max(start, reached))
            reached = max(reached, stop)
        return total

    def highest_wall(self, begin: int, end: int) -> Micros:
        """The latest wall time that events from seq `begin` to `end` saw."""
        # Before a step back it was later than the event of the step says.
        seen = self.events[begin : end + 1]
        return max(event.wall + max(0, -number(event, "by")) for event in seen)

    def supervisor_of(self, worker: str) -> str:
        """The supervisor that kept this worker: the last to start on its host before it."""
        host, found = self.host_of.get(worker), ""
        for event in self.events:
            if event.who == worker:
                break
            supervises = event.what is What.STARTED and "lane" not in event.note
            if supervises and str(event.note["host"]) == host:
                found = event.who
        return found

    def _windows(self) -> Iterator[Window]:
        open_: dict[tuple[What, str], Event] = {}
        for event in self.events:
            if event.what is What.KILLED:
                host = self.host_of.get(event.who, "*")
                yield Window(What.KILLED, host, event.tick, event.tick, event.who)
                for key in [key for key in open_ if key == (What.PAUSED, event.who)]:
                    yield _window(open_.pop(key), event.tick)
            elif event.what in _BEGINS:
                open_.setdefault((event.what, _victim(event)), event)
            for begin, end in _BEGINS.items():
                if event.what is end and (begin, _victim(event)) in open_:
                    yield _window(open_.pop((begin, _victim(event))), event.tick)
        for event in open_.values():
            yield _window(event, _NEVER)


def number(event: Event, name: str) -> int:
    """A number from an event's note; 0 if it has none of that name."""
    value = event.note.get(name)
    return value if isinstance(value, int) else 0


def replaces(life: Life) -> bool:
    """Whether the job takes the place of the holder of its unique key."""
    return life.request.on_conflict is OnConflict.REPLACE


def _victim(event: Event) -> str:
    return event.who if event.what in (What.PAUSED, What.RESUMED) else str(event.note["host"])


def _window(event: Event, end: Micros) -> Window:
    who = event.who if event.what is What.PAUSED else ""
    return Window(event.what, str(event.note["host"]), event.tick, end, who)


def _enter(life: Life, event: Event) -> None:
    """Put an event where it belongs in the life of its job."""
    attempt = life.attempt(event.attempt)
    if event.what in _LISTS:
        getattr(life, _LISTS[event.what]).append(event)
    match event.what:
        case What.ADDED:
            life.added = life.added or event
        case What.PURGED:
            life.purged = event
        case What.EDITED if event.note["answer"] == "edited":
            life.edits.append(event)
        case What.LEASED:
            life.attempts.append(Attempt(event))
        case What.REDRIVEN if event.note["done"]:
            life.redrives.append(event)
        case What.ACKED if attempt is not None and event.note["answer"] == "applied":
            attempt.settled = attempt.settled or event
        case What.EXTENDED | What.RUN | What.ENDED:
            _enter_of_attempt(life, attempt, event)
        case _:
            pass


def _enter_of_attempt(life: Life, attempt: Attempt | None, event: Event) -> None:
    if attempt is None:
        life.strays.append(event)
    elif event.what is What.RUN:
        attempt.runs.append(event)
    elif event.what is What.ENDED:
        attempt.ends.append(event)
    elif event.note["ok"]:
        attempt.extended.append(event)
