"""One store, and processes that come and go with two versions of the code."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from backline import App
from backline.app.declaring import AGAIN
from backline.job import SECOND
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

A_ROUND: Final = (AGAIN + 2 * SECOND) / SECOND
"""Seconds until every worker has looked again what is declared."""


class Deploy:
    """The store and the time that all the processes share."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(clock=self.clock)

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """On virtual time."""

        async def inside() -> None:
            await main()

        run(inside(), clock=self.clock)


async def worker(stack: AsyncExitStack, app: App) -> None:
    """Let a worker of that version live until the stack is closed."""
    await stack.enter_async_context(app.worker())
    await asyncio.sleep(1)
