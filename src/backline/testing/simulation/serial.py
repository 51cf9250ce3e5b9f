"""One call of a store after the other, each to its end, whatever becomes of its caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import Context
from typing import Final, TypeVar

from backline.job import Refused
from backline.store import Exchange, Hint, Store
from backline.testing.wrapper import StoreWrapper

T = TypeVar("T")

_TELLS: Final[Mapping[str, frozenset[Hint]]] = {
    "enqueue": frozenset({Hint.WORK}),
    "redrive": frozenset({Hint.WORK}),
    "edit": frozenset({Hint.WORK}),
    "configure": frozenset({Hint.WORK}),
    "promote": frozenset({Hint.WORK}),
    "exchange": frozenset(Hint),
    "cancel": frozenset(Hint),
    "publish": frozenset({Hint.WORK}),
    "cancel_flows": frozenset(Hint),
    "expire": frozenset(Hint),
}
"""What each call hints at, if it did anything."""


class SerialStore(StoreWrapper):
    """Calls `store` one at a time, outside of the simulated process that calls.

    So the order of the returns is that of the commits, and a caller that is killed or
    paused neither holds up the others nor undoes its call: as with a server. Hints come
    from the calls that pass here, and to some of them nothing had happened.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = asyncio.Lock()
        self._calls: set[asyncio.Task[object]] = set()
        self._wakes: dict[object, tuple[frozenset[Hint], Callable[[], None]]] = {}

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Wakes after every call that may have done something of the kind."""
        return self._watch(frozenset(hints), wake)

    @asynccontextmanager
    async def _watch(self, hints: frozenset[Hint], wake: Callable[[], None]) -> AsyncIterator[None]:
        token = object()
        self._wakes[token] = (hints, wake)
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
        told = _TELLS.get(name, frozenset()) if _did_something(answer) else frozenset()
        for hints, wake in list(self._wakes.values()):
            if hints & told:
                asyncio.get_running_loop().call_soon(wake)
        return answer


def _did_something(answer: object) -> bool:
    if isinstance(answer, Exchange):
        return bool(answer.acks)
    if isinstance(answer, list):  # of an enqueue, one answer a call
        return not all(isinstance(each, Refused) for each in answer)
    return answer != 0
