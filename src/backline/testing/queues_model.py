"""The limits of whole queues as the model has them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backline import limits
from backline.job import JobRequest, Lane, Micros, Pacing, Refused
from backline.states import QUEUED, State
from backline.store import Call, Demand, QueueSettings
from backline.testing.kept import Kept


@dataclass
class QueuesModel:
    """Depths, pauses, concurrency and rates. `jobs` answers every job that was not purged."""

    jobs: Callable[[], Iterable[Kept]]
    depths: dict[str, int | None] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    said: dict[str, QueueSettings] = field(default_factory=dict)
    """What was said last of the concurrency and the rate of each."""
    arrivals: dict[str, Micros] = field(default_factory=dict)

    def configure(self, settings: QueueSettings) -> None:
        """An operator's edit."""
        if isinstance(settings.max_depth, int | None):
            self.depths[settings.queue] = settings.max_depth
        if settings.paused is True:
            self.paused.add(settings.queue)
        if settings.paused is False:
            self.paused.discard(settings.queue)
        self.said[settings.queue] = settings

    def refusal(self, call: Call, is_new: Callable[[JobRequest], bool]) -> Refused | None:
        """Why a call is not admitted."""
        for job in filter(is_new, call):
            limit = self.depths.get(job.queue)
            queued = (kept for kept in self.jobs() if kept.state in QUEUED and not kept.asleep)
            depth = sum(kept.queue == job.queue for kept in queued)
            more = sum(is_new(other) for other in call if other.queue == job.queue)
            if limit is not None and more and depth + more > limit:
                return Refused(job.queue, depth, limit, 0.0)
        return None

    def room(self, queue: str, wanted: int, tick: Micros) -> int:
        """How many of the jobs that are wanted may start."""
        said, room = self.said.get(queue), wanted
        if said is not None and isinstance(said.concurrency, int):
            running = sum(job.queue == queue for job in self._in(State.RUNNING))
            room = min(room, said.concurrency - running)
        if said is not None and isinstance(said.pacing, Pacing):
            room = min(room, limits.startable(said.pacing, self.arrivals.get(queue, 0), tick))
        return max(0, room)

    def started(self, queue: str, count: int, tick: Micros) -> None:
        """So many of its jobs were leased."""
        said = self.said.get(queue)
        if said is not None and isinstance(said.pacing, Pacing) and count:
            arrival = self.arrivals.get(queue, 0)
            self.arrivals[queue] = limits.started(said.pacing, arrival, tick, count)

    def opens(self, demand: Demand, tick: Micros) -> list[Micros]:
        """The ticks at which rates let jobs start that are asked for, and held back by them."""
        found: list[Micros] = []
        for (queue, lane), wanted in demand.items():
            said, arrival = self.said.get(queue), self.arrivals.get(queue, 0)
            if said is None or not isinstance(said.pacing, Pacing) or wanted <= 0:
                continue
            opens = limits.opens_at(said.pacing, arrival, 1)
            held = not limits.startable(said.pacing, arrival, tick)
            if self._has_ready(queue, lane) and opens and held:
                found.append(opens)
        return found

    def _has_ready(self, queue: str, lane: Lane) -> bool:
        return any((job.queue, job.lane) == (queue, lane) for job in self._in(State.READY))

    def _in(self, state: State) -> list[Kept]:
        return [job for job in self.jobs() if job.state is state]
