"""Workers inside the app's own process: embedded, and until there is nothing to do."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from backline.clock import Clock
from backline.display import shown
from backline.duration import Duration, micros
from backline.errors import ConfigError
from backline.job import Lane, Micros
from backline.states import State
from backline.store import QueueStats, Store
from backline.task import Registry, name_text
from backline.worker import (
    Board,
    EmbeddedWorker,
    Lifespan,
    Middleware,
    Observer,
    Run,
    Worker,
    WorkerSettings,
    most_held,
)

_WEIGHT: Final = re.compile(r"[0-9]{1,9}")
_PROMOTE: Final = 1_000
_FIRST_LOOK_S: Final = 0.01
_LONGEST_LOOK_S: Final = 1.0


class Parts:
    """What of an app its workers need."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.registry = Registry()
        self.lifespan: Lifespan | None = None
        self.middleware: list[Middleware] = []

    def make_worker(
        self,
        store: Store,
        settings: WorkerSettings,
        board: Board,
        *,
        observer: Observer | None = None,
        innermost: Sequence[Middleware] = (),
        surrounded: bool = False,
    ) -> Worker:
        """A worker of the app, for a store that is open on the running loop.

        `surrounded`: the lifespan is entered already.
        """
        return Worker(
            store,
            self.registry,
            settings,
            clock=self.clock,
            board=board,
            lifespan=None if surrounded else self.lifespan,
            middleware=(*self.middleware, *innermost),
            observer=observer,
        )

    def embed(
        self,
        store: Store,
        settings: WorkerSettings,
        second_store: Callable[[], Store] | None = None,
        *,
        observer: Observer | None = None,
        innermost: Sequence[Middleware] = (),
        surrounded: bool = False,
    ) -> EmbeddedWorker:
        """A worker with its heartbeat and reaper, in this process."""
        board = Board.private(most_held(settings, self.registry), settings.name)
        worker = self.make_worker(
            store, settings, board, observer=observer, innermost=innermost, surrounded=surrounded
        )
        return EmbeddedWorker(worker, store, self.clock, second_store)

    @asynccontextmanager
    async def serve(
        self, store: Store, settings: WorkerSettings, second_store: Callable[[], Store] | None
    ) -> AsyncIterator[EmbeddedWorker]:
        """A worker in this process, and one for the jobs of cells if only this process could
        run them, within the same lifespan."""
        async with self.embed(store, settings, second_store) as embedded:
            if store.capabilities.between_processes:
                yield embedded
                return
            alone = replace(
                settings, name=self.clock.new_id(), lane=Lane.CELL, concurrency=1, max_prefetch=0
            )
            async with self.embed(store, alone, second_store, surrounded=True):
                try:
                    yield embedded
                finally:
                    embedded.worker.stop()  # both have the same grace


async def drain(
    parts: Parts,
    store: Store,
    *,
    scheduled: bool = False,
    innermost: Sequence[Middleware] = (),
) -> int:
    """Work until no job is ready; with `scheduled`, until none is scheduled either.

    Jobs of cells run in this process too. Returns how many runs there were.
    """
    runs = 0
    pause = _FIRST_LOOK_S
    while True:
        await store.promote(_PROMOTE)
        stats = [queue for queue in await store.stats() if not queue.paused]
        round_ = await _drain_ready(parts, store, stats, innermost)
        runs += round_
        if round_:
            pause = _FIRST_LOOK_S
        elif scheduled and any(queue.counts.get(State.SCHEDULED) for queue in stats):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_S)
        else:
            return runs


async def _drain_ready(
    parts: Parts, store: Store, stats: Iterable[QueueStats], innermost: Sequence[Middleware]
) -> int:
    """One worker per lane that has something ready, until there is nothing more."""
    ready: dict[Lane, dict[str, int]] = {Lane.MAIN: {}, Lane.CELL: {}}
    for queue in stats:
        # Should the counts be damaged, the oldest one tells that there is a ready job.
        uncounted = queue.oldest_ready is not None and queue.counts.get(State.READY, 0) <= 0
        if uncounted or queue.counts.get(State.READY, 0) > queue.cells:
            ready[Lane.MAIN][queue.queue] = 1
        if uncounted or queue.cells:
            ready[Lane.CELL][queue.queue] = 1
    runs: list[Run] = []
    for lane, queues in ready.items():
        if queues:
            settings = WorkerSettings(
                name=parts.clock.new_id(), queues=queues, lane=lane, drain=True, grace=0
            )  # without a grace: it is only told to stop when who waits for it is cancelled
            embedded = parts.embed(store, settings, observer=runs.append, innermost=innermost)
            async with embedded:
                await embedded.finished()
    return len(runs)


def weights(
    queues: str | Iterable[str] | Mapping[str, int] | None, known: Iterable[str]
) -> dict[str, int]:
    """The queues a worker serves, each with its weight.

    "mail,default=3", a list of names, or names with weights; None: every queue that is known
    here. Raises ConfigError.
    """
    if queues is None:
        return dict.fromkeys(sorted(known), 1)
    if isinstance(queues, Mapping):
        return {_queue_name(name): _weight(weight, name) for name, weight in queues.items()}
    if not isinstance(queues, Iterable):
        raise ConfigError(f"queues are written mail,default=3, not {shown(queues)}")
    names = queues.split(",") if isinstance(queues, str) else queues
    found: dict[str, int] = {}
    for name in names:
        queue, _, weight = str(name).strip().partition("=")
        if not queue or not _WEIGHT.fullmatch(weight or "1"):
            raise ConfigError(f"queues are written mail,default=3, not {shown(name)}")
        found[_queue_name(queue)] = int(weight or 1)
    return found


def a_length(name: str, given: Duration) -> Micros:
    """A duration that a worker is given. Raises ConfigError, naming it."""
    try:
        return micros(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from None


def _queue_name(name: object) -> str:
    try:
        return name_text(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the name of a queue: {error}") from None


def _weight(weight: object, name: str) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight < 10**9:
        raise ConfigError(f"the weight of queue {name!r} is an int from 1, not {shown(weight)}")
    return weight


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    """A store that is open while inside."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()
