"""Adding jobs: admission, unique keys, and one insert for all of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import msgspec

from backline.batching import apart, claims
from backline.job import Enqueued, JobRequest, Micros, Refused
from backline.states import State
from backline.store import Call, Hint
from backline.stores.sqlite import endings, flows, gates, idempotency, keys, sharing
from backline.stores.sqlite.rows import brief
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import (
    QueueRow,
    Transaction,
    dumps,
    rate,
    rate_since,
)

_ENQUEUE: Final = statement("enqueue")
_ENQUEUE_TIED: Final = statement("enqueue_tied")
_ADDED: Final = statement("added")
_KNOWN: Final = statement("known")
_RATES: Final = statement("rates")

_PLACE: Final = itemgetter(2, 3, 4)
"""Queue, lane and state of a row that is added."""

_ids: Final = msgspec.json.Decoder(list[str])
_added: Final = msgspec.json.Decoder(list[tuple[int, str, str, int]])


def enqueue(tx: Transaction, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
    """See `backline.store.Store.enqueue`."""
    flows.check_parents(tx, calls)
    queues = tx.queues({job.queue for job in chain.from_iterable(calls)}, make=True)
    if len(calls) > 1 and any(job.after and job.limits for call in calls for job in call):
        # Who has a slot already when a job goes on at once depends on the calls before its own.
        return [answer for call in calls for answer in _in_turn(tx, call)]
    limited = any(queue.max_depth is not None for queue in queues.values())
    if not limited:
        return [*_add(tx, calls, queues)]
    if len(calls) > 1 and any(job.unique_key is not None for call in calls for job in call):
        # How much room is left for a call depends on what the keys of the last one did.
        return [answer for call in calls for answer in _in_turn(tx, call)]
    refusals = _refusals(tx, calls, queues)
    admitted = [call for at, call in enumerate(calls) if at not in refusals]
    answers = iter(_add(tx, admitted, queues))
    return [refusals[at] if at in refusals else next(answers) for at in range(len(calls))]


def add_unrefused(tx: Transaction, jobs: Sequence[JobRequest]) -> None:
    """Add jobs in their order, whatever the depth of their queues; two may share a key."""
    queues = tx.queues({job.queue for job in jobs}, make=True) if jobs else {}
    for together in apart(jobs, lambda job: claims([job])):
        _add(tx, [together], queues)


def _in_turn(tx: Transaction, call: Call) -> list[list[Enqueued] | Refused]:
    answers = enqueue(tx, [call])
    tx.finish()
    return answers


def _add(
    tx: Transaction, calls: Sequence[Call], queues: Mapping[str, QueueRow]
) -> list[list[Enqueued]]:
    """Add the jobs of admitted calls, as far as their ids and keys are free."""
    jobs = list(chain.from_iterable(calls))
    groups = flows.groups_of(tx, jobs) if flows.any_tied(jobs) else None
    placed = keys.Placed({}, set(), {}, [], [], [])
    special = [  # more tables than that of the jobs are to know of them
        job
        for job in jobs
        if job.unique_key is not None or job.idempotency_key is not None or job.limits is not None
    ]
    if special:
        known = _known(tx, special)
        answered = idempotency.answers(tx, [job for job in special if job.id not in known])
        skipped = known | answered.keys()
        new = [job for job in special if job.id not in skipped]
        if keyed := [job for job in new if job.unique_key is not None]:
            placed = keys.place(tx, keyed)
            endings.replace(tx, placed)
        idempotency.remember(tx, new, placed.refused)
        placed.refused.update(answered)
        skipped |= placed.refused.keys()
        jobs = [job for job in jobs if job.id not in skipped]
    refused = placed.refused
    added = _insert(tx, jobs, queues, placed, groups) if jobs else range(0)
    if special:
        keys.take(tx, placed.taking)
        endings.replaced(tx, placed)
    if groups is not None and added:
        stand_ins = {job_id: answer.id for job_id, answer in refused.items()}
        waiting, gone = flows.tie(tx, jobs, groups, stand_ins, added)
        endings.end(tx, gone, State.CANCELLED)
        endings.left(tx, flows.go_on(tx, waiting))
    return [[refused.get(job.id) or Enqueued(job.id) for job in call] for call in calls]


def _refusals(
    tx: Transaction, calls: Sequence[Call], queues: Mapping[str, QueueRow]
) -> dict[int, Refused]:
    """The calls that do not fit, by their place; those that do take up room.

    The repeat of a lost reply adds nothing, nor does an idempotency key that is known: they
    take none and are not refused.
    """
    jobs = [*chain.from_iterable(calls)]
    known = _known(tx, jobs)
    known |= idempotency.answers(tx, [job for job in jobs if job.id not in known]).keys()
    refusals: dict[int, Refused] = {}
    for at, call in enumerate(calls):
        arriving = Counter(job.queue for job in call if job.id not in known)
        full = _full(arriving, queues)
        if full is None:
            for name, count in arriving.items():
                queues[name].depth += count
        else:
            assert full.max_depth is not None
            refusals[at] = Refused(full.name, full.depth, full.max_depth, drain_rate(tx, full.id))
    return refusals


def _full(arriving: Mapping[str, int], queues: Mapping[str, QueueRow]) -> QueueRow | None:
    """The first queue that cannot take what arrives."""
    for name, count in arriving.items():
        queue = queues[name]
        if queue.max_depth is not None and queue.depth + count > queue.max_depth:
            return queue
    return None


def drain_rate(tx: Transaction, queue: int) -> float:
    """Jobs per second that left the queue within the last minute."""
    for found, ended, first, *_ in tx.db.rows(_RATES, {"since": rate_since(tx.tick)}):
        if found == queue:
            return rate(ended, first, tx.tick)
    return 0.0


def _known(tx: Transaction, jobs: Sequence[JobRequest]) -> set[str]:
    return set(_ids.decode(tx.db.value(_KNOWN, {"ids": dumps([job.id for job in jobs])})))


def _insert(
    tx: Transaction,
    jobs: Sequence[JobRequest],
    queues: Mapping[str, QueueRow],
    placed: keys.Placed,
    groups: flows.Groups | None,
) -> range:
    """Add rows for those that are not known; returns their seqs. `groups`: some have ties."""
    ids = {name: queue.id for name, queue in queues.items()}
    shares = any(queue.fair for queue in queues.values()) or any(job.fair_key for job in jobs)
    wide = shares or groups is not None
    now, waiting, dues = tx.now, placed.waiting, placed.due
    limited = [job for job in jobs if job.limits is not None]
    standings = _standings(tx, limited, ids, placed) if limited else {}
    terms = _briefs(jobs)
    rows: list[tuple[Any, ...]] = []
    payloads: list[bytes] = []
    start = 1
    for job in jobs:
        due = now + job.delay if job.run_at is None else job.run_at
        due = dues.get(job.id, due) if dues else due
        state = "ready" if due <= now else "scheduled"
        if job.after or (waiting and job.id in waiting):
            state = "waiting"
        elif standings and job.id in standings:
            state = standings[job.id].state
        payload = bytes(job.payload)
        length = len(payload)
        row: tuple[Any, ...] = (
            job.id, job.task, ids[job.queue], job.lane, state, -job.priority, due,
            job.expires_at if job.expires_in is None else _expiry(job, now), terms[id(job.terms)],
            job.unique_key, keys.window_end(job, now), job.headers, job.tags, start, length,
        )  # fmt: skip
        if wide:
            row += _rest(tx, job, queues[job.queue], groups)
        elif job.follow_ups:
            row += (dumps(job.follow_ups),)
        rows.append(row)
        payloads.append(payload)
        start += length
    params = {"jobs": dumps(rows), "payloads": b"".join(payloads), "now": now}
    added = tx.db.run(_ENQUEUE_TIED if wide else _ENQUEUE, params)
    last = tx.db.last_rowid()
    seqs = range(last - added + 1, last + 1)
    if limited:
        gates.write(tx, limited, standings)
    if shares:
        tx.turning += seqs
    _count(tx, rows, seqs)
    return seqs


def _briefs(jobs: Sequence[JobRequest]) -> dict[int, tuple[Any, ...]]:
    """The terms of these jobs as rows have them, by the identity of what many of them share."""
    shared = {id(job.terms): job.terms for job in jobs}
    return {key: brief(terms) for key, terms in shared.items()}


def _rest(
    tx: Transaction, job: JobRequest, queue: QueueRow, groups: flows.Groups | None
) -> tuple[Any, ...]:
    """What `enqueue_tied` takes of a job beyond what `enqueue` does."""
    follow_ups = dumps(job.follow_ups) if job.follow_ups else None
    group = None if groups is None else groups.seqs.get(job.group_id or "")
    return (follow_ups, group, 0 if job.after else None, sharing.tenant_of(tx, job, queue))


def _count(tx: Transaction, rows: Sequence[tuple[Any, ...]], seqs: range) -> None:
    """Count what was added, of these rows or all of them."""
    if len(seqs) == len(rows):
        counts = Counter(map(_PLACE, rows))
        moves = [(*key, n) for key, n in counts.items()]
    else:
        moves = _count_added(tx, seqs)
    for queue, lane, state, n in moves:
        tx.count(queue, state, lane, n)
        if state != State.WAITING:
            tx.hints.add(Hint.WORK)


def _standings(
    tx: Transaction, limited: Sequence[JobRequest], queues: Mapping[str, int], placed: keys.Placed
) -> dict[str, gates.Standing]:
    """Where those new jobs with limits stand whose time has come; one named twice comes once."""
    gates.declare(tx, [(job, queues[job.queue]) for job in limited])
    come = {
        job.id: (job, queues[job.queue])
        for job in limited
        if not job.after and job.id not in placed.waiting and _due(job, placed, tx.now) <= tx.now
    }
    return gates.admit(tx, list(come.values())) if come else {}


def _due(job: JobRequest, placed: keys.Placed, now: Micros) -> Micros:
    due = now + job.delay if job.run_at is None else job.run_at
    return placed.due.get(job.id, due)


def _count_added(tx: Transaction, seqs: range) -> list[tuple[int, str, str, int]]:
    if not seqs:
        return []
    params = {"first": seqs[0], "last": seqs[-1]}
    return _added.decode(tx.db.value(_ADDED, params))


def _expiry(job: JobRequest, now: Micros) -> Micros | None:
    if job.expires_at is None and job.expires_in is not None:
        return now + job.expires_in
    return job.expires_at
