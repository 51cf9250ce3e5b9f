"""How many jobs to ask for, and from which queue: formulas, no I/O.

A worker that leased one job at a time would wait a round trip for each. One that hoards
makes short jobs wait behind long ones while other workers idle. So it holds no more than
will start within about one round trip at the pace it measured: many for jobs of
microseconds, none for jobs of seconds.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Final

from backline.job import LeasedJob, Micros
from backline.store import Demand

_MARGIN: Final = 1.5
_GROWTH: Final = 3.0
_WEIGHT: Final = 0.3
_FIRST_GUESS: Final[Micros] = 100_000
_PROBE: Final[Micros] = 20_000
"""How often a queue that gave less than it was asked for is asked again beside busy ones."""


class Pace:
    """Measures round trips and runs, and says how far ahead to lease."""

    def __init__(self, concurrency: int, most: int) -> None:
        self._concurrency = concurrency
        self._most = most
        self._round_trip = 0.0
        self._run_time = float(_FIRST_GUESS)
        self._rate = 0.0
        """Jobs a microsecond: rises at once, falls slowly."""
        self._measured_at: Micros = 0

    @property
    def patience(self) -> Micros:
        """A job that waited this long here is better given back to the queue."""
        return max(100_000, round(8 * self._round_trip))

    def measured(self, now: Micros, round_trip: Micros, finished: int, busy: Micros) -> None:
        """An exchange that ended at `now` took `round_trip`.

        Since the one before it, `finished` jobs ended, which took `busy` all together.
        """
        self._round_trip += _WEIGHT * (round_trip - self._round_trip)
        rate = finished / max(now - self._measured_at, 1)
        self._rate += (1.0 if rate > self._rate else _WEIGHT) * (rate - self._rate)
        self._measured_at = now
        if finished:  # many jobs are better evidence than few
            weight = max(_WEIGHT, finished / (finished + self._concurrency))
            self._run_time += weight * (busy / finished - self._run_time)

    def stalled(self) -> None:
        """What was leased ahead did not start: lease nothing ahead until jobs end again."""
        self._rate = 0.0

    def ahead(self) -> int:
        """How many jobs to hold beside those that can run at once.

        Bounded by what a round trip can start at the measured run time, and by what ended in
        a few round trips at the pace that was seen: while one exchange is under way the jobs
        of the last one run, and there is room to grow.
        """
        startable = _MARGIN * self._round_trip * self._concurrency / max(self._run_time, 1.0)
        return int(min(self._most, startable, _GROWTH * self._rate * self._round_trip))


class QueueTurns:
    """Which of a worker's queues, given with their weights, to ask next, and for how many."""

    def __init__(self, queues: Mapping[str, int]) -> None:
        self._queues = queues
        self._filled: set[str] = set()
        """Queues that last gave all they were asked for: there may be more."""
        self._unasked = set(queues)
        """Queues that were not asked since the last hint, which may have meant any."""
        self._probed_at: Micros = 0
        # Counted apart: where each job takes two exchanges, a probe and a filled queue, one
        # count for both would probe every other queue only.
        self._probes = 0
        self._divisions = 0

    @property
    def open(self) -> bool:
        """Some queue may have a job."""
        return bool(self._unasked or self._filled)

    def hint(self, queue: str | None = None) -> None:
        """This queue may have a job, or any."""
        if queue is None:
            self._unasked.update(self._queues)
        else:
            self._unasked.add(queue)

    def every(self, room: int) -> dict[str, int]:
        """Divide `room` so that every queue is asked, whatever its weight."""
        self._divisions += 1
        divided = shares(max(0, room - len(self._queues)), self._queues, (), self._divisions)
        return {queue: 1 + divided.get(queue, 0) for queue in self._queues}

    def divide(self, room: int, now: Micros) -> dict[str, int]:
        """Divide `room` among the queues that may have a job; at times among all."""
        if now - self._probed_at > _PROBE:
            self._probed_at = now
            self._probes += 1
            return shares(room, self._queues, (), self._probes)
        self._divisions += 1
        return shares(room, self._queues, self._filled or self._unasked, self._divisions)

    def asked(self, demand: Demand) -> None:
        """These are asked now."""
        self._unasked.difference_update(queue for queue, _ in demand)

    def answered(self, demand: Demand, jobs: Sequence[LeasedJob]) -> None:
        """Remember which queues gave all they were asked for: there may be more."""
        got = {queue: 0 for queue, _ in demand}
        for job in jobs:
            got[job.queue] += 1
        for (queue, _), asked in demand.items():
            if got[queue] >= asked:
                self._filled.add(queue)
            else:
                self._filled.discard(queue)


def shares(
    room: int, weights: Mapping[str, int], filled: Collection[str], turn: int
) -> dict[str, int]:
    """Divide `room` among queues by weight; the shares add up to `room`.

    Only among the `filled` ones (those that last gave all they were asked for), if any:
    what an empty queue cannot use is there for the others. Each queue has as many places on
    a wheel as its weight says, and the room is the places that follow `turn`: counted up by
    one from call to call, it gives a room of one, too, to each queue by its weight.
    """
    names = [name for name in weights if name in filled] or list(weights)
    ends = list(accumulate(weights[name] for name in names))
    rounds, rest = divmod(room, ends[-1])
    result = {name: rounds * weights[name] for name in names}
    for place in range(turn, turn + rest):
        result[names[bisect_right(ends, place % ends[-1])]] += 1
    return {name: share for name, share in result.items() if share}
