"""The states of a job and the moves between them.

`MOVES` is the whole life of a job. Every store method that moves a job, not only one that
records an outcome, consults it and applies the effects of the move in the same commit.
"""

from collections.abc import Mapping
from enum import Flag, StrEnum, auto
from typing import Final


class State(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    """For other jobs: their ends let it go on; or for its turn within the limits of its key."""
    SCHEDULED = "scheduled"
    """For a time: a delay, a retry's backoff, a snooze, the end of a sleep, an operator's edit;
    or for an event, until that time at most."""
    READY = "ready"
    """A worker may lease it now."""
    RUNNING = "running"
    """A worker holds a lease on it."""
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    """Out of attempts, or failed for good: in the dead-letter queue."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its `expires` came before its first start."""


class Effect(Flag):
    """What a move does beside changing the state, in the same commit."""

    NONE = 0
    ENTERS = auto()
    """The depth of the queue grows by one."""
    LEAVES = auto()
    """The depth of the queue shrinks by one."""
    ENDS = auto()
    """The job is over: it starts to age towards its purge, its unique key is free (once
    `unique_for` has passed too), it counts as ended in its group, those that waited for it go
    on, or are cancelled, and its follow-ups are enqueued."""


QUEUED: Final = frozenset({State.WAITING, State.SCHEDULED, State.READY})
"""The states that count towards a queue's depth, but for jobs asleep between two steps: they are
scheduled, leave the depth when they fall asleep and enter it when they become ready."""

TERMINAL: Final = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED, State.EXPIRED})
"""The states a job rests in; `redrive` alone takes it out of one: of the job
itself, or of the parent because of which it was cancelled."""

LIVE: Final = frozenset(State) - TERMINAL
"""The states of a job that is still to end; it holds its unique key."""

MOVES: Final[Mapping[State, Mapping[State, Effect]]] = {
    State.WAITING: {
        State.SCHEDULED: Effect.NONE,
        State.READY: Effect.NONE,
        State.CANCELLED: Effect.LEAVES | Effect.ENDS,
        State.EXPIRED: Effect.LEAVES | Effect.ENDS,
    },
    State.SCHEDULED: {
        State.READY: Effect.NONE,
        State.WAITING: Effect.NONE,
        State.CANCELLED: Effect.LEAVES | Effect.ENDS,
        State.EXPIRED: Effect.LEAVES | Effect.ENDS,
    },
    State.READY: {
        State.WAITING: Effect.NONE,
        State.RUNNING: Effect.LEAVES,
        State.SCHEDULED: Effect.NONE,
        State.CANCELLED: Effect.LEAVES | Effect.ENDS,
        State.EXPIRED: Effect.LEAVES | Effect.ENDS,
    },
    State.RUNNING: {
        State.SUCCEEDED: Effect.ENDS,
        State.READY: Effect.ENTERS,
        State.SCHEDULED: Effect.ENTERS,
        State.WAITING: Effect.ENTERS,
        State.DEAD: Effect.ENDS,
        State.CANCELLED: Effect.ENDS,
    },
    State.SUCCEEDED: {},
    State.DEAD: {State.READY: Effect.ENTERS, State.WAITING: Effect.ENTERS},
    State.CANCELLED: {State.READY: Effect.ENTERS, State.WAITING: Effect.ENTERS},
    State.EXPIRED: {State.READY: Effect.ENTERS, State.WAITING: Effect.ENTERS},
}
"""From a state, the states it may move to, and what each move does."""


def move(source: State, target: State) -> Effect:
    """The effects of moving a job from `source` to `target`.

    Raises ValueError for a move that is not in `MOVES`: a bug in the caller, never a race
    (races are refused by the guard of the statement that moves the job).
    """
    try:
        return MOVES[source][target]
    except KeyError:
        raise ValueError(f"a {source} job cannot become {target}") from None
