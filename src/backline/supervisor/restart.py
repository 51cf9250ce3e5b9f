"""When to start a worker again: a pure rule over how the ones before it ended."""

from dataclasses import dataclass
from typing import Final

from backline.job import MINUTE, SECOND, Micros

LONGEST_WAIT: Final[Micros] = 30 * SECOND
UNHEALTHY: Final = 5
"""So many barren deaths within a minute, and the place shows as unhealthy."""


@dataclass(frozen=True, slots=True)
class RestartHistory:
    """How the workers of one place ended.

    A death is barren if the worker had not finished a job, and had not lived for a minute.
    """

    barren: tuple[Micros, ...] = ()
    """The ticks of the newest barren deaths since the last worker that was none."""
    row: int = 0
    """How many barren deaths there were in a row."""
    restarts: int = 0
    """How often a worker had to be started again, ever."""

    @property
    def healthy(self) -> bool:
        """Not five barren deaths within a minute, or a good worker since."""
        newest = self.barren
        return len(newest) < UNHEALTHY or newest[-1] - newest[0] > MINUTE


def after_death(
    history: RestartHistory, *, at: Micros, lived: Micros, finished: int
) -> tuple[RestartHistory, Micros]:
    """The history with one more death, and how long to wait before the next start.

    The first restart is at once; from the second barren death in a row on it waits 1 s,
    doubling to 30 s, and never gives up. Any other death starts anew.
    """
    restarts = history.restarts + 1
    if finished > 0 or lived >= MINUTE:
        return RestartHistory(restarts=restarts), 0
    row = history.row + 1
    barren = history.barren
    if history.healthy:  # else it stays unhealthy until a good worker
        barren = (*barren, at)[-UNHEALTHY:]
    wait = 0 if row == 1 else min(LONGEST_WAIT, SECOND << min(row - 2, 8))
    return RestartHistory(barren, row, restarts), wait
