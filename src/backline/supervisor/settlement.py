"""What becomes of the leases of a worker that is gone: from its board, by pure rules."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from backline.display import span
from backline.job import AttemptError, HeldLease
from backline.policy import Cancelled, Failed, Lost, Outcome, Released, Succeeded
from backline.worker.board import Entry, Phase, Token

_MEBIBYTE_IN_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How a process ended, as the kernel tells."""

    code: int | None = None
    """The exit code; None if a signal ended it, or if nobody saw it end."""
    signal: int | None = None
    peak_kib: int | None = None
    """Its peak memory, in KiB."""

    @property
    def seen(self) -> bool:
        """Somebody saw how it ended."""
        return self.signal is not None or self.code is not None

    def __str__(self) -> str:
        if self.signal is not None:
            how = f"was killed by {_signal_name(self.signal)}"
        elif self.code is not None:
            how = f"exited with code {self.code}"
        else:
            how = "is gone"
        if self.peak_kib is None:
            return how
        return f"{how}; peak memory {self.peak_kib // _MEBIBYTE_IN_KIB} MiB"


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's end, and whose doing it was."""

    exit: ProcessExit
    ours: bool = False
    """The supervisor killed it: no job but those named below is to blame."""
    timed_out: frozenset[Token] = frozenset()
    """Killed because these ran past their time limit."""
    cancelled: frozenset[Token] = frozenset()
    """Killed because these were cancelled and did not stop."""


def outcomes(
    held: Sequence[HeldLease], entries: Sequence[Entry], death: Death
) -> list[tuple[HeldLease, Outcome]]:
    """How each lease of the worker ended.

    Not on the board: leased, never started. Finished: it succeeded if its result stands
    there, else it runs again, for free. Started: it was timed out or cancelled if that is
    why the supervisor killed the worker; free if it was killed for another reason; else it
    was lost with its worker.
    """
    board = {entry.token: entry for entry in entries}
    return [(lease, _outcome(lease, board.get((lease.id, lease.attempt)), death)) for lease in held]


def _outcome(lease: HeldLease, entry: Entry | None, death: Death) -> Outcome:
    if entry is None or entry.phase is Phase.FINISHED:
        return Released()
    if entry.phase is Phase.SUCCEEDED:
        return Succeeded(None if entry.result is None else Raw(entry.result))
    token = (lease.id, lease.attempt)
    if token in death.timed_out:
        limit = span(lease.terms.timeout)
        return Failed(
            _error(lease, "timeout", f"ran past its limit of {limit}; its process", death)
        )
    if token in death.cancelled:
        return Cancelled()
    if death.ours:
        return Released()
    return Lost(_error(lease, "lost", "its process", death), witnessed=death.exit.seen)


def _error(lease: HeldLease, kind: str, begin: str, death: Death) -> AttemptError:
    message = f"{begin} ({lease.worker}) {death.exit}"
    return AttemptError(attempt=lease.attempt, kind=kind, message=message)


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
