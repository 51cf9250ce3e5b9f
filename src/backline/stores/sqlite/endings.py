"""What the end of a job does to others, whichever method ended it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from backline.job import REPLACED_KEEP
from backline.states import State
from backline.stores.sqlite import gates, keys
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import FOLLOWED, KEYED, LIMITED
from backline.stores.sqlite.transaction import JobPlace, Transaction

_SUCCEED: Final = statement("succeed")
_SUCCEED_LIMITED: Final = statement("succeed_limited")

_seqs: Final = msgspec.json.Decoder(list[int])


def succeed(tx: Transaction, params: dict[str, str | int], ties: int) -> None:
    """Record jobs that ran well, all with the same ties, as `sql/succeed.sql` does for those
    without any: in the same update they give back what they hold."""
    seqs = _seqs.decode(str(params["seqs"]))
    if ties & KEYED:  # first, as in `ran`: a successor asks for its slot beside the others
        keys.succeed(tx, seqs)
    taken = gates.places_taken(tx, seqs) if ties & LIMITED else None
    tx.db.run(_SUCCEED if taken is None else _SUCCEED_LIMITED, params)
    if taken is not None:
        gates.go_on(tx, taken)
    if ties & FOLLOWED:
        tx.followed += seqs


def ran(tx: Transaction, seqs: Sequence[int], ties: int) -> None:
    """Jobs that ran have ended, all with the same ties."""
    if ties & KEYED:
        keys.succeed(tx, seqs)
    if ties & LIMITED:
        gates.leave(tx, seqs)
    if ties & FOLLOWED:
        tx.followed += seqs


def end(tx: Transaction, places: Sequence[JobPlace], state: State) -> None:
    """End jobs that did not run; `places` are where they are."""
    if not places:
        return
    keys.end(tx, places, state)
    keyed = [place for place in places if place.ties & KEYED]
    if keyed:
        keys.revert(tx, [place.seq for place in keyed if place.state is State.WAITING])
        keys.succeed(tx, [place.seq for place in keyed])
    _give_back(tx, places)


def replace(tx: Transaction, placed: keys.Placed) -> None:
    """Cancel the jobs whose keys others take."""
    keys.end(tx, placed.fresh, State.CANCELLED, REPLACED_KEEP)
    keys.end(tx, placed.tried, State.CANCELLED)
    _give_back(tx, [*placed.fresh, *placed.tried])


def _give_back(tx: Transaction, places: Sequence[JobPlace]) -> None:
    limited = [place.seq for place in places if place.ties & LIMITED]
    if limited:
        gates.leave(tx, limited)
