"""Limits per key: what a job holds while it is due, and who goes on when it gives that back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backline import limits
from backline.job import Limits, Micros, OnPoison, Pacing
from backline.states import TERMINAL, State
from backline.stores.memory.ready import Ready

if TYPE_CHECKING:
    from backline.stores.memory.queue import QueueState
    from backline.stores.memory.row import Row


class Gate:
    """At most `slots` jobs of a key are past it at a time."""

    __slots__ = ("blocks", "dead", "key", "slots", "taken", "waiting")

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.slots = 1
        self.blocks = False
        """A dead job keeps its slot."""
        self.dead: set[Row] = set()
        """Those that do."""
        self.taken = 0
        self.waiting = Ready()

    @property
    def open(self) -> bool:
        """There is a free slot."""
        return self.taken < self.slots

    @property
    def idle(self) -> bool:
        """Nobody is here."""
        return not self.taken and not self.waiting


class Pace:
    """How often jobs of a key may start. Those that may by now are ready and have a permit."""

    __slots__ = (
        "arrival",
        "key",
        "mark",
        "opens",
        "pacing",
        "permitted",
        "queue",
        "seq",
        "waiting",
    )

    def __init__(self, key: tuple[str, str], queue: QueueState, seq: int) -> None:
        self.key = key
        self.queue = queue
        self.seq = seq
        self.pacing = Pacing(0)
        self.arrival: Micros = 0
        self.permitted = 0
        """The weight of those with a permit."""
        self.waiting = Ready()
        self.mark = 0
        self.opens: Micros | None = None
        """When the first that waits may start: its place in the line of its queue."""

    def room(self, tick: Micros) -> int:
        """What more may be permitted now."""
        return limits.startable(self.pacing, self.arrival, tick) - self.permitted

    def weight(self, stand: Stand) -> int:
        """What a job weighs by the present rate."""
        return max(1, min(stand.weight, self.pacing.burst))

    def permit(self, stand: Stand) -> None:
        """A job may start."""
        stand.permit = True
        stand.weight = self.weight(stand)
        self.permitted += stand.weight

    def note(self) -> bool:
        """Put down in the line of the queue when the first that waits may start; whether that
        is sooner than was put down before, if anything was."""
        before = self.opens
        if self.opens is not None:
            self.opens = None
            self.mark += 1
            self.queue.paces.drop()
        first = self.waiting.first()
        if first is None or first.stand is None:
            return False
        wanted = self.permitted + self.weight(first.stand)
        self.opens = limits.opens_at(self.pacing, self.arrival, wanted)
        if self.opens is None:
            return False
        self.queue.paces.push(self.opens, self.seq, self)
        return before is None or self.opens < before


class Stand:
    """What a job with limits holds, or waits for."""

    __slots__ = ("gate", "pace", "permit", "slot", "weight")

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.slot = False
        self.pace: Pace | None = None
        self.permit = False
        self.weight = 1


class Gates:
    """The gates and paces of every queue and key.

    What changes here may let others go on: they are answered, for the caller to make ready.
    """

    def __init__(self, opens: Callable[[], None]) -> None:
        """`opens` is called when somebody may start sooner than was known."""
        self._opens = opens
        self._gates: dict[tuple[str, str], Gate] = {}
        self._paces: dict[tuple[str, str], Pace] = {}
        self._idle: dict[tuple[str, str], Pace] = {}
        """Paces at which nobody is: forgotten once they let a full burst start."""
        self._used: list[Pace] = []
        """Of what was leased since `used` was called."""
        self._made = 0

    def declare(self, queue: QueueState, asked: Limits, tick: Micros) -> list[Row]:
        """A new job says what holds for all jobs of its key; who goes on because of it.

        Of a key that nobody is at nothing is kept: the first to come brings it along.
        """
        let: list[Row] = []
        gate = self._gates.get((queue.name, asked.key or ""))
        if asked.key is not None and gate is not None:
            gate.slots, gate.blocks = asked.slots, asked.on_poison is OnPoison.BLOCK
            for dead in () if gate.blocks else tuple(gate.dead):
                let += self.leave(dead, tick)
            let += self._release(gate, tick)
        pace = self._paces.get((queue.name, asked.rate_key or ""))
        if asked.rate_key is not None and pace is not None and pace.pacing != asked.pacing:
            pace.arrival = limits.repaced(pace.pacing, asked.pacing, pace.arrival, tick)
            pace.pacing = asked.pacing
            let += self.due(pace, tick)
        return let

    def come(self, row: Row, asked: Limits, tick: Micros) -> bool:
        """The time of a job has come: whether it may run now. If not, `wait` follows."""
        stand = row.stand = row.stand or Stand()
        stand.weight = asked.weight
        if asked.key is not None and not stand.slot:
            gate = stand.gate = self._gate(row.queue, asked.key, asked)
            stand.slot = gate.open
            gate.taken += stand.slot
        elif stand.gate is not None:
            stand.gate.dead.discard(row)
        return self._may_run(row, asked, tick)

    def wait(self, row: Row, tick: Micros) -> list[Row]:
        """Let a job that waits stand where it does, if it waits within its limits; who goes on."""
        stand = row.stand
        if stand is None:
            return []
        if stand.gate is not None and not stand.slot:
            stand.gate.waiting.push(row)
        elif stand.pace is not None:
            stand.pace.waiting.push(row)
            return self.due(stand.pace, tick)
        return []

    def moved(self, row: Row, stand: Stand, tick: Micros) -> list[Row]:
        """A job has moved that held something; who goes on."""
        match row.state:
            case State.RUNNING:
                self._started(row, stand, tick)
                return []
            case State.SCHEDULED:
                gives_back = stand.gate is None or stand.gate.slots > 1
            case State.DEAD:
                gives_back = stand.gate is None or not stand.gate.blocks
                if stand.gate is not None and not gives_back:
                    stand.gate.dead.add(row)
            case _:
                gives_back = row.state in TERMINAL
        return self.leave(row, tick) if gives_back else []

    def leave(self, row: Row, tick: Micros) -> list[Row]:
        """A job gives back all that it holds; who goes on."""
        stand, row.stand = row.stand, None
        if stand is None:
            return []
        let: list[Row] = []
        if (gate := stand.gate) is not None:
            gate.taken -= stand.slot
            gate.dead.discard(row)
            let = self._release(gate, tick)
            if gate.idle:
                del self._gates[gate.key]
        if (pace := stand.pace) is not None:
            pace.permitted -= stand.weight * stand.permit
            let += self.due(pace, tick)
            self._watch(pace)
        return let

    def due(self, pace: Pace, tick: Micros) -> list[Row]:
        """Give out the permits that there are now; who goes on."""
        let: list[Row] = []
        room = pace.room(tick)
        while (row := pace.waiting.first()) is not None and row.stand is not None:
            if pace.weight(row.stand) > room:
                break
            pace.waiting.pop()
            pace.permit(row.stand)
            room -= row.stand.weight
            let.append(row)
        if pace.note():
            self._opens()
        return let

    def used(self, tick: Micros) -> list[Row]:
        """The leases of a call are out: who goes on where they used up permits."""
        used, self._used = self._used, []
        return [row for pace in used for row in self.due(pace, tick)]

    def forget(self, limit: int, tick: Micros) -> int:
        """Forget at most `limit` paces at which nobody is; how many. A new job makes them anew."""
        full = [pace for pace in self._idle.values() if pace.arrival <= tick][: max(limit, 0)]
        for pace in full:
            del self._idle[pace.key]
            del self._paces[pace.key]
        return len(full)

    def _may_run(self, row: Row, asked: Limits, tick: Micros) -> bool:
        """Whether a job has all that it needs; it takes a permit if one is free."""
        stand = row.stand
        assert stand is not None
        if stand.gate is not None and not stand.slot:
            return False
        if asked.rate_key is None:
            return True
        pace = stand.pace = self._pace(row.queue, asked.rate_key, asked.pacing)
        if pace.waiting or pace.weight(stand) > pace.room(tick):
            return False  # `wait` follows, and may let others go on
        pace.permit(stand)
        return True

    def _release(self, gate: Gate, tick: Micros) -> list[Row]:
        """Give the free slots to those who wait; who goes on."""
        let: list[Row] = []
        while gate.open and (row := gate.waiting.pop()) is not None:
            stand = row.stand
            assert stand is not None
            stand.slot = True
            gate.taken += 1
            asked = row.request.limits
            if asked is None or asked.rate_key is None:
                let.append(row)
            else:
                stand.pace = self._pace(row.queue, asked.rate_key, asked.pacing)
                let += self.wait(row, tick)
        return let

    def _started(self, row: Row, stand: Stand, tick: Micros) -> None:
        pace, stand.pace = stand.pace, None
        if stand.gate is None:
            row.stand = None
        if pace is not None:
            stand.permit = False
            pace.permitted -= stand.weight
            pace.arrival = limits.started(pace.pacing, pace.arrival, tick, stand.weight)
            self._used.append(pace)
            self._watch(pace)

    def _watch(self, pace: Pace) -> None:
        if not pace.permitted and not pace.waiting:
            self._idle[pace.key] = pace

    def _gate(self, queue: QueueState, key: str, asked: Limits) -> Gate:
        name = (queue.name, key)
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = Gate(name)
            gate.slots, gate.blocks = asked.slots, asked.on_poison is OnPoison.BLOCK
        return gate

    def _pace(self, queue: QueueState, key: str, pacing: Pacing) -> Pace:
        name = (queue.name, key)
        pace = self._paces.get(name)
        if pace is None:
            self._made += 1
            pace = self._paces[name] = Pace(name, queue, self._made)
            pace.pacing = pacing
        self._idle.pop(name, None)
        return pace
