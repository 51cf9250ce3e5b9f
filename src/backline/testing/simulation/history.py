"""What happened in a simulation, event by event, as the checker reads it."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from backline.clock import Clock
from backline.job import JobId, Micros

Note: TypeAlias = dict[str, str | int | bool | None]


class What(StrEnum):
    """The kinds of event."""

    # What a producer did, and what it was told.
    ASKED = "asked"
    """`enqueue` was called, for the first time or again; note: call."""
    ENQUEUED = "enqueued"
    """`enqueue` returned: `job` is stored, or (note `holder`) stands behind another."""
    REFUSED = "refused"
    """The queue was full, `enqueue` says, and did not store `job`."""
    SHED = "shed"
    """The queue was full, and `job` was dropped."""
    CONFLICT = "conflict"
    """`enqueue` raised UniqueConflict or IdempotencyConflict; note: holder, and whether that is
    of the same call."""
    UNKNOWN = "unknown"
    """No answer came, or StoreUnavailable: it may be stored or not."""

    # What the store committed, in the order of its commits.
    BATCH = "batch"
    """One commit of enqueues; note: calls."""
    ADDED = "added"
    AGAIN = "again"
    """The repeat of an enqueue that had added it."""
    TAKEN = "taken"
    """A unique key was taken, or an idempotency key known; note: holder, conflict, mismatch."""
    FULL = "full"
    """A call was refused; note: queue, depth, max_depth."""
    LEASED = "leased"
    """Note: until, lane."""
    EXTENDED = "extended"
    """Note: ok, until."""
    RECORDED = "recorded"
    """Note: step, ok."""
    ACKED = "acked"
    """Note: answer, state, delay, charge, kind, if_overdue."""
    CANCEL = "cancel"
    """Note: answer."""
    REDRIVEN = "redriven"
    """Note: done."""
    EDITED = "edited"
    """Note: answer, and what it is from then on: queue, due (null: as it was)."""
    REPLACED = "replaced"
    """Cancelled by a job that takes its unique key."""
    BARRED = "barred"
    """Found out: it was cancelled because of how a parent ended."""
    EXPIRED = "expired"
    TOLD = "told"
    """An event was published; note: key, event (its id), added."""
    PURGED = "purged"
    """Note: by (`sweep` or `operator`)."""
    SET = "set"
    """A setting of a queue; note: queue, paused."""
    DIFFERS = "differs"
    """The store answered otherwise than the reference model; note: call, answer, expected."""
    UNFORESEEN = "unforeseen"
    """Something that never ends met an error that is no outage; note: error."""
    COUNTS = "counts"
    """A queue in one snapshot; note: queue, depth, max_depth, purged and every state."""

    # What the tasks did.
    RUN = "run"
    ENDED = "ended"
    """Note: how (see `plan`), delay, awaits (the key of an event, if it waits for one)."""
    EFFECT = "effect"
    """What a step does outside; note: step."""
    GOT = "got"
    """A step returned; note: step, by (the attempt that did it)."""
    HEARD = "heard"
    """A wait was over; note: key, event (its id; null: its time was over)."""

    # What was done to the system.
    STARTED = "started"
    """A process; note: host."""
    STOPPED = "stopped"
    """A process ended by itself, told to."""
    KILLED = "killed"
    """A process."""
    PAUSED = "paused"
    RESUMED = "resumed"
    """A process; note: host, whole (the heartbeat too)."""
    CUT = "cut"
    HEALED = "healed"
    """A host's way to the store."""
    DOWN = "down"
    UP = "up"
    """The store, for everybody."""
    STEPPED = "stepped"
    """The wall clock; note: by."""
    QUIET = "quiet"
    """From here on nothing more is done: all must drain."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line of a history. `seq` orders events that share a tick."""

    seq: int
    tick: Micros
    wall: Micros
    who: str
    """The process, or `store`, or `nemesis`."""
    what: What
    job: JobId = ""
    attempt: int = 0
    note: Note = {}


class History:
    """An append-only list of events, stamped by the clock of the store."""

    def __init__(self, clock: Clock) -> None:
        self.events: list[Event] = []
        self._clock = clock
        self._open = True

    def record(
        self,
        what: What,
        who: str,
        job: JobId = "",
        attempt: int = 0,
        **note: str | int | bool | None,
    ) -> None:
        """Append an event that happens now; after `close`, nothing."""
        self.note(what, who, note, job, attempt)

    def note(self, what: What, who: str, note: Note, job: JobId = "", attempt: int = 0) -> None:
        """The same as `record`."""
        if self._open:
            self.events.append(
                Event(
                    seq=len(self.events),
                    tick=self._clock.tick(),
                    wall=self._clock.now(),
                    who=who,
                    what=what,
                    job=job,
                    attempt=attempt,
                    note=note,
                )
            )

    def close(self) -> None:
        """The story is over: what is unwound from now on is no part of it."""
        self._open = False

    def digest(self) -> str:
        """The same for two runs that went the same way."""
        return hashlib.sha256(self._lines()).hexdigest()

    def write(self, path: Path) -> None:
        """As JSON lines."""
        path.write_bytes(self._lines())

    def _lines(self) -> bytes:
        return _ENCODER.encode_lines(self.events)


_ENCODER: Final = msgspec.json.Encoder()
