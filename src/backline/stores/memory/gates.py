"""Limits per key: what a job holds while it is due, and who goes on when it gives that back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from backline import limits
from backline.job import Limits, Micros, OnPoison, Pacing
from backline.states import TERMINAL, State
from backline.stores.memory.ready import Ready

if TYPE_CHECKING:
    from backline.stores.memory.row import QueueState, Row


class Gate:
    """At most `slots` jobs of a key are past it at a time."""

    __slots__ = ("blocks", "key", "slots", "taken", "waiting")

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.slots = 1
        self.blocks = False
        """A dead job keeps its slot."""
        self.taken = 0
        self.waiting = Ready()

    def open(self) -> bool:
        """Whether there is a free slot; those who wait come first."""
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
        "noted",
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
        self.noted = False
        """It is in the line of its queue, at the tick when the first that waits may start."""

    def room(self, tick: Micros) -> int:
        """What more may be permitted now."""
        return limits.startable(self.pacing, self.arrival, tick) - self.permitted

    def permit(self, stand: Stand) -> None:
        """A job may start."""
        stand.permit = True
        self.permitted += stand.weight

    def note(self) -> None:
        """Put down in the line of the queue when the first that waits may start."""
        if self.noted:
            self.noted = False
            self.mark += 1
            self.queue.paces.drop()
        first = self.waiting.first()
        if first is None or first.stand is None:
            return
        wanted = self.permitted + first.stand.weight
        opens = limits.opens_at(self.pacing, self.arrival, wanted)
        if opens is not None:
            self.queue.paces.push(opens, self.seq, self)
            self.noted = True


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

    def __init__(self) -> None:
        self._gates: dict[tuple[str, str], Gate] = {}
        self._paces: dict[tuple[str, str], Pace] = {}
        self._idle: deque[Pace] = deque()
        """Paces at which nobody is: forgotten once they let a full burst start."""
        self._used: list[Pace] = []
        """Of what was leased since `used` was called."""
        self._made = 0

    def declare(self, queue: QueueState, asked: Limits, tick: Micros) -> list[Row]:
        """A new job says what holds for all jobs of its key; who goes on because of it."""
        if asked.rate_key is not None:
            self._pace(queue, asked.rate_key, asked.pacing).pacing = asked.pacing
        if asked.key is None:
            return []
        gate = self._gate(queue, asked.key, asked)
        gate.slots, gate.blocks = asked.slots, asked.on_poison is OnPoison.BLOCK
        return self._release(gate, tick)

    def come(self, row: Row, asked: Limits, tick: Micros) -> bool:
        """The time of a job has come: whether it may run now. If not, `wait` follows."""
        stand = row.stand = row.stand or Stand()
        if asked.key is not None and not stand.slot:
            gate = stand.gate = self._gate(row.queue, asked.key, asked)
            stand.slot = gate.open()
            gate.taken += stand.slot
        if asked.rate_key is not None:
            pace = stand.pace = self._pace(row.queue, asked.rate_key, asked.pacing)
            stand.weight = max(1, min(asked.weight, pace.pacing.burst))
        return self._may_run(stand, tick)

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
            if row.stand.weight > room:
                break
            pace.waiting.pop()
            pace.permit(row.stand)
            room -= row.stand.weight
            let.append(row)
        pace.note()
        return let

    def used(self, tick: Micros) -> list[Row]:
        """The leases of a call are out: who goes on where they used up permits."""
        used, self._used = self._used, []
        return [row for pace in used for row in self.due(pace, tick)]

    def forget(self, limit: int, tick: Micros) -> None:
        """Forget paces at which nobody is, of the next `limit`; a new job makes them anew."""
        for _ in range(min(limit, len(self._idle))):
            pace = self._idle.popleft()
            if pace.permitted or pace.waiting:
                continue
            if pace.arrival <= tick:
                self._paces.pop(pace.key, None)
            else:
                self._idle.append(pace)

    def _may_run(self, stand: Stand, tick: Micros) -> bool:
        """Whether a job has all that it needs; it takes a permit if one is free."""
        if stand.gate is not None and not stand.slot:
            return False
        pace = stand.pace
        if pace is None:
            return True
        if pace.waiting or stand.weight > pace.room(tick):
            return False  # `wait` follows, and may let others go on
        pace.permit(stand)
        return True

    def _release(self, gate: Gate, tick: Micros) -> list[Row]:
        """Give the free slots to those who wait; who goes on."""
        let: list[Row] = []
        while gate.open() and (row := gate.waiting.pop()) is not None:
            stand = row.stand
            assert stand is not None
            stand.slot = True
            gate.taken += 1
            let += [row] if stand.pace is None else self.wait(row, tick)
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
            self._idle.append(pace)

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
        return pace
