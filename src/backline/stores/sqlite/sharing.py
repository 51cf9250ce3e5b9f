"""Fairness: the turns of jobs that became ready in fair queues, and the shares of their tenants."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

import msgspec

from backline import fairness
from backline.job import JobRequest, Lane, LeasedJob
from backline.states import State
from backline.stores.sqlite import rows
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import FAIR
from backline.stores.sqlite.transaction import JobPlace, QueueRow, Transaction, dumps

_MAKE_FAIR: Final = statement("make_fair")
_TURNING: Final = statement("turning")
_LEVELS: Final = statement("levels")
_NEW_PERIOD: Final = statement("new_period")
_SHARES: Final = statement("shares")
_KEEP_SHARES: Final = statement("keep_shares")
_GIVE_TURNS: Final = statement("give_turns")
_UNUSED_TURNS: Final = statement("unused_turns")
_GIVE_BACK: Final = statement("give_back")

_Level: TypeAlias = tuple[int, str, int]
"""The queue, the lane, and the rank."""
_Weights: TypeAlias = Mapping[str, float]


class _Turning(NamedTuple):
    """A job that is to get a turn, in the order in which they do."""

    queue: int
    lane: str
    rank: int
    due: int
    seq: int
    tenant: bytes


_finishes: Final = msgspec.json.Decoder(list[int | None])


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
    groups = {level: list(group) for level, group in groupby(found, _level)}
    levels = _levels(tx, list(groups))
    new = {level for level, (first, _) in levels.items() if first is None}
    if new:
        tx.db.run(_NEW_PERIOD, {"levels": dumps(list(new))})
    before = _tags(tx, [job for job in found if _level(job) not in new])
    given: list[tuple[int, int]] = []
    after: list[tuple[int, str, int, str, int]] = []
    for level, jobs in groups.items():
        first, weights = levels[level]
        tenants = [rows.text(job.tenant) for job in jobs]
        turns, tags = fairness.turns(tenants, first, before[level], weights)
        given += zip((job.seq for job in jobs), turns, strict=True)
        after += [(*level, tenant, finish) for tenant, finish in tags.items()]
    tx.db.run(_GIVE_TURNS, {"turns": dumps(given)})
    tx.db.run(_KEEP_SHARES, {"shares": dumps(after)})


def give_back(tx: Transaction, places: Iterable[JobPlace]) -> None:
    """Some jobs were, or will be, moved on by others than a worker: those of them that were ready
    have not used their turns. `places` are where they were, and their rows still say whose."""
    seqs = [place.seq for place in places if place.ties & FAIR and place.state is State.READY]
    if not seqs:
        return
    unused = tx.db.rows(_UNUSED_TURNS, {"seqs": dumps(seqs), "first": fairness.FIRST})
    levels = _levels(tx, list({(queue, lane, rank) for queue, lane, rank, _, _ in unused}))
    amounts: list[tuple[int, str, int, str, int]] = []
    for queue, lane, rank, key, count in unused:
        _, weights = levels[queue, lane, rank]
        tenant = rows.text(key)
        amount = count * fairness.stride(weights.get(tenant, 1.0))
        amounts.append((queue, lane, rank, tenant, amount))
    tx.db.run(_GIVE_BACK, {"amounts": dumps(amounts)})


def _levels(tx: Transaction, levels: Sequence[_Level]) -> dict[_Level, tuple[int | None, _Weights]]:
    """The first turn of those that are ready at each level, and the weights there."""
    params = {
        "levels": dumps(levels),
        "first": fairness.FIRST,
        "farthest": fairness.FARTHEST_TURN,
    }
    found = tx.db.rows(_LEVELS, params)
    return {
        level: (first, rows.weights_of(said))
        for level, (first, said) in zip(levels, found, strict=True)
    }


def _tags(tx: Transaction, jobs: Sequence[_Turning]) -> dict[_Level, dict[str, int | None]]:
    """The finish tags of the tenants of some jobs."""
    shares = list({(_level(job), rows.text(job.tenant)): None for job in jobs})
    if not shares:
        return defaultdict(dict)
    params = {"shares": dumps([(*level, tenant) for level, tenant in shares])}
    answers = _finishes.decode(tx.db.text(_SHARES, params))
    tags: defaultdict[_Level, dict[str, int | None]] = defaultdict(dict)
    for (level, tenant), finish in zip(shares, answers, strict=True):
        tags[level][tenant] = finish
    return tags


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
