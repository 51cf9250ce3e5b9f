"""Times, lengths of time, ids."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from backline import ids

FARTHEST: Final = 2**62
"""Times and lengths further from zero are damage: the sum of two still fits in 64 bits."""
Micros: TypeAlias = Annotated[int, Meta(ge=-FARTHEST, le=FARTHEST)]
Rank: TypeAlias = Annotated[int, Meta(ge=-FARTHEST, le=FARTHEST)]
JobId: TypeAlias = ids.JobId
WorkerName: TypeAlias = ids.WorkerName

SECOND: Final[Micros] = 1_000_000
MINUTE: Final[Micros] = 60 * SECOND
HOUR: Final[Micros] = 60 * MINUTE
DAY: Final[Micros] = 24 * HOUR
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def as_datetime(at: Micros) -> datetime:
    """A time as people see it: aware, in UTC. The first or last there is, for one beyond."""
    try:
        return EPOCH + timedelta(microseconds=at)
    except OverflowError:
        if at < 0:
            return datetime.min.replace(tzinfo=UTC)
        return datetime.max.replace(tzinfo=UTC)
