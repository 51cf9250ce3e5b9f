"""The app whose jobs are measured; workers load it as `bench.tasks:app`."""

import os
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from backline import App, Batch
from backline.task import AsyncBatchTask, AsyncTask, SyncTask
from bench.tally import Tally

TARGET: Final = f"{__name__}:app"
TALLY: Final = "BENCH_TALLY"
LONGEST_BURN_S: Final = 60.0
BATCH: Final = 100
"""Jobs of one call, where a task gets batches."""


@cache
def tally() -> Tally:
    """The counts of this process: opened when a worker runs its first job."""
    return Tally(Path(os.environ[TALLY]))


async def _noop(number: int) -> None:
    tally().hit()


async def _noop_in_batches(batch: Batch[int]) -> None:
    for _ in batch:
        tally().hit()


def _noop_in_thread(number: int) -> None:
    tally().hit()


def _burn() -> None:
    tally().burn(LONGEST_BURN_S)


async def _stamp(sent_ns: int) -> None:
    tally().arrived(sent_ns)


class Tasks(NamedTuple):
    """An app with the tasks that are measured."""

    app: App
    noop: AsyncTask[[int], None]
    noop_in_batches: AsyncBatchTask[int, None]
    noop_in_thread: SyncTask[[int], None]
    burn: SyncTask[[], None]
    stamp: AsyncTask[[int], None]


def declare(app: App) -> Tasks:
    """Declare the tasks on an app, under the names that the workers know."""
    return Tasks(
        app,
        app.task(name="noop")(_noop),
        app.task(name="noop_in_batches", batch=BATCH)(_noop_in_batches),
        app.task(name="noop_in_thread")(_noop_in_thread),
        app.task(name="burn", priority=100)(_burn),
        app.task(name="stamp")(_stamp),
    )


app: Final = declare(App()).app
