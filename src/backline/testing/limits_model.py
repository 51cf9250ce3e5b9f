"""The limits of keys as the model has them: nothing is kept but what each job holds."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from backline import limits
from backline.job import JobId, Limits, Micros, OnPoison, Pacing
from backline.states import TERMINAL, State
from backline.testing.kept import Kept, Key, Stand


@dataclass
class LimitsModel:
    """Gates and paces. `jobs` answers every job that was not purged."""

    jobs: Callable[[], Iterable[Kept]]
    asked: dict[Key, Limits] = field(default_factory=dict)
    """What the newest job of each key said."""
    pacings: dict[Key, Pacing] = field(default_factory=dict)
    arrivals: dict[Key, Micros] = field(default_factory=dict)

    def come(self, job: Kept, tick: Micros) -> None:
        """The time of a job has come: it is ready, or waits."""
        said, queue = job.request.limits, job.request.queue
        if said is not None and said.key is not None and not job.stand.slot:
            self.asked[queue, said.key] = said
            self.go_on(tick)  # whoever waited comes first
            job.stand.gate = (queue, said.key)
            job.stand.slot = self._free(job.stand.gate)
        job.state = State.WAITING
        if said is not None and said.rate_key is not None:
            job.stand.pace = (queue, said.rate_key)
            self.pacings[queue, said.rate_key] = said.pacing
        self._ask(job, tick)

    def started(self, job: Kept, tick: Micros) -> None:
        """A job was leased."""
        pace = job.stand.pace
        if pace is not None:
            arrival = self.arrivals.get(pace, 0)
            weight = self._weight(job)
            self.arrivals[pace] = limits.started(self.pacings[pace], arrival, tick, weight)
            job.stand.pace, job.stand.permit = None, False
            self.permit(tick, {pace})

    def moved(self, job: Kept, tick: Micros) -> None:
        """A job is scheduled, or has ended."""
        gate = job.stand.gate
        said = None if gate is None else self.asked[gate]
        keeps = said is not None and (
            (job.state is State.SCHEDULED and said.slots == 1)
            or (job.state is State.DEAD and said.on_poison is OnPoison.BLOCK)
        )
        if not keeps and (job.state is State.SCHEDULED or job.state in TERMINAL):
            pace, job.stand = job.stand.pace, Stand()
            self.go_on(tick, set() if pace is None else {pace})

    def let_all_go(self, jobs: Iterable[Kept], tick: Micros, *, moves: bool) -> list[JobId]:
        """As `let_go` does, of each; those of which it is true."""
        return [job.request.id for job in jobs if self.let_go(job, tick, moves=moves)]

    def let_go(self, job: Kept, tick: Micros, *, moves: bool) -> bool:
        """Give back what it holds within its limits; whether it was ready, or waited for more."""
        stand = job.stand
        asks = job.state is not State.SCHEDULED and bool(stand.gate or stand.pace)
        if asks or moves:
            job.stand = Stand()
            self.go_on(tick, set() if stand.pace is None else {stand.pace})
        return asks

    def go_on(self, tick: Micros, paces: Collection[Key] = ()) -> None:
        """Whoever waits for a slot and need not any more goes on, to its rate or to be ready; so
        does whoever waits at `paces` and need not.
        """
        touched = set(paces)
        waiting = [job for job in self.jobs() if job.state is State.WAITING]
        waiting.sort(key=lambda job: job.order)
        for job in waiting:
            if job.stand.gate is not None and not job.stand.slot:
                job.stand.slot = self._free(job.stand.gate)
                if job.stand.slot and job.stand.pace is None:
                    job.state = State.READY
                elif job.stand.slot and job.stand.pace is not None:
                    touched.add(job.stand.pace)
        self.permit(tick, touched)

    def permit(self, tick: Micros, paces: Collection[Key] | None = None) -> int:
        """Whoever waits for a rate alone, and need not any more, is ready, at some paces or at
        all; at how many paces somebody went on.
        """
        let: set[Key] = set()
        full: set[Key] = set()
        for job in sorted(self.jobs(), key=lambda job: job.order):
            pace = self._waits_at(job)
            if pace is None or pace in full or (paces is not None and pace not in paces):
                continue
            if self._room(pace, tick) >= self._weight(job):
                job.stand.permit, job.state = True, State.READY
                let.add(pace)
            else:
                full.add(pace)
        return len(let)

    def opens(self, queues: set[str]) -> list[Micros]:
        """The ticks at which those may start who wait for time alone."""
        found: list[Micros] = []
        seen: set[Key] = set()
        for job in sorted(self.jobs(), key=lambda job: job.order):
            pace = self._waits_at(job)
            if pace is None or pace in seen or pace[0] not in queues:
                continue
            seen.add(pace)
            wanted = self._permitted(pace) + self._weight(job)
            at = limits.opens_at(self.pacings[pace], self.arrivals.get(pace, 0), wanted)
            found += [] if at is None else [at]
        return found

    def _ask(self, job: Kept, tick: Micros) -> None:
        """A job that waits has come to its rate, if it has its slot."""
        pace = self._waits_at(job)
        if pace is not None:
            self.permit(tick, {pace})
        elif job.stand.gate is None or job.stand.slot:
            job.state = State.READY

    @staticmethod
    def _waits_at(job: Kept) -> Key | None:
        """The pace that a job waits at, if it does and for nothing else."""
        stand = job.stand
        waits = job.state is State.WAITING and (stand.gate is None or stand.slot)
        return stand.pace if waits else None

    def _free(self, gate: Key) -> bool:
        taken = sum(job.stand.gate == gate and job.stand.slot for job in self.jobs())
        return taken < self.asked[gate].slots

    def _permitted(self, pace: Key) -> int:
        here = (job for job in self.jobs() if job.stand.pace == pace and job.stand.permit)
        return sum(self._weight(job) for job in here)

    def _room(self, pace: Key, tick: Micros) -> int:
        startable = limits.startable(self.pacings[pace], self.arrivals.get(pace, 0), tick)
        return startable - self._permitted(pace)

    @staticmethod
    def _weight(job: Kept) -> int:
        said = job.request.limits
        return 1 if said is None else max(1, min(said.weight, said.pacing.burst))
