"""Jobs, their leases and their ends."""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from backline.job.error import AttemptError
from backline.job.step import Step
from backline.job.units import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    JobId,
    Micros,
    Rank,
    WorkerName,
)
from backline.job.unpiped import Unpiped
from backline.parents import After, Parent
from backline.states import State

IDEMPOTENCY: Final[Micros] = DAY
"""How long an idempotency key answers, from the enqueue that it first came with."""
REPLACED_KEEP: Final[Micros] = MINUTE
"""A job that was replaced before its first start stays readable this long at most: it left
nothing behind, and a debounced key makes one with every call."""

DEFAULT_QUEUE: Final = "default"
MAX_PAYLOAD: Final = 256 * 1024
"""Bytes of arguments a job may carry, and bytes of result that it or a step may leave."""
MIN_PRIORITY: Final = -100
MAX_PRIORITY: Final = 100
MOST_AT_ONCE: Final = 10_000
"""Jobs of a key that may be let to run at once: slots, and the burst of a rate."""
EMPTY_ARGS: Final = Raw(b"[[],{}]")


class Lane(StrEnum):
    """Which workers may lease a job of a queue."""

    MAIN = "main"
    CELL = "cell"
    """One job a process: tasks with `executor="process"`, and suspects (see `policy`)."""


class OnConflict(StrEnum):
    """What becomes of a job whose unique key is taken."""

    SKIP = "skip"
    REPLACE = "replace"
    RAISE = "raise"


class Backoff(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How long to wait before the next attempt, as plain data.

    With `delays`, the n-th failure waits `delays[n - 1]`, the last one for ever after.
    Otherwise min(cap, base * factor ** (n - 1)); `jitter` draws uniformly from 0 to that.
    """

    base: Micros = SECOND
    cap: Micros = HOUR
    factor: float = 2.0
    jitter: bool = True
    delays: tuple[Micros, ...] = ()


class Terms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that is needed to settle a run of a job without the user's code.

    Jobs are stored without the defaults at the end: another default would be another meaning of
    jobs that are there.
    """

    max_attempts: int = 5
    timeout: Micros = HOUR
    backoff: Backoff = Backoff()
    keep: Micros = 7 * DAY
    """How long the job stays readable once it has succeeded, was cancelled or expired."""
    keep_dead: Micros = 30 * DAY

    def keep_for(self, state: State) -> Micros:
        """How long the job stays readable once it has ended in `state`."""
        return self.keep_dead if state is State.DEAD else self.keep


class OnPoison(StrEnum):
    """What a dead job does to those behind it that share its key."""

    SKIP = "skip"
    """It gives up its turn: the next one goes on."""
    BLOCK = "block"
    """It keeps its turn until it is redriven and ends, or is purged."""


class Pacing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How often something may start: in every stretch of time, at most `burst` starts and one
    more each `interval`. What was not used in a while is not saved up beyond `burst`.
    """

    interval: Annotated[int, Meta(ge=0, le=366 * DAY)]
    burst: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] = 1


class Limits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many jobs that share a key may run at once, and how often they may start.

    Keys count within a queue. What the newest job of a key says of its limit holds for all.
    """

    key: str | None = None
    """At most `slots` jobs of this key run at a time; None: any number."""
    slots: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] = 1
    """With one slot a job keeps it until it has ended, retries included: the jobs of the key
    run one after the other, in their order. With more, a job that waits for a retry has none."""
    on_poison: OnPoison = OnPoison.SKIP
    """With one slot only."""
    rate_key: str | None = None
    """Jobs of this key start no more often than `pacing` says; None: at once."""
    pacing: Pacing = Pacing(0)
    weight: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] = 1
    """As how many starts a start of this job counts; at most `pacing.burst`."""


class JobRequest(Unpiped, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job to be added: what `task.job(...)` builds and `Store.enqueue` takes.

    Due at `run_at` if given, else `delay` after the store's now. It expires at `expires_at`
    if given, else `expires_in` after the store's now, else never.
    """

    id: JobId
    task: str
    payload: Raw = EMPTY_ARGS
    """JSON: [[positional arguments], {keyword arguments}]."""
    queue: str = DEFAULT_QUEUE
    lane: Lane = Lane.MAIN
    priority: Rank = 0
    """-100 to 100; higher runs sooner."""
    delay: Micros = 0
    run_at: Micros | None = None
    expires_in: Micros | None = None
    expires_at: Micros | None = None
    terms: Terms = Terms()
    unique_key: str | None = None
    """Already scoped by the producer: equal keys of two tasks are told apart there."""
    unique_for: Micros = 0
    """The key stays taken this long from the enqueue, even if the job ends sooner."""
    on_conflict: OnConflict = OnConflict.SKIP
    headers: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    max_wait: Micros | None = None
    """Under a unique key: due at the latest this long after the first of the jobs before it of
    which each took the place of the last, and none had started."""
    idempotency_key: str | None = None
    """Scoped by the producer, as `unique_key` is."""
    limits: Limits | None = None
    follow_ups: tuple["FollowUp", ...] = ()
    """What is enqueued when it ends; those of a follow-up itself are none."""
    after: tuple[After, ...] = ()
    """Whose ends it waits for; each is known to the store, or earlier in the same call."""
    flow: JobId | None = None
    """The workflow it is part of: counted, and cancelled, as a whole."""
    group: JobId | None = None
    """The group of the flow that it is in; None: the one that has the flow's own id."""
    fair_key: Annotated[str, Meta(min_length=1)] | None = None
    """Whose job it is: those of a queue share it, key by key. It makes the queue fair."""

    @property
    def fingerprint(self) -> str:
        """Tells what is asked for: the same for two jobs of one task with one payload."""
        return blake2b(b"%s\0%s" % (self.task.encode(), self.payload), digest_size=16).hexdigest()

    def due(self, now: Micros, since: Micros) -> Micros:
        """When the job is due if it is added now.

        `since`: when the first of those whose place it takes was; `max_wait` counts from then.
        """
        due = now + self.delay if self.run_at is None else self.run_at
        return due if self.max_wait is None else min(due, max(now, since + self.max_wait))

    @property
    def group_id(self) -> JobId | None:
        """The group it counts in; None: it is part of no flow."""
        return self.group if self.group is not None else self.flow

    @property
    def flow_id(self) -> JobId | None:
        """The flow of that group."""
        return self.flow if self.flow is not None else self.group


class FollowUp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job that the end of another enqueues, in the commit that records it.

    Each end counts: a job that is redriven and ends again enqueues another one.
    """

    on: tuple[State, ...]
    """The terminal states that it follows."""
    job: JobRequest
    """As it is to be; its id comes from that end (see `follow_up.id_of`), and its `delay` and
    its `expires_in` count from there."""
    outcome: bool = True
    """Its first positional argument is the `follow_up.Outcome` of the job that ended."""


class Enqueued(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one `JobRequest` of an admitted call.

    `id` is the job's own if it was added (or had been, by an earlier sending of the same
    call); else that of the job which holds its unique key, or which its idempotency key
    stands for.
    """

    id: JobId
    added: bool = True
    conflict: bool = False
    """Not added, and `on_conflict` was `raise`."""
    mismatch: bool = False
    """Not added: the idempotency key came with another task or payload before."""


class Refused(msgspec.Struct, frozen=True):
    """A call that was not admitted because a queue is full; nothing of it was written."""

    queue: str
    depth: int
    max_depth: int
    drain_rate: float
    """Jobs per second that lately left the queue; 0.0 when none did."""


class Lease(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The right to run a job, and what is needed to settle the run.

    `(id, attempt)` is the fencing token: every write about the run carries it.
    """

    id: JobId
    attempt: int
    """How many leases the job has had, this one included; only grows."""
    task: str
    queue: str
    lane: Lane
    failures: int
    """How often it failed; counts against `terms.max_attempts`."""
    losses: int
    """How often it was running when its worker was lost; the second makes it a suspect."""
    releases: int
    """How often it was put back because its worker did not know the task."""
    terms: Terms


class LeasedJob(Lease, frozen=True, array_like=True, gc=False):
    """A lease with what running the job needs."""

    priority: int
    enqueued_at: Micros
    due: Micros
    headers: Mapping[str, str]
    tags: tuple[str, ...]
    payload: Raw
    steps: int = 0
    """How many steps are recorded; 0: there is nothing to ask `Store.steps` for."""
    results: Mapping[JobId, Raw] = {}
    """What its parents returned, as far as it asked; `null` of one that did not succeed."""


class HeldLease(Lease, frozen=True, array_like=True, gc=False):
    """A lease as the store sees it while the job runs."""

    worker: WorkerName
    until: Micros
    """The tick, on the store's clock, at which the lease is over."""
    cancel: bool
    """Somebody asked for the job to be cancelled."""


class Charge(StrEnum):
    """Which of a job's counters an ack moves."""

    NONE = "none"
    FAILURE = "failure"
    """failures + 1."""
    LOSS = "loss"
    """losses + 1."""
    RELEASE = "release"
    """releases + 1."""
    CLEAN = "clean"
    """losses back to 0: the run ended of its own will, and the job goes on later."""


AckState: TypeAlias = Literal[
    State.SUCCEEDED, State.DEAD, State.CANCELLED, State.READY, State.SCHEDULED
]


class Ack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a run ended: the one write that records it. Built by `policy.settle`.

    Applies only while `(id, attempt)` is running. An ack that would run the job again
    (`ready`, `scheduled`) lands in `cancelled` if a cancel was asked for meanwhile.
    """

    id: JobId
    attempt: int
    state: AckState
    delay: Micros = 0
    """For `scheduled`: due this long after the store's now."""
    keep: Micros = 0
    """Readable this long after the store's now, if the job ends by this ack."""
    charge: Charge = Charge.NONE
    lane: Lane | None = None
    """The lane to go back to; None: the one it is in."""
    result: Raw | None = None
    error: AttemptError | None = None
    if_overdue: bool = False
    """Applies only if the lease is over by the store's clock at that moment."""
    asleep: bool = False
    """For `scheduled`: until it is due the job sleeps, and does not count in its queue's depth. An
    event that its `steps` wait for makes it due."""
    steps: tuple[Step, ...] = ()
    """Recorded in the same commit, if the ack applies."""


class Acked(StrEnum):
    """What became of an ack."""

    APPLIED = "applied"
    ALREADY = "already"
    """The same worker had recorded the outcome of this attempt before: a repeated call."""
    LOST = "lost"
    """The lease was no longer held; nothing was written."""


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far a running job is."""

    id: JobId
    attempt: int
    done: float
    total: float | None = None
    note: str = ""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A job as the store last saw it."""

    id: JobId
    task: str
    queue: str
    lane: Lane
    state: State
    priority: int
    payload: Raw
    due: Micros
    """When it may (or might) start: enqueue time, `run_at`, end of a backoff."""
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    releases: int = 0
    terms: Terms = Terms()
    unique_key: str | None = None
    headers: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    enqueued_at: Micros
    started_at: Micros | None = None
    """When the latest attempt was leased."""
    finished_at: Micros | None = None
    expires_at: Micros | None = None
    purge_at: Micros | None = None
    worker: WorkerName | None = None
    """Who holds the lease; of a job that is not running, who settled its last attempt."""
    cancel: bool = False
    """A cancel was asked for while it ran."""
    result: Raw | None = None
    errors: tuple[AttemptError, ...] = ()
    """Oldest first; only the newest are kept."""
    progress: Progress | None = None
    limits: Limits | None = None
    steps: int = 0
    """How many are recorded; `Store.steps` has them."""
    asleep: bool = False
    """Scheduled, for a sleep or a wait of its own: not counted in its queue's depth."""
    follow_ups: tuple[FollowUp, ...] = ()
    redrives: int = 0
    """How often it was begun anew after an end."""
    after: tuple[Parent, ...] = ()
    before: tuple[JobId, ...] = ()
    """The first `parents.MOST_SHOWN` jobs that wait for its end, or did."""
    flow: JobId | None = None
    group: JobId | None = None
    fair_key: str | None = None
