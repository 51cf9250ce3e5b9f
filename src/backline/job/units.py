"""Times, lengths of time, ids."""

from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

FARTHEST: Final = 2**62
"""Times and lengths further from zero are damage: the sum of two still fits in 64 bits."""
MAX_ID: Final = 40
Micros: TypeAlias = Annotated[int, Meta(ge=-FARTHEST, le=FARTHEST)]
Rank: TypeAlias = Annotated[int, Meta(ge=-FARTHEST, le=FARTHEST)]
JobId: TypeAlias = Annotated[str, Meta(max_length=MAX_ID)]
"""A UUIDv7 (RFC 9562) in canonical form. Ids of one process sort by the time they were made.

Others are taken too, of up to `MAX_ID` ASCII characters."""
WorkerName: TypeAlias = str
"""Random per start of a process; never a host's name alone, which a restart would reuse."""

SECOND: Final[Micros] = 1_000_000
MINUTE: Final[Micros] = 60 * SECOND
HOUR: Final[Micros] = 60 * MINUTE
DAY: Final[Micros] = 24 * HOUR
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
