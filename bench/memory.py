"""How fast the memory store drains, beside the bare event loop it runs on."""

import asyncio
import gc
import time
from pathlib import Path
from typing import Final

from backline import App
from bench.producing import A_CALL
from bench.report import Bar, Finding, Samples, rated
from bench.settings import Size

_LIMIT_S: Final = 120.0


class Counter:
    """Counts calls of a no-op, and says when the last one was."""

    def __init__(self, jobs: int) -> None:
        self.over = asyncio.Event()
        self._left = jobs

    async def noop(self, number: int) -> None:
        """What both sides run."""
        self._left -= 1
        if not self._left:
            self.over.set()


def run(size: Size, folder: Path) -> list[Finding]:
    """Both in turn, each on a fresh event loop of the same kind."""
    del folder  # nothing is written
    ours, limit = Samples(), Samples()
    for _ in range(size.rounds):
        gc.collect()
        ours.add(asyncio.run(_drain(size.drained)))
        gc.collect()
        limit.add(asyncio.run(_create_tasks(size.drained)))
    return [rated("drain, memory store", ours, "create_task", limit, Bar(50, "%"))]


async def _drain(jobs: int) -> float:
    counter = Counter(jobs)
    app = App("memory://")

    @app.task(name="noop")
    async def noop(number: int) -> None:
        await counter.noop(number)

    async with app:
        for at in range(0, jobs, A_CALL):
            await app.aenqueue_many([noop.job(number) for number in range(at, at + A_CALL)])
        start = time.perf_counter()
        async with app.worker(), asyncio.timeout(_LIMIT_S):
            await counter.over.wait()
            return jobs / (time.perf_counter() - start)


async def _create_tasks(jobs: int) -> float:
    counter = Counter(jobs)

    async def noop(number: int) -> None:
        await counter.noop(number)

    start = time.perf_counter()
    for at in range(0, jobs, A_CALL):
        await asyncio.gather(
            *(asyncio.create_task(noop(number)) for number in range(at, at + A_CALL))
        )
    return jobs / (time.perf_counter() - start)
