"""Who wants to be woken, and by what."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from backline.store import Hint
from backline.stores.loops import call_soon

Wake: TypeAlias = Callable[[], None]


class Watchers:
    """Wakes on the loop of whoever watches; safe to tell from any thread."""

    __slots__ = ("_watching",)

    def __init__(self) -> None:
        self._watching: dict[object, tuple[asyncio.AbstractEventLoop, frozenset[Hint], Wake]] = {}

    @contextmanager
    def watching(self, hints: Collection[Hint], wake: Wake) -> Iterator[None]:
        """Tell the running loop of `hints` while inside."""
        token = object()
        self._watching[token] = (asyncio.get_running_loop(), frozenset(hints), wake)
        try:
            yield
        finally:
            del self._watching[token]

    def tell(self, hints: set[Hint]) -> None:
        """Something happened: wake those who asked, one turn of their loop later."""
        if not self._watching:
            return
        for token, (loop, wanted, _) in tuple(self._watching.items()):
            if not wanted.isdisjoint(hints):
                call_soon(loop, self._wake, token)

    def _wake(self, token: object) -> None:
        watcher = self._watching.get(token)
        if watcher is not None:
            watcher[2]()
