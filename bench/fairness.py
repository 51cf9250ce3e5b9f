"""`python -m bench.fairness`: who gets what of an overloaded queue, on virtual time.

A thousand tenants offer half as much again as the workers can do, the busiest a thousand times
as much as the quietest (Zipf). The store is the real one, in memory; its workers are reduced to
their exchanges, and nothing depends on how fast this machine is: the same seed gives the same
table and the same picture, to the byte.

The ideal is max-min fairness: a fluid that gives each tenant, at every moment, what it asks for,
or its weight's share of what those leave who ask for less.
"""

import argparse
import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from backline.job import MINUTE, SECOND, Ack, JobId, JobRequest, Lane, Micros, Terms
from backline.states import State
from backline.store import QueueSettings
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from bench.svg import Chart, Line, drawing

STEP: Final[Micros] = SECOND // 100
SLOTS: Final = 64
LASTS: Final[Micros] = 8 * STEP
"""Of a job, on average; steps, so that no slot is idle between them."""
OFFERED: Final = 1.5
"""Times what the workers can do."""
GOLD: Final = 3.0
"""The weight of every tenth tenant."""
FLOOR: Final = 50
"""A share is compared if it is so many jobs: below, one job is 2% of it."""
PICTURE: Final = Path(__file__).parent.parent / "docs" / "how-to" / "fairness.svg"


class Arrival(NamedTuple):
    """A job on its way."""

    at: Micros
    tenant: int
    lasts: Micros


class Load(NamedTuple):
    """What comes, in order of time, and to how many tenants."""

    arrivals: Sequence[Arrival]
    weights: Sequence[float]
    until: Micros


class Served(NamedTuple):
    """What became of it: the jobs that started, by tenant, and how long each had waited."""

    waits: Mapping[int, Sequence[Micros]]

    def shares(self, tenants: int) -> list[int]:
        """How many jobs of each tenant started."""
        return [len(self.waits.get(tenant, ())) for tenant in range(tenants)]

    def wait_of(self, tenants: Sequence[int], part: float) -> float:
        """Of the jobs of some tenants, how long that part waited at most, in seconds."""
        waits = sorted(wait for tenant in tenants for wait in self.waits.get(tenant, ()))
        return waits[min(len(waits) - 1, int(len(waits) * part))] / SECOND if waits else 0.0


def skewed(tenants: int, seconds: int, seed: int = 1) -> Load:
    """Tenant n offers 1/(n + 1) of what the first does."""
    rng = random.Random(f"load {seed}")
    capacity = SLOTS * SECOND / LASTS
    weights = [1 / (n + 1) for n in range(tenants)]
    total = int(seconds * capacity * OFFERED)
    owners = rng.choices(range(tenants), weights, k=total)
    times = sorted(rng.randrange(seconds * SECOND) for _ in range(total))
    arrivals = [
        Arrival(at, owner, rng.randrange(4, 13) * STEP)
        for at, owner in zip(times, owners, strict=True)
    ]
    gold = [GOLD if n % 10 == 9 else 1.0 for n in range(tenants)]
    return Load(arrivals, gold, seconds * SECOND)


def hoarded(jobs: int) -> Load:
    """One tenant comes first, with so many jobs; ten seconds later another has ten."""
    first = [Arrival(0, 0, LASTS)] * jobs
    second = [Arrival(10 * SECOND, 1, LASTS)] * 10
    needed = jobs * LASTS // SLOTS
    return Load([*first, *second], [1.0, 1.0], needed + 15 * SECOND)


def ideal(load: Load) -> list[float]:
    """What max-min fairness gives each tenant, in jobs: a fluid, a tenth of a second at a time."""
    slice_ = STEP * 10
    given = [0.0] * len(load.weights)
    backlog: dict[int, float] = defaultdict(float)
    arrivals = deque(load.arrivals)
    for now in range(slice_, load.until + 1, slice_):
        while arrivals and arrivals[0].at < now:
            backlog[arrivals.popleft().tenant] += 1
        left = SLOTS * slice_ / LASTS
        open_weight = sum(load.weights[tenant] for tenant in backlog)
        for tenant in sorted(backlog, key=lambda t: backlog[t] / load.weights[t]):
            part = min(backlog[tenant], left * load.weights[tenant] / open_weight)
            open_weight -= load.weights[tenant]
            left -= part
            given[tenant] += part
            backlog[tenant] -= part
            if backlog[tenant] <= 0:
                del backlog[tenant]
    return given


class Serving(Protocol):
    """A queue that is measured."""

    async def add(self, jobs: Sequence[tuple[Arrival, JobId]]) -> None:
        """Jobs came."""
        ...

    async def take(self, done: Sequence[JobId], most: int) -> list[JobId]:
        """These have ended; the next ones."""
        ...


class InStore:
    """Through the contract, with fair keys or without."""

    def __init__(self, clock: VirtualClock, load: Load, *, fair: bool) -> None:
        self._store = MemoryStore(clock=clock)
        self._fair = fair
        self._weights = {str(n): w for n, w in enumerate(load.weights) if w != 1.0}
        self._calls = count(1)
        self._acks: dict[JobId, Ack] = {}

    async def add(self, jobs: Sequence[tuple[Arrival, JobId]]) -> None:
        if self._weights:
            await self._store.configure([QueueSettings(queue="q", weights=self._weights)])
            self._weights = {}
        requests = [
            JobRequest(
                id=job_id,
                task="t",
                queue="q",
                terms=Terms(keep=0),
                fair_key=str(arrival.tenant) if self._fair else None,
            )
            for arrival, job_id in jobs
        ]
        await self._store.enqueue([requests])

    async def take(self, done: Sequence[JobId], most: int) -> list[JobId]:
        acks = [self._acks.pop(job_id) for job_id in done]
        demand = {("q", Lane.MAIN): most}
        reply = await self._store.exchange("w", next(self._calls), acks, demand, MINUTE)
        self._acks |= {job.id: Ack(job.id, job.attempt, State.SUCCEEDED) for job in reply.jobs}
        await self._store.sweep(100)
        return [job.id for job in reply.jobs]


class QuietFirst:
    """A model of Amazon SQS fair queues (July 2025): nothing is configured but whose a message
    is. Oldest first; but while a tenant has a disproportionate part of what is in flight, here
    more than an equal one of all who are there, the messages of the others go before its own.
    """

    def __init__(self, threshold: float = 1.0) -> None:
        """`threshold`: times an equal part is disproportionate."""
        self.threshold = threshold
        self._waiting: dict[int, deque[tuple[int, JobId]]] = defaultdict(deque)
        self._owner: dict[JobId, int] = {}
        self._flying: Counter[int] = Counter()
        self._seq = count()
        self._tenants = 0

    async def add(self, jobs: Sequence[tuple[Arrival, JobId]]) -> None:
        for arrival, job_id in jobs:
            self._owner[job_id] = arrival.tenant
            self._waiting[arrival.tenant].append((next(self._seq), job_id))

    async def take(self, done: Sequence[JobId], most: int) -> list[JobId]:
        for job_id in done:
            self._flying[self._owner.pop(job_id)] -= 1
        self._flying = +self._flying
        self._tenants = len(self._flying.keys() | self._waiting.keys())
        heads = [(self._is_noisy(n), jobs[0][0], n) for n, jobs in self._waiting.items()]
        heap: list[tuple[bool, int, int]] = []
        for head in heads:
            heappush(heap, head)
        taken: list[JobId] = []
        while heap and len(taken) < most:
            noisy, _, tenant = heappop(heap)
            jobs = self._waiting[tenant]
            if self._is_noisy(tenant) != noisy:
                heappush(heap, (not noisy, jobs[0][0], tenant))
                continue
            _, job_id = jobs.popleft()
            taken.append(job_id)
            self._flying[tenant] += 1
            if jobs:
                heappush(heap, (self._is_noisy(tenant), jobs[0][0], tenant))
            else:
                del self._waiting[tenant]
        return taken

    def _is_noisy(self, tenant: int) -> bool:
        mine = self._flying[tenant]
        return mine > 1 and mine * self._tenants > self.threshold * self._flying.total()


async def serve(load: Load, line: Serving, clock: VirtualClock) -> Served:
    """Let the workers do what they can of a load until it ends."""
    waits: dict[int, list[Micros]] = defaultdict(list)
    known: dict[JobId, Arrival] = {}
    running: list[tuple[Micros, JobId]] = []
    coming = deque(load.arrivals)
    for now in range(0, load.until, STEP):
        new: list[tuple[Arrival, JobId]] = []
        while coming and coming[0].at <= now:
            arrival = coming.popleft()
            new.append((arrival, clock.new_id()))
            known[new[-1][1]] = arrival
        if new:
            await line.add(new)
        done: list[JobId] = []
        while running and running[0][0] <= now:
            done.append(heappop(running)[1])
        for job_id in await line.take(done, SLOTS - len(running)):
            arrival = known.pop(job_id)
            waits[arrival.tenant].append(now - arrival.at)
            heappush(running, (now + arrival.lasts, job_id))
        clock.advance(STEP / SECOND)
    return Served(waits)


def off(served: Served, wanted: Sequence[float]) -> float:
    """By how much the share of a tenant differs from its ideal one at most, as a part of it."""
    shares = served.shares(len(wanted))
    pairs = zip(shares, wanted, strict=True)
    return max(abs(got / due - 1) for got, due in pairs if due >= FLOOR)


class Finding(NamedTuple):
    """A way to serve, and what it gave."""

    name: str
    served: Served


NAMES: Final = ("without fair_key", "with fair_key", "by the rule of SQS")


async def compare(load: Load, names: Sequence[str] = NAMES) -> list[Finding]:
    """The same load, served in these ways."""
    findings: list[Finding] = []
    for name in names:
        clock = VirtualClock()
        line: Serving = QuietFirst()
        if name != NAMES[2]:
            line = InStore(clock, load, fair=name == NAMES[1])
        findings.append(Finding(name, await serve(load, line, clock)))
    return findings


def table(
    findings: Sequence[Finding], wanted: Sequence[float], hoards: Sequence[Finding]
) -> Iterator[str]:
    """What people read: the shares, the waits of the quiet half of the tenants, and those of
    the few jobs that came behind many."""
    quiet = range(len(wanted) // 2, len(wanted))
    yield "| | deviation from the ideal share, at most | quiet half, median | p99 | ten jobs, all |"
    yield "|---|--:|--:|--:|--:|"
    for (name, served), (_, hoard) in zip(findings, hoards, strict=True):
        median, late = (served.wait_of(quiet, part) for part in (0.5, 0.99))
        ten = hoard.wait_of([1], 1.0)
        share = f"{off(served, wanted):,.1%}"
        yield f"| {name} | {share} | {median:.2f} s | {late:.2f} s | {ten:.2f} s |"


def picture(findings: Sequence[Finding], wanted: Sequence[float]) -> str:
    """The share of each tenant beside its ideal, and how long its jobs waited."""
    ranks = sorted({*range(1, 21), *(round(10 ** (n / 12)) for n in range(1, 37))})
    ranks = [rank for rank in ranks if rank <= len(wanted)]
    shares = [
        Line(name, [(rank, served.shares(len(wanted))[rank - 1]) for rank in ranks])
        for name, served in findings
    ]
    shares.append(Line("ideal", [(rank, wanted[rank - 1]) for rank in ranks], dashed=True))
    waits = [
        Line(name, [(rank, max(0.01, served.wait_of([rank - 1], 0.99))) for rank in ranks])
        for name, served in findings
    ]
    return drawing(
        "Tenants of an overloaded queue, the busiest first",
        [
            Chart("jobs that started", "tenant", shares),
            Chart("p99 wait, seconds", "tenant", waits),
        ],
    )


def main() -> int:
    """Print the table, write the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=300, help="of virtual time")
    parser.add_argument("--hoard", type=int, default=100_000, help="jobs that come first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    options = parser.parse_args()
    load = skewed(options.tenants, options.seconds, options.seed)
    wanted = ideal(load)
    findings = asyncio.run(compare(load))
    hoards = asyncio.run(compare(hoarded(options.hoard)))
    print("\n".join(table(findings, wanted, hoards)))
    options.picture.write_text(picture(findings, wanted))
    return 0 if off(findings[1].served, wanted) <= 0.05 else 1


if __name__ == "__main__":
    raise SystemExit(main())
