"""A million jobs in one file: what people ask of it, and what history costs the hot path."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from backline import State
from backline.clock import SYSTEM_CLOCK
from backline.job import Ack, AttemptError, Charge, JobId, JobRequest, Lane, LeasedJob
from backline.store import Filter
from backline.stores.sqlite import SqliteStore
from bench import raw
from bench.drain import drain, drain_ready
from bench.processes import Failure
from bench.producing import add, check, succeeded, tasks
from bench.report import Bar, Finding, Samples, absolute, rated
from bench.settings import Size
from bench.tasks import Tasks

REPEATS: Final = 50
PAGE: Final = 50
DEAD_SHARE: Final = 200
"""One job of so many is dead, and older than every ready one."""
_A_COMMIT: Final = 2_000
_LIMIT: Final = Bar(10, "ms", at_most=True)


def run(size: Size, folder: Path) -> list[Finding]:
    """With all jobs ready, then with all of them finished."""
    place = folder / "kept"
    place.mkdir()
    of = tasks(place)
    build(place / "jobs.db", of, size.kept)
    found = asyncio.run(_reading(place / "jobs.db", size))
    finished = finish(place / "jobs.db")
    return [*found, _draining(size, folder, place, of, finished)]


def build(path: Path, of: Tasks, jobs: int) -> None:
    """Fill a file through the store's own functions: some jobs dead, then `jobs` ready."""
    db = raw.opened(path, careless=True)
    try:
        dead = jobs // DEAD_SHARE
        raw.add(db, [of.noop.job(number) for number in range(dead)])
        burier = raw.Finisher(_A_COMMIT, _dead)
        while not burier.over:
            raw.commit(db, burier)
        for at in range(0, jobs, _A_COMMIT):
            raw.add(db, [of.noop.job(number) for number in range(at, at + _A_COMMIT)])
            db.checkpoint()
    finally:
        db.close()


def finish(path: Path) -> int:
    """Lease and finish every ready job; returns how many have succeeded."""
    db = raw.opened(path, careless=True)
    try:
        finisher = raw.Finisher(_A_COMMIT)
        while not finisher.over:
            raw.commit(db, finisher)
            db.checkpoint()
        [(done,)] = db.rows("select count(*) from job where state = 'succeeded'")
        return int(done)
    finally:
        db.close()


async def _reading(path: Path, size: Size) -> list[Finding]:
    """What is asked of a file full of ready jobs: each call alone, through the store."""
    store = SqliteStore(path)
    opening = time.perf_counter()
    await store.open()
    opened_ms = (time.perf_counter() - opening) * 1_000
    worker = SYSTEM_CLOCK.new_id()
    calls = iter(range(1, 1_000_000))
    demand = {("default", Lane.MAIN): 100}

    async def lease() -> None:
        answer = await store.exchange(worker, next(calls), [], demand, raw.TTL)
        check(len(answer.jobs), 100, "came with a lease of 100")

    def page(**where: object) -> Callable[[], Awaitable[None]]:
        return partial(_first_page, store, Filter(**where))  # type: ignore[arg-type]

    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "stats": store.stats,
        "first page": page(),
        "first page, by queue": page(queue="default"),
        "first page, by state": page(states=frozenset({State.READY})),
        "first page, dead jobs": page(states=frozenset({State.DEAD})),
        "first page, by queue and state": page(queue="default", states=frozenset({State.READY})),
        "lease of 100": lease,
    }
    try:
        note = f"the file opened in {opened_ms:.0f} ms"
        return [await _timed(what, ask, size.kept, note) for what, ask in asked.items()]
    finally:
        await store.close()


async def _first_page(store: SqliteStore, where: Filter) -> None:
    """What a person waits for: a page may come empty and say where to go on."""
    after: JobId | None = None
    while not (page := await store.find(where, limit=PAGE, after=after)).jobs:
        if page.after is None:
            raise Failure(f"no page of {where} came")
        after = page.after


async def _timed(what: str, ask: Callable[[], Awaitable[object]], kept: int, note: str) -> Finding:
    times: list[float] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - start) * 1_000)
    spread = f"first {times[0]:.2f} ms, slowest {max(times):.2f} ms of {REPEATS}; {note}"
    return absolute(f"{kept:,} ready: {what}", median(times), _LIMIT, spread)


def _draining(size: Size, folder: Path, place: Path, of: Tasks, finished: int) -> Finding:
    """The same jobs in an empty file and in the full one, in turn."""
    full, empty = Samples(), Samples()
    for number in range(size.rounds):
        made = [of.noop.job(at) for at in range(size.drained)]
        add(of, made)
        finished += size.drained
        full.add(drain_ready(place, of, size.drained, finished).rate)
        empty.add(drain(folder / f"empty{number}", _noops, size.drained).rate)
    check(succeeded(of), finished, "are recorded as succeeded")
    what = f"drain, {size.kept:,} finished jobs kept"
    return rated(what, full, "an empty database", empty, Bar(85, "%"))


def _noops(of: Tasks, jobs: int) -> list[JobRequest]:
    return [of.noop.job(number) for number in range(jobs)]


def _dead(job: LeasedJob) -> Ack:
    error = AttemptError(job.attempt, "ValueError", "no such user")
    keep = job.terms.keep_dead
    return Ack(job.id, job.attempt, State.DEAD, keep=keep, charge=Charge.FAILURE, error=error)
