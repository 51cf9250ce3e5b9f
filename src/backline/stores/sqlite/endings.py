"""What the end of a job does to others, whichever method ended it."""

from collections.abc import Sequence

from backline.states import State
from backline.stores.sqlite import keys
from backline.stores.sqlite.ties import KEYED
from backline.stores.sqlite.transaction import JobPlace, Transaction


def ran(tx: Transaction, seqs: Sequence[int], ties: int) -> None:
    """Jobs that ran have ended, all with the same ties."""
    if ties & KEYED:
        keys.succeed(tx, seqs)


def left(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """Jobs that did not run have ended; `places` are where they were."""
    keyed = [place for place in places if place.ties & KEYED]
    if keyed:
        keys.revert(tx, [place.seq for place in keyed if place.state is State.WAITING])
        keys.succeed(tx, [place.seq for place in keyed])
