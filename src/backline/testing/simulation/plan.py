"""What a seed stands for: the jobs, how they behave, and what is done to the system."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from msgspec import Raw

from backline.job import SECOND, Backoff, JobId, JobRequest, Micros, OnConflict, Terms
from backline.testing.flaky import NO_FAULTS, StoreFaults

HOSTS: Final = 3
MAIN: Final = "sim.work"
SYNC: Final = "sim.quick"
UNKNOWN: Final = "sim.new"
"""A task that the last host's code does not know: a rolling deploy."""
BOUNDED: Final = "bounded"
"""The queue with a depth limit, in seeds that set one."""
QUEUES: Final = ("default", "mail", BOUNDED)


class How(StrEnum):
    """How a run ended, as the task itself saw it."""

    OK = "ok"
    ERROR = "error"
    FATAL = "fatal"
    """An error that its task's `Retry` does not allow to be tried again."""
    LATER = "later"
    """RetryLater."""
    SNOOZE = "snooze"
    CANCEL = "cancel"
    """The task cancelled its own job."""
    STOPPED = "stopped"
    """The worker cancelled the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Behaviour:
    """What a job does in each of its runs."""

    takes: Micros = 0
    fails: int = 0
    """It fails while it has failed less often than this."""
    fails_as: How = How.ERROR
    snoozes: int = 0
    """It snoozes so often before it does anything else."""
    wait: Micros = SECOND
    """Of a snooze or RetryLater."""
    cancels: bool = False
    """Instead of succeeding it cancels its own job."""
    reports: bool = False
    """It reports progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCall:
    """Jobs that a producer enqueues together."""

    at: Micros
    jobs: tuple[JobRequest, ...]


class Act(StrEnum):
    """What the nemesis does to a host."""

    KILL_WORKER = "kill worker"
    KILL_CELL = "kill cell"
    KILL_HOST = "kill host"
    KILL_AT = "kill at"
    """The worker, in the middle of its next call of the store."""
    PAUSE_AT = "pause at"
    """The host, when its supervisor is about to settle or to extend the leases of others."""
    STOP_WORKER = "stop worker"
    PAUSE_WORKER = "pause worker"
    PAUSE_HOST = "pause host"
    CUT = "cut"
    DOWN = "down"
    STEP = "step"


@dataclass(frozen=True, kw_only=True, slots=True)
class Blow:
    """One act of the nemesis."""

    at: Micros
    act: Act
    host: int
    lasts: Micros
    """Of a pause, a cut, an outage; of a stop the grace."""
    by: float = 0.0
    """Of a step of the wall clock, in seconds."""
    point: str = ""
    """Of KILL_AT and PAUSE_AT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that happens to one simulated system, but for the order of its tasks."""

    seed: int
    lease: Micros
    active: Micros
    """How long the producers and the nemesis are at it."""
    calls: tuple[PlannedCall, ...]
    behaviours: dict[JobId, Behaviour]
    cancels: tuple[tuple[Micros, JobId], ...]
    redrives: tuple[tuple[Micros, JobId], ...]
    blows: tuple[Blow, ...]
    faults: StoreFaults
    max_depth: int | None
    skews: tuple[tuple[float, float], ...]
    """For each host, how far its wall clock and its ticks are off, in seconds."""

    @property
    def requests(self) -> dict[JobId, JobRequest]:
        """Every job by its id."""
        return {job.id: job for call in self.calls for job in call.jobs}

    @property
    def calm(self) -> bool:
        """Nothing at all is done to the system."""
        return not self.blows and self.faults == NO_FAULTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much a seed's plan holds."""

    jobs: int = 60
    blows: int = 10
    active: Micros = 40 * SECOND


SMALL: Final = Size()
LARGE: Final = Size(jobs=400, blows=60, active=600 * SECOND)


def make_plan(seed: int, new_id: Callable[[], JobId], size: Size = SMALL) -> Plan:
    """The plan of a seed: a random subset of the faults, at random rates."""
    return _Planner(random.Random(f"plan {seed}"), new_id, size).plan(seed)


@dataclass
class _Planner:
    rng: random.Random
    new_id: Callable[[], JobId]
    size: Size
    behaviours: dict[JobId, Behaviour] = field(default_factory=dict)

    def plan(self, seed: int) -> Plan:
        rng, active = self.rng, self.size.active
        calls = self._calls()
        ids = [job.id for call in calls for job in call.jobs]
        cancels = [(rng.randrange(active), job) for job in ids if rng.random() < 0.1]
        redrives = [(rng.randrange(active), job) for job in ids if rng.random() < 0.05]
        skews = [
            (rng.choice((0.0, 0.0, rng.uniform(-3600, 3600))), rng.uniform(0, 10_000))
            for _ in range(HOSTS)
        ]
        return Plan(
            seed=seed,
            lease=rng.choice((2, 3, 5)) * SECOND,
            active=active,
            calls=calls,
            behaviours=self.behaviours,
            cancels=tuple(sorted(cancels)),
            redrives=tuple(sorted(redrives)),
            blows=self._blows(),
            faults=self._faults(),
            max_depth=rng.choice((None, 4, 8)),
            skews=tuple(skews),
        )

    def _calls(self) -> tuple[PlannedCall, ...]:
        rng = self.rng
        keys = [f"key-{number}" for number in range(rng.randint(2, 6))]
        calls: list[PlannedCall] = []
        left = self.size.jobs
        while left > 0:
            count = min(left, rng.choice((1, 1, 1, 2, 5)))
            left -= count
            free = list(keys) if rng.random() < 0.5 else []
            queue = rng.choice(QUEUES)
            jobs = tuple(self._job(queue, free) for _ in range(count))
            calls.append(PlannedCall(at=rng.randrange(self.size.active * 3 // 4), jobs=jobs))
        return tuple(sorted(calls, key=lambda call: call.at))

    def _job(self, queue: str, free_keys: list[str]) -> JobRequest:
        rng = self.rng
        job_id = self.new_id()
        task = rng.choices((MAIN, SYNC, UNKNOWN), (20, 3, 1))[0]
        behaviour = self.behaviours[job_id] = self._behaviour(task)
        key = None
        if free_keys and rng.random() < 0.3:  # two jobs of a batch never share a key
            key = free_keys.pop(rng.randrange(len(free_keys)))
        timeout = 120 * SECOND
        if behaviour.takes and rng.random() < 0.08:
            timeout = behaviour.takes // 3 + 1  # it will never make it
        return JobRequest(
            id=job_id,
            task=task,
            payload=Raw(f'[["{job_id}"],{{}}]'.encode()),
            queue=queue,
            priority=rng.choice((-5, 0, 0, 0, 5)),
            delay=rng.choice((0, 0, 0, rng.randrange(15 * SECOND))),
            expires_in=rng.choice((None, None, None, rng.randrange(1, 60 * SECOND))),
            terms=Terms(
                max_attempts=rng.choice((1, 2, 3, 5)), timeout=timeout, backoff=self._backoff()
            ),
            unique_key=key,
            on_conflict=rng.choice(tuple(OnConflict)),
        )

    def _behaviour(self, task: str) -> Behaviour:
        rng = self.rng
        takes = 0
        if task != SYNC:
            shortest, longest = rng.choice(((0, 100), (10, 500), (500, 3_000), (5_000, 20_000)))
            takes = rng.randint(shortest, longest) * 1_000
        return Behaviour(
            takes=takes,
            fails=rng.choices((0, 1, 2, 99), (14, 3, 2, 1))[0],
            fails_as=rng.choices((How.ERROR, How.LATER, How.FATAL), (6, 2, 1))[0],
            snoozes=rng.choices((0, 1, 2), (10, 1, 1))[0],
            wait=rng.randrange(3 * SECOND),
            cancels=rng.random() < 0.04,
            reports=rng.random() < 0.2,
        )

    def _backoff(self) -> Backoff:
        rng = self.rng
        if rng.random() < 0.3:
            return Backoff(delays=(rng.randrange(SECOND), rng.randrange(3 * SECOND)))
        base, cap = rng.randrange(1, SECOND), rng.randrange(SECOND, 4 * SECOND)
        return Backoff(base=base, cap=cap, jitter=rng.random() < 0.3)

    def _blows(self) -> tuple[Blow, ...]:
        rng = self.rng
        if rng.random() < 0.1:
            return ()
        allowed = [act for act in Act if rng.random() < 0.4] or [Act.KILL_WORKER]
        blows = [self._blow(rng.choice(allowed)) for _ in range(rng.randint(1, self.size.blows))]
        return tuple(sorted(blows, key=lambda blow: blow.at))

    def _blow(self, act: Act) -> Blow:
        rng = self.rng
        step = rng.choice((rng.uniform(-10, 10), rng.uniform(-10, 10), rng.uniform(0, 3600)))
        point = f"exchange.{rng.choice(('before_commit', 'after_commit'))}"
        if act is Act.PAUSE_AT:
            point = f"{rng.choice(('exchange', 'exchange', 'extend', 'held'))}.before_commit"
        return Blow(
            at=rng.randrange(self.size.active),
            act=act,
            host=rng.randrange(HOSTS),
            lasts=rng.choice((rng.randrange(SECOND), rng.randrange(12 * SECOND))),
            by=round(step, 3),
            point=point,
        )

    def _faults(self) -> StoreFaults:
        rng = self.rng
        if rng.random() < 0.3:
            return NO_FAULTS

        def rate(most: float) -> float:
            return rng.uniform(0, most) if rng.random() < 0.4 else 0.0

        return StoreFaults(
            refused=rate(0.05),
            lost=rate(0.05),
            late=rate(0.03),
            repeated=rate(0.1),
            full=rate(0.1),
            delayed=rate(0.3),
            longest_delay=rng.choice((SECOND // 100, SECOND // 10)),
        )
