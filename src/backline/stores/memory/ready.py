"""Jobs in the order in which they are to go on."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

from backline import fairness
from backline.job import Micros
from backline.stores.memory.line import Line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backline.stores.memory.row import Row

_Key: TypeAlias = tuple[int, bool]
"""Minus the priority, and whether the jobs have turns: the others of the priority go first."""

_FEW: Final = 64


class Ready:
    """Jobs by priority, then due time, then order of enqueue: those of one (queue, lane) that
    are ready, or those that wait for the same thing. In a fair queue the ready ones have turns,
    which take the place of their due times."""

    __slots__ = ("_finishes", "_levels", "_many", "_order")

    def __init__(self) -> None:
        self._levels: dict[_Key, Line[Row]] = {}
        self._order: list[tuple[_Key, Line[Row]]] = []
        self._finishes: defaultdict[int, dict[str, int]] = defaultdict(dict)
        """The finish tags of each priority's tenants."""
        self._many = _FEW
        """With so many tenants of a priority it is worth a look who is even with the others."""

    def push(self, row: Row) -> None:
        """Put a job in its place: priority, then due time, then order of enqueue."""
        row.line = self._level(row.priority, turns=False)
        row.line.push(row.due, row.seq, row)

    def push_back(self, row: Row) -> None:
        """Put a job that has used its turn before those that have one."""
        row.line = self._level(row.priority, turns=False)
        row.line.push(fairness.PUT_BACK, row.seq, row)

    def push_turns(self, rows: Sequence[Row], weights: Mapping[str, float]) -> None:
        """Give turns to jobs of one priority of a fair queue, in their order, and put them where
        these are."""
        level = self._level(rows[0].priority, turns=True)
        finishes = self._finishes[rows[0].priority]
        first = level.due()
        if first is None:
            finishes.clear()
        tenants = [row.tenant or fairness.NO_KEY for row in rows]
        turns, after = fairness.turns(tenants, first, finishes, weights)
        for row, turn in zip(rows, turns, strict=True):
            row.turn, row.line, row.share = turn, level, self
            level.push(turn, row.seq, row)
        finishes.update(after)
        if first is not None:
            self._forget(finishes, first)

    def give_back(self, row: Row, weights: Mapping[str, float]) -> None:
        """A job has moved on that has not used its turn."""
        tenant = row.tenant or fairness.NO_KEY
        finishes = self._finishes[row.priority]
        if tenant in finishes:
            finishes[tenant] -= fairness.stride(weights.get(tenant, 1.0))

    def pop(self, ageing: Micros | None = None) -> Row | None:
        """Take out the first job."""
        if ageing is not None:
            first = self._eldest(ageing)
            lines = [first.line] if first is not None and first.line is not None else []
        else:
            lines = [level for _, level in self._order]
        for level in lines:
            row = level.pop()
            if row is not None:
                row.line = row.share = None
                return row
        return None

    def first(self) -> Row | None:
        """The first job; it stays."""
        for _, level in self._order:
            row = level.first()
            if row is not None:
                return row
        return None

    def oldest(self) -> Micros | None:
        """When the job became due that has waited longest of the first of each priority."""
        return min((row.due for row in self._heads()), default=None)

    def _forget(self, finishes: dict[str, int], present: int) -> None:
        """Forget the tenants that are even with those that come anew, once they may be the
        majority."""
        if len(finishes) >= self._many:
            for tenant in [tenant for tenant, tag in finishes.items() if tag <= present]:
                del finishes[tenant]
            self._many = 2 * len(finishes) + _FEW

    def _eldest(self, ageing: Micros) -> Row | None:
        return min(
            self._heads(),
            key=lambda row: (fairness.worth(row.priority, row.due, ageing), -row.priority),
            default=None,
        )

    def _heads(self) -> list[Row]:
        """The first job of each priority."""
        heads: dict[int, Row] = {}
        for (rank, _), level in self._order:
            if rank not in heads and (row := level.first()) is not None:
                heads[rank] = row
        return list(heads.values())

    def _level(self, priority: int, *, turns: bool) -> Line[Row]:
        key = (-priority, turns)
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = Line()
            insort(self._order, (key, level), key=lambda entry: entry[0])
        return level

    def __len__(self) -> int:
        return sum(len(level) for _, level in self._order)
