"""Where the store lives, and how callers on other loops and threads reach it.

A store belongs to one event loop, its home. The first loop that asks becomes it: an async
service calls its store without leaving its loop, which saves two switches of threads a call.
Everybody else sends work there: another loop awaits it, a thread without a loop waits for it.
Where no loop runs there is the background loop, and a service's loop that comes later takes
the home over from it as soon as that is idle. See docs/adr/0004-where-the-store-lives.md.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar
from weakref import WeakSet

from backline.app.background import Background
from backline.app.crossing import LoopEnded, there, there_from_thread
from backline.clock import Clock
from backline.errors import BacklineError, StoreRefused
from backline.job import Micros
from backline.outage import ride_out
from backline.queue import OnFull, Queue
from backline.store import Store
from backline.stores.memory import MemoryStore

T = TypeVar("T")

_LAST_WORDS_S: Final = 1.0
"""How long the store of a loop that is gone may take to close."""


class OpenStore:
    """A store that is open on one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        store: Store,
        queue: Queue,
        before: "OpenStore | None",
    ) -> None:
        self.loop = loop
        self.store = store
        self.queue = queue
        self.users = 0
        self.ready = False
        self.ending = False
        """Its loop winds down."""
        self._before = before
        self._preparing = asyncio.Lock()

    async def prepare(self, declare: Callable[[Store], Awaitable[None]]) -> None:
        """Open the store once, and tell it what stands in code; on its loop."""
        async with self._preparing:
            if self.ready:
                return
            if self._before is not None:
                await self._before.leave(self.store)
                self._before = None
            await self.store.open()
            await declare(self.store)
            self.ready = True

    async def leave(self, heir: Store | None) -> None:
        """Close what is left here, from any loop; the store stays if `heir` has it."""
        if self.loop is asyncio.get_running_loop():
            await self._close(heir)
            return
        if self.loop.is_running() and not self.ending:
            with suppress(LoopEnded):
                await there(self._close(heir), self.loop)
                return
        if heir is not self.store:
            # Its loop is gone, and all that waited there with it. The store may have threads.
            with suppress(Exception):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self.store.close()

    async def _close(self, heir: Store | None) -> None:
        await self.queue.close()
        if heir is not self.store:
            await self.store.close()


class Home:
    """Where an app's store is open at the moment. Safe from any thread.

    A process that is forked begins with a store of its own, if `make_store` makes one.
    """

    def __init__(
        self,
        make_store: Callable[[], Store],
        clock: Clock,
        on_full: Callable[[str], OnFull],
        declare: Callable[[Store], Awaitable[None]],
        shed: Counter[str],
    ) -> None:
        self._make_store = make_store
        self._clock = clock
        self._on_full = on_full
        self._declare = declare
        self._kept: Store | None = None
        self._shed = shed
        self._lock = threading.Lock()
        self._current: OpenStore | None = None
        self._background = Background(clock)
        _HOMES.add(self)

    async def run(self, work: Callable[[Queue], Awaitable[T]], *, patience: Micros = 0) -> T:
        """Do `work` at home; from any loop.

        A store that is away when it is first opened is asked again for `patience`. If another
        loop does the work and ends meanwhile, it is begun anew: it must be safe to repeat.
        """
        loop = asyncio.get_running_loop()
        while True:
            current = self._enter(loop)
            try:
                doing = self._at(current, work, patience)
                return await (doing if current.loop is loop else there(doing, current.loop))
            except LoopEnded:
                self._flee(current.loop)
            finally:
                self._leave(current)

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from a thread without a loop.

        Raises BacklineError, naming the async `twin`, on a running event loop. If the loop
        that does the work ends meanwhile, it is begun anew on another: `work` must be safe to
        repeat.
        """
        if _on_a_loop():
            raise BacklineError(
                f"this call would block the event loop that runs here; write `await {twin}(...)`"
            )
        while True:
            loop = self._loop_for_threads()
            try:
                return there_from_thread(work(), loop)
            except LoopEnded:
                self._flee(loop)

    def peek(self) -> Store:
        """The store as it is, open or not."""
        with self._lock:
            return self._current.store if self._current is not None else self._make_store()

    def another(self) -> Store:
        """A handle on the same jobs for another loop; not open yet."""
        with self._lock:
            return self._kept or self._make_store()

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Store | None]:
        """The open store, which stays on the running loop while inside; None: it is elsewhere."""
        loop = asyncio.get_running_loop()
        current = self._enter(loop)
        try:
            if current.loop is not loop:
                yield None
            else:
                if not current.ready:
                    await current.prepare(self._declare)
                yield current.store
        finally:
            self._leave(current)

    def redeclare(self) -> None:
        """What stands in code has changed: tell the store at its next use."""
        with self._lock:
            if self._current is not None:
                self._current.ready = False

    async def close(self) -> None:
        """Finish what is being enqueued and close the store; a later use opens it again."""
        with self._lock:
            current, self._current = self._current, None
        if current is not None:
            await current.leave(None)

    def close_from_thread(self) -> None:
        """The same as `close`, from a thread without a loop; ends the background loop too."""
        current = self._current
        if current is not None:
            if current.loop.is_running():
                self.wait(self.close, "app.aclose")
            else:
                asyncio.run(self.close())
        self.stop_background()

    def abandon(self) -> None:
        """Let go of the store from anywhere, without waiting: nobody will come back to it."""
        if _on_a_loop():
            current, self._current = self._current, None
            if current is not None:
                current.queue.abandon()
            self.stop_background()
        else:
            self.close_from_thread()

    def stop_background(self) -> None:
        """End the background loop, if there is one and the store is not there."""
        with self._lock:
            if self._current is not None and self._background.is_loop(self._current.loop):
                return
            thread = self._background.stop()
        if thread is not None:
            thread.join()

    def forked(self) -> None:
        """This is a new process: the parent's loops and threads are not here."""
        self._lock = threading.Lock()
        self._current = self._kept = None
        self._background = Background(self._clock)

    async def _at(
        self, current: OpenStore, work: Callable[[Queue], Awaitable[T]], patience: Micros
    ) -> T:
        if not current.ready:
            await ride_out(
                "opening the store", self._clock, patience, lambda: current.prepare(self._declare)
            )
        return await work(current.queue)

    def _enter(self, loop: asyncio.AbstractEventLoop) -> OpenStore:
        """The open store to go to from `loop`; it does not move until it is left."""
        with self._lock:
            current = self._current
            if current is None or (current.loop is not loop and self._gives_way(current)):
                current = self._current = self._move(loop)
            current.users += 1
            return current

    def _leave(self, current: OpenStore) -> None:
        with self._lock:
            current.users -= 1

    def _gives_way(self, current: OpenStore) -> bool:
        if current.ending or not current.loop.is_running():
            return True
        return current.users == 0 and self._background.is_loop(current.loop)

    def _move(self, loop: asyncio.AbstractEventLoop) -> OpenStore:
        store = self._kept or self._make_store()
        if isinstance(store, MemoryStore):
            self._kept = store  # its jobs are where the object is
        return OpenStore(
            loop, store, Queue(store, self._clock, self._on_full, self._shed), self._current
        )

    def _flee(self, loop: asyncio.AbstractEventLoop) -> None:
        """The store is to leave a loop that is ending, even though it may still run."""
        with self._lock:
            if self._current is not None and self._current.loop is loop:
                self._current.ending = True

    def _loop_for_threads(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._current is None or self._gives_way(self._current):
                return self._background.loop()
            return self._current.loop


def always(store: Store) -> Callable[[], Store]:
    """For `make_store`: this one. Raises StoreRefused in a child, if its jobs would be there
    as well as in the parent, and all of them run twice.
    """
    process = os.getpid()

    def the_store() -> Store:
        if os.getpid() != process and not store.capabilities.between_processes:
            raise StoreRefused(
                "the jobs of this memory store are in the process that it was made in, and this "
                "is a fork of it: make the store here, or use a SQLite file"
            )
        return store

    return the_store


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_HOMES: Final[WeakSet[Home]] = WeakSet()


def _forked() -> None:
    for home in list(_HOMES):
        home.forked()


os.register_at_fork(after_in_child=_forked)
