"""One commit: its moment, the moves of its jobs, and what to tell of it afterwards."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec

from backline import states
from backline.job import MINUTE, SECOND, Lane, Micros, Pacing
from backline.states import Effect, State
from backline.store import Hint
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.ties import ASLEEP, FAIR

_TALLY: Final = statement("tally")
_TRAFFIC: Final = statement("traffic")
_QUEUES: Final = statement("queues")
_ADD_QUEUES: Final = statement("add_queues")

_encode: Final = msgspec.json.Encoder().encode


def dumps(value: Any) -> str:
    """JSON as a parameter: SQLite would take bytes for its binary JSON."""
    return _encode(value).decode()


class JobPlace(msgspec.Struct, array_like=True, gc=False):
    """Where a job is: what its next move needs to know."""

    seq: int
    queue: int
    lane: str
    state: State
    ties: int
    """Which other tables know of it: flags of `ties`."""


class QueueRow(msgspec.Struct, array_like=True, gc=False):
    """A queue as an enqueue or an exchange sees it."""

    name: str
    id: int
    paused: bool
    max_depth: int | None
    depth: int
    """0 if it is not limited."""
    concurrency: int | None
    running: int
    """0 if that is not limited."""
    interval: int | None
    burst: int | None
    arrival: int
    paced: bool
    """Some of its jobs have rates of their own."""
    fair: bool
    ageing: int | None

    @property
    def pacing(self) -> Pacing | None:
        """How often its jobs may start; None: at once."""
        if self.interval is None:
            return None
        return Pacing(self.interval, 1 if self.burst is None else self.burst)


_places: Final = msgspec.json.Decoder(list[JobPlace])
_queue_rows: Final = msgspec.json.Decoder(list[QueueRow], strict=False)


class Traffic:
    """How many jobs ended and arrived in one commit, by queue; `write` ends it."""

    def __init__(self) -> None:
        self.ended: defaultdict[int, int] = defaultdict(int)
        self.arrived: defaultdict[int, int] = defaultdict(int)

    def write(self, db: Connection, tick: Micros) -> None:
        """Write what was counted: one statement, however many requests counted."""
        ended, arrived = self.ended, self.arrived
        if ended or arrived:
            queues = ended.keys() | arrived.keys()
            moves = [(queue, ended[queue], arrived[queue]) for queue in queues]
            db.run(_TRAFFIC, {"moves": dumps(moves), "second": tick // SECOND})


class Transaction:
    """What a request works with: the connection, one moment, and the counts it moves.

    Within a group commit each request has its own; `finish` writes its counts. The traffic is the
    whole commit's, which writes it.
    """

    def __init__(self, db: Connection, now: Micros, tick: Micros, traffic: Traffic) -> None:
        self.db = db
        self.now = now
        self.tick = tick
        self.hints: set[Hint] = set()
        self.followed: list[int] = []
        """Jobs that have ended, and whose follow-ups are still to be enqueued."""
        self.turning: list[int] = []
        """Jobs that became ready, and are to get a turn."""
        self._moves: defaultdict[tuple[int, str, str], int] = defaultdict(int)
        self._traffic = traffic

    def places(self, sql: str, **params: str | int) -> list[JobPlace]:
        """The places that a statement answers."""
        return _places.decode(self.db.text(sql, params))

    def queues(self, names: Collection[str], *, make: bool = False) -> dict[str, QueueRow]:
        """The queues of those names that there are, or all of them if they are to be made."""
        params = {"names": dumps(list(names))}
        found = {row.name: row for row in _queue_rows.decode(self.db.text(_QUEUES, params))}
        for row in found.values():
            if row.concurrency is not None:  # and what this request moved already
                row.running += sum(self._moves[row.id, State.RUNNING, lane] for lane in Lane)
        if make and len(found) < len(set(names)):
            self.db.run(_ADD_QUEUES, params)
            return self.queues(names)
        return found

    def count(self, queue: int, kind: str, lane: str, n: int) -> None:
        """Move one count without a move: jobs are added or purged, fall asleep or wake."""
        self._moves[queue, kind, lane] += n
        if kind == State.READY and lane == Lane.MAIN:
            self._traffic.arrived[queue] += n

    def moved(
        self,
        queue: int,
        lane: str,
        source: State,
        target: State,
        n: int = 1,
        *,
        to_lane: str | None = None,
        arrives: bool = True,
    ) -> None:
        """`n` jobs of a queue moved: every effect of that which a count or a hint shows.

        Those that become ready have arrived, unless a worker put them back.
        """
        effect = states.move(source, target)
        self._moves[queue, source, lane] -= n
        self._moves[queue, target, to_lane or lane] += n
        if effect & Effect.ENDS:
            self._traffic.ended[queue] += n
            self.hints.add(Hint.FINISHED)
        if target is State.READY or target is State.SCHEDULED:
            self.hints.add(Hint.WORK)
        new = arrives and source is not State.RUNNING
        if new and target is State.READY and lane == Lane.MAIN:
            self._traffic.arrived[queue] += n

    def moved_all(
        self, places: Collection[JobPlace], target: State, *, arrive: bool = True
    ) -> None:
        """These jobs moved."""
        if target is State.READY:
            self.turning += [place.seq for place in places if place.ties & FAIR]
        counts = Counter(
            (place.queue, place.lane, place.state, place.ties & ASLEEP) for place in places
        )
        for (queue, lane, source, asleep), n in counts.items():
            self.moved(queue, lane, source, target, n, arrives=arrive)
            if asleep:
                self.count(queue, "asleep", lane, -n)

    def edited(self, source: int, target: int, lane: str, state: State, n: int) -> None:
        """`n` jobs that have not started were changed, and are in the queue `target` now."""
        self._moves[source, state, lane] -= n
        self._moves[target, state, lane] += n
        if state is not State.WAITING:
            self.hints.add(Hint.WORK)

    @property
    def relieved(self) -> list[int]:
        """The queues of which this request ended, or put back, more jobs than it leased."""
        return [queue for (queue, kind, _), n in self._moves.items() if kind == "running" and n < 0]

    def finish(self) -> None:
        """Write the counts so far, at the end of a request or earlier."""
        moves = [(*key, n) for key, n in self._moves.items() if n]
        if moves:
            self.db.run(_TALLY, {"moves": dumps(moves)})
        self._moves.clear()


def seqs_of(places: Iterable[JobPlace]) -> str:
    """The rows of those jobs, as a parameter."""
    return dumps([place.seq for place in places])


def rate(count: float, first: int | None, tick: Micros, shortest: int = 1) -> float:
    """Jobs per second: `count` within the minute, the first of them in second `first`, or over
    `shortest` seconds if that is longer."""
    if first is None:
        return 0.0
    return max(0.0, count / max(shortest, tick // SECOND - first + 1))


def rate_since(tick: Micros) -> int:
    """The first second that counts towards a rate."""
    return (tick - MINUTE) // SECOND + 1
