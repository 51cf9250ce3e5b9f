"""What the model keeps of a job."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec import UNSET
from msgspec.structs import replace

from backline.fairness import PUT_BACK
from backline.follow_up import id_of
from backline.job import Ack, Charge, JobId, JobRequest, Lane, Micros, Step, StepRecord
from backline.parents import On
from backline.states import QUEUED, State
from backline.store import Edit, Edited

COMPARED: Final = (
    "state",
    "queue",
    "priority",
    "due",
    "lane",
    "attempt",
    "failures",
    "losses",
    "releases",
    "redrives",
    "worker",
    "cancel",
    "enqueued_at",
    "started_at",
    "finished_at",
    "expires_at",
    "purge_at",
    "steps",
    "asleep",
)
"""What of a record is the same as of what is kept."""

Key: TypeAlias = tuple[str, str]
"""A queue, and a key of it."""
Level: TypeAlias = tuple[str, Lane, int]
"""A queue, a lane of it, and a priority."""
Share: TypeAlias = tuple[Level, str]
"""A level, and the tenant whose it is there."""


@dataclass
class Stand:
    """What a job with limits holds, or waits for."""

    gate: Key | None = None
    slot: bool = False
    pace: Key | None = None
    permit: bool = False


@dataclass
class Kept:
    """A job; fields named as in `JobRecord` mean the same. An edit changes `request`."""

    request: JobRequest
    seq: int
    enqueued_at: Micros
    due: Micros
    expires_at: Micros | None
    lane: Lane
    state: State = State.READY
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    releases: int = 0
    redrives: int = 0
    worker: str | None = None
    cancel: bool = False
    started_at: Micros | None = None
    finished_at: Micros | None = None
    purge_at: Micros | None = None
    until: Micros = 0
    purged: bool = False
    stand: Stand = field(default_factory=Stand)
    """What it holds within its limits, or waits for."""
    asleep: bool = False
    recorded: dict[str, StepRecord] = field(default_factory=dict)
    parents: tuple[tuple[JobId, On], ...] = ()
    stopped: bool = False
    """Cancelled because of how a parent ended."""
    tenant: str | None = None
    """Whose it is in a fair queue."""
    turn: int | None = None
    share: Share | None = None
    """While it is ready, and has a turn, whose turn that is."""

    @classmethod
    def made(cls, request: JobRequest, seq: int, now: Micros) -> "Kept":
        """A job that is added."""
        due = now + request.delay if request.run_at is None else request.run_at
        expires = request.expires_at
        if expires is None and request.expires_in is not None:
            expires = now + request.expires_in
        return cls(request, seq, now, due, expires, request.lane)

    @property
    def steps(self) -> int:
        """How many are recorded."""
        return len(self.recorded)

    @property
    def edited(self) -> Edited:
        """What an edit of it is answered."""
        if self.state in QUEUED:
            return Edited.EDITED
        return Edited.RUNNING if self.state is State.RUNNING else Edited.ENDED

    def take(self, worker: str, ack: Ack) -> None:
        """Take what is said of how a run of it ended, but for its move."""
        self.worker, self.lane, charge = worker, ack.lane or self.lane, ack.charge
        if self.turn is not None:
            self.turn = PUT_BACK if ack.state is State.READY else None
        if charge is Charge.CLEAN:
            self.losses = 0
        elif charge is not Charge.NONE:
            counter = {"failure": "failures", "loss": "losses", "release": "releases"}[charge]
            setattr(self, counter, getattr(self, counter) + 1)

    def start(self, worker: str, now: Micros, until: Micros) -> None:
        """Run under a lease."""
        self.state, self.worker, self.started_at = State.RUNNING, worker, now
        self.attempt, self.until = self.attempt + 1, until

    def change(self, change: Edit, now: Micros) -> None:
        """Be as an edit says, but for its state."""
        said = {"queue": change.queue, "priority": change.priority}
        said = {name: value for name, value in said.items() if value is not UNSET}
        self.request = replace(self.request, **said)
        self.turn = None
        due = change.due(now)
        if due is not None:
            self.due = due
            if self.asleep:
                self.sleep_until(due, now)

    def begin_anew(self, now: Micros) -> None:
        """Forget how it ended."""
        self.due, self.failures, self.cancel, self.turn = now, 0, False, None
        self.redrives += 1
        self.expires_at = self.finished_at = self.purge_at = None

    def followers(self) -> list[JobRequest]:
        """What this end of it enqueues."""
        return [
            replace(each.job, id=id_of(self.request.id, self.redrives, n, self.finished_at or 0))
            for n, each in enumerate(self.request.follow_ups)
            if self.state in each.on
        ]

    def keep_step(self, step: Step, now: Micros) -> bool:
        """The first of a name stays; whether this is it."""
        record = StepRecord(
            name=step.name,
            attempt=step.attempt,
            value=step.value if step.awaits is None else None,
            recorded_at=now,
            wake_at=None if step.wake_in is None else now + step.wake_in,
            awaits=step.awaits,
        )
        return self.recorded.setdefault(step.name, record) is record

    def step_records(self, now: Micros) -> list[StepRecord]:
        """What is recorded, as of now."""
        return [_as_of(now, step) for step in self.recorded.values()]

    def sleep_until(self, due: Micros, now: Micros) -> None:
        """Its time was edited while it slept: so was the end of its sleep."""
        for name, step in self.recorded.items():
            if (step.wake_at or 0) > now and not step.over:
                self.recorded[name] = replace(step, wake_at=due)

    @property
    def waits_for_others(self) -> bool:
        """It waits, and not for its turn within its limits."""
        within = self.stand.gate is not None or self.stand.pace is not None
        return self.state is State.WAITING and not within

    @property
    def queue(self) -> str:
        return self.request.queue

    @property
    def priority(self) -> int:
        return self.request.priority

    @property
    def order(self) -> tuple[int, Micros, int]:
        """Its place among those that wait for the same."""
        return (-self.priority, self.due, self.seq)

    @property
    def position(self) -> tuple[int, int, int]:
        """Its place among the ready jobs."""
        return (-self.priority, self.due if self.turn is None else self.turn, self.seq)

    @property
    def level(self) -> Level:
        """Those that it shares with have the same."""
        return (self.queue, self.lane, self.priority)

    @property
    def window_end(self) -> Micros:
        """Until when its key stays taken at least; 0: free when it ends, by any clock."""
        return self.enqueued_at + self.request.unique_for if self.request.unique_for else 0


def _as_of(now: Micros, step: StepRecord) -> StepRecord:
    left = None if step.wake_at is None else max(0, step.wake_at - now)
    return replace(step, wake_in=left)


def asked(request: JobRequest) -> bytes:
    """What a repeat under the same idempotency key has to ask for."""
    return request.task.encode() + b" " + bytes(request.payload)
