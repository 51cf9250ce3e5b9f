"""The moves of jobs that no worker makes: by time, and by people."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from backline.display import clean
from backline.job import DAY, JobId, Lease, Micros, Progress, Step
from backline.states import TERMINAL, State
from backline.store import Cancelling
from backline.stores.sqlite import endings, flows, gates, idle, keys, paces, rows, steps
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import LIMITED
from backline.stores.sqlite.transaction import (
    JobPlace,
    Transaction,
    dumps,
    rate_since,
    seqs_of,
)

_DUE: Final = statement("due")
_PAST_EXPIRY: Final = statement("past_expiry")
_PLACES: Final = statement("places")
_REQUEST_CANCEL: Final = statement("request_cancel")
_PAST_KEEP: Final = statement("past_keep")
_REMEMBER: Final = statement("remember")
_PURGE: Final = statement("purge")
_FORGET: Final = statement("forget")
_FORGET_IDEMPOTENCY: Final = statement("forget_idempotency")
_FORGET_EVENTS: Final = statement("forget_events")
_FORGET_KEYS: Final = statement("forget_keys")
_FORGET_GROUPS: Final = statement("forget_groups")
_FORGET_WORKERS: Final = statement("forget_workers")
_FORGET_REPORTS: Final = statement("forget_reports")
_FORGET_TRAFFIC: Final = statement("forget_traffic")
_RUNNING: Final = statement("running")
_EXTEND: Final = statement("extend")
_PROGRESS: Final = statement("progress")
_RETIRE: Final = statement("retire")

_seqs: Final = msgspec.json.Decoder(list[int])

_REDRIVABLE: Final = TERMINAL - {State.SUCCEEDED}


def retire(tx: Transaction, worker: str) -> None:
    """See `backline.store.Store`, as for everything here."""
    tx.db.run(_RETIRE, {"worker": worker, "tick": tx.tick})


def extend(tx: Transaction, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
    """Let running attempts last `ttl` from now; True for those that do run."""
    seqs = _running(tx, leases)
    held = dumps([seq for seq in seqs if seq])
    tx.db.run(_EXTEND, {"seqs": held, "until": tx.tick + ttl})
    return [seq > 0 for seq in seqs]


def progress(tx: Transaction, reports: Sequence[Progress]) -> list[bool]:
    """Record how far running attempts are; True for those that do run."""
    seqs = _running(tx, reports)
    latest = {
        seq: Progress(report.id, report.attempt, report.done, report.total, clean(report.note))
        for seq, report in zip(seqs, reports, strict=True)
        if seq
    }
    tx.db.run(_PROGRESS, {"reports": dumps(list(latest.items()))})
    return [seq > 0 for seq in seqs]


def record(tx: Transaction, done: Sequence[Step]) -> list[bool]:
    """Record steps of running attempts; True for those that do run."""
    seqs = _running(tx, done)
    steps.keep(tx, [step for step, seq in zip(done, seqs, strict=True) if seq])
    return [seq > 0 for seq in seqs]


def promote(tx: Transaction, limit: int) -> int:
    """Make jobs ready that are due, earliest first, and those that a rate lets start; how many."""
    limit = max(limit, 0)
    places = tx.places(_DUE, now=tx.now, limit=limit)
    if places:
        gates.join(tx, places, ordered=True)
    return len(places) + paces.due(tx, limit - len(places))


def expire(tx: Transaction, limit: int) -> int:
    """End jobs past their expiry that were never started; how many."""
    places = tx.places(_PAST_EXPIRY, now=tx.now, limit=max(limit, 0))
    endings.end(tx, places, State.EXPIRED)
    return len(places)


def sweep(tx: Transaction, limit: int) -> int:
    """Purge what is past its keep and forget what is no longer needed; how many rows."""
    limit = max(limit, 0)
    places = tx.places(_PAST_KEEP, now=tx.now, limit=limit)
    _purge(tx, places)
    gone = len(places)
    if gone < limit:
        gone += tx.db.run(_FORGET, {"now": tx.now, "limit": limit - gone})
    if gone < limit:
        gone += tx.db.run(_FORGET_IDEMPOTENCY, {"now": tx.now, "limit": limit - gone})
    if gone < limit:
        gone += tx.db.run(_FORGET_EVENTS, {"now": tx.now, "limit": limit - gone})
    gone += idle.forget(tx, limit)
    tx.db.run(_FORGET_KEYS, {"now": tx.now, "limit": limit})
    tx.db.run(_FORGET_GROUPS, {"before": tx.now - DAY, "limit": limit})
    tx.db.run(_FORGET_WORKERS, {"before": tx.tick - DAY})
    tx.db.run(_FORGET_REPORTS, {"tick": tx.tick})
    tx.db.run(_FORGET_TRAFFIC, {"second": rate_since(tx.tick) - 1})
    return gone


def cancel(tx: Transaction, ids: Sequence[JobId]) -> list[Cancelling]:
    """Cancel jobs, or ask their workers to."""
    places = tx.places(_PLACES, ids=dumps(rows.ids(ids)))
    waiting = _once(places, lambda place: place.state not in TERMINAL | {State.RUNNING})
    running = _once(places, lambda place: place.state is State.RUNNING)
    _cancel(tx, waiting, running)
    cancelled = {place.seq for place in waiting}
    answers: list[Cancelling] = []
    for place in places:
        if not place.seq:
            answers.append(Cancelling.UNKNOWN)
        elif place.state is State.RUNNING:
            answers.append(Cancelling.REQUESTED)
        elif place.seq in cancelled:
            cancelled.discard(place.seq)  # named again, it has ended
            answers.append(Cancelling.CANCELLED)
        else:
            answers.append(Cancelling.ENDED)
    return answers


def cancel_flows(tx: Transaction, ids: Sequence[JobId], limit: int) -> list[int]:
    """Cancel some of what lives in each flow, and all that is added to it from now on."""
    answers: list[int] = []
    for places in flows.members(tx, ids, limit):
        running = [place for place in places if place.state is State.RUNNING]
        _cancel(tx, [place for place in places if place.state is not State.RUNNING], running)
        answers.append(len(places))
    return answers


def redrive(tx: Transaction, ids: Sequence[JobId]) -> list[bool]:
    """Start jobs that ended badly over; True for those this call did."""
    places = tx.places(_PLACES, ids=dumps(rows.ids(ids)))
    dead = _once(places, lambda place: place.state in _REDRIVABLE)
    if dead:
        flows.start_over(tx, dead)
        flows.revive(tx, dead)
    return _first_time(places, dead)


def purge(tx: Transaction, ids: Sequence[JobId]) -> list[bool]:
    """Take finished jobs out; True for those this call did."""
    places = tx.places(_PLACES, ids=dumps(rows.ids(ids)))
    over = _once(places, lambda place: place.state in TERMINAL)
    _purge(tx, over)
    return _first_time(places, over)


def _cancel(tx: Transaction, queued: Sequence[JobPlace], running: Sequence[JobPlace]) -> None:
    endings.end(tx, queued, State.CANCELLED)
    if running:
        tx.db.run(_REQUEST_CANCEL, {"seqs": seqs_of(running)})


def _purge(tx: Transaction, places: Sequence[JobPlace]) -> None:
    if not places:
        return
    keys.orphan(tx, places)
    steps.purge(tx, places)
    flows.purged(tx, places)
    seqs = seqs_of(places)
    tx.db.run(_REMEMBER, {"seqs": seqs, "forget_at": tx.now + DAY})
    limited = [place.seq for place in places if place.ties & LIMITED]
    taken = gates.places_taken(tx, limited) if limited else None
    tx.db.run(_PURGE, {"seqs": seqs})
    if taken is not None:
        gates.go_on(tx, taken)
    for place in places:
        tx.count(place.queue, place.state, place.lane, -1)
        tx.count(place.queue, "purged", place.lane, 1)


def _once(places: Sequence[JobPlace], fits: Callable[[JobPlace], bool]) -> list[JobPlace]:
    """The jobs that fit, each once however often it was named."""
    return list({place.seq: place for place in places if place.seq and fits(place)}.values())


def _first_time(places: Sequence[JobPlace], moved: Sequence[JobPlace]) -> list[bool]:
    """For each job that was named: whether it was moved, and is named for the first time."""
    left = {place.seq for place in moved}
    answers: list[bool] = []
    for place in places:
        answers.append(place.seq in left)
        left.discard(place.seq)
    return answers


def _running(
    tx: Transaction, tokens: Sequence[Lease] | Sequence[Progress] | Sequence[Step]
) -> list[int]:
    """The rows of those attempts that run now, 0 for the others."""
    attempts = dumps([(token.id, token.attempt) for token in tokens])
    return _seqs.decode(tx.db.value(_RUNNING, {"attempts": attempts}))
