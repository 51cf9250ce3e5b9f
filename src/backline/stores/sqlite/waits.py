"""Steps that wait for events. An open wait is an entry of the index `step_waits`, by its event;
a job that waits is one that sleeps until the wait's time is over, and is woken before."""

from collections.abc import Sequence
from typing import Final

from backline.display import clean
from backline.fanout import Publication
from backline.job import Step
from backline.stores.sqlite import gates
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps

_ADD: Final = statement("add_waits")
_GIVE_UP: Final = statement("give_up")
_WAITED: Final = statement("waited")
_AWAITING: Final = statement("awaiting")
_HEAR: Final = statement("hear")
_WAKE: Final = statement("wake")


def keep(tx: Transaction, waits: Sequence[Step]) -> None:
    """Record waits: an event that came before ends them here and now."""
    if not waits:
        return
    lines = [
        (
            step.id, clean(step.name), step.attempt,
            None if step.wake_in is None else tx.now + step.wake_in,
            clean(step.awaits.name), clean(step.awaits.key), int(step.over),
        )
        for step in waits
        if step.awaits is not None
    ]  # fmt: skip
    tx.db.run(_ADD, {"waits": dumps(lines), "now": tx.now})
    if over := [step for step in waits if step.over]:
        tx.db.run(_GIVE_UP, {"waits": _names(over)})


def parked(tx: Transaction, done: Sequence[Step]) -> None:
    """The runs that did this are recorded as ended: those of their jobs go on whose event had
    come, be it after they looked."""
    waits = [step for step in done if step.awaits is not None]
    if waits:
        _wake(tx, tx.places(_WAITED, waits=_names(waits)))


def publish(tx: Transaction, events: Sequence[Publication]) -> None:
    """Let jobs go on that wait for one of these events, which are new."""
    lines: dict[tuple[str, str], tuple[object, ...]] = {}
    for event in events:
        if event.key is not None:
            at = tx.now if event.at is None else event.at
            payload = bytes(event.payload).decode()
            told = (event.name, event.key, event.id, at, payload)
            lines.setdefault((event.name, event.key), told)
    if not lines:
        return
    params: dict[str, str | int] = {"events": dumps([*lines.values()]), "now": tx.now}
    asleep = tx.places(_AWAITING, **params)
    tx.db.run(_HEAR, params)
    _wake(tx, asleep)


def _wake(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """Let jobs come that sleep."""
    asleep = {place.seq: place for place in places}
    if asleep:
        tx.db.run(_WAKE, {"seqs": dumps([*asleep]), "now": tx.now})
        gates.join(tx, [*asleep.values()], ordered=True)


def _names(waits: Sequence[Step]) -> str:
    return dumps([(step.id, clean(step.name)) for step in waits])
