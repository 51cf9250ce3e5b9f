"""Natural batching: whoever comes while a batch is under way joins the next.

One thread a process drives a plain `apply(batch)`. There is no timer: the first request
goes at once, and under load one commit carries hundreds. On an executor that runs calls
inline, as in the simulation, each request is a batch of one and no thread is involved.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from threading import Lock
from typing import Any, Final, Generic, TypeVar

from backline.errors import StoreUnavailable
from backline.stores.loops import call_soon, running

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds after which a caller no longer waits for its turn at writing."""

_log: Final = logging.getLogger("backline.sqlite")


class Request(Generic[T]):
    """Something to do, and who waits for it. `settle` at most once, from any thread."""

    __slots__ = ("begun", "error", "future", "item", "loop", "result")

    def __init__(self, item: T) -> None:
        self.item = item
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.begun = False
        self.result: Any = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        """Hand the outcome to who waits; on its loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer(Generic[T]):
    """Collects requests and has them applied, batch after batch, one at a time.

    `apply` puts a result or an error in each request; `after` runs when the answers of a
    batch are out; what it raises is logged.
    """

    def __init__(
        self,
        executor: Executor,
        apply: Callable[[Sequence[Request[T]]], None],
        after: Callable[[], None],
        most: int = 1_000,
    ) -> None:
        self._executor = executor
        self._apply = apply
        self._after = after
        self._most = most
        self._waiting: deque[Request[T]] = deque()
        self._lock = Lock()
        self._driving = False

    @property
    def busy(self) -> bool:
        """Whether somebody waits for more to be applied."""
        with self._lock:
            return any(not request.future.done() for request in self._waiting)

    async def submit(self, item: T) -> Any:
        """Have `item` applied; returns after its commit.

        Raises StoreUnavailable if its turn does not come within `PATIENCE`, or if there is
        no thread to do it.
        """
        request = Request(item)
        with self._lock:
            self._waiting.append(request)
            drive, self._driving = not self._driving, True
        if drive:
            self._begin()
        future = request.future
        if future.done():
            return future.result()
        timer = request.loop.call_later(PATIENCE, _give_up, request)
        try:
            return await future
        finally:
            timer.cancel()

    def _begin(self) -> None:
        try:
            self._executor.submit(self._drive)
        except RuntimeError as error:  # closed, or the system has no room for a thread
            with self._lock:
                refused, self._driving = list(self._waiting), False
                self._waiting.clear()
            for request in refused:
                request.error = StoreUnavailable(f"nothing can be written: {error}")
            _deliver(refused)

    def _drive(self) -> None:
        while batch := self._next():
            try:
                self._apply(batch)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                for request in batch:
                    request.error = error
            _deliver(batch)
            try:
                self._after()
            except Exception:  # noqa: BLE001 - whoever waits for the next batch must not starve
                _log.exception("after a batch of writes")

    def _next(self) -> list[Request[T]]:
        with self._lock:
            batch: list[Request[T]] = []
            while self._waiting and len(batch) < self._most:
                request = self._waiting.popleft()
                if not request.future.done():
                    request.begun = True
                    batch.append(request)
            self._driving = bool(batch)
            return batch


def _deliver(batch: Sequence[Request[T]]) -> None:
    """Wake each loop once, however many of its calls were answered."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Request[T]]] = {}
    for request in batch:
        by_loop.setdefault(request.loop, []).append(request)
    here = running()
    for loop, requests in by_loop.items():
        if loop is here:
            _deliver_all(requests)
        else:
            call_soon(loop, _deliver_all, requests)


def _deliver_all(requests: Sequence[Request[T]]) -> None:
    for request in requests:
        request.deliver()


def _give_up(request: Request[Any]) -> None:
    if not request.future.done():
        doing = "is still under way" if request.begun else "did not get its turn"
        request.future.set_exception(
            StoreUnavailable(
                f"a write {doing} after {PATIENCE:g} s: another process holds the lock"
            )
        )
