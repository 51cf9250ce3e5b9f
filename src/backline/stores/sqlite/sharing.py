"""Fairness: the turns of jobs that became ready in fair queues."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
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
_LEVELS: Final = statement("levels")
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


_turns: Final = msgspec.json.Decoder(list[int | None])


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
    put_back = dumps([job.seq for job in found if job.turn is not None])
    groups = {level: list(group) for level, group in groupby(found, _level)}
    heads = _heads(tx, list(groups), put_back)
    last = _last(tx, found, heads, put_back)
    given: list[tuple[int, int]] = []
    for level, jobs in groups.items():
        coming = [(rows.text(job.tenant), job.turn) for job in jobs]
        head, weights = heads[level]
        turns = fairness.turns(coming, head, last[level], weights)
        given += zip((job.seq for job in jobs), turns, strict=True)
    tx.db.run(_GIVE_TURNS, {"turns": dumps(given)})


def _heads(
    tx: Transaction, levels: Sequence[_Level], put_back: str
) -> dict[_Level, tuple[int | None, Mapping[str, float]]]:
    """The present turn of each level, and the weights there."""
    params = {
        "levels": dumps(levels),
        "put_back": put_back,
        "first": fairness.FIRST,
        "farthest": fairness.FARTHEST_TURN,
    }
    found = tx.db.rows(_LEVELS, params)
    return {
        level: (head, rows.weights_of(said))
        for level, (head, said) in zip(levels, found, strict=True)
    }


def _last(
    tx: Transaction,
    jobs: Sequence[_Turning],
    heads: Mapping[_Level, tuple[int | None, Mapping[str, float]]],
    put_back: str,
) -> dict[_Level, dict[str, int | None]]:
    """The last turns of the tenants of some jobs."""
    shares = list({(_level(job), rows.text(job.tenant)): None for job in jobs})
    asked = [(*level, tenant, fairness.farthest_ahead(heads[level][0])) for level, tenant in shares]
    params = {"shares": dumps(asked), "put_back": put_back, "first": fairness.FIRST}
    answers = _turns.decode(tx.db.text(_SHARES, params))
    last: defaultdict[_Level, dict[str, int | None]] = defaultdict(dict)
    for (level, tenant), turn in zip(shares, answers, strict=True):
        last[level][tenant] = turn
    return last


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
