"""Waiting for a hint from the store, for many callers through one watch."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from backline.store import Hint, Store

log = logging.getLogger(__name__)

_LINGER_S: Final = 1.0


class Bell:
    """Rings when the store hints at something; belongs to one event loop.

    The store is watched only while somebody waits.
    """

    def __init__(self, store: Store, hints: Collection[Hint]) -> None:
        self._store = store
        self._hints = hints
        self.rings = 0
        """How often it rang so far."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def wait(self, timeout: float, heard: int | None = None) -> bool:
        """Return True on the next ring, False after `timeout` seconds without any.

        `heard` is what `rings` was when the caller last acted on one: if it rang since, there
        is nothing to wait for.
        """
        if heard not in (None, self.rings):
            return True
        loop = asyncio.get_running_loop()
        ring: asyncio.Future[None] = loop.create_future()
        self._waiting.add(ring)
        if self._watching is None:
            self._watching = loop.create_task(self._watch(), name="backline bell")
        try:
            async with asyncio.timeout(timeout):
                await ring
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiting.discard(ring)

    def abandon(self) -> None:
        """Stop watching, some time soon."""
        if self._watching is not None:
            self._watching.cancel()

    async def close(self) -> None:
        """Stop watching."""
        self.abandon()
        if self._watching is not None:
            await asyncio.wait([self._watching])

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.rings += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def _watch(self) -> None:
        """Watch until nobody has waited for a while: those who waited tend to come back."""
        try:
            async with self._store.watch(self._hints, self.ring):
                await asyncio.sleep(_LINGER_S)
                while self._waiting:  # noqa: ASYNC110 - it is fine to notice late
                    await asyncio.sleep(_LINGER_S)
        except Exception as error:  # noqa: BLE001 - hints only save time
            log.debug("the store gives no hints: %s", error)
        finally:
            self._watching = None
