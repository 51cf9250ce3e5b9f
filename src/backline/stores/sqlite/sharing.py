"""Fairness: the turns of jobs that became ready in fair queues."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

import msgspec

from backline import fairness
from backline.job import JobRequest, Lane, LeasedJob
from backline.stores.sqlite import rows
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import QueueRow, Transaction, dumps

_MAKE_FAIR: Final = statement("make_fair")
_TURNING: Final = statement("turning")
_SHARES: Final = statement("shares")
_GIVE_TURNS: Final = statement("give_turns")

_Level: TypeAlias = tuple[int, str, int]
"""The queue, the lane, and the rank."""


class _Turning(NamedTuple):
    """A job that is to get a turn, in the order in which they do."""

    queue: int
    lane: str
    rank: int
    due: int
    seq: int
    tenant: bytes
    turn: int | None
    """It was put back, and had this one."""
    weights: bytes


_shares: Final = msgspec.json.Decoder(list[tuple[int | None, int | None]])


def tenant_of(tx: Transaction, job: JobRequest, queue: QueueRow) -> str | None:
    """Whose a new job is; None: its queue is not fair. With a key it makes it so."""
    if job.fair_key is not None and not queue.fair:
        make_fair(tx, queue)
    return fairness.tenant_of(job.fair_key, fair=queue.fair)


def make_fair(tx: Transaction, queue: QueueRow, seqs: str | None = None) -> None:
    """The queue gets a job with a fair key, if one of these has any."""
    if tx.db.run(_MAKE_FAIR, {"queue": queue.id, "seqs": seqs}):
        queue.fair = True


def settle(tx: Transaction) -> None:
    """Give turns to those that became ready, oldest due first."""
    if not tx.turning:
        return
    seqs, tx.turning = dict.fromkeys(tx.turning), []
    found = sorted(_Turning(*row) for row in tx.db.rows(_TURNING, {"seqs": dumps(list(seqs))}))
    if not found:
        return
    shares = list({(*_level(job), rows.text(job.tenant)): None for job in found})
    params: dict[str, str | int] = {
        "shares": dumps(shares),
        "put_back": dumps([job.seq for job in found if job.turn is not None]),
        "first": fairness.FIRST,
        "farthest": fairness.FARTHEST_TURN,
        "ahead": fairness.MOST_AHEAD,
    }
    present: dict[_Level, int | None] = {}
    last: defaultdict[_Level, dict[str, int | None]] = defaultdict(dict)
    answers = _shares.decode(tx.db.text(_SHARES, params))
    for (queue, lane, rank, tenant), (head, latest) in zip(shares, answers, strict=True):
        present[queue, lane, rank] = head
        last[queue, lane, rank][tenant] = latest
    given: list[tuple[int, int]] = []
    for level, group in groupby(found, _level):
        jobs = list(group)
        coming = [(rows.text(job.tenant), job.turn) for job in jobs]
        weights = rows.weights_of(jobs[0].weights)
        turns = fairness.turns(coming, present[level], last[level], weights)
        given += zip((job.seq for job in jobs), turns, strict=True)
    tx.db.run(_GIVE_TURNS, {"turns": dumps(given)})


def in_order(jobs: list[LeasedJob], queues: Mapping[str, QueueRow]) -> list[LeasedJob]:
    """Leased jobs, priority by priority, in the order of each of their queues."""
    ageing = {name: queue.ageing for name, queue in queues.items() if queue.ageing is not None}
    if not ageing:
        return jobs
    lines: defaultdict[tuple[str, Lane], list[LeasedJob]] = defaultdict(list)
    for job in jobs:
        lines[job.queue, job.lane].append(job)
    return [
        job
        for (queue, _), line in lines.items()
        for job in (fairness.by_age(line, ageing[queue]) if queue in ageing else line)
    ]


def _level(job: _Turning) -> _Level:
    return (job.queue, job.lane, job.rank)
