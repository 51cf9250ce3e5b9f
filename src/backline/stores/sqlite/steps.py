"""What jobs have done and must not do again."""

from collections.abc import Sequence
from typing import Any, Final

from backline.display import clean
from backline.job import Micros, Step
from backline.stores.sqlite import waits
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import ASLEEP, STEPPED
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_ADD: Final = statement("add_steps")
_COUNT: Final = statement("count_steps")
_PURGE: Final = statement("purge_steps")
_WAKE_AT: Final = statement("wake_at")


def keep(tx: Transaction, done: Sequence[Step]) -> None:
    """Record steps of jobs that are there; the first record of a name stays."""
    if not done:
        return
    waits.keep(tx, [step for step in done if step.awaits is not None])
    _add(tx, [step for step in done if step.awaits is None])
    tx.db.run(_COUNT, {"ids": dumps(sorted({step.id for step in done}))})


def _add(tx: Transaction, done: Sequence[Step]) -> None:
    if not done:
        return
    values: list[bytes] = []
    lines: list[tuple[Any, ...]] = []
    start = 1
    for step in done:
        value = b"" if step.value is None else bytes(step.value)
        wake_at = None if step.wake_in is None else tx.now + step.wake_in
        name = clean(step.name)
        lines.append((step.id, name, step.attempt, start if value else 0, len(value), wake_at))
        values.append(value)
        start += len(value)
    params = {"steps": dumps(lines), "values": b"".join(values), "now": tx.now}
    tx.db.run(_ADD, params)


def wake_at(tx: Transaction, places: Sequence[JobPlace], due: Micros) -> None:
    """Those of these jobs that sleep, or wait for an event, have another due time: until then,
    and no longer."""
    asleep = [place for place in places if place.ties & ASLEEP]
    if asleep:
        tx.db.run(_WAKE_AT, {"seqs": seqs_of(asleep), "due": due, "now": tx.now})


def purge(tx: Transaction, places: Sequence[JobPlace]) -> None:
    """These jobs are about to be purged, and their steps with them."""
    stepped = [place for place in places if place.ties & STEPPED]
    if stepped:
        tx.db.run(_PURGE, {"seqs": seqs_of(stepped)})
