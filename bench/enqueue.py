"""How fast producers enqueue on SQLite; every call returns after its commit.

Beside it: the same inserts by a bare loop, and Huey.
"""

import asyncio
import time
from itertools import count
from pathlib import Path

from bench import huey_tasks, raw
from bench.producing import A_CALL, enqueue_group, tasks
from bench.report import Bar, Finding, Samples, rated
from bench.settings import Size


def run(size: Size, folder: Path) -> list[Finding]:
    """In bulk, by many callers at once, and by one."""
    bulk, many, one = Samples(), Samples(), Samples()
    huey, bulk_limit, single_limit = Samples(), Samples(), Samples()
    whole, grouped = Samples(), Samples()
    singles = size.by_caller * 10
    requests = [tasks(folder).noop.job(number) for number in range(size.enqueued)]
    in_bulk = raw.record(folder / "bulk.db", requests, a_call=A_CALL, leased=0)
    one_by_one = raw.record(folder / "one.db", requests[:singles], a_call=1, leased=0)
    for number in range(size.rounds):
        place = folder / str(number)
        bulk.add(asyncio.run(_in_bulk(_made(place / "bulk"), size.enqueued)))
        grouped.add(asyncio.run(enqueue_group(tasks(_made(place / "grouped")), size.grouped)))
        bulk_limit.add(raw.replay(place / "bulk.db", in_bulk, only=True).inserts)
        many.add(asyncio.run(_at_once(_made(place / "many"), size.callers, size.by_caller)))
        single_limit.add(raw.replay(place / "single.db", one_by_one, only=True).inserts)
        one.add(asyncio.run(_at_once(_made(place / "one"), 1, singles)))
        huey.add(_huey(_made(place / "huey") / "huey.db", singles))
        whole.add(raw.replay(place / "whole.db", in_bulk, only=False).inserts)
    limit = "bare inserts"
    callers = f"{size.callers} callers at once, one job each"
    single = "one bare insert a transaction"
    return [
        rated("enqueue_many, 1,000 a call", bulk, limit, bulk_limit, Bar(40, "%")),
        rated("enqueue_many, 1,000 a call", bulk, "all our statements, bare", whole),
        rated(
            f"enqueue, a group of {size.grouped:,} with a continuation",
            grouped,
            "enqueue_many",
            bulk,
            Bar(80, "%"),
        ),
        rated(f"enqueue, {callers}", many, single, single_limit, Bar(4, "x")),
        rated("enqueue, one caller, one by one", one, single, single_limit),
        rated("enqueue, one caller, one by one", one, "Huey", huey),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


async def _in_bulk(folder: Path, jobs: int) -> float:
    """Jobs a second, making them included."""
    noop = tasks(folder)
    async with noop.app as app:
        await app.aenqueue_many([noop.noop.job(-1)])
        start = time.perf_counter()
        for at in range(0, jobs, A_CALL):
            made = [noop.noop.job(number) for number in range(at, at + A_CALL)]
            await app.aenqueue_many(made)
        return jobs / (time.perf_counter() - start)


async def _at_once(folder: Path, callers: int, each: int) -> float:
    """Jobs a second, by so many callers who enqueue one job at a time."""
    of = tasks(folder)
    numbers = count()

    async def caller() -> None:
        for _ in range(each):
            await of.noop.aenqueue(next(numbers))

    async with of.app as app:
        await app.aenqueue_many([of.noop.job(-1)])
        start = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return callers * each / (time.perf_counter() - start)


def _huey(database: Path, jobs: int) -> float:
    noop = huey_tasks.declare(database).noop
    noop(-1)
    start = time.perf_counter()
    for number in range(jobs):
        noop(number)
    return jobs / (time.perf_counter() - start)
