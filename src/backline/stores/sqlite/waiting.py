"""How a job goes on that waited for others: in one place, whatever it waited for."""

from collections.abc import Sequence
from typing import Final

import msgspec

from backline.states import State
from backline.stores.sqlite import gates
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_VERDICTS: Final = statement("verdicts")
_POSTPONE: Final = statement("postpone")


class _Verdict(msgspec.Struct, array_like=True, gc=False):
    """A waiting job, and the state that the others it waits for put it in."""

    seq: int
    queue: int
    lane: str
    state: State
    ties: int
    target: State


_verdicts: Final = msgspec.json.Decoder(list[_Verdict])


def go_on(tx: Transaction, seqs: Sequence[int]) -> list[JobPlace]:
    """Let jobs that waited for others come to their queues, or wait for their time there.

    Those that still do, or that wait for their turn within limits, stay as they are. Returns
    those that are to be cancelled instead: a parent ended otherwise than they need.
    """
    found = _verdicts.decode(tx.db.text(_VERDICTS, {"seqs": dumps(seqs), "now": tx.now}))
    by_target: dict[State, list[JobPlace]] = {}
    for one in found:
        place = JobPlace(one.seq, one.queue, one.lane, one.state, one.ties)
        by_target.setdefault(one.target, []).append(place)
    if later := by_target.get(State.SCHEDULED):
        tx.db.run(_POSTPONE, {"seqs": seqs_of(later)})
        tx.moved_all(later, State.SCHEDULED)
    gates.join(tx, by_target.get(State.READY, []))
    return by_target.get(State.CANCELLED, [])
