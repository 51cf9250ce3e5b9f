"""Changing jobs that have not started: another queue, another priority, another time."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from backline.job import JobId, Micros
from backline.states import QUEUED, State
from backline.store import Edit, Edited
from backline.stores.sqlite import rows
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_PLACES: Final = statement("places")
_EDIT: Final = statement("edit")


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
    queue = None
    if change.queue is not UNSET:
        queue = tx.queues([change.queue], make=True)[change.queue].id
    due = change.due(tx.now)
    state = None if due is None else _state_at(due, tx.now)
    tx.db.run(
        _EDIT,
        {
            "seqs": seqs_of(places),
            "queue": queue,
            "rank": None if change.priority is UNSET else -change.priority,
            "due": due,
            "state": state,
        },
    )
    counts = Counter((place.queue, place.lane, place.state) for place in places)
    for (source, lane, was), n in counts.items():
        stands = was if state is None or was is State.WAITING else state
        tx.edited(source, source if queue is None else queue, lane, was, stands, n)


def _state_at(due: Micros, now: Micros) -> State:
    """Where a job stands that waits for nothing but its time."""
    return State.SCHEDULED if due > now else State.READY
