"""What the model keeps of a job."""

from dataclasses import dataclass, field
from typing import TypeAlias

from backline.job import JobRequest, Lane, Micros
from backline.states import State

Key: TypeAlias = tuple[str, str]
"""A queue, and a key of it."""


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
    worker: str | None = None
    cancel: bool = False
    started_at: Micros | None = None
    finished_at: Micros | None = None
    purge_at: Micros | None = None
    until: Micros = 0
    purged: bool = False
    stand: Stand = field(default_factory=Stand)
    """What it holds within its limits, or waits for."""

    @property
    def queue(self) -> str:
        return self.request.queue

    @property
    def priority(self) -> int:
        return self.request.priority

    @property
    def order(self) -> tuple[int, Micros, int]:
        """Its place among the ready jobs."""
        return (-self.priority, self.due, self.seq)

    @property
    def window_end(self) -> Micros:
        """Until when its key stays taken at least; 0: free when it ends, by any clock."""
        return self.enqueued_at + self.request.unique_for if self.request.unique_for else 0


@dataclass
class Holding:
    """A unique key: who holds it, and which living job the holder waits for."""

    holder: Kept
    predecessor: Kept | None = None
    until: Micros = 0
    since: Micros = 0
    """What `max_wait` counts from."""
