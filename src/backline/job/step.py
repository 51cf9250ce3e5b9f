"""What a job has done, and must not do again."""

from typing import Final

import msgspec
from msgspec import Raw

from backline.job.units import JobId, Micros

MAX_STEPS: Final = 1_000
"""How many steps a job may record."""
MAX_STEP_NAME: Final = 200
"""Characters of a step's name."""


class Awaited(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The event that a job waits for."""

    name: str
    key: str


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step of a running job, done: to be recorded, and not to be done again."""

    id: JobId
    attempt: int
    name: str
    """Unique within the job."""
    value: Raw | None = None
    """What it returned, as JSON; None for None."""
    wake_in: Micros | None = None
    """Of a sleep, and of a wait that no event ends: over this long after the store's now."""
    awaits: Awaited | None = None
    """Of a wait: the first such event ends it, one that is kept at once."""
    over: bool = False
    """Of a wait: its time has come, and no event that comes later ends it. One that came before
    has."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A step as the store has recorded it."""

    name: str
    attempt: int
    """The one that did it."""
    value: Raw | None
    recorded_at: Micros
    wake_at: Micros | None = None
    """Of a sleep: when it is over. Of a wait: when it would be without an event."""
    wake_in: Micros | None = None
    """The same, counted from the moment of the look, by the store's clock; 0: it is over."""
    awaits: Awaited | None = None
    """Of a wait; its value is the payload of the event."""
    over: bool = False
    """Of a wait: it has ended, and stays as it is."""
    event_id: str | None = None
    """The event that ended it; None: none has."""
    event_at: Micros | None = None
    """When that was published."""
