"""What producers do: filling a store before its workers start, and asking what became of it."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backline import App, State, group
from backline.job import JobRequest
from bench.processes import Failure
from bench.tasks import Tasks, declare

A_CALL: Final = 1_000


def url(folder: Path) -> str:
    """Where the jobs of that folder live."""
    return f"sqlite:///{folder / 'jobs.db'}"


def tasks(folder: Path) -> Tasks:
    """The tasks, on an app whose jobs live in that folder."""
    return declare(App(url(folder)))


def add(of: Tasks, requests: Sequence[JobRequest]) -> None:
    """Enqueue jobs, and close the store again."""

    async def send() -> None:
        async with of.app as app:
            for at in range(0, len(requests), A_CALL):
                await app.aenqueue_many(requests[at : at + A_CALL])

    asyncio.run(send())


async def enqueue_group(of: Tasks, jobs: int) -> float:
    """Enqueue a group with its continuation, `jobs` in all: how many a second, made included."""
    async with of.app as app:
        start = time.perf_counter()
        members = [of.noop.job(number) for number in range(jobs - 1)]
        await app.aenqueue_flow(group(members).then(of.noop.job(jobs - 1)))
        return jobs / (time.perf_counter() - start)


def succeeded(of: Tasks) -> int:
    """How many jobs have succeeded."""

    async def ask() -> int:
        async with of.app as app:
            return sum(queue.counts[State.SUCCEEDED] for queue in await app.store.stats())

    return asyncio.run(ask())


def check(done: int, wanted: int, where: str) -> None:
    """Raises Failure if jobs were lost or run twice: then no figure is worth printing."""
    if done != wanted:
        raise Failure(f"{wanted} jobs were enqueued, {done} {where}")
