"""A schedule's rule as plain data, which stores keep as JSON.

What is read back is checked for its shape only: it may name a time zone that this machine
does not have, and then says so when it is asked for a slot, so that the other schedules of
the store can still be read.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from backline.job import FARTHEST, SECOND, Micros

LONGEST_CRON: Final = 200
"""Characters: a bound on the work that a stranger's expression can ask for."""
LONGEST_TZ: Final = 64
SHORTEST_EVERY: Final[Micros] = SECOND


class Cron(Struct, frozen=True, tag_field="kind", tag="cron", gc=False):
    """The minutes that `expression` matches on the clocks of the IANA zone `tz`."""

    expression: Annotated[str, Meta(max_length=LONGEST_CRON)]
    tz: Annotated[str, Meta(max_length=LONGEST_TZ)] = "UTC"


class Every(Struct, frozen=True, tag_field="kind", tag="every", gc=False):
    """`start`, and each `interval` after it.

    Slots that count from the last run would drift with every delay, and those that count from
    the start of a scheduler would differ between two of them: so they count from 1970 (UTC),
    or from a start that is part of the rule. "1d" is midnight in UTC and "1w" is a Thursday;
    for another phase give a start, for a time of day use cron.
    """

    interval: Annotated[int, Meta(ge=SHORTEST_EVERY, le=FARTHEST)]
    start: Annotated[int, Meta(ge=0, le=FARTHEST)] = 0


Rule: TypeAlias = Cron | Every
