"""How many slots of each key are taken, counted again now and then, and whether those who wait
for one can get it: what damage, or a hand in the file, made wrong comes right by itself.

It is counted by a reader, who is in nobody's way, in one snapshot: by how much a count is wrong
does not change while others go on to move it. Of those who found the same, one corrects it.
"""

from typing import Final

import msgspec

from backline.job import HOUR, Micros
from backline.stores.sqlite import gates
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction

_SLOTS_CORRECTED: Final = statement("slots_corrected")
_MISCOUNTED: Final = statement("miscounted")
_STRANDED: Final = statement("stranded")
_NOTE_WINDOW: Final = statement("note_window")

EVERY: Final[Micros] = HOUR
BITE: Final = 10_000
"""So many jobs are let go on at a time."""

_NOBODY: Final = b"[]"
_pairs: Final = msgspec.json.Decoder(list[tuple[int, int]])


class Miscount(msgspec.Struct, frozen=True):
    """What is wrong with slots."""

    version: int
    """How often any were corrected before."""
    more: dict[int, int]
    """By how much the count of a gate is too high."""
    stranded: bool
    """Whether jobs wait for what will not come."""


def look(db: Connection) -> Miscount | None:
    """Count the slots of every key; None: all is right."""
    version = db.value(_SLOTS_CORRECTED) or 0
    more = dict(_pairs.decode(db.value(_MISCOUNTED)))
    stranded = db.value(_STRANDED, {"most": 1}) != _NOBODY
    return Miscount(version, more, stranded) if more or stranded else None


def correct(tx: Transaction, found: Miscount) -> None:
    """Set right what was found, unless others have meanwhile; who waited for it goes on."""
    if found.more and (tx.db.value(_SLOTS_CORRECTED) or 0) == found.version:
        tx.db.run(_NOTE_WINDOW, {"name": "slots_corrected", "last": str(found.version + 1)})
        gates.count_slots(tx, {gate: -n for gate, n in found.more.items()})
    if found.stranded:
        gates.join(tx, tx.places(_STRANDED, most=BITE), ordered=True)
