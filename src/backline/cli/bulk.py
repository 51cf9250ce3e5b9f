"""Work on many jobs: in bites, from the oldest on, with a bar, and ready to be taken up again.

A bite is found, acted on, and left behind for good, so memory stays small and the end is
certain even while producers add jobs: those enqueued after the start are not touched. Who
is interrupted runs the same command again: what was done no longer matches, and with
`--after ID`, the last that was done, it is not looked at again either.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import click

from backline.cli.session import Session
from backline.clock import Clock
from backline.job import SECOND, JobId, JobRecord, Micros
from backline.states import State
from backline.store import Filter, Store

BITE: Final = 200
"""So many jobs are changed in one commit, which is what others wait for; whole jobs are also
looked at so many at a time."""
LOOK: Final = 1_000
"""So many jobs are looked at in one go, without their payloads."""
LONGEST_REST: Final = SECOND // 4

Act: TypeAlias = Callable[[Sequence[JobId]], Awaitable[Sequence[str]]]
"""Does it to these jobs, and says of each what became of it."""
Wanted: TypeAlias = Callable[[JobRecord], bool]
"""Of jobs without payloads: whether they are meant, where the filter cannot say it."""


class Bar(Protocol):
    """What is told how far the work is."""

    def update(self, n_steps: int) -> None:
        """So many more are done."""
        ...


class _NoBar:
    def update(self, n_steps: int) -> None:
        """Nobody looks."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which jobs, and from where on."""

    where: Filter
    wanted: Wanted | None = None
    limit: int | None = None
    after: JobId | None = None
    payloads: bool = False

    @property
    def counted(self) -> bool:
        """Whether the counters of the queues know how many match."""
        plain = Filter(queue=self.where.queue, states=self.where.states)
        return self.where == plain and self.wanted is None and self.after is None


@dataclass
class Tally:
    """What was done so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    last: JobId | None = None
    """Of those that were done; what follows it was not looked at."""

    @property
    def total(self) -> int:
        """All jobs that were looked at."""
        return self.outcomes.total()


async def matching(session: Session, search: Search) -> AsyncIterator[list[JobRecord]]:
    """The jobs that match, oldest first, in bites; none enqueued after the call."""
    start, left, after = session.now, search.limit, search.after
    while left is None or left > 0:
        page = await session.store.find(
            search.where,
            limit=BITE if search.payloads else LOOK,
            after=after,
            oldest_first=True,
            payloads=search.payloads,
        )
        older = [job for job in page.jobs if job.enqueued_at <= start]
        found = [job for job in older if search.wanted is None or search.wanted(job)][:left]
        if left is not None:
            left -= len(found)
        for at in range(0, len(found), BITE):
            yield found[at : at + BITE]
        if page.after is None or (page.jobs and not older):
            return
        after = page.after


async def count(session: Session, search: Search) -> int:
    """How many jobs match now; from the counters where they know it, else by looking."""
    if search.counted:
        total = await _counted(session.store, search.where)
        return total if search.limit is None else min(total, search.limit)
    total = 0
    async for bite in matching(session, search):
        total += len(bite)
    return total


async def on_each(
    session: Session, search: Search, act: Act, tally: Tally, bar: Bar | None = None
) -> None:
    """Do `act` to all that match, adding to `tally` and resting in between."""
    async for bite in matching(session, search):
        began = session.clock.tick()
        await on_ids(act, [job.id for job in bite], tally, bar)
        await _rest(session.clock, began)


async def on_ids(act: Act, ids: Sequence[JobId], tally: Tally, bar: Bar | None = None) -> None:
    """Do `act` to these jobs, in bites, adding to `tally`."""
    for at in range(0, len(ids), BITE):
        bite = ids[at : at + BITE]
        doing = asyncio.ensure_future(act(bite))
        try:
            outcomes = await asyncio.shield(doing)
        except asyncio.CancelledError:  # Ctrl-C: what is being committed counts as well
            _add(tally, bite, await doing)
            raise
        _add(tally, bite, outcomes)
        if bar is not None:
            bar.update(len(bite))


def progress_bar(label: str, length: int, *, shown: bool = True) -> AbstractContextManager[Bar]:
    """A bar on standard error if that is a terminal and there is something to watch."""
    if not shown or length <= BITE or not sys.stderr.isatty():
        return nullcontext(_NoBar())
    return click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True, update_min_steps=BITE
    )


def _add(tally: Tally, bite: Sequence[JobId], outcomes: Sequence[str]) -> None:
    tally.outcomes.update(outcomes)
    tally.last = bite[-1]


async def _rest(clock: Clock, began: Micros) -> None:
    """As long as the bite took: half of the time the store is there for workers and producers,
    however slow it is, and whoever waits for its turn gets it."""
    took = min(clock.tick() - began, LONGEST_REST)
    await asyncio.sleep(took / SECOND)


async def _counted(store: Store, where: Filter) -> int:
    states = where.states or frozenset(State)
    return sum(
        queue.counts.get(state, 0)
        for queue in await store.stats()
        if where.queue in (None, queue.queue)
        for state in states
    )
