"""A queue as the memory store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import UNSET

from backline import limits
from backline.job import Lane, Micros, Pacing
from backline.states import QUEUED, State
from backline.store import ARRIVALS_SPAN, QueueSettings, QueueStats
from backline.stores.declaring import declare
from backline.stores.memory.gates import Pace
from backline.stores.memory.line import Line
from backline.stores.memory.rate import Rate
from backline.stores.memory.ready import Ready

if TYPE_CHECKING:
    from backline.stores.memory.row import Row


class QueueState:
    """One queue: its settings, its jobs by state, and those that are up next."""

    __slots__ = (
        "_declared",
        "ageing",
        "arrival",
        "arrived",
        "asleep",
        "concurrency",
        "drained",
        "fair",
        "max_depth",
        "members",
        "name",
        "paces",
        "pacing",
        "paused",
        "purged",
        "ready",
        "scheduled",
        "weights",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.max_depth: int | None = None
        self.concurrency: int | None = None
        self.pacing: Pacing | None = None
        self.arrival: Micros = 0
        """The tick that its starts have used up."""
        self.fair = False
        """It had a job with a fair key."""
        self.weights: Mapping[str, float] = {}
        self.ageing: Micros | None = None
        self.purged = 0
        self.asleep = 0
        """How many of the scheduled jobs sleep: they are not in the depth."""
        self.drained = Rate()
        self.arrived = Rate()
        self.members: dict[State, dict[int, Row]] = {state: {} for state in State}
        """Every job that is not purged; their numbers are the counts (I11)."""
        self.ready = {lane: Ready() for lane in Lane}
        self.scheduled: Line[Row] = Line()
        self.paces: Line[Pace] = Line()
        """Those of its rates for which a job waits, by the tick when the first may start."""
        self._declared: QueueSettings | None = None

    @property
    def depth(self) -> int:
        """What counts towards `max_depth`."""
        return sum(len(self.members[state]) for state in QUEUED) - self.asleep

    def apply(self, settings: QueueSettings, tick: Micros, *, declared: bool) -> None:
        """Take over settings; of a declaration, what differs from earlier ones."""
        if declared:
            settings, self._declared = declare(settings, self._declared)
        if settings.max_depth is not UNSET:
            self.max_depth = settings.max_depth
        if settings.paused is not UNSET:
            self.paused = settings.paused
        if settings.concurrency is not UNSET:
            self.concurrency = settings.concurrency
        if settings.pacing is not UNSET:
            if self.pacing is not None and settings.pacing is not None:
                self.arrival = limits.repaced(self.pacing, settings.pacing, self.arrival, tick)
            self.pacing = settings.pacing
        if settings.weights is not UNSET:
            self.weights = dict(settings.weights)
        if settings.ageing is not UNSET:
            self.ageing = settings.ageing

    def leasable(self, tick: Micros) -> int | None:
        """How many of its jobs may start now by its own limits; None: any number."""
        room: list[int] = []
        if self.concurrency is not None:
            room.append(self.concurrency - len(self.members[State.RUNNING]))
        if self.pacing is not None:
            room.append(limits.startable(self.pacing, self.arrival, tick))
        return max(0, min(room)) if room else None

    def started(self, tick: Micros, count: int) -> None:
        """So many of its jobs have started."""
        if count and self.pacing is not None:
            self.arrival = limits.started(self.pacing, self.arrival, tick, count)

    def next_in(self, lane: Lane | None, now: Micros, tick: Micros) -> Micros | None:
        """How long until its next job is due, or may start by a rate; None: nothing is to come.

        The rate of the queue itself counts if it holds back a job of `lane`.
        """
        waits: list[Micros] = []
        if (due := self.scheduled.due()) is not None:
            waits.append(due - now)
        if (opens := self.paces.due()) is not None:
            waits.append(opens - tick)
        if self.pacing is not None and lane is not None and self.ready[lane]:
            held_back = not limits.startable(self.pacing, self.arrival, tick)
            opens = limits.opens_at(self.pacing, self.arrival, 1)
            if held_back and opens is not None:
                waits.append(opens - tick)
        return max(0, min(waits)) if waits else None

    def stats(self, tick: Micros) -> QueueStats:
        """The queue at this moment."""
        oldest = [due for line in self.ready.values() if (due := line.oldest()) is not None]
        return QueueStats(
            queue=self.name,
            paused=self.paused,
            max_depth=self.max_depth,
            counts={state: len(rows) for state, rows in self.members.items()},
            purged=self.purged,
            cells=len(self.ready[Lane.CELL]),
            oldest_ready=min(oldest, default=None),
            drain_rate=self.drained.per_second(tick),
            arrival_rate=self.arrived.per_second(tick, ARRIVALS_SPAN),
            concurrency=self.concurrency,
            pacing=self.pacing,
            asleep=self.asleep,
            fair=self.fair,
            weights=self.weights,
            ageing=self.ageing,
        )
