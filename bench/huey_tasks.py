"""The peer: Huey on SQLite, set up as its users would, results off, four threads."""

import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from huey import SqliteHuey

from bench.tasks import tally

DATABASE: Final = "BENCH_HUEY"
CONSUMER: Final = (
    str(Path(sys.executable).with_name("huey_consumer")),
    f"{__name__}.huey",
    *("-w", "4", "-k", "thread", "-n", "-q"),
)


def _noop(number: int) -> None:
    tally().hit()


def _stamp(sent_ns: int) -> None:
    tally().arrived(sent_ns)


class Tasks(NamedTuple):
    """A Huey with the tasks that are measured."""

    huey: Any
    noop: Any
    stamp: Any


def declare(database: Path) -> Tasks:
    """A Huey on that file; its durability is its default, which is ours."""
    huey = SqliteHuey("bench", filename=str(database), results=False)
    return Tasks(huey, huey.task(name="noop")(_noop), huey.task(name="stamp")(_stamp))


if DATABASE in os.environ:  # in the consumer
    huey = declare(Path(os.environ[DATABASE])).huey
