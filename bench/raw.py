"""The limit: what SQLite does with our own statements when nothing stands around them.

The store's own functions are run once, through a connection that writes down every
statement with its parameters, commit by commit. A bare loop then plays them to a fresh file
of the same schema: no worker, no event loop, no thread, nothing encoded or decided, the log
copied into the file as seldom as the store does it. So the limit follows the store's SQL
wherever that goes.

`only` leaves out all but the statements that do the work itself, whatever the store adds to
them for its counts and its promises: the stricter limit, and the one that ratios are of.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar

from backline import policy
from backline.clock import SYSTEM_CLOCK
from backline.job import SECOND, Ack, JobRequest, Lane, LeasedJob
from backline.stores.sqlite import enqueue, exchange, schema
from backline.stores.sqlite.driver import Connection, Params, Row
from backline.stores.sqlite.log import CHECKPOINT
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Traffic, Transaction

T = TypeVar("T")

Step: TypeAlias = tuple[str, Params]
Commit: TypeAlias = list[Step]

INSERT: Final = (statement("enqueue"),)
LEASE_AND_FINISH: Final = (statement("lease"), statement("leased"), statement("succeed"))
TTL: Final = 3_600 * SECOND

Settle: TypeAlias = Callable[[LeasedJob], Ack]


def well(job: LeasedJob) -> Ack:
    """The job succeeded and left no result."""
    return policy.settle(job, policy.Succeeded(None), random.Random(0))


class Recorder(Connection):
    """Writes down what it is asked to do."""

    def __init__(self, path: Path) -> None:
        self.steps: Commit = []
        super().__init__(path, create=True)

    def run(self, sql: str, params: Params | None = None) -> int:
        self.steps.append((sql, params or {}))
        return super().run(sql, params or {})

    def rows(self, sql: str, params: Params | None = None) -> list[Row]:
        self.steps.append((sql, params or {}))
        return super().rows(sql, params or {})


class Recording(NamedTuple):
    """What the store did, commit by commit, to add some jobs and to get them done."""

    jobs: int
    first: Commit
    """Adds one more job, before anything is timed: so the queue is known."""
    enqueues: list[Commit]
    exchanges: list[Commit]


def record(path: Path, requests: Sequence[JobRequest], *, a_call: int, leased: int) -> Recording:
    """Add `requests`, `a_call` in a commit, and finish them, `leased` in a commit.

    Each of those commits finishes the jobs that the one before leased. With `leased=0`
    nothing is finished.
    """
    db = Recorder(path)
    try:
        schema.prepare(db, "bench", SYSTEM_CLOCK)
        first, *rest = requests
        begun = _taped(db, partial(enqueue.enqueue, calls=[[first]]))
        enqueues = [
            _taped(db, partial(enqueue.enqueue, calls=[rest[at : at + a_call]]))
            for at in range(0, len(rest), a_call)
        ]
        exchanges: list[Commit] = []
        finisher = Finisher(leased)
        while leased and not finisher.over:
            exchanges.append(_taped(db, finisher))
        return Recording(len(rest), begun, enqueues, exchanges)
    finally:
        db.close()


class Rates(NamedTuple):
    """Jobs a second of a bare loop."""

    inserts: float
    exchanges: float
    """0 if none were recorded."""


def replay(path: Path, tape: Recording, *, only: bool) -> Rates:
    """Play a recording to a fresh file; `only` the insert, and only lease and finish."""
    db = opened(path)
    try:
        _play(db, [tape.first])
        inserting = _play(db, _kept(tape.enqueues, INSERT) if only else tape.enqueues)
        _check(db, "select count(*) from job", tape.jobs + 1)
        if not tape.exchanges:
            return Rates(tape.jobs / inserting, 0.0)
        finishing = _play(db, _kept(tape.exchanges, LEASE_AND_FINISH) if only else tape.exchanges)
        _check(db, "select count(*) from job where state = 'succeeded'", tape.jobs + 1)
        return Rates(tape.jobs / inserting, tape.jobs / finishing)
    finally:
        db.close()


def opened(path: Path, *, careless: bool = False) -> Connection:
    """A connection as the store's own, to a file with its schema.

    `careless`: nothing that is written needs to survive the power; to prepare much, fast.
    """
    db = Connection(path, create=True)
    schema.prepare(db, "bench", SYSTEM_CLOCK)
    if careless:
        db.script("pragma synchronous = off")
    return db


def add(db: Connection, requests: Sequence[JobRequest]) -> None:
    """Add jobs in one commit."""
    commit(db, partial(enqueue.enqueue, calls=[requests]))


class Finisher:
    """Leases jobs and finishes those it leased before, a commit at a time."""

    def __init__(self, leased: int, settle: Settle = well, most: int | None = None) -> None:
        """`leased` in a commit, `most` in all."""
        self.over = False
        """Nothing was left to lease."""
        self._leased = leased
        self._left = most
        self._settle = settle
        self._worker = SYSTEM_CLOCK.new_id()
        self._calls = 0
        self._acks: list[Ack] = []

    def __call__(self, tx: Transaction) -> None:
        want = self._leased if self._left is None else min(self._leased, self._left)
        self._calls += 1
        demand = {("default", Lane.MAIN): want}
        asked = exchange.ExchangeCall(self._worker, self._calls, self._acks, demand, TTL)
        jobs = exchange.exchange(tx, asked).jobs
        self._acks = [self._settle(job) for job in jobs]
        self.over = not jobs
        if self._left is not None:
            self._left -= len(jobs)


def commit(db: Connection, work: Callable[[Transaction], T]) -> T:
    """Do what the store does in a commit of one request."""
    db.run("begin immediate")
    traffic, tick = Traffic(), SYSTEM_CLOCK.tick()
    tx = Transaction(db, SYSTEM_CLOCK.now(), tick, traffic)
    result = work(tx)
    tx.finish()
    traffic.write(db, tick)
    db.run("commit")
    return result


def _taped(db: Recorder, work: Callable[[Transaction], object]) -> Commit:
    db.steps = []
    commit(db, work)
    return db.steps


def _kept(commits: Sequence[Commit], wanted: Collection[str]) -> list[Commit]:
    ends = {"begin immediate", "commit", *wanted}
    return [[step for step in steps if step[0] in ends] for steps in commits]


def _check(db: Connection, count: str, wanted: int) -> None:
    """The loop did the work: a statement that the store does not use any more would not."""
    found = db.value(count)
    if found != wanted:
        raise AssertionError(f"the bare loop left {found} of {wanted} jobs: {count}")


def _play(db: Connection, commits: Sequence[Commit]) -> float:
    """Seconds that a bare loop takes."""
    pages = 0

    def note(count: int) -> None:
        nonlocal pages
        pages = count

    db.on_commit(note)
    start = time.perf_counter()
    for steps in commits:
        for sql, params in steps:
            db.rows(sql, params)
        if pages >= CHECKPOINT:
            db.checkpoint()
    return time.perf_counter() - start
