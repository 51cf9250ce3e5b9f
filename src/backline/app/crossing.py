"""Having a coroutine run on another event loop, which may end before it."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Final, TypeVar

T = TypeVar("T")

LOOK_S: Final = 1.0
"""How often to look whether the other loop still runs."""


class LoopEnded(Exception):
    """The loop that did the work ended before the work did."""


async def there(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Await `work` on another loop than the running one. Raises LoopEnded."""
    future = _begin(work, loop)
    answer = asyncio.wrap_future(future)
    try:
        while not answer.done() and (future.done() or loop.is_running()):
            await asyncio.wait([answer], timeout=LOOK_S)
    finally:
        if not answer.done():  # its loop ended, or it is us who are cancelled
            _cancel(future, loop)
    if not answer.done() or answer.cancelled():
        raise LoopEnded  # nobody cancels our work but a loop that winds down
    return answer.result()


def there_from_thread(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Wait in a thread without a loop for `work` on `loop`. Raises LoopEnded."""
    future = _begin(work, loop)
    while True:
        try:
            return future.result(timeout=LOOK_S)
        except CancelledError:  # nobody cancels our work but a loop that winds down
            raise LoopEnded from None
        except TimeoutError:
            if future.done():
                return future.result()
            if not loop.is_running():
                _cancel(future, loop)
                raise LoopEnded from None
        except BaseException:
            _cancel(future, loop)  # Ctrl-C here: nobody waits for the rest
            raise


def _begin(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Future[T]:
    try:
        return asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:  # it was closed just now
        work.close()
        raise LoopEnded from None


def _cancel(future: Future[T], loop: asyncio.AbstractEventLoop) -> None:
    """A loop that is closed can be told nothing any more."""
    if not loop.is_closed():
        future.cancel()
