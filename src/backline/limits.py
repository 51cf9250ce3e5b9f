"""Formulas of flow control over figures of the store: pure, no I/O."""

from typing import Final

SHORTEST_RETRY: Final = 0.1
LONGEST_RETRY: Final = 3_600.0


def retry_after(depth: int, max_depth: int, jobs: int, drain_rate: float) -> float | None:
    """Seconds until a queue that drains at `drain_rate` jobs per second has room for `jobs`.

    None if nothing has left it lately, or if that many never fit. Never below
    `SHORTEST_RETRY`: room for a refused call may be gone again when it comes back.
    """
    if drain_rate <= 0 or jobs > max_depth:
        return None
    excess = max(0, depth + jobs - max_depth)
    return min(LONGEST_RETRY, max(SHORTEST_RETRY, excess / drain_rate))
