"""The jobs and groups that a job waits for."""

from enum import StrEnum
from typing import Final

import msgspec

from backline.ids import JobId
from backline.states import State

MOST_PARENTS: Final = 1_000
"""Of one job; a group stands for any number of jobs."""
MOST_SHOWN: Final = 100
"""Jobs that wait for one, in its record."""


class On(StrEnum):
    """Which end of its parent lets a child go on; any other end cancels the child."""

    SUCCESS = "success"
    FAILURE = "failure"
    """Dead, cancelled or expired."""
    END = "end"

    def met(self, ended: State) -> bool:
        """Whether a parent that ended like this lets the child go on."""
        return self is On.END or (ended is State.SUCCEEDED) is (self is On.SUCCESS)


class After(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job waits for the end of its parent: of another job, or of a group.

    A group has ended when each of its jobs has, and succeeded if all of them did; who needs
    that is cancelled when the first of them ends otherwise.
    """

    parent: JobId
    on: On = On.SUCCESS
    result: bool = False
    """The parent's result goes with the child's lease; never of a group."""


class Parent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A parent, as a record shows it."""

    id: JobId
    on: On
    ended: State | None = None
    """None: it has not, as far as that matters to the child."""


def map_group(planner: JobId) -> JobId:
    """The group of a map that is in no other: its planner, and all jobs that it enqueues."""
    return f"m-{planner}"


def whole_of(job: JobId, group: JobId | None) -> JobId:
    """Whose end is the end of all that a job stands for: its own, or that of its map."""
    whole = map_group(job)
    return whole if group == whole else job
