"""What a seed stands for: the jobs, how they behave, and what is done to the system."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from backline.fanout import Publication
from backline.job import SECOND, JobId, JobRequest, Micros
from backline.queue import OnFull
from backline.store import Edit
from backline.testing.flaky import NO_FAULTS, StoreFaults

HOSTS: Final = 3
NO_CHANGE: Final = Edit()
MAIN: Final = "sim.work"
SYNC: Final = "sim.quick"
MANY: Final = "sim.many"
"""Gets its jobs in batches, from whatever queue they are in."""
BATCH: Final = 4
"""The most jobs of one of them."""
BATCHES: Final = "mail"
"""The queue that is its own, or would be if the other tasks knew."""
UNKNOWN: Final = "sim.new"
"""A task that the last host's code does not know: a rolling deploy."""
SHARED: Final = ("this", "that")
"""What jobs with idempotency keys are told to do, in the place of their own ids."""
AFTER: Final = "sim.after"
"""The task of what follows others."""
TOLD: Final = "sim.told"
"""The name of the events that jobs wait for."""
PRODUCERS: Final = 2
BOUNDED: Final = "bounded"
"""The queue with a depth limit, in seeds that set one."""
QUEUES: Final = ("default", "mail", BOUNDED)


WORKER_POINTS: Final = (
    "worker.before_exchange",
    "exchange.before_commit",
    "exchange.after_commit",
    "progress.before_commit",
    "record.before_commit",
    "record.after_commit",
    "step.before_record",
    "step.after_record",
)
"""Where a worker may be killed."""
SUPERVISOR_POINTS: Final = (
    "heartbeat.before_extend",
    "reaper.before_settle",
    "recovery.before_settle",
    "held.before_commit",
    "exchange.after_commit",
)
"""Where a host may freeze."""
FAULT_POINTS: Final = tuple(dict.fromkeys((*WORKER_POINTS, *SUPERVISOR_POINTS)))


def key_of(job_id: JobId) -> str:
    """Of the event that a job waits for; some share one."""
    return f"about {job_id[-1]}"


class How(StrEnum):
    """How a run ended, as the task itself saw it."""

    OK = "ok"
    ERROR = "error"
    FATAL = "fatal"
    """An error that its task's `Retry` does not allow to be tried again."""
    LATER = "later"
    """RetryLater."""
    SNOOZE = "snooze"
    CANCEL = "cancel"
    """The task cancelled its own job."""
    SLEEP = "sleep"
    """Between two steps; or it waits for an event."""
    STOPPED = "stopped"
    """The worker cancelled the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """What a job does in each of its runs."""

    takes: Micros = 0
    fails: int = 0
    """It fails while it has failed less often than this."""
    fails_as: How = How.ERROR
    snoozes: int = 0
    """It snoozes so often before it does anything else."""
    wait: Micros = SECOND
    """Of a snooze or RetryLater."""
    cancels: bool = False
    """Instead of succeeding it cancels its own job."""
    reports: bool = False
    """It reports progress."""
    kills: int = 0
    """It kills its process while it was lost less often than this."""
    blocks: Micros = 0
    """It keeps its process from doing anything else for so long."""
    steps: int = 0
    """It does its work in so many steps."""
    sleeps: bool = False
    """For `wait`, after the first of them."""
    waits: Micros = 0
    """For an event, so long at most, after the first of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """Jobs that a producer enqueues together."""

    at: Micros
    jobs: tuple[JobRequest, ...]
    producer: int = 0
    again: bool = False
    """Its caller sends it once more after it was answered."""
    patience: Micros | None = None
    """How long its caller waits for an answer before it sends it again; None: for ever."""


class Order(StrEnum):
    """What the operator does."""

    CANCEL = "cancel"
    REDRIVE = "redrive"
    PURGE = "purge"
    EDIT = "edit"
    PAUSE = "pause"
    RESUME = "resume"
    TELL = "tell"
    """Publish an event."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedOrder:
    """One order of the operator, for some jobs or for a queue."""

    at: Micros
    order: Order
    jobs: tuple[JobId, ...] = ()
    queue: str = ""
    change: Edit = NO_CHANGE
    event: Publication | None = None


class Act(StrEnum):
    """What the nemesis does to a host."""

    KILL_WORKER = "kill worker"
    KILL_CELL = "kill cell"
    KILL_SUPERVISOR = "kill supervisor"
    """And its workers, which die with it; what they left stays on their boards."""
    POWER_OFF = "power off"
    """All that a host runs, its boards included."""
    STOP_HOST = "stop host"
    """SIGTERM to the supervisor, perhaps twice."""
    RECYCLE = "recycle"
    """SIGHUP to the supervisor."""
    KILL_AT = "kill at"
    """The worker, when it reaches a fault point."""
    PAUSE_AT = "pause at"
    """The host, when its supervisor reaches a fault point."""
    STOP_WORKER = "stop worker"
    PAUSE_WORKER = "pause worker"
    PAUSE_HOST = "pause host"
    KILL_PRODUCER = "kill producer"
    CUT = "cut"
    DOWN = "down"
    STEP = "step"


@dataclass(frozen=True, kw_only=True, slots=True)
class Blow:
    """One act of the nemesis."""

    at: Micros
    act: Act
    host: int
    lasts: Micros
    """Of a pause, a cut, an outage; of a stop the grace."""
    by: float = 0.0
    """Of a step of the wall clock, in seconds."""
    point: str = ""
    """Of KILL_AT and PAUSE_AT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that happens to one simulated system, but for the order of its tasks."""

    seed: int
    lease: Micros
    active: Micros
    """How long the producers and the nemesis are at it."""
    calls: tuple[PlannedCall, ...]
    behaviours: dict[JobId, Behaviour]
    orders: tuple[PlannedOrder, ...]
    blows: tuple[Blow, ...]
    faults: StoreFaults
    max_depth: int | None
    on_full: OnFull
    max_jobs: int | None
    """A worker is replaced after so many."""
    crashes: float
    """How often a worker dies at its start."""
    patience: Micros
    """How long an enqueue rides out a store that is away."""
    skews: tuple[tuple[float, float], ...]
    """For each host, how far its wall clock and its ticks are off, in seconds."""

    @property
    def requests(self) -> dict[JobId, JobRequest]:
        """Every job by its id."""
        return {job.id: job for call in self.calls for job in call.jobs}

    @property
    def calm(self) -> bool:
        """Nothing at all is done to the system."""
        return not self.blows and self.faults == NO_FAULTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much a seed's plan holds."""

    jobs: int = 34
    blows: int = 8
    active: Micros = 18 * SECOND


SMALL: Final = Size()
LARGE: Final = Size(jobs=400, blows=60, active=600 * SECOND)
