"""One store, and processes that come and go with two versions of the code."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from backline import App
from backline.app.declaring import AGAIN
from backline.job import SECOND
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run


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


async def rounds(count: int = 1) -> None:
    """Let every worker look again, so often, what is declared."""
    await asyncio.sleep(count * (AGAIN + 2 * SECOND) / SECOND)


async def worker(stack: AsyncExitStack, app: App) -> None:
    """Let a worker of that version live until the stack is closed."""
    await stack.enter_async_context(app.worker())
    await asyncio.sleep(1)
