"""What a job has done, and must not do again."""

from typing import Final

import msgspec
from msgspec import Raw

from backline.job.units import JobId, Micros

MAX_STEPS: Final = 1_000
"""How many steps a job may record."""
MAX_STEP_NAME: Final = 200
"""Characters of a step's name."""


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step of a running job, done: to be recorded, and not to be done again."""

    id: JobId
    attempt: int
    name: str
    """Unique within the job."""
    value: Raw | None = None
    """What it returned, as JSON; None for None."""
    wake_in: Micros | None = None
    """Of a sleep: over this long after the store's now."""


class StepRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A step as the store has recorded it."""

    name: str
    attempt: int
    """The one that did it."""
    value: Raw | None
    recorded_at: Micros
    wake_at: Micros | None = None
    """Of a sleep: when it is over."""
    wake_in: Micros | None = None
    """The same, counted from the moment of the look, by the store's clock; 0: it is over."""
