"""A job as the memory store keeps it, and the views of it that the contract hands out."""

from __future__ import annotations

from typing import Any, assert_never

from msgspec import UNSET, Raw

from backline import limits
from backline.job import (
    EMPTY_ARGS,
    MAX_ERRORS,
    Ack,
    AttemptError,
    Charge,
    HeldLease,
    JobRecord,
    JobRequest,
    Lane,
    LeasedJob,
    Micros,
    Pacing,
    Progress,
    Step,
    WorkerName,
)
from backline.states import QUEUED, TERMINAL, State
from backline.store import ARRIVALS_SPAN, QueueSettings, QueueStats
from backline.stores.declaring import declare
from backline.stores.memory.gates import Pace, Stand
from backline.stores.memory.line import Line
from backline.stores.memory.rate import Rate
from backline.stores.memory.ready import Ready
from backline.stores.memory.steps import Steps


class Row:
    """One job. What its producer said stays in `request`; the rest is its life, its queue and
    its priority too: an operator may change them."""

    __slots__ = (
        "asleep",
        "attempt",
        "cancel",
        "due",
        "enqueued_at",
        "errors",
        "expires_at",
        "failures",
        "finished_at",
        "fuse",
        "id",
        "key",
        "lane",
        "leases",
        "line",
        "losses",
        "mark",
        "priority",
        "progress",
        "purge_at",
        "queue",
        "recorded",
        "redrives",
        "releases",
        "request",
        "result",
        "seq",
        "stand",
        "started_at",
        "state",
        "until",
        "worker",
    )

    def __init__(self, request: JobRequest, queue: QueueState, seq: int, now: Micros) -> None:
        self.request = request
        self.id = request.id
        self.queue = queue
        self.priority = request.priority
        self.seq = seq
        """Order of enqueue in the whole store."""
        self.enqueued_at = now
        self.due = now + request.delay if request.run_at is None else request.run_at
        self.expires_at = request.expires_at
        if request.expires_at is None and request.expires_in is not None:
            self.expires_at = now + request.expires_in
        self.lane = request.lane
        self.state = State.SCHEDULED if self.due > now else State.READY
        self.attempt = self.failures = self.losses = self.releases = self.redrives = 0
        self.started_at: Micros | None = None
        self.finished_at: Micros | None = None
        self.purge_at: Micros | None = None
        self.worker: WorkerName | None = None
        self.cancel = False
        self.result: Raw | None = None
        self.errors: tuple[AttemptError, ...] = ()
        self.progress: Progress | None = None
        self.asleep = False
        self.recorded: Steps | None = None
        # The lease, while it runs.
        self.until: Micros = 0
        self.leases: dict[int, Row] | None = None
        """The table of leases that it is in."""
        # Its place in the lines: every move of the job moves the mark.
        self.mark = 0
        self.line: Line[Row] | None = None
        self.fuse: Fuse | None = None
        self.key: Key | None = None
        self.stand: Stand | None = None
        """What it holds within its limits, or waits for."""

    def add_error(self, error: AttemptError, now: Micros) -> None:
        """Keep how an attempt went wrong, and only the newest of them."""
        stamped = AttemptError(error.attempt, error.kind, error.message, error.traceback, now)
        self.errors = (*self.errors, stamped)[-MAX_ERRORS:]

    def settle(self, ack: Ack, now: Micros) -> None:
        """Write down what a run left behind."""
        if ack.lane is not None:
            self.lane = ack.lane
        if ack.result is not None:
            self.result = ack.result
        if ack.error is not None:
            self.add_error(ack.error, now)
        for step in ack.steps:
            self.keep_step(step, now)
        if ack.charge is not Charge.NONE:
            self._charge(ack.charge)

    def _charge(self, charge: Charge) -> None:
        match charge:
            case Charge.FAILURE:
                self.failures += 1
            case Charge.LOSS:
                self.losses += 1
            case Charge.RELEASE:
                self.releases += 1
            case Charge.CLEAN:
                self.losses = 0
            case Charge.NONE:
                pass
            case _:
                assert_never(charge)

    def keep_step(self, step: Step, now: Micros) -> None:
        """Record a step; the first record of a name stays."""
        self.recorded = self.recorded or Steps()
        self.recorded.keep(step, now)

    def sleep(self) -> None:
        """A scheduled job leaves the depth until it moves on."""
        self.asleep = True
        self.queue.asleep += 1

    def wake(self) -> None:
        """It is in the depth again, if it slept."""
        self.queue.asleep -= self.asleep
        self.asleep = False

    def salvage(self) -> None:
        """Keep what can be read of a damaged row, so that it can be shown and purged."""
        fields: dict[str, Any] = {"task": "", "queue": self.queue.name}
        for name in JobRequest.__struct_fields__:
            if hasattr(self.request, name):
                fields[name] = getattr(self.request, name)
        self.request = JobRequest(**fields)

    @property
    def window_end(self) -> Micros:
        """Until when its unique key stays taken even if it ends; 0: its end frees the key,
        wherever the wall clock stands by then.
        """
        window = self.request.unique_for
        return self.enqueued_at + window if window else 0

    def leased(self) -> LeasedJob:
        """The job as its worker gets it.

        Raises AttributeError, TypeError or ValueError for a row that cannot be read.
        """
        request = self.request
        return LeasedJob(  # spelled out: a tuple between costs a tenth of a microsecond a job
            self.id,
            self.attempt,
            request.task,
            self.queue.name,
            self.lane,
            self.failures,
            self.losses,
            self.releases,
            request.terms,
            self.priority,
            self.enqueued_at,
            self.due,
            request.headers,
            request.tags,
            request.payload,
            0 if self.recorded is None else len(self.recorded),
        )

    def held(self) -> HeldLease:
        """The lease on the job, as the store sees it."""
        request = self.request
        return HeldLease(
            self.id,
            self.attempt,
            request.task,
            self.queue.name,
            self.lane,
            self.failures,
            self.losses,
            self.releases,
            request.terms,
            self.worker or "",
            self.until,
            self.cancel,
        )

    def record(self, *, payloads: bool = True) -> JobRecord:
        """All of the job, or all that cannot be large."""
        request = self.request
        return JobRecord(
            id=self.id,
            task=request.task,
            queue=self.queue.name,
            lane=self.lane,
            state=self.state,
            priority=self.priority,
            payload=request.payload if payloads else EMPTY_ARGS,
            due=self.due,
            attempt=self.attempt,
            failures=self.failures,
            losses=self.losses,
            releases=self.releases,
            terms=request.terms,
            unique_key=request.unique_key,
            headers=request.headers,
            tags=request.tags,
            enqueued_at=self.enqueued_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            expires_at=self.expires_at,
            purge_at=self.purge_at,
            worker=self.worker,
            cancel=self.cancel,
            result=self.result if payloads else None,
            errors=self.errors if payloads else (),
            progress=self.progress,
            limits=request.limits,
            steps=len(self.recorded or ()),
            asleep=self.asleep,
            follow_ups=request.follow_ups if payloads else (),
            redrives=self.redrives,
        )


class Fuse:
    """The expiry of a job that has not started; burnt out (marked) once it has."""

    __slots__ = ("mark", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.mark = 0


class Key:
    """Who holds a unique key, and until when at least.

    `predecessor` still lives, and the holder waits for its end.
    """

    __slots__ = ("holder", "mark", "name", "predecessor", "since", "until")

    def __init__(self, name: str, holder: Row, since: Micros) -> None:
        self.name = name
        self.holder = holder
        self.until: Micros = holder.window_end
        self.since = since
        """What `max_wait` counts from: when the first of the holders was added of which each
        took the place of the last, and none had started."""
        self.predecessor: Row | None = None
        self.mark = 0

    def free(self, now: Micros) -> bool:
        """Whether the next job may take the key without a conflict."""
        return self.holder.state in TERMINAL and self.until <= now


class QueueState:
    """One queue: its settings, its jobs by state, and those that are up next."""

    __slots__ = (
        "_declared",
        "arrival",
        "arrived",
        "asleep",
        "concurrency",
        "drained",
        "max_depth",
        "members",
        "name",
        "paces",
        "pacing",
        "paused",
        "purged",
        "ready",
        "scheduled",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.max_depth: int | None = None
        self.concurrency: int | None = None
        self.pacing: Pacing | None = None
        self.arrival: Micros = 0
        """The tick that its starts have used up."""
        self.purged = 0
        self.asleep = 0
        """How many of the scheduled jobs sleep: they are not in the depth."""
        self.drained = Rate()
        self.arrived = Rate()
        self.members: dict[State, dict[int, Row]] = {state: {} for state in State}
        """Every job that is not purged; their numbers are the counts (I11)."""
        self.ready = {lane: Ready() for lane in Lane}
        self.scheduled: Line[Row] = Line()
        self.paces: Line[Pace] = Line()
        """Those of its rates for which a job waits, by the tick when the first may start."""
        self._declared: QueueSettings | None = None

    @property
    def depth(self) -> int:
        """What counts towards `max_depth`."""
        return sum(len(self.members[state]) for state in QUEUED) - self.asleep

    def apply(self, settings: QueueSettings, tick: Micros, *, declared: bool) -> None:
        """Take over settings; of a declaration, what differs from earlier ones."""
        if declared:
            settings, self._declared = declare(settings, self._declared)
        if settings.max_depth is not UNSET:
            self.max_depth = settings.max_depth
        if settings.paused is not UNSET:
            self.paused = settings.paused
        if settings.concurrency is not UNSET:
            self.concurrency = settings.concurrency
        if settings.pacing is not UNSET:
            if self.pacing is not None and settings.pacing is not None:
                self.arrival = limits.repaced(self.pacing, settings.pacing, self.arrival, tick)
            self.pacing = settings.pacing

    def leasable(self, tick: Micros) -> int | None:
        """How many of its jobs may start now by its own limits; None: any number."""
        room: list[int] = []
        if self.concurrency is not None:
            room.append(self.concurrency - len(self.members[State.RUNNING]))
        if self.pacing is not None:
            room.append(limits.startable(self.pacing, self.arrival, tick))
        return max(0, min(room)) if room else None

    def started(self, tick: Micros, count: int) -> None:
        """So many of its jobs have started."""
        if count and self.pacing is not None:
            self.arrival = limits.started(self.pacing, self.arrival, tick, count)

    def next_in(self, lane: Lane | None, now: Micros, tick: Micros) -> Micros | None:
        """How long until its next job is due, or may start by a rate; None: nothing is to come.

        The rate of the queue itself counts if it holds back a job of `lane`.
        """
        waits: list[Micros] = []
        if (due := self.scheduled.due()) is not None:
            waits.append(due - now)
        if (opens := self.paces.due()) is not None:
            waits.append(opens - tick)
        if self.pacing is not None and lane is not None and self.ready[lane]:
            held_back = not limits.startable(self.pacing, self.arrival, tick)
            opens = limits.opens_at(self.pacing, self.arrival, 1)
            if held_back and opens is not None:
                waits.append(opens - tick)
        return max(0, min(waits)) if waits else None

    def stats(self, tick: Micros) -> QueueStats:
        """The queue at this moment."""
        oldest = [due for line in self.ready.values() if (due := line.oldest()) is not None]
        return QueueStats(
            queue=self.name,
            paused=self.paused,
            max_depth=self.max_depth,
            counts={state: len(rows) for state, rows in self.members.items()},
            purged=self.purged,
            cells=len(self.ready[Lane.CELL]),
            oldest_ready=min(oldest, default=None),
            drain_rate=self.drained.per_second(tick),
            arrival_rate=self.arrived.per_second(tick, ARRIVALS_SPAN),
            concurrency=self.concurrency,
            pacing=self.pacing,
            asleep=self.asleep,
        )
