"""What people do to jobs and queues, in the random lives of a store."""

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from backline.job import SECOND, Micros, Pacing
from backline.store import Edit, QueueSettings, Store
from backline.testing.lives import EDITS, PACING, PICKS, QUEUES
from backline.testing.model import Model

MANY: Final = 1_000


class OperatorRules:
    """Rules of a machine that has a store and its model."""

    store: Store
    model: Model
    run: Any
    flows: list[str]

    @rule(picks=PICKS)
    def cancel(self, picks: list[int]) -> None:
        """Some jobs."""
        ids = self._ids(picks)
        assert self.run(self.store.cancel(ids)) == self.model.cancel(ids)

    @precondition(lambda self: self.flows)
    @rule(pick=st.integers(0, 3))
    def cancel_flow(self, pick: int) -> None:
        """A whole flow, and what is added to it by a late repeat."""
        flow = self.flows[-1 - pick % len(self.flows)]
        assert self.run(self.store.cancel_flows([flow], MANY)) == [self.model.cancel_flow(flow)]

    @rule(picks=PICKS)
    def redrive(self, picks: list[int]) -> None:
        """Some jobs."""
        ids = self._ids(picks)
        assert self.run(self.store.redrive(ids)) == self.model.redrive(ids)

    @rule(picks=PICKS)
    def purge(self, picks: list[int]) -> None:
        """Some jobs."""
        ids = self._ids(picks)
        assert self.run(self.store.purge(ids)) == self.model.purge(ids)

    @rule(picks=PICKS, change=EDITS)
    def edit(self, picks: list[int], change: Edit) -> None:
        """Some jobs, in every state."""
        ids = self._ids(picks)
        assert self.run(self.store.edit(ids, change)) == self.model.edit(ids, change)

    @rule(
        queue=st.sampled_from(QUEUES),
        limit=st.sampled_from([None, None, 3, 6, 12]),
        paused=st.sampled_from([False, False, False, True]),
        most=st.sampled_from([None, None, 1, 3]),
        pacing=st.sampled_from([None, None, PACING]),
        weights=st.sampled_from([{}, {"x": 3.0}, {"x": 0.25, "y": 2.0}]),
        ageing=st.sampled_from([None, None, SECOND, 60 * SECOND]),
    )
    def configure(
        self,
        queue: str,
        limit: int | None,
        paused: bool,
        most: int | None,
        pacing: Pacing | None,
        weights: dict[str, float],
        ageing: Micros | None,
    ) -> None:
        """An operator's edit."""
        edit = QueueSettings(
            queue=queue,
            max_depth=limit,
            paused=paused,
            concurrency=most,
            pacing=pacing,
            weights=weights,
            ageing=ageing,
        )
        self.run(self.store.configure([edit]))
        self.model.queues.configure(edit)

    def _ids(self, picks: list[int]) -> list[str]:
        known = list(self.model.jobs)
        return list(dict.fromkeys(known[-1 - n % len(known)] for n in picks if known))
