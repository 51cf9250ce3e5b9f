"""Saying of workers that they live, for people: `doctor`, `top`, `queues`."""

import contextlib
import socket
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from backline.clock import Clock
from backline.errors import StoreError
from backline.job import SECOND, Micros, WorkerName
from backline.store import Store, WorkerReport

REPORT: Final[Micros] = 5 * SECOND
"""How often it is said of a worker that it lives."""
LOOK: Final[Micros] = SECOND
"""How often to see whether there is more to say, such as how much it runs."""
_TTL: Final[Micros] = 3 * REPORT
_HOST_LENGTH: Final = 60


class Reporter:
    """Reports what is new of some workers at once, and every `REPORT` that they live."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reported: dict[WorkerName, WorkerReport] = {}
        self._reported_at: Micros = 0

    async def tell(self, reports: Sequence[WorkerReport]) -> None:
        """Say this of the workers that there are; of others that they are gone.

        Raises StoreError; what could not be said is said the next time.
        """
        now = self._clock.tick()
        told = {each.worker: each for each in reports}
        news = {name: _news(each) for name, each in told.items()}
        old = {name: _news(each) for name, each in self._reported.items()}
        if news == old and now - self._reported_at < REPORT:
            return
        await self._store.report(reports, _TTL)
        gone = [each for name, each in self._reported.items() if name not in told]
        self._reported, self._reported_at = told, now
        if gone:
            await self._store.report(gone, 0)

    async def withdraw(self, *names: WorkerName) -> None:
        """Let nobody take what has ended for alive until its report is forgotten."""
        gone = [self._reported.pop(name) for name in names if name in self._reported]
        if gone:
            with contextlib.suppress(StoreError):  # then it is forgotten a little later
                await self._store.report(gone, 0)


def host() -> str:
    """This machine's name, as far as it fits into a file's name."""
    name = "".join(each if each.isalnum() or each in ".-" else "-" for each in socket.gethostname())
    return name[:_HOST_LENGTH]


def _news(report: WorkerReport) -> WorkerReport:
    """What of a report is worth telling at once; when it began is told anew, and jitters, and
    how long jobs take is new each time."""
    return replace(report, started_at=0, service=0.0)
