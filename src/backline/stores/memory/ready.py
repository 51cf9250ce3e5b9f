"""Jobs in the order in which they are to go on."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Final, TypeAlias

from backline import fairness
from backline.job import Micros
from backline.stores.memory.line import Line

if TYPE_CHECKING:
    from backline.stores.memory.row import Row

_Key: TypeAlias = tuple[int, bool]
"""Minus the priority, and whether the jobs have turns: the others of the priority go first."""

_FEW: Final = 64


class Ready:
    """Jobs by priority, then due time, then order of enqueue: those of one (queue, lane) that
    are ready, or those that wait for the same thing. In a fair queue the ready ones have turns,
    which take the place of their due times."""

    __slots__ = ("_levels", "_many", "_order", "_shares")

    def __init__(self) -> None:
        self._levels: dict[_Key, Line[Row]] = {}
        self._order: list[tuple[_Key, Line[Row]]] = []
        self._shares: dict[tuple[int, str], Line[Row]] = {}
        """The jobs with turns of each priority and tenant, the last one first."""
        self._many = _FEW
        """With so many of them it is worth a look who has nothing ready."""

    def push(self, row: Row) -> None:
        """Put a job in its place: priority, then due time, then order of enqueue."""
        row.line = self._level(row.priority, turns=False)
        row.line.push(row.due, row.seq, row)

    def push_turn(self, row: Row, turn: int) -> None:
        """Put a job of a fair queue where it is its turn."""
        assert row.tenant is not None
        row.turn = turn
        row.line = self._level(row.priority, turns=True)
        row.line.push(turn, row.seq, row)
        share = self._shares.get((row.priority, row.tenant))
        if share is None:
            self._forget()
            share = self._shares[row.priority, row.tenant] = Line()
        row.share = share
        share.push(-turn, row.seq, row)

    def present_turn(self, priority: int) -> int | None:
        """The turn of the first job with one; None: there is none."""
        return self._level(priority, turns=True).due()

    def last_turn(self, priority: int, tenant: str) -> int | None:
        """The turn of the last job of a tenant; None: it has none."""
        share = self._shares.get((priority, tenant))
        turn = None if share is None else share.due()
        if turn is None:
            self._shares.pop((priority, tenant), None)
            return None
        return -turn

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
                row.line = None
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

    def _forget(self) -> None:
        """Forget the tenants that have nothing ready, once they may be the majority."""
        if len(self._shares) >= self._many:
            self._shares = {key: share for key, share in self._shares.items() if len(share)}
            self._many = 2 * len(self._shares) + _FEW

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
