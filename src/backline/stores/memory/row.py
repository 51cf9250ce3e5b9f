"""A job as the memory store keeps it, and the views of it that the contract hands out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

from msgspec import Raw

from backline import fairness
from backline.job import (
    EMPTY_ARGS,
    MAX_ERRORS,
    Ack,
    AttemptError,
    Charge,
    HeldLease,
    JobId,
    JobRecord,
    JobRequest,
    LeasedJob,
    Micros,
    Progress,
    WorkerName,
)
from backline.states import State
from backline.stores.memory.flows import Ties
from backline.stores.memory.gates import Stand
from backline.stores.memory.keys import Key
from backline.stores.memory.line import Line
from backline.stores.memory.queue import QueueState
from backline.stores.memory.ready import Ready
from backline.stores.memory.steps import Steps

_NO_RESULTS: Final[Mapping[JobId, Raw]] = {}


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
        "share",
        "stand",
        "started_at",
        "state",
        "tenant",
        "ties",
        "turn",
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
        self.ties: Ties | None = None
        """What it has to do with other jobs of a workflow."""
        self.tenant: str | None = None
        """Whose it is; None: its queue is not fair."""
        self.turn: int | None = None
        """While it is ready or runs, or waits after it was put back."""
        self.share: Ready | None = None
        """Where it has a turn, until that is used."""

    def add_error(self, error: AttemptError, now: Micros) -> None:
        """Keep how an attempt went wrong, and only the newest of them."""
        stamped = AttemptError(error.attempt, error.kind, error.message, error.traceback, now)
        self.errors = (*self.errors, stamped)[-MAX_ERRORS:]

    def settle(self, ack: Ack, now: Micros) -> None:
        """Write down what a run left behind."""
        if self.turn is not None:
            self.turn = fairness.PUT_BACK if ack.state is State.READY else None
        if ack.lane is not None:
            self.lane = ack.lane
        if ack.result is not None:
            self.result = ack.result
        if ack.error is not None:
            self.add_error(ack.error, now)
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

    def sleep(self) -> None:
        """A scheduled job leaves the depth until it moves on."""
        self.asleep = True
        self.queue.asleep += 1

    def wake(self) -> None:
        """It is in the depth again, if it slept."""
        self.queue.asleep -= self.asleep
        self.asleep = False

    def leave(self) -> None:
        """Leave the line that it stands in, and give a turn back."""
        self.mark += 1
        line, self.line = self.line, None
        share, self.share = self.share, None
        if line is not None:
            line.drop()
        if share is not None:
            share.give_back(self, self.queue.weights)

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
            _NO_RESULTS if self.ties is None else self.ties.results(),
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
        request, ties = self.request, self.ties
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
            after=() if ties is None else ties.after(),
            before=() if ties is None else ties.before(),
            flow=request.flow_id,
            group=request.group_id,
            fair_key=request.fair_key,
        )


class Fuse:
    """The expiry of a job that has not started; burnt out (marked) once it has."""

    __slots__ = ("mark", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.mark = 0
