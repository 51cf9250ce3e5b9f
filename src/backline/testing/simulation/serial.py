"""One call of a store after the other, each to its end, whatever becomes of its caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from typing import Final, TypeVar

from backline.store import Exchange, Hint, Store
from backline.testing.wrapper import StoreWrapper

T = TypeVar("T")

_TELLS: Final = frozenset({"enqueue", "cancel", "redrive"})


class SerialStore(StoreWrapper):
    """Calls `store` one at a time, outside of the simulated process that calls.

    So the order of the returns is that of the commits, and a caller that is killed or
    paused neither holds up the others nor undoes its call: as with a server. Hints come
    from the calls that pass here.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = asyncio.Lock()
        self._calls: set[asyncio.Task[object]] = set()
        self._wakes: dict[object, Callable[[], None]] = {}

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Wakes after every call that may have made work, wanted or not."""
        return self._watch(wake)

    @asynccontextmanager
    async def _watch(self, wake: Callable[[], None]) -> AsyncIterator[None]:
        token = object()
        self._wakes[token] = wake
        try:
            yield
        finally:
            del self._wakes[token]

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.get_running_loop().create_task(self._serve(name, call), context=Context())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard, context=Context())
        return await asyncio.shield(task)

    async def _serve(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        async with self._lock:
            answer = await call()
        if (
            name in _TELLS
            or (isinstance(answer, Exchange) and answer.acks)
            or (name == "promote" and answer)
        ):
            for wake in list(self._wakes.values()):
                asyncio.get_running_loop().call_soon(wake)
        return answer
