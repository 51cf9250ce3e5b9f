"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import threading

from backline.clock import Clock


class Background:
    """Starts its loop on first use. Methods are safe from any thread, under the owner's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def is_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `loop` is the one of this thread."""
        return loop is self._loop

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running or about to."""
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = self._clock.thread("backline", lambda: _serve(loop))
        return self._loop

    def stop(self) -> threading.Thread | None:
        """Cancel what runs on the loop and end its thread, which is returned.

        It is to be joined without the owner's lock: what is cancelled may need that to end.
        """
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
        return thread


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
