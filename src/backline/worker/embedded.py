"""A worker inside somebody else's process: a service that also works, a test, a script.

It is the same worker, with its own heartbeat, reaper, scheduler and reports beside it. With
threads, those run in a thread of their own with a store handle of their own, so a blocked event
loop loses no lease. What only a supervisor can do is missing: nobody holds the leases while C code
keeps the GIL, kills a job that ignores its time limit, or settles at once after a crash; another
process's reaper does that when the lease is over.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

from backline._version import __version__
from backline.clock import Clock, call_in
from backline.duty import Duty
from backline.errors import StoreError
from backline.job import Micros
from backline.outage import Outage
from backline.reaper import Reaper
from backline.reporting import LOOK, Reporter, host
from backline.scheduler import Scheduler
from backline.store import Store, WorkerReport
from backline.worker.heartbeat import Heartbeat
from backline.worker.loop import Worker

log = logging.getLogger("backline.worker")

OpenStore: TypeAlias = Callable[[], Store]
Errand: TypeAlias = Callable[[], Awaitable[None]]


class EmbeddedWorker:
    """Runs a worker, its heartbeat, a reaper and a scheduler while inside `async with`.

    Entering waits until the worker works, and raises what made it fail before: the lifespan.

    `second_store` makes another handle on the same jobs, for the heartbeat's thread; None
    keeps the heartbeat on this loop (a store that only this process sees, virtual time).
    """

    def __init__(
        self, worker: Worker, store: Store, clock: Clock, second_store: OpenStore | None = None
    ) -> None:
        self.worker = worker
        self._store = store
        self._clock = clock
        self._second_store = second_store
        self._working: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None
        self._thread: _GuardThread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._second_store is None:
            duties = self._duties(self._store, self.worker.wake)
            self._guard = asyncio.create_task(_together(duties), name="backline heartbeat")
        else:
            self._thread = _GuardThread(self._second_store, self._duties_for, self._clock)
        self._working = asyncio.create_task(self.worker.run(), name="backline worker")
        try:
            await self._start(self._working)
        except BaseException:
            await self._abort(self._working)
            raise
        self._working.add_done_callback(_tell_failure)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._end()
        finally:
            await self._end_duties()

    async def finished(self) -> None:
        """Wait until the worker has stopped. Raises what made it fail.

        To cancel the wait is not to cancel the worker: leaving `async with` stops it.
        """
        assert self._working is not None, "the worker was not started"
        await asyncio.shield(self._working)

    async def _start(self, working: asyncio.Task[None]) -> None:
        """Wait until the worker works. Raises what made it fail."""
        started = asyncio.create_task(self.worker.started.wait(), name="backline worker's start")
        try:
            await asyncio.wait([working, started], return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if working.done():
            await working

    async def _abort(self, working: asyncio.Task[None]) -> None:
        """Entering failed or was cancelled: nobody will leave."""
        try:
            if self.worker.started.is_set():
                self.worker.quit()
            else:
                working.cancel()
            await asyncio.wait([working])
        finally:
            await self._end_duties()

    async def _end_duties(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait([self._guard])
        if self._thread is not None:
            await self._loop_of_caller().run_in_executor(None, self._thread.end)

    async def _end(self) -> None:
        """Let running jobs finish within the grace; cancelled meanwhile, hand them back."""
        self.worker.stop()
        try:
            await self.finished()
        except asyncio.CancelledError:
            working = self._working
            if working is not None and not working.done():
                self.worker.quit()
                try:
                    await asyncio.wait([working])
                finally:
                    working.cancel()
            raise

    def _duties_for(self, store: Store) -> list[Errand]:
        loop = self._loop_of_caller()
        return self._duties(store, lambda: call_in(loop, self.worker.wake))

    def _loop_of_caller(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "the worker was not started"
        return self._loop

    def _duties(self, store: Store, wake: Callable[[], None]) -> list[Errand]:
        settings = self.worker.settings
        heartbeat = Heartbeat(store, self._clock, settings.lease)
        heartbeat.add(self.worker.board, wake)
        reaper = Reaper(store, self._clock, f"{settings.name}-reaper", settings.lease)
        if settings.drain:  # it is to end, so nothing new is begun beside it
            return [heartbeat.run, reaper.run]
        scheduler = Scheduler(store, self._clock)
        return [heartbeat.run, reaper.run, scheduler.run, partial(self._report, store)]

    async def _report(self, store: Store) -> None:
        """Report that the worker lives, until cancelled: it has ended then."""
        reporter = Reporter(store, self._clock)
        started_at = self._clock.now()

        async def report() -> Micros:
            await reporter.tell([self._state(started_at)])
            return LOOK

        try:
            await Duty("reporting", report, self._clock).run()
        finally:
            await reporter.withdraw(self.worker.settings.name)

    def _state(self, started_at: Micros) -> WorkerReport:
        settings = self.worker.settings
        return WorkerReport(
            worker=settings.name,
            host=host(),
            pid=os.getpid(),
            queues=tuple(sorted(settings.queues)),
            lane=settings.lane,
            concurrency=settings.concurrency,
            tasks=self.worker.tasks,
            started_at=started_at,
            version=__version__,
            running=len(self.worker.runs),
            draining=self.worker.stopping,
        )


class _GuardThread:
    """A thread with a loop and a store of its own, for the duties of an embedded worker."""

    def __init__(
        self,
        open_store: OpenStore,
        duties: Callable[[Store], list[Errand]],
        clock: Clock,
    ) -> None:
        self._open_store = open_store
        self._duties = duties
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread: threading.Thread = clock.thread("backline-heartbeat", self._serve)

    def end(self) -> None:
        """End the duties and wait for the thread."""
        call_in(self._loop, self._over.set)
        self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._guard())

    async def _guard(self) -> None:
        work = asyncio.ensure_future(self._work())
        await self._over.wait()
        work.cancel()
        await asyncio.wait([work])

    async def _work(self) -> None:
        store = self._open_store()
        try:
            await self._open(store)
            await _together(self._duties(store))
        except Exception:
            log.exception("the heartbeat of an embedded worker failed: its leases will end")
        finally:
            with contextlib.suppress(StoreError):
                await store.close()

    async def _open(self, store: Store) -> None:
        """Open the store, however long that takes: nobody else keeps the leases."""
        outage = Outage("opening the store of an embedded worker's heartbeat", self._clock)
        while True:
            try:
                return await store.open()
            except StoreError as error:
                await outage.wait(error)


async def _together(duties: list[Errand]) -> None:
    # Called only here: a task that is cancelled before its start would leave them unawaited.
    await asyncio.gather(*(duty() for duty in duties))


def _tell_failure(working: asyncio.Task[None]) -> None:
    if not working.cancelled() and (error := working.exception()) is not None:
        log.error("the embedded worker failed: it runs no jobs any more", exc_info=error)
