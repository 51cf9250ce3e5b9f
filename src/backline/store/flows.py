"""The part of a store that tells of flows as wholes; for what holds of every method see
`backline.store.contract`.
"""

from collections.abc import Sequence
from typing import Protocol

from backline.job import JobId
from backline.store.values import FlowStats


class FlowStore(Protocol):
    """How far flows are, and their end before it."""

    async def flows(self, ids: Sequence[JobId]) -> list[FlowStats | None]:
        """How far flows are; None for one that is not known.

        Costs nothing per job. A flow is forgotten a day after the last of its jobs was purged.
        """
        ...

    async def cancel_flows(self, ids: Sequence[JobId], limit: int) -> list[int]:
        """Cancel flows: at most `limit` jobs of each that live, as `cancel` does.

        Answers how many it cancelled, or asked to stop, of each: repeat until that is 0. What
        is added to the flow from the first call on ends as cancelled.
        """
        ...
