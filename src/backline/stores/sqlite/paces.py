"""Rates: which of the jobs that share a rate key may start by now.

A job that may start is ready and has a permit; together the permits of a pace never weigh
more than what its rate allows to start now, so whoever leases them need not look. A lease
uses the permit up and moves the pace's arrival time on.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from backline import limits
from backline.job import FARTHEST, Micros, Pacing
from backline.states import State
from backline.store import Hint
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps

_SET_PACES: Final = statement("set_paces")
_PACE_IDS: Final = statement("pace_ids")
_PACES: Final = statement("paces")
_AT_PACE: Final = statement("at_pace")
_PERMIT: Final = statement("permit")
_MOVE_PACES: Final = statement("move_paces")
_DUE_PACES: Final = statement("due_paces")
_LEASED_PACES: Final = statement("leased_paces")
_USE_PERMITS: Final = statement("use_permits")


class Pace(msgspec.Struct, array_like=True, gc=False):
    """A rate key and who is there."""

    id: int
    interval: int
    burst: int
    arrival: int
    next: int | None
    permitted: int
    """The weight of those with a permit."""
    first: int | None
    """The weight of the first that waits."""

    def __post_init__(self) -> None:
        if self.first is not None:
            self.first = min(self.first, max(1, self.burst))

    @property
    def pacing(self) -> Pacing:
        """How often its jobs may start."""
        return Pacing(self.interval, self.burst)

    def room(self, tick: Micros) -> int:
        """What more may be permitted now."""
        return limits.startable(self.pacing, self.arrival, tick) - self.permitted

    def take_permit(self, weight: int, tick: Micros) -> bool:
        """Whether a job that comes now has a permit; if not, it is the last that waits."""
        if self.first is not None:
            return False
        if weight > self.room(tick):
            self.first = weight
            return False
        self.permitted += weight
        return True


class _Waiting(msgspec.Struct, array_like=True, gc=False, order=True):
    """A job that waits for a permit, in the order of the queue."""

    rank: int
    due: int
    seq: int
    queue: int
    lane: str
    weight: int
    ties: int


_ids: Final = msgspec.json.Decoder(list[int])
_paces: Final = msgspec.json.Decoder(list[Pace])
_waiting: Final = msgspec.json.Decoder(list[_Waiting])
_weights: Final = msgspec.json.Decoder(list[tuple[int, int]])


def load(
    tx: Transaction, wanted: Mapping[tuple[int, str], Pacing], *, declared: bool
) -> dict[tuple[int, str], Pace]:
    """The paces of some queues and keys, made if need be; `declared`: and changed."""
    if not wanted:
        return {}
    facts = [(*name, pacing.interval, pacing.burst) for name, pacing in wanted.items()]
    params = {"paces": dumps(facts), "declared": declared, "tick": tx.tick}
    changed = tx.db.run(_SET_PACES, params)
    ids = _ids.decode(tx.db.value(_PACE_IDS, {"paces": dumps(list(wanted))}))
    if changed and declared:
        settle(tx, ids)  # those who wait come before those who come now
    found = {pace.id: pace for pace in _read(tx, ids)}
    return {name: found[row] for name, row in zip(wanted, ids, strict=True)}


def settle(tx: Transaction, ids: Collection[int], leased: Mapping[int, int] | None = None) -> None:
    """Give out the permits that there are now, and note when there will be more.

    `leased`: the weight of what was just leased, by pace.
    """
    if not ids:
        return
    used = leased or {}
    moved: list[tuple[int, Micros, Micros | None]] = []
    for pace in _read(tx, ids):
        if pace.id in used:
            pace.arrival = limits.started(pace.pacing, pace.arrival, tx.tick, used[pace.id])
        if pace.first is not None:
            _permit(tx, pace)
        opens = _next(pace)
        if opens is not None and (pace.next is None or opens < pace.next):
            tx.hints.add(Hint.WORK)  # whoever sleeps may be the one who is awake by then
        moved.append((pace.id, _bounded(pace.arrival), opens))
    tx.db.run(_MOVE_PACES, {"paces": dumps(moved)})


def due(tx: Transaction, limit: int) -> int:
    """Give out permits whose time has come; of how many paces."""
    ids = _ids.decode(tx.db.value(_DUE_PACES, {"tick": tx.tick, "limit": limit}))
    settle(tx, ids)
    return len(ids)


def leased(tx: Transaction, worker: str, call: int) -> None:
    """The jobs that a call leased use up their permits."""
    params = {"worker": worker, "call": call}
    used = dict(_weights.decode(tx.db.value(_LEASED_PACES, params)))
    if used:
        tx.db.run(_USE_PERMITS, params)
        settle(tx, used, used)


def _read(tx: Transaction, ids: Collection[int]) -> list[Pace]:
    return _paces.decode(tx.db.value(_PACES, {"paces": dumps(list(ids))}))


def _permit(tx: Transaction, pace: Pace) -> None:
    room = pace.room(tx.tick)
    if pace.first is None or pace.first > room:
        return
    waiting = _waiting.decode(tx.db.text(_AT_PACE, {"pace": pace.id, "most": room + 1}))
    let: list[_Waiting] = []
    pace.first = None
    for job in sorted(waiting):
        weight = min(job.weight, max(1, pace.burst))
        if weight > room:
            pace.first = weight
            break
        room -= weight
        pace.permitted += weight
        let.append(job)
    _make_ready(tx, let, pace.burst)


def _make_ready(tx: Transaction, jobs: Sequence[_Waiting], burst: int) -> None:
    tx.db.run(_PERMIT, {"seqs": dumps([job.seq for job in jobs]), "burst": max(1, burst)})
    places = [JobPlace(job.seq, job.queue, job.lane, State.WAITING, job.ties) for job in jobs]
    tx.moved_all(places, State.READY)


def _next(pace: Pace) -> Micros | None:
    """The tick from which on the first that waits may start; None: nobody waits, or only a
    start of those before it can let it."""
    if pace.first is None:
        return None
    opens = limits.opens_at(pace.pacing, pace.arrival, pace.permitted + pace.first)
    return None if opens is None else _bounded(opens)


def _bounded(tick: int) -> Micros:
    return max(-FARTHEST, min(tick, FARTHEST))
