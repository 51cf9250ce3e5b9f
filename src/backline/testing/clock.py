"""A clock that stands still until it is told to move."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Final, ParamSpec, TypeVar

from backline.clock import IdMaker, Pool
from backline.duration import Duration, micros
from backline.job import SECOND, JobId, Micros

P = ParamSpec("P")
T = TypeVar("T")

START: Final[Micros] = 1_767_225_600 * SECOND
"""Where the wall time of a `VirtualClock` begins: 2026-01-01 00:00 UTC."""
FIRST_TICK: Final[Micros] = 1_000 * SECOND
"""Where its ticks begin: not at zero, which too many bugs survive."""


class VirtualClock:
    """A `backline.clock.Clock` on virtual time: two runs of one seed see the same.

    Wall time and ticks move together by `advance`; `step_wall` moves wall time alone, as an
    administrator or NTP would; `reboot` begins the ticks anew. Randomness and ids come from
    `seed`. There are no threads: an executor runs each call at once, in its caller.
    """

    def __init__(self, seed: int = 0, *, now: Micros = START, tick: Micros = FIRST_TICK) -> None:
        self.rng = random.Random(seed)
        self.elapsed: Micros = 0
        """How far the clock was advanced in all; neither steps nor reboots change it."""
        self._wall = now
        self._ticks = tick
        self._boots = 1
        self._ids = IdMaker(self.now, random.Random(f"ids {seed}"))

    def now(self) -> Micros:
        return self._wall + self.elapsed

    def tick(self) -> Micros:
        return self._ticks + self.elapsed

    def boot(self) -> str:
        return f"virtual-boot-{self._boots}"

    def new_id(self) -> JobId:
        return self._ids()

    def executor(self, name: str, threads: int = 1) -> Pool:
        """An executor that runs each call in `submit` itself and returns a done future."""
        return InlineExecutor()

    def thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Raises RuntimeError: a thread would run on real time, outside of the seed."""
        raise RuntimeError(f"there are no threads on virtual time: {name!r} cannot start")

    def advance(self, duration: Duration) -> None:
        """Let `duration` pass, on the wall and in ticks."""
        self.elapsed += micros(duration)

    def step_wall(self, by: float | timedelta) -> None:
        """Set the wall clock forward or (negative) back, `by` in seconds; ticks go on."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        self._wall += round(seconds * SECOND)

    def reboot(self) -> None:
        """Begin the ticks anew under another boot id; wall time goes on."""
        self._boots += 1
        self._ticks = -self.elapsed


class InlineExecutor(Pool):
    """Runs each call in `submit`, in the calling thread; order and results are the caller's."""

    def __init__(self) -> None:
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - an executor hands every error to its caller
            future.set_exception(error)
        return future

    def resize(self, threads: int) -> None:
        """Nothing: there is no thread."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._closed = True
