"""What the end of a job does to others, whichever method ended it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from backline.job import REPLACED_KEEP
from backline.states import State
from backline.stores.sqlite import flows, gates, keys, sharing
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import FOLLOWED, KEYED, LIMITED, MEMBER, PARENT
from backline.stores.sqlite.transaction import JobPlace, Transaction

_SUCCEED: Final = statement("succeed")
_SUCCEED_LIMITED: Final = statement("succeed_limited")

_seqs: Final = msgspec.json.Decoder(list[int])


def succeed(tx: Transaction, params: dict[str, str | int], ties: int) -> list[int]:
    """Record jobs that ran well, all with the same ties, as `sql/succeed.sql` does for those
    without any: in the same update they give back what they hold. `follow` is to be called."""
    seqs = _seqs.decode(str(params["seqs"]))
    if ties & KEYED:  # first, as in `ran`: a successor asks for its slot beside the others
        keys.succeed(tx, seqs)
    taken = gates.places_taken(tx, seqs) if ties & LIMITED else None
    tx.db.run(_SUCCEED if taken is None else _SUCCEED_LIMITED, params)
    if taken is not None:
        gates.go_on(tx, taken)
    return seqs


def ran(tx: Transaction, seqs: Sequence[int], ties: int) -> None:
    """Jobs that ran have ended, all with the same ties; `follow` is to be called."""
    if ties & KEYED:
        keys.succeed(tx, seqs)
    if ties & LIMITED:
        gates.leave(tx, seqs)


def end(tx: Transaction, places: Sequence[JobPlace], state: State) -> None:
    """End jobs that did not run; `places` are where they are."""
    if places:
        keys.end(tx, places, state)
        left(tx, places)


def left(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """Jobs that did not run have ended; `places` are where they were."""
    _settle_keys(tx, places)
    _give_back(tx, places)
    follow(tx, _by_ties(places))


def replace(tx: Transaction, placed: keys.Placed) -> None:
    """Cancel the jobs whose keys others take; once these have them, `replaced` follows."""
    keys.end(tx, placed.fresh, State.CANCELLED, REPLACED_KEEP)
    keys.end(tx, placed.tried, State.CANCELLED)
    _give_back(tx, [*placed.fresh, *placed.tried])


def replaced(tx: Transaction, placed: keys.Placed) -> None:
    """Others have taken the keys of jobs that were cancelled for it."""
    follow(tx, _by_ties([*placed.fresh, *placed.tried]))


def follow(tx: Transaction, over: Mapping[int, Sequence[int]]) -> None:
    """Let those go on who waited for the ends of some jobs, given by their ties, and note
    which of these have follow-ups: every end comes here.

    Those that are cancelled because of that are dealt with in turn, not one within the other:
    a chain may be long.
    """
    while over:
        for ties, seqs in over.items():
            if ties & FOLLOWED:
                tx.followed += seqs
        if not any(ties & (PARENT | MEMBER) for ties in over):
            return
        stopped = flows.ended(tx, over)
        _settle_keys(tx, stopped)
        over = _by_ties(stopped)


def _settle_keys(tx: Transaction, places: Sequence[JobPlace]) -> None:
    keyed = [place for place in places if place.ties & KEYED]
    if keyed:
        keys.revert(tx, [place.seq for place in keyed if place.state is State.WAITING])
        keys.succeed(tx, [place.seq for place in keyed])


def _give_back(tx: Transaction, places: Collection[JobPlace]) -> None:
    sharing.give_back(tx, places)
    limited = [place.seq for place in places if place.ties & LIMITED]
    if limited:
        gates.leave(tx, limited)


def _by_ties(places: Iterable[JobPlace]) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for place in places:
        grouped.setdefault(place.ties, []).append(place.seq)
    return grouped
