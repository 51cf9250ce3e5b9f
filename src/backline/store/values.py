"""What goes into the methods of a store and comes out of them, besides jobs."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from backline.fanout import SubscriptionRecord
from backline.job import (
    Acked,
    JobId,
    JobRecord,
    JobRequest,
    Lane,
    LeasedJob,
    Micros,
    Pacing,
    Rank,
    WorkerName,
)
from backline.schedule import ScheduleRecord
from backline.states import QUEUED, State

Call: TypeAlias = Sequence[JobRequest]
"""Jobs that are admitted together or not at all."""
Demand: TypeAlias = Mapping[tuple[str, Lane], int]
"""How many jobs are wanted from each (queue, lane); 0: none, only when the next one is due."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between stores, as facts to show and to decide by."""

    product: str
    """What runs it, with its version: `SQLite 3.54.1`."""
    between_processes: bool
    """Other processes see the same jobs by opening the same URL."""
    survives: str
    """The worst that an acknowledged job survives: `nothing`, `process`, `power cut`."""


class Exchange(msgspec.Struct, frozen=True):
    """The answer to `Store.exchange`."""

    acks: list[Acked]
    jobs: list[LeasedJob]
    """In the order of each queue; queues in no order."""
    next_in: Micros | None = None
    """How long until the earliest scheduled job of the queues asked for is due, or a rate lets
    one of their jobs start, by the store's clocks; None: there is none. 0: it is time, and
    `promote` was not called since."""


class Cancelling(StrEnum):
    """What `Store.cancel` did."""

    CANCELLED = "cancelled"
    """It will not run (any more)."""
    REQUESTED = "requested"
    """It is running: its worker is told; there will be no further attempt."""
    ENDED = "ended"
    """It had ended before."""
    UNKNOWN = "unknown"


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of jobs that have not started; what is UNSET stays as it is.

    Due at `run_at` if given, else `delay` after the store's now.
    """

    queue: str | UnsetType = UNSET
    priority: Rank | UnsetType = UNSET
    run_at: Micros | UnsetType = UNSET
    delay: Micros | UnsetType = UNSET

    def due(self, now: Micros) -> Micros | None:
        """When the jobs are due from now on; None: when they were."""
        if self.run_at is not UNSET:
            return self.run_at
        return None if self.delay is UNSET else now + self.delay


class Edited(StrEnum):
    """What `Store.edit` did."""

    EDITED = "edited"
    """The job is as the edit says, perhaps as it was before."""
    RUNNING = "running"
    """It runs: nothing was changed."""
    ENDED = "ended"
    """It had ended before."""
    UNKNOWN = "unknown"


class Hint(StrEnum):
    """What `Store.watch` tells of."""

    WORK = "work"
    """A job became ready, or due sooner than any before."""
    FINISHED = "finished"
    """A job ended."""
    SCHEDULE = "schedule"
    """A schedule was made, changed or deleted."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs; every field that is given must match."""

    queue: str | None = None
    task: str | None = None
    states: frozenset[State] = frozenset()
    """Empty: any state."""
    tag: str | None = None
    priority: int | None = None
    enqueued_from: Micros | None = None
    """Enqueued then or later."""
    enqueued_before: Micros | None = None
    error: str | None = None
    """The `kind` of its newest error, or what stands there after a dot: the class without its
    module."""
    flow: JobId | None = None
    """The workflow it is part of."""

    def says(self, kind: str | None) -> bool:
        """Whether `error` names an error of this kind; None: there is no error."""
        return kind is not None and f".{kind}".endswith(f".{self.error}")


class Page(msgspec.Struct, frozen=True):
    """Some of the jobs of a `Filter`, and where the next page begins."""

    jobs: list[JobRecord]
    after: JobId | None
    """Pass to `find` for the next page; None: that was the last."""


class QueueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a queue; what is UNSET stays as it is."""

    queue: str
    max_depth: int | UnsetType | None = UNSET
    """At most this many scheduled, waiting and ready jobs, without those asleep; None: no limit."""
    paused: bool | UnsetType = UNSET
    """A paused queue takes jobs and hands out none."""
    concurrency: int | UnsetType | None = UNSET
    """At most this many of its jobs run at a time, on all workers; None: no limit."""
    pacing: Pacing | UnsetType | None = UNSET
    """How often its jobs may start, on all workers; None: at once."""
    weights: Mapping[str, float] | UnsetType = UNSET
    """How large the shares of fair keys are, beside each other; that of all others is 1."""
    ageing: Micros | UnsetType | None = UNSET
    """How much longer a job has waited for each priority that it is above another; None:
    priorities are strict."""


ARRIVALS_SPAN: Final = 10
"""Seconds; a burst in a queue that was still makes no rate of a whole minute."""


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """A queue at one moment."""

    queue: str
    paused: bool
    max_depth: int | None
    counts: dict[State, int]
    """Jobs by state, every state; finished ones until they are purged."""
    purged: int
    """Jobs that were purged, ever."""
    cells: int
    """How many of the ready jobs wait for a cell."""
    oldest_ready: Micros | None
    """When the ready job that has waited longest became due; None: none is ready. In a fair
    queue, of those that are up next: the first of each lane and priority."""
    drain_rate: float
    """Jobs per second that left the queue lately, by ending."""
    arrival_rate: float = 0.0
    """Jobs per second that became ready lately, but for a cell; one that its worker put back at
    once does not count again. Of less than `ARRIVALS_SPAN` it is the mean over that."""
    concurrency: int | None = None
    pacing: Pacing | None = None
    asleep: int = 0
    """How many of the scheduled jobs sleep between two steps, or wait for an event."""
    fair: bool = False
    """It had a job with a fair key."""
    weights: Mapping[str, float] = {}
    ageing: Micros | None = None

    @property
    def depth(self) -> int:
        """What counts towards `max_depth`."""
        return sum(self.counts.get(state, 0) for state in QUEUED) - self.asleep


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor makes of the load, for people."""

    low: int
    high: int
    """Between how many processes it chooses."""
    processes: int
    """How many it wants."""
    why: str
    """Why it is so many, with the figures that led to it."""
    decided_at: Micros


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself, for people. Also, who of two versions of the code declares
    a schedule: the worker that knows its task and started last."""

    worker: WorkerName
    host: str
    pid: int
    queues: tuple[str, ...]
    lane: Lane
    concurrency: int
    """0: a supervisor that has no worker, because those it starts cannot work."""
    tasks: tuple[str, ...]
    """The names of the tasks it knows."""
    started_at: Micros
    version: str
    running: int = 0
    restarts: int = 0
    """How often its supervisor had to start it again."""
    healthy: bool = True
    draining: bool = False
    """It leases nothing more, and ends when what it runs has ended."""
    seen_at: Micros | None = None
    """Set by the store."""
    service: float = 0.0
    """Seconds that a job took lately, on average, of all workers of its supervisor; 0: unknown."""
    scaling: Scaling | None = None
    """Of a supervisor that scales; it then has a `concurrency` of 0, and works."""


class Timetable(msgspec.Struct, frozen=True):
    """Some schedules, and the store's wall clock at that moment."""

    now: Micros
    schedules: list[ScheduleRecord]
    after: str | None = None
    """Pass on for the next page; None: that was the last."""
    next_in: Micros | None = None
    """Of those due: how long until the earliest slot that has not come; None: there is none."""


class Subscriptions(msgspec.Struct, frozen=True):
    """Some subscriptions."""

    subscriptions: list[SubscriptionRecord]
    after: str | None = None
    """Pass on for the next page; None: that was the last."""


class FlowStats(msgspec.Struct, frozen=True, kw_only=True):
    """How far a workflow is: the counts of its groups, of one moment."""

    flow: JobId
    added: int
    """Jobs that were added to it, ever."""
    ended: int
    failed: int
    """Those that ended other than succeeded."""
    cancelled: bool = False
    """It was cancelled: what is added to it ends at once."""
