"""How jobs and workers are told apart."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

MAX_ID: Final = 40
JobId: TypeAlias = Annotated[str, Meta(max_length=MAX_ID)]
"""A UUIDv7 (RFC 9562) in canonical form. Ids of one process sort by the time they were made.

Others are taken too, of up to `MAX_ID` ASCII characters."""
WorkerName: TypeAlias = str
"""Random per start of a process; never a host's name alone, which a restart would reuse."""
