"""Changing jobs that have not started: another queue, another priority, another time."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from backline.job import JobId, Micros
from backline.states import QUEUED, State
from backline.store import Edit, Edited
from backline.stores.sqlite import gates, rows, sharing, steps
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import ASLEEP, FAIR, LIMITED
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_PLACES: Final = statement("places")
_EDIT: Final = statement("edit")
_STANDING: Final = statement("standing")
_POSTPONE: Final = statement("postpone")

_seqs: Final = msgspec.json.Decoder(list[int])


def edit(tx: Transaction, ids: Sequence[JobId], change: Edit) -> list[Edited]:
    """See `backline.store.Store`."""
    places = tx.places(_PLACES, ids=dumps(rows.ids(ids)))
    editable = {place.seq: place for place in places if place.seq and place.state in QUEUED}
    if editable:
        _edit(tx, list(editable.values()), change)
    return [_answer(place) for place in places]


def _answer(place: JobPlace) -> Edited:
    if not place.seq:
        return Edited.UNKNOWN
    if place.state in QUEUED:
        return Edited.EDITED
    return Edited.RUNNING if place.state is State.RUNNING else Edited.ENDED


def _edit(tx: Transaction, places: Sequence[JobPlace], change: Edit) -> None:
    sharing.give_back(tx, places)
    target, fair = None, False
    if change.queue is not UNSET:
        queue = tx.queues([change.queue], make=True)[change.queue]
        if any(place.ties & FAIR for place in places):
            sharing.make_fair(tx, queue, seqs_of(places))
        target, fair = queue.id, queue.fair
    due = change.due(tx.now)
    held: set[int] = set()
    if target is not None or due is not None:  # else each keeps what it holds
        held = _let_go(tx, places, moves=target is not None)
    tx.db.run(
        _EDIT,
        {
            "seqs": seqs_of(places),
            "queue": target,
            "rank": None if change.priority is UNSET else -change.priority,
            "due": due,
            "fair": fair,
        },
    )
    if fair or any(place.ties & FAIR for place in places):
        tx.turning += [place.seq for place in places]
    counts = Counter(
        (place.queue, place.lane, place.state, place.ties & ASLEEP) for place in places
    )
    for (source, lane, state, asleep), n in counts.items():
        tx.edited(source, source if target is None else target, lane, state, n)
        if asleep and target is not None:
            tx.count(source, "asleep", lane, -n)
            tx.count(target, "asleep", lane, n)
    if due is not None:
        steps.wake_at(tx, places, due)
    now = [_at(place, target) for place in places]
    _stand(tx, now, held, due)


def _let_go(tx: Transaction, places: Sequence[JobPlace], *, moves: bool) -> set[int]:
    """Have jobs with limits give back what they hold, to ask for it again; those of them that
    were ready, or waited for their turn within limits.

    One that is scheduled keeps the slot that it may have, unless it moves to another queue.
    """
    limited = [place for place in places if place.ties & LIMITED]
    if not limited:
        return set()
    here = set(_seqs.decode(tx.db.value(_STANDING, {"seqs": seqs_of(limited)})))
    asking = [place.seq for place in limited if place.state is not State.SCHEDULED]
    held = here.intersection(asking)
    gates.leave(tx, list(here if moves else held), wholly=True)
    return held


def _stand(tx: Transaction, places: Sequence[JobPlace], held: set[int], due: Micros | None) -> None:
    """Let jobs stand where their new time, and their limits, put them."""
    if due is not None and due > tx.now:
        later = [place for place in places if place.state is State.READY or place.seq in held]
        tx.db.run(_POSTPONE, {"seqs": seqs_of(later)})
        tx.moved_all(later, State.SCHEDULED)
        return
    comes = [
        place
        for place in places
        if place.seq in held or (due is not None and place.state is State.SCHEDULED)
    ]
    gates.join(tx, comes)


def _at(place: JobPlace, queue: int | None) -> JobPlace:
    return place if queue is None else replace(place, queue=queue)
