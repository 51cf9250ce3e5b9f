"""When a worker process is to be replaced or killed: pure rules over its board.

A worker enforces time limits and cancels by itself, except where user code does not let
it. A cell is killed soon after a limit or a cancel; any other worker only once its event
loop has stood still for a while, for it runs the jobs of others too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backline.job import SECOND, Micros
from backline.worker.board import Entry, Phase, Token

CELL_PATIENCE: Final[Micros] = SECOND // 2
"""How long after its limit, or after it was told, a cell may take to stop by itself."""
PATIENCE: Final[Micros] = 5 * SECOND
"""How long another worker may: also how long its event loop may stand still."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why to kill a worker now."""

    timed_out: frozenset[Token] = frozenset()
    cancelled: frozenset[Token] = frozenset()
    lost: bool = False
    """A cell works on a job that is another's by now."""

    def __bool__(self) -> bool:
        return bool(self.timed_out or self.cancelled or self.lost)


SPARED: Final = Verdict()


def judge_cell(
    entries: Sequence[Entry],
    cancelled_at: Mapping[Token, Micros],
    lost_at: Mapping[Token, Micros],
    now: Micros,
) -> Verdict:
    """Whether to kill a cell; `cancelled_at` and `lost_at` say when it was told that."""
    running = [entry for entry in entries if entry.phase is Phase.STARTED]
    late = now - CELL_PATIENCE
    return Verdict(
        timed_out=frozenset(each.token for each in running if 0 < each.deadline <= late),
        cancelled=frozenset(
            each.token for each in running if cancelled_at.get(each.token, now) <= late
        ),
        lost=any(lost_at.get(each.token, now) <= late for each in running),
    )


def judge_worker(entries: Sequence[Entry], beaten_at: Micros, now: Micros) -> Verdict:
    """Whether to kill a worker that is no cell: it is late, and it does not respond."""
    late = now - PATIENCE
    if beaten_at > late:
        return SPARED
    running = [entry for entry in entries if entry.phase is Phase.STARTED]
    return Verdict(timed_out=frozenset(each.token for each in running if 0 < each.deadline <= late))


def worn_out(
    finished: int, resident: int, *, max_jobs: int | None, max_memory: int | None
) -> str | None:
    """Why a worker is to be replaced by a fresh one; None: it is not."""
    if max_jobs is not None and finished >= max_jobs:
        return f"it finished {finished} jobs"
    if max_memory is not None and resident > max_memory:
        return f"it takes {resident >> 20} MiB"
    return None
