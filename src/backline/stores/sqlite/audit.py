"""How many slots of each key are taken, counted again now and then: what damage, or a hand in the
file, made wrong comes right by itself.

It is counted by a reader, who is in nobody's way, in one snapshot: by how much a count is wrong
does not change while others go on to move it. One of those who count at a time corrects.
"""

from typing import Final

import msgspec

from backline.job import HOUR, Micros
from backline.stores.sqlite import gates
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction

_SLOTS_COUNTED: Final = statement("slots_counted")
_MISCOUNTED: Final = statement("miscounted")
_NOTE_WINDOW: Final = statement("note_window")

EVERY: Final[Micros] = HOUR

_pairs: Final = msgspec.json.Decoder(list[tuple[int, int]])


class Count(msgspec.Struct, frozen=True):
    """What a count found."""

    before: Micros | None
    """When the one before it was."""
    wrong: dict[int, int]
    """By how many slots the count of a gate is too high."""


def count(db: Connection, now: Micros) -> Count | None:
    """Count the slots of every key, if nobody has for an hour; None if somebody has."""
    before = db.value(_SLOTS_COUNTED)
    if before is not None and before <= now < before + EVERY:
        return None
    return Count(before, dict(_pairs.decode(db.value(_MISCOUNTED))))


def correct(tx: Transaction, found: Count) -> None:
    """Set right what was found, unless somebody has counted meanwhile; who waited goes on."""
    if tx.db.value(_SLOTS_COUNTED) != found.before:
        return
    tx.db.run(_NOTE_WINDOW, {"name": "slots_counted", "last": str(tx.now)})
    if found.wrong:
        gates.count_slots(tx, {gate: -n for gate, n in found.wrong.items()})
