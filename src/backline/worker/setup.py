"""What all that runs jobs works with: how a run begins, blocks, and hands over its outcome."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from backline.clock import Clock, Pool
from backline.job import Ack
from backline.worker.board import Board
from backline.worker.execute import NOTHING, UNKNOWN, Look, look
from backline.worker.run import Run, StopReason

log = logging.getLogger("backline.worker")

Finished: TypeAlias = Callable[[Run, Ack], None]
Admit: TypeAlias = Callable[[Run], bool]
"""Called, in the thread that will run it, before a run begins; False: give it back instead."""


class Caller(Protocol):
    """What calls a function in a thread: a run, or a call of many."""

    stop: StopReason | None
    call: Future[Any] | None

    @property
    def given_up(self) -> bool:
        """It ignored that it should stop, and was settled without it."""
        ...


@dataclass(frozen=True, slots=True)
class RunnerSetup:
    """What those who run jobs share."""

    clock: Clock
    board: Board
    admit: Admit
    finished: Finished
    threads: Pool
    lookups: Executor
    """For looks at the caller's databases, which may be locked: not behind jobs."""

    async def look(self, run: Run, error: BaseException) -> Look:
        """Whether the job has completed all the same; in a thread, for the look may block."""
        if not run.completing:
            return NOTHING
        if isinstance(error, GeneratorExit):  # nothing can be awaited any more
            return UNKNOWN
        try:
            run.call = self.lookups.submit(look, run)
            return await asyncio.wrap_future(run.call)
        except BaseException:  # noqa: BLE001 - it was cancelled, or there is no thread
            return UNKNOWN
        finally:
            run.call = None

    async def in_thread(self, caller: Caller, fn: Callable[[], Any]) -> Any:
        """Call a function in a thread, and do not return before it has.

        A run that is told to stop meanwhile goes on until the function heeds it, as one
        without middleware does; so does one whose middleware has had enough of waiting, for a
        job that was settled might run again beside its old thread. Only who was given up, or
        is cancelled twice, leaves the thread alone.
        """
        if caller.stop is not None:  # and some middleware tries again
            raise asyncio.CancelledError
        caller.call = call = self.threads.submit(_guarded, fn)
        waiting = asyncio.wrap_future(call)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not caller.given_up and not call.cancel():
                await asyncio.wait([waiting])
            raise
        finally:
            caller.call = None


class Handover:
    """Hands outcomes over to the loop, from any thread; it is woken once for all of them."""

    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[Run, Ack]] = deque()
        self._told = False

    def give(self, run: Run, ack: Ack) -> None:
        """The run ended so."""
        self._done.append((run, ack))
        if not self._told:
            self._told = True
            self._tell_loop()

    def _tell_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            log.warning("a job ended after its worker's loop was closed; it will run again")

    def _collect(self) -> None:
        self._told = False
        while self._done:
            self._finished(*self._done.popleft())


def _guarded(fn: Callable[[], Any]) -> Any:
    """Call a function whose outcome an asyncio Future is to take, which it refuses of this."""
    try:
        return fn()
    except StopIteration as error:
        raise RuntimeError("a task raised StopIteration") from error
