"""Who waits for whom: the parents of jobs, and the groups they are counted in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Raw

from backline.job import DAY, JobId, JobRequest, Micros
from backline.parents import MOST_SHOWN, After, On, Parent
from backline.states import TERMINAL, State
from backline.store import FlowStats

if TYPE_CHECKING:
    from backline.stores.memory.row import Row

_NULL: Final = Raw(b"null")


class Moving(Protocol):
    """What the flows ask of the table."""

    def move(self, row: Row, target: State, now: Micros, tick: Micros) -> None: ...
    def go_on(self, row: Row, now: Micros, tick: Micros) -> None: ...
    def start_over(self, row: Row, now: Micros, tick: Micros, *, waits: bool) -> None: ...


class Edge:
    """A child waits for a parent."""

    __slots__ = ("after", "child", "ended", "parent", "parent_id", "result")

    def __init__(self, after: After, child: Row, parent_id: JobId) -> None:
        self.after = after
        self.child = child
        self.parent_id = parent_id
        """Who is waited for: the parent asked for, or who has its unique key."""
        self.parent: Ties | Group | None = None
        """None: it is purged."""
        self.ended: State | None = None
        self.result: Raw | None = None

    @property
    def forbids(self) -> bool:
        """The parent ended otherwise than the child needs."""
        return self.ended is not None and not self.after.on.met(self.ended)

    @property
    def binds(self) -> bool:
        """How the parent ends still matters to the child: it waits, or was cancelled for it."""
        child = self.child
        stopped = child.state is State.CANCELLED and child.ties is not None and child.ties.stopped
        return stopped or _waits(child)


class Ties:
    """What one job has to do with others."""

    __slots__ = ("children", "group", "parents", "stopped")

    def __init__(self) -> None:
        self.parents: list[Edge] = []
        self.children: dict[Edge, None] = {}
        """In their order; one child may stand here twice, for another parent too."""
        self.group: Group | None = None
        self.stopped = False
        """It was cancelled because of how a parent ended."""

    @property
    def waits(self) -> bool:
        """A parent has not ended."""
        return any(edge.ended is None for edge in self.parents)

    @property
    def forbidden(self) -> bool:
        """A parent ended otherwise than asked for."""
        return any(edge.forbids for edge in self.parents)

    def results(self) -> dict[JobId, Raw]:
        """What the parents returned."""
        return {e.after.parent: e.result or _NULL for e in self.parents if e.after.result}

    def after(self) -> tuple[Parent, ...]:
        """The parents as people see them."""
        return tuple(Parent(e.parent_id, e.after.on, e.ended) for e in self.parents)

    def before(self) -> tuple[JobId, ...]:
        """The first of those that wait for this one."""
        return tuple(dict.fromkeys(e.child.id for e in islice(self.children, MOST_SHOWN)))


class Group:
    """Jobs that are counted together."""

    __slots__ = (
        "added", "cancelled", "children", "ended", "failed", "flow", "id", "live", "members",
        "purged", "touched",
    )  # fmt: skip

    def __init__(self, group_id: JobId, flow: JobId) -> None:
        self.id = group_id
        self.flow = flow
        self.added = self.ended = self.failed = self.purged = 0
        self.cancelled = False
        self.touched: Micros = 0
        self.live: dict[int, Row] = {}
        """Those that have not ended, by `seq`."""
        self.members: dict[int, Row] = {}
        """Those that are not purged, by `seq`."""
        self.children: dict[Edge, None] = {}

    def state_for(self, on: On) -> State | None:
        """How the group has ended for who waits for that; None: it has not."""
        if self.failed and (on is On.SUCCESS or self.ended == self.added):
            return State.DEAD
        return State.SUCCEEDED if self.ended == self.added else None


class Flows:
    """The edges and the groups of a table."""

    def __init__(self, table: Moving) -> None:
        self.groups: dict[JobId, Group] = {}
        self._by_flow: dict[JobId, dict[JobId, Group]] = {}
        self._table = table
        self._idle: list[tuple[Micros, JobId]] = []
        self._ended: list[Row] = []
        self._held = 0

    def tie(
        self,
        row: Row,
        rows: dict[JobId, Row],
        states: dict[JobId, State],
        stand_ins: dict[JobId, JobId],
    ) -> None:
        """A job is being added: tie it to its parents and its group; it waits if it must.

        `states` has how purged jobs ended, `stand_ins` who has the key of a job that was not
        added.
        """
        row.ties = ties = Ties()
        request = row.request
        for after in request.after:
            edge = Edge(after, row, stand_ins.get(after.parent, after.parent))
            self._link(edge, rows, states)
            ties.parents.append(edge)
        if ties.parents:
            row.state = State.WAITING
        if request.group_id is not None:
            ties.group = group = self.groups[request.group_id]
            group.added += 1
            group.live[row.seq] = group.members[row.seq] = row

    def make_group(self, request: JobRequest, now: Micros) -> None:
        """The group of a job that is about to be added; none of it may be, in the end."""
        group_id, flow = request.group_id, request.flow_id
        if group_id is None or flow is None or group_id in self.groups:
            return
        group = self.groups[group_id] = Group(group_id, flow)
        siblings = self._by_flow.setdefault(flow, {})
        group.cancelled = any(other.cancelled for other in siblings.values())
        siblings[group_id] = group
        heappush(self._idle, (now, group_id))
        group.touched = now

    def added(self, rows: Sequence[Row], now: Micros, tick: Micros) -> None:
        """Tied jobs were added: some of them are cancelled at once, and some wait for nothing."""
        for row in rows:
            group = None if row.ties is None else row.ties.group
            if group is not None:
                group.touched = now
                if group.cancelled and row.state not in TERMINAL:
                    self._table.move(row, State.CANCELLED, now, tick)
        for row in rows:
            self._consider(row, now, tick)

    def ended(self, row: Row, now: Micros, tick: Micros) -> None:
        """A tied job has ended: count it, and look at who waits for it.

        Those that are cancelled for it come here in turn, one after the other and not one
        within the other, since a chain may be long.
        """
        self._ended.append(row)
        if not self._held:
            with self.together(now, tick):
                pass

    @contextmanager
    def together(self, now: Micros, tick: Micros) -> Iterator[None]:
        """What ends inside has ended at once: who waits for it is looked at afterwards."""
        self._held += 1
        try:
            yield
            while self._held == 1 and self._ended:
                self._follow(now, tick)
        finally:
            self._held -= 1

    def revived(self, row: Row, now: Micros, tick: Micros) -> None:
        """A tied job that had ended lives again: it counts as not ended, and those that were
        cancelled for it wait for it again."""
        again = deque([row])
        while again:
            row = again.popleft()
            ties = row.ties
            if ties is None:
                continue
            ties.stopped = False
            edges = [edge for edge in ties.children if edge.binds]
            for edge in edges:
                edge.ended = edge.result = None
            group = ties.group
            if group is not None:
                self._count_out(group, row, now)
                for edge in group.children:
                    if edge.binds:
                        edge.ended = group.state_for(edge.after.on)
                        edges.append(edge)
            for edge in edges:
                child = edge.child
                if child.state is State.CANCELLED and child.ties and not child.ties.forbidden:
                    self._table.start_over(child, now, tick, waits=True)
                    again.append(child)

    def purged(self, row: Row, now: Micros) -> None:
        """A tied job is gone."""
        ties = row.ties
        assert ties is not None
        for edge in ties.parents:
            if edge.parent is not None:
                del edge.parent.children[edge]
        group = ties.group
        if group is not None:
            group.purged += 1
            del group.members[row.seq]
            group.touched = now
            if group.purged == group.added:
                heappush(self._idle, (now, group.id))

    def sweep(self, now: Micros) -> None:
        """Forget groups whose jobs are all purged, a day after the last."""
        while self._idle and self._idle[0][0] + DAY <= now:
            touched, group_id = heappop(self._idle)
            group = self.groups.get(group_id)
            if group is None or group.purged < group.added or group.touched > touched:
                continue
            del self.groups[group_id]
            siblings = self._by_flow[group.flow]
            del siblings[group_id]
            if not siblings:
                del self._by_flow[group.flow]

    def stats(self, flow: JobId) -> FlowStats | None:
        """How far a flow is."""
        groups = self._by_flow.get(flow)
        if groups is None:
            return None
        return FlowStats(
            flow=flow,
            added=sum(group.added for group in groups.values()),
            ended=sum(group.ended for group in groups.values()),
            failed=sum(group.failed for group in groups.values()),
            cancelled=any(group.cancelled for group in groups.values()),
        )

    def members(self, flow: JobId) -> list[dict[int, Row]]:
        """The jobs of a flow, group by group."""
        return [group.members for group in self._by_flow.get(flow, {}).values()]

    def cancel(self, flow: JobId, limit: int) -> list[Row]:
        """What is added to a flow from now on is cancelled; some of what lives and was not asked
        to stop."""
        groups = self._by_flow.get(flow, {})
        for group in groups.values():
            group.cancelled = True
        live = (row for group in groups.values() for row in group.live.values())
        return list(islice((row for row in live if not row.cancel), max(limit, 0)))

    def _link(self, edge: Edge, rows: dict[JobId, Row], states: dict[JobId, State]) -> None:
        parent = edge.parent_id
        row = rows.get(parent)
        if row is not None:
            if row.ties is None:
                row.ties = Ties()
            row.ties.children[edge] = None
            edge.parent = row.ties
            if row.state in TERMINAL:
                self._end_edge(edge, row)
        elif parent in self.groups:
            group = self.groups[parent]
            group.children[edge] = None
            edge.parent = group
            edge.ended = group.state_for(edge.after.on)
        else:
            edge.ended = states.get(parent, State.CANCELLED)

    def _follow(self, now: Micros, tick: Micros) -> None:
        over, self._ended = self._ended, []
        touched = {edge.child.seq: edge.child for row in over for edge in self._touched(row, now)}
        for _, child in sorted(touched.items()):
            self._consider(child, now, tick)

    def _touched(self, row: Row, now: Micros) -> list[Edge]:
        """A job has ended: the edges for which that settles how a parent did."""
        ties = row.ties
        assert ties is not None
        touched: list[Edge] = []
        for edge in ties.children:
            if edge.ended is None:
                self._end_edge(edge, row)
                touched.append(edge)
        group = ties.group
        if group is not None:
            group.live.pop(row.seq, None)
            group.ended += 1
            group.failed += row.state is not State.SUCCEEDED
            group.touched = now
            if group.failed or group.ended == group.added:
                touched += self._end_group(group)
        return touched

    def _end_group(self, group: Group) -> Iterable[Edge]:
        for edge in group.children:
            if edge.ended is None and edge.binds:
                edge.ended = group.state_for(edge.after.on)
                if edge.ended is not None:
                    yield edge

    @staticmethod
    def _end_edge(edge: Edge, parent: Row) -> None:
        edge.ended = parent.state
        if edge.after.result and parent.state is State.SUCCEEDED:
            edge.result = parent.result

    def _count_out(self, group: Group, row: Row, now: Micros) -> None:
        group.live[row.seq] = row
        group.ended -= 1
        group.failed -= 1
        group.touched = now
        for sibling in self._by_flow[group.flow].values():
            sibling.cancelled = False

    def _consider(self, child: Row, now: Micros, tick: Micros) -> None:
        """Something that a job waits for has ended."""
        ties = child.ties
        if ties is None or not _waits(child):
            return
        if ties.forbidden:
            ties.stopped = True
            self._table.move(child, State.CANCELLED, now, tick)
        else:
            self._table.go_on(child, now, tick)


def _waits(row: Row) -> bool:
    """It waits for others, and not for its turn within its limits."""
    return row.state is State.WAITING and row.stand is None
