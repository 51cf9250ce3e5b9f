"""Who waits for whom: the parents of jobs, and the groups they are counted in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from backline.job import JobId, JobRequest
from backline.parents import After, On
from backline.states import State
from backline.store import Call, FlowStats
from backline.stores.requests import Founded, founded
from backline.stores.sqlite import gates, keys, rows, waiting
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import CHILD, MEMBER, PARENT
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_FOUNDED: Final = statement("founded")
_ADD_GROUPS: Final = statement("add_groups")
_GROUPS: Final = statement("groups")
_COUNT_ADDED: Final = statement("count_added")
_CLEAR_EDGES: Final = statement("clear_edges")
_ADD_EDGES: Final = statement("add_edges")
_MARK_PARENTS: Final = statement("mark_parents")
_MARK_GROUPS: Final = statement("mark_groups")
_ADDED_TIED: Final = statement("added_tied")
_COUNT_ENDED: Final = statement("count_ended")
_FOLLOWERS: Final = statement("followers")
_END_EDGES: Final = statement("end_edges")
_GROUP_FOLLOWERS: Final = statement("group_followers")
_SET_EDGES: Final = statement("set_edges")
_MARK_STOPPED: Final = statement("mark_stopped")
_COUNT_OUT: Final = statement("count_out")
_RESUME_FLOWS: Final = statement("resume_flows")
_BOUND: Final = statement("bound")
_REVIVABLE: Final = statement("revivable")
_REDRIVE: Final = statement("redrive")
_COUNT_PURGED: Final = statement("count_purged")
_DROP_EDGES: Final = statement("drop_edges")
_CANCEL_FLOWS: Final = statement("cancel_flows")
_FLOW_MEMBERS: Final = statement("flow_members")
_FLOW_STATS: Final = statement("flow_stats")

_known: Final = msgspec.json.Decoder(list[tuple[JobId, int]])
_groups: Final = msgspec.json.Decoder(list[tuple[JobId, int, int]])
_edges: Final = msgspec.json.Decoder(list[tuple[int, int]])
_marked: Final = msgspec.json.Decoder(list[tuple[int, int, State | None]])


class _Added(msgspec.Struct, array_like=True, gc=False):
    """A job that was just added."""

    seq: int
    queue: int
    lane: str
    state: State
    ties: int
    gone: int | None
    """1: its flow is cancelled."""


_added: Final = msgspec.json.Decoder(list[_Added])


class Groups(NamedTuple):
    """The groups of some jobs."""

    seqs: dict[JobId, int]
    cancelled: list[int]


def check_parents(tx: Transaction, calls: Sequence[Call]) -> None:
    """Raises UnknownParent."""

    def known(ids: set[JobId]) -> Founded:
        found = _known.decode(tx.db.text(_FOUNDED, {"ids": dumps(list(ids))}))
        return Founded({i for i, _ in found}, {i for i, readable in found if readable})

    founded(calls, known)


def any_tied(jobs: Iterable[JobRequest]) -> bool:
    """Whether some of the jobs have to do with others."""
    return any(job.after or job.flow is not None or job.group is not None for job in jobs)


def groups_of(tx: Transaction, jobs: Iterable[JobRequest]) -> Groups:
    """The groups of new jobs, made if need be."""
    flows = {job.group_id: job.flow_id for job in jobs if job.group_id is not None}
    if not flows:
        return Groups({}, [])
    tx.db.run(_ADD_GROUPS, {"groups": dumps(flows), "now": tx.now})
    found = _groups.decode(tx.db.text(_GROUPS, {"ids": dumps(list(flows))}))
    return Groups({i: seq for i, seq, _ in found}, [seq for _, seq, gone in found if gone])


def tie(
    tx: Transaction,
    jobs: Sequence[JobRequest],
    groups: Groups,
    stand_ins: dict[JobId, JobId],
    seqs: range,
) -> tuple[list[int], list[JobPlace]]:
    """Tie jobs that were just added, as `seqs`, to their parents and groups.

    `stand_ins`: who has the key of a job that was not added. Returns the jobs that may go on,
    and those that are to be cancelled.
    """
    first = seqs[0]
    params: dict[str, object] = {"first": first, "last": seqs[-1]}
    if groups.seqs:
        tx.db.run(_COUNT_ADDED, params | {"now": tx.now})
    edges = [
        (job.id, place, *_parent(after, stand_ins))
        for job in jobs
        for place, after in enumerate(job.after)
    ]
    if edges:
        tx.db.run(_CLEAR_EDGES, params)
        tx.db.run(_ADD_EDGES, {"edges": dumps(edges), "first": first})
        parents = dumps(list({edge[2] for edge in edges}))
        tx.db.run(_MARK_PARENTS, {"ids": parents})
        tx.db.run(_MARK_GROUPS, {"ids": parents})
    if not edges and not groups.cancelled:
        return [], []
    params["cancelled"] = dumps(groups.cancelled)
    found = _added.decode(tx.db.text(_ADDED_TIED, params))
    gone = [
        JobPlace(one.seq, one.queue, one.lane, one.state, one.ties) for one in found if one.gone
    ]
    return [one.seq for one in found if not one.gone], gone


def _parent(after: After, stand_ins: dict[JobId, JobId]) -> tuple[JobId, On, int, JobId | None]:
    parent = stand_ins.get(after.parent, after.parent)
    asked = None if parent == after.parent else after.parent
    return parent, after.on, int(after.result), asked


def ended(tx: Transaction, over: Mapping[int, Sequence[int]]) -> list[JobPlace]:
    """These jobs, given by their ties, have ended: who waited for that goes on.

    Returns those that were cancelled instead: they have ended, too.
    """
    children: set[int] = set()
    members = [seq for ties, seqs in over.items() if ties & MEMBER for seq in seqs]
    if members:
        moved = tx.db.rows(_COUNT_ENDED, {"seqs": dumps(members), "now": tx.now})
        concerned = [rows.text(cell) for (cell,) in moved if cell is not None]
        if concerned:
            marks = _group_marks(tx, concerned)
            marks = [mark for mark in marks if mark[2] is not None]
            _mark(tx, marks)
            children.update(child for child, _, _ in marks)
    parents = [seq for ties, seqs in over.items() if ties & PARENT for seq in seqs]
    if parents:
        edges = _edges.decode(tx.db.text(_FOLLOWERS, {"seqs": dumps(parents)}))
        if edges:
            tx.db.run(_END_EDGES, {"edges": dumps(edges)})
            children.update(child for child, _ in edges)
    return go_on(tx, sorted(children))


def go_on(tx: Transaction, seqs: Sequence[int]) -> list[JobPlace]:
    """Let waiting jobs go on, or cancel them, as their parents ended; returns the latter."""
    stopped = waiting.go_on(tx, seqs) if seqs else []
    if stopped:
        tx.db.run(_MARK_STOPPED, {"seqs": seqs_of(stopped)})
        keys.end(tx, stopped, State.CANCELLED)
    return stopped


def revive(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """These jobs live again, so they count as not ended; those that were cancelled because of
    them wait for them again, and so on down the line."""
    while places:
        marks: list[tuple[int, int, State | None]] = []
        members = [place for place in places if place.ties & MEMBER]
        if members:
            moved = tx.db.rows(_COUNT_OUT, {"seqs": seqs_of(members), "now": tx.now})
            groups = [rows.text(cell) for (cell,) in moved]
            tx.db.run(_RESUME_FLOWS, {"ids": dumps(groups)})
            marks += _group_marks(tx, groups)
        parents = [place for place in places if place.ties & PARENT]
        if parents:
            marks += _marked.decode(tx.db.text(_BOUND, {"seqs": seqs_of(parents)}))
        if not marks:
            return
        _mark(tx, marks)
        children = dumps(sorted({child for child, _, _ in marks}))
        places = tx.places(_REVIVABLE, seqs=children)
        if places:
            start_over(tx, places, waits=True)


def start_over(tx: Transaction, places: Sequence[JobPlace], *, waits: bool = False) -> None:
    """Let ended jobs live again: their time has come, unless they wait for others."""
    keys.take_back(tx, places)
    tx.db.run(_REDRIVE, {"seqs": seqs_of(places), "waits": waits, "now": tx.now})
    if waits:
        tx.moved_all(places, State.WAITING)
    else:
        gates.join(tx, places)


def purged(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """These jobs are about to be purged."""
    members = [place for place in places if place.ties & MEMBER]
    if members:
        tx.db.run(_COUNT_PURGED, {"seqs": seqs_of(members), "now": tx.now})
    children = [place for place in places if place.ties & CHILD]
    if children:
        tx.db.run(_DROP_EDGES, {"seqs": seqs_of(children)})


def members(tx: Transaction, ids: Sequence[JobId], limit: int) -> list[list[JobPlace]]:
    """Of each flow some of what lives and was not asked to stop; what is added to it from now
    on is cancelled."""
    ids = ["" if i is None else i for i in rows.ids(ids)]
    tx.db.run(_CANCEL_FLOWS, {"ids": dumps(ids)})
    return [tx.places(_FLOW_MEMBERS, flow=flow, limit=max(limit, 0)) for flow in ids]


def stats(db: Connection, ids: Sequence[JobId]) -> list[FlowStats | None]:
    """How far flows are."""
    found = {
        rows.text(flow): FlowStats(
            flow=rows.text(flow), added=added, ended=over, failed=failed, cancelled=bool(cancelled)
        )
        for flow, added, over, failed, cancelled in db.rows(
            _FLOW_STATS, {"ids": dumps(rows.ids(ids))}
        )
    }
    return [found.get(flow) for flow in ids]


def _group_marks(tx: Transaction, ids: Sequence[JobId]) -> list[tuple[int, int, State | None]]:
    return _marked.decode(tx.db.text(_GROUP_FOLLOWERS, {"ids": dumps(ids)}))


def _mark(tx: Transaction, marks: Sequence[tuple[int, int, State | None]]) -> None:
    if marks:
        tx.db.run(_SET_EDGES, {"edges": dumps(marks)})
