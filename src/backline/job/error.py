"""How attempts go wrong."""

from datetime import datetime
from typing import Final

import msgspec

from backline.job.units import Micros, as_datetime

MAX_ERRORS: Final = 10
"""How many `AttemptError` a job keeps; older ones are dropped, `failures` still counts them."""


class AttemptError(msgspec.Struct, frozen=True, gc=False):
    """How one attempt went wrong."""

    attempt: int
    kind: str
    """The exception's qualified name, or one of `timeout`, `lost`, `malformed`."""
    message: str
    traceback: str = ""
    at: Micros | None = None
    """Set by the store, by its clock."""

    @property
    def recorded_at(self) -> datetime | None:
        """When the store recorded it; None: not yet."""
        return None if self.at is None else as_datetime(self.at)
