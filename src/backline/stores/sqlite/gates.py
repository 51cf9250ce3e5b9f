"""Limits per key: how a job becomes ready, and what it gives back when it no longer is.

A gate stands in front of ready, never in the way of a lease: a job whose key is full waits
at it, and the jobs of other keys pass. Which jobs have a slot is written on them, and how many
on the gate: whatever takes slots or gives them back moves the count in the same commit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from backline.job import JobRequest, Limits, OnPoison, Pacing
from backline.states import State
from backline.stores.sqlite import paces, rows
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import LIMITED
from backline.stores.sqlite.transaction import JobPlace, Transaction, dumps, seqs_of

_SET_GATES: Final = statement("set_gates")
_GATES: Final = statement("gates")
_OPEN_GATES: Final = statement("open_gates")
_AT_GATES: Final = statement("at_gates")
_MAKE_READY: Final = statement("make_ready")
_JOINING: Final = statement("joining")
_JOIN: Final = statement("join_limits")
_LIMIT_JOBS: Final = statement("limit_jobs")
_PLACES_TAKEN: Final = statement("places_taken")
_UNBLOCKED: Final = statement("unblocked")
_LEAVING: Final = statement("leaving")
_LEAVE: Final = statement("leave")
_KEEP_SLOTS: Final = statement("keep_slots")
_COUNT_SLOTS: Final = statement("count_slots")


class _Gate(msgspec.Struct, array_like=True, gc=False):
    id: int
    slots: int
    taken: int
    waiting: int

    def take_slot(self) -> bool:
        """Whether a job that comes now has a slot; if not, it is the last that waits."""
        if self.taken >= self.slots:
            return False
        self.taken += 1
        return True


class _AtGate(msgspec.Struct, array_like=True, gc=False, order=True):
    """A job that waits for a slot, in the order of its gate."""

    gate: int
    rank: int
    due: int
    seq: int
    queue: int
    lane: str
    pace: int | None
    weight: int | None
    ties: int


class Standing(NamedTuple):
    """Where its limits put a job whose time has come."""

    state: State
    gate: int | None
    slot: int | None
    pace: int | None
    permit: int | None
    weight: int


class PlacesTaken(NamedTuple):
    """What jobs hold that leave."""

    slots: Mapping[int, int]
    """How many, by gate."""
    paces: Sequence[int]


_NOT_DUE: Final = Standing(State.SCHEDULED, None, None, None, None, 1)

_gates: Final = msgspec.json.Decoder(list[_Gate])
_at_gates: Final = msgspec.json.Decoder(list[_AtGate])
_pairs: Final = msgspec.json.Decoder(list[tuple[int, int]])
_ids: Final = msgspec.json.Decoder(list[int])
_NOBODY: Final = "[]"


def join(
    tx: Transaction, places: Sequence[JobPlace], *, ordered: bool = False, arrive: bool = True
) -> None:
    """The time of these jobs has come: they are ready, or wait for their turn within limits.

    The one way a job that is stored becomes ready. One that has a slot already keeps it. The
    first has the first choice; `ordered`: the first of the queue has. Without `arrive` they
    are back from a worker, and do not count as arrivals once more.
    """
    plain = [place for place in places if not place.ties & LIMITED]
    if plain:
        tx.db.run(_MAKE_READY, {"seqs": seqs_of(plain)})
        tx.moved_all(plain, State.READY)
    limited = {place.seq: place for place in places if place.ties & LIMITED}
    if not limited:
        return
    found = tx.db.rows(_JOINING, {"seqs": dumps(list(limited))})
    if ordered:
        found.sort()
    wanted: list[tuple[int, Limits]] = []
    for _, _, seq, has_slot, text in found:
        said = rows.limits_of(text)
        asked = msgspec.structs.replace(said, key=None) if has_slot else said
        wanted.append((limited[seq].queue, asked))
    standings = _standings_of(tx, wanted)
    lines = [(row[2], *standing) for row, standing in zip(found, standings, strict=True)]
    tx.db.run(_JOIN, {"jobs": dumps(lines)})
    _take(tx, standings)
    for row, standing in zip(found, standings, strict=True):
        place = limited[row[2]]
        if place.state is not standing.state:
            tx.moved_all([place], standing.state, arrive=arrive)
    _note_waiting(tx, standings)


def admit(tx: Transaction, jobs: Sequence[tuple[JobRequest, int]]) -> dict[str, Standing]:
    """Where new jobs with limits are to stand whose time has come, by id.

    Each comes with the id of its queue; the first has the first slot. `declare` came before,
    and `write` follows.
    """
    wanted = [(queue, job.limits) for job, queue in jobs if job.limits is not None]
    ids = [job.id for job, _ in jobs]
    return dict(zip(ids, _standings_of(tx, wanted), strict=True))


def declare(tx: Transaction, jobs: Iterable[tuple[JobRequest, int]]) -> None:
    """What new jobs, each with the id of its queue, say of their keys holds from now on."""
    wanted = [(queue, job.limits) for job, queue in jobs if job.limits is not None]
    _load_gates(tx, wanted, declared=True)
    paces.load(tx, _pacings(wanted), declared=True)


def write(tx: Transaction, jobs: Iterable[JobRequest], standings: dict[str, Standing]) -> None:
    """Write down the limits of jobs that were just added, and where they stand."""
    lines = [(job.id, job.limits, *standings.get(job.id, _NOT_DUE)[1:]) for job in jobs]
    tx.db.run(_LIMIT_JOBS, {"jobs": dumps(lines)})
    _take(tx, standings.values())
    _note_waiting(tx, standings.values())


def leave(tx: Transaction, seqs: Sequence[int], *, wholly: bool = False) -> None:
    """These jobs give back what they hold, and others go on.

    Not what is theirs also in their present state, unless they leave `wholly`.
    """
    if not wholly:
        [(left, kept)] = tx.db.rows(_LEAVING, {"seqs": dumps(seqs)})
        seqs = _ids.decode(left)
        if kept != _NOBODY:
            tx.db.run(_KEEP_SLOTS, {"seqs": kept})
    if not seqs:
        return
    taken = places_taken(tx, seqs)
    tx.db.run(_LEAVE, {"seqs": dumps(seqs)})
    go_on(tx, taken)


def places_taken(tx: Transaction, seqs: Sequence[int]) -> PlacesTaken:
    """What these jobs hold; `go_on` follows when they hold it no more."""
    [(gates, at_paces)] = tx.db.rows(_PLACES_TAKEN, {"seqs": dumps(seqs)})
    return PlacesTaken(Counter(_ids.decode(gates)), _ids.decode(at_paces))


def go_on(tx: Transaction, freed: PlacesTaken) -> None:
    """Jobs have left these places: others may take them."""
    if freed.slots:
        count_slots(tx, {gate: -n for gate, n in freed.slots.items()})
    paces.settle(tx, freed.paces)


def count_slots(tx: Transaction, moves: Mapping[int, int]) -> None:
    """At each of these gates so many more, or less, slots are taken; who waits there may go on."""
    tx.db.run(_COUNT_SLOTS, {"moves": dumps(moves)})
    _release(tx, [*moves])


def _take(tx: Transaction, standings: Iterable[Standing]) -> None:
    """Count the slots that jobs got; one that kept its own has no gate here."""
    taken = Counter(s.gate for s in standings if s.gate is not None and s.slot)
    if taken:
        tx.db.run(_COUNT_SLOTS, {"moves": dumps(taken)})


def _standings_of(tx: Transaction, wanted: Sequence[tuple[int, Limits]]) -> list[Standing]:
    """Where jobs stand that come in this order, each with its queue."""
    gates = _load_gates(tx, wanted, declared=False)
    rates = paces.load(tx, _pacings(wanted), declared=False)
    return [_stand(tx, queue, asked, gates, rates) for queue, asked in wanted]


def _pacings(wanted: Iterable[tuple[int, Limits]]) -> dict[tuple[int, str], Pacing]:
    return {
        (queue, asked.rate_key): asked.pacing
        for queue, asked in wanted
        if asked.rate_key is not None
    }


def _stand(
    tx: Transaction,
    queue: int,
    asked: Limits,
    gates: dict[tuple[int, str], _Gate],
    rates: dict[tuple[int, str], paces.Pace],
) -> Standing:
    gate = None if asked.key is None else gates[queue, asked.key]
    pace = None if asked.rate_key is None else rates[queue, asked.rate_key]
    weight = 1 if pace is None else max(1, min(asked.weight, pace.burst))
    row, at = (None if gate is None else gate.id), (None if pace is None else pace.id)
    if gate is not None and not gate.take_slot():
        return Standing(State.WAITING, row, 0, at, None, weight)
    slot = None if gate is None else 1
    if pace is None:
        return Standing(State.READY, row, slot, None, None, weight)
    let = pace.take_permit(weight, tx.tick)
    return Standing(State.READY if let else State.WAITING, row, slot, at, int(let), weight)


def _load_gates(
    tx: Transaction, wanted: Sequence[tuple[int, Limits]], *, declared: bool
) -> dict[tuple[int, str], _Gate]:
    facts = {
        (queue, asked.key): (asked.slots, int(asked.on_poison is OnPoison.BLOCK))
        for queue, asked in wanted
        if asked.key is not None
    }
    if not facts:
        return {}
    lines = [(*name, *fact) for name, fact in facts.items()]
    changed = tx.db.run(_SET_GATES, {"gates": dumps(lines), "declared": declared})
    gates = _read_gates(tx, facts)
    if changed and declared:
        unblocked = tx.db.value(_UNBLOCKED, {"gates": dumps([gate.id for gate in gates])})
        if unblocked != _NOBODY:
            leave(tx, _ids.decode(unblocked))
        gates = _read_gates(tx, facts)
    if raised := [gate.id for gate in gates if gate.waiting and gate.taken < gate.slots]:
        _release(tx, raised)  # those who wait come before those who come now
        gates = _read_gates(tx, facts)
    return dict(zip(facts, gates, strict=True))


def _read_gates(tx: Transaction, names: Iterable[tuple[int, str]]) -> list[_Gate]:
    return _gates.decode(tx.db.value(_GATES, {"gates": dumps(list(names))}))


def _release(tx: Transaction, gates: Sequence[int]) -> None:
    """Give the free slots of these gates to those who wait there."""
    free = dict(_pairs.decode(tx.db.value(_OPEN_GATES, {"gates": dumps(gates)})))
    if not free:
        return
    params = {"gates": dumps(list(free)), "most": max(free.values())}
    let: list[_AtGate] = []
    for job in sorted(_at_gates.decode(tx.db.text(_AT_GATES, params))):
        if free[job.gate]:
            free[job.gate] -= 1
            let.append(job)
    lines = [_with_slot(job) for job in let]
    tx.db.run(_JOIN, {"jobs": dumps(lines)})
    taken = Counter(job.gate for job in let)
    tx.db.run(_COUNT_SLOTS, {"moves": dumps(taken)})
    ready = [job for job in let if job.pace is None]
    tx.moved_all(
        [JobPlace(job.seq, job.queue, job.lane, State.WAITING, job.ties) for job in ready],
        State.READY,
    )
    paces.settle(tx, {job.pace for job in let if job.pace is not None})


def _with_slot(job: _AtGate) -> tuple[int | State | None, ...]:
    """A job that has a slot from now on; whether its rate lets it start is said next."""
    if job.pace is None:
        return (job.seq, State.READY, job.gate, 1, None, None, job.weight)
    return (job.seq, State.WAITING, job.gate, 1, job.pace, 0, job.weight)


def _note_waiting(tx: Transaction, standings: Iterable[Standing]) -> None:
    paces.settle(tx, {s.pace for s in standings if s.permit == 0 and s.pace is not None})
