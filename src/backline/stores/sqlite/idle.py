"""What matters no more at gates, paces and shares: taken out in bites, one window of ids after
the other."""

from typing import Final

from backline import fairness
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction

_GATE_WINDOW: Final = statement("gate_window")
_FORGET_GATES: Final = statement("forget_gates")
_PACE_WINDOW: Final = statement("pace_window")
_FORGET_PACES: Final = statement("forget_paces")
_SHARE_WINDOW: Final = statement("share_window")
_FORGET_SHARES: Final = statement("forget_shares")
_NOTE_WINDOW: Final = statement("note_window")

_TABLES: Final = {
    "gates_seen": (_GATE_WINDOW, _FORGET_GATES),
    "paces_seen": (_PACE_WINDOW, _FORGET_PACES),
    "shares_seen": (_SHARE_WINDOW, _FORGET_SHARES),
}


def forget(tx: Transaction, limit: int) -> int:
    """Look at the next `limit` of each; how many went. The next job of a key makes it anew."""
    gone = 0
    params = {"tick": tx.tick, "first": fairness.FIRST, "farthest": fairness.FARTHEST_TURN}
    for name, (window, forget_idle) in _TABLES.items():
        [(after, last)] = tx.db.rows(window, {"limit": limit})
        if last:
            gone += tx.db.run(forget_idle, params | {"after": after, "last": last})
        if last != after:
            tx.db.run(_NOTE_WINDOW, {"name": name, "last": str(last)})
    return gone
