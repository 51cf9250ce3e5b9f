"""The middleware of the jobs of a batch: each surrounds its own job, all meet at the handler."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeAlias

from backline.batch import BatchItem
from backline.clock import call_in
from backline.context import Running, current_run
from backline.worker.execute import Middleware, raised, returned, through
from backline.worker.run import Run
from backline.worker.setup import RunnerSetup

_LATE_S: Final = 1.0
"""Jobs that have come through go without the others after this long: these may wait for what
the middleware of the first ones holds."""

Handle: TypeAlias = Callable[[Sequence[BatchItem[Any, Any]]], Awaitable[None]]


class _Guest:
    """A job on its way through its middleware."""

    def __init__(self, item: BatchItem[Any, Any]) -> None:
        self.item = item
        self.arrived = False
        """`call_next` was called."""
        self.served = False
        """The handler was called with it."""
        self.over = asyncio.Event()
        """How it ended is known."""
        self.error: BaseException | None = None
        """What the handler raised."""
        self.trace: TracebackType | None = None


class Meeting:
    """Calls each job's middleware, beside each other, and the handler where they meet.

    `call_next()` ends when its job has ended, as that has: by what its item was given, else
    by what the handler came to.
    """

    def __init__(
        self,
        items: dict[Run, BatchItem[Any, Any]],
        setup: RunnerSetup,
        middleware: Sequence[Middleware],
    ) -> None:
        self._open = items
        self._setup = setup
        self._middleware = middleware
        self._guests = {run: _Guest(item) for run, item in items.items()}
        self._left = len(self._guests)
        """How many are not over."""
        self._chains: dict[_Guest, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def ended(self, run: Run) -> None:
        """The handler has ended the item of this run. Any thread."""
        call_in(self._loop, partial(self._let_go, self._guests[run]))

    async def hold(self, handle: Handle) -> None:
        """Settle every job. Cancelled, it cancels them."""
        for run, guest in self._guests.items():
            chain = self._loop.create_task(
                self._surround(run, guest), name="backline batch", context=copy_context()
            )
            self._chains[guest] = chain
            chain.add_done_callback(lambda _: self._news.set())
        if not self._chains:
            return
        try:
            while ready := await self._arrivals():
                await self._serve(ready, handle)
        except BaseException:
            for guest, chain in self._chains.items():
                if guest.item.ended:
                    guest.over.set()
                else:
                    chain.cancel()
            raise
        finally:
            await asyncio.wait(self._chains.values())

    def _let_go(self, guest: _Guest) -> None:
        """End its `call_next`, but for the last: by that one the call of the handler is watched
        until it has returned."""
        if self._left > 1 and not guest.over.is_set():
            self._left -= 1
            guest.over.set()

    async def _arrivals(self) -> list[_Guest]:
        """Those who have come, once nobody is on the way; or after a while, if somebody is."""
        while True:
            ready = [guest for guest in self._chains if guest.arrived and not guest.served]
            if all(guest.arrived or chain.done() for guest, chain in self._chains.items()):
                return ready
            self._news.clear()
            try:
                async with asyncio.timeout(_LATE_S):
                    await self._news.wait()
            except TimeoutError:
                if ready:
                    return ready

    async def _serve(self, ready: Sequence[_Guest], handle: Handle) -> None:
        error: BaseException | None = None
        for guest in ready:
            guest.served = True
        try:
            await handle([guest.item for guest in ready])
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as caught:  # noqa: BLE001 - a handler may raise anything at all
            error = caught
        for guest in ready:
            if not guest.over.is_set():
                self._left -= 1
                guest.error, guest.trace = error, None if error is None else error.__traceback__
                guest.over.set()

    async def _surround(self, run: Run, guest: _Guest) -> None:
        """Call the middleware of one job, and settle it."""
        current_run.set(Running(run))
        setup, item = self._setup, guest.item

        async def call() -> Any:
            guest.arrived = True
            self._news.set()
            await guest.over.wait()
            if item.ended and item.error is not None:
                raise item.error
            if not item.ended and guest.error is not None:
                raise guest.error.with_traceback(guest.trace)
            return item.result

        try:
            value = await through(self._middleware, item.job, call)()
            if run.whole is not None and not item.ended:
                run.whole.returned(run)
            ack = returned(run, run.task.codec.encode_result(value) or run.completed)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything at all
            ack = raised(run, error, setup.clock.rng, await setup.look(run, error))
        self._open.pop(run, None)
        run.busy = setup.clock.tick() - run.started_at
        setup.finished(run, ack)
