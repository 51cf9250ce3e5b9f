"""Work on many jobs: in bites, from the oldest on, with a bar, and ready to be taken up again.

A bite is found, acted on, and left behind for good, so memory stays small and the end is
certain even while producers add jobs: those enqueued after the start are not touched. Who
is interrupted runs the same command again; what was done no longer matches.
"""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import click

from backline.cli.session import Session
from backline.errors import StoreError
from backline.job import JobId, JobRecord
from backline.states import State
from backline.store import Filter, Store

BITE: Final = 200
"""So many jobs are in memory at a time, arguments included."""

Act: TypeAlias = Callable[[Sequence[JobId]], Awaitable[Sequence[str]]]
"""Does it to these jobs, and says of each what became of it."""
Wanted: TypeAlias = Callable[[JobRecord], bool]


class Bar(Protocol):
    """What is told how far the work is."""

    def update(self, n_steps: int) -> None:
        """So many more are done."""
        ...


class _NoBar:
    def update(self, n_steps: int) -> None:
        """Nobody looks."""


@dataclass
class Tally:
    """What was done so far."""

    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All jobs that were looked at."""
        return self.outcomes.total()


class Halfway(Exception):
    """The store failed while `tally` was already done."""

    def __init__(self, tally: Tally, error: StoreError) -> None:
        super().__init__(str(error))
        self.tally, self.error = tally, error


async def matching(
    session: Session, where: Filter, *, wanted: Wanted | None = None, limit: int | None = None
) -> AsyncIterator[list[JobRecord]]:
    """The jobs that match, oldest first, in bites; none enqueued after the call."""
    start, left, after = session.now, limit, None
    while left is None or left > 0:
        page = await session.store.find(where, limit=BITE, after=after, oldest_first=True)
        older = [job for job in page.jobs if job.enqueued_at <= start]
        bite = [job for job in older if wanted is None or wanted(job)]
        if left is not None:
            bite = bite[:left]
            left -= len(bite)
        if bite:
            yield bite
        if page.after is None or not older:
            return
        after = page.after


async def count(session: Session, where: Filter, *, wanted: Wanted | None = None) -> int:
    """How many jobs match now; from the counters where they know it, else by looking."""
    if where.task is None and where.tag is None and wanted is None:
        return await _counted(session.store, where)
    total = 0
    async for bite in matching(session, where, wanted=wanted):
        total += len(bite)
    return total


async def on_each(
    session: Session,
    where: Filter,
    act: Act,
    *,
    tally: Tally,
    wanted: Wanted | None = None,
    limit: int | None = None,
    bar: Bar | None = None,
) -> None:
    """Do `act` to all that match, adding to `tally`. Raises Halfway when the store fails."""
    try:
        async for bite in matching(session, where, wanted=wanted, limit=limit):
            await on_ids(act, [job.id for job in bite], tally, bar)
    except StoreError as error:
        raise Halfway(tally, error) from error


async def on_ids(act: Act, ids: Sequence[JobId], tally: Tally, bar: Bar | None = None) -> None:
    """Do `act` to these jobs, in bites, adding to `tally`."""
    for at in range(0, len(ids), BITE):
        bite = ids[at : at + BITE]
        tally.outcomes.update(await act(bite))
        if bar is not None:
            bar.update(len(bite))


def progress_bar(label: str, length: int, *, shown: bool = True) -> AbstractContextManager[Bar]:
    """A bar on standard error if that is a terminal and there is something to watch."""
    if not shown or length <= BITE or not sys.stderr.isatty():
        return nullcontext(_NoBar())
    return click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True, update_min_steps=BITE
    )


async def _counted(store: Store, where: Filter) -> int:
    states = where.states or frozenset(State)
    return sum(
        queue.counts.get(state, 0)
        for queue in await store.stats()
        if where.queue in (None, queue.queue)
        for state in states
    )
