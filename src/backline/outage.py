"""Riding out a store that is away: said once, waited out with jitter, for as long as it takes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from backline import policy
from backline.clock import Clock
from backline.display import span
from backline.errors import StoreError, StoreFull, StoreUnavailable
from backline.job import SECOND, Backoff, Micros

log = logging.getLogger(__name__)

T = TypeVar("T")

SHORT: Final = Backoff(base=SECOND // 4, cap=4 * SECOND)
"""How long to wait after the n-th failure in a row: short, for when the store is back
everything starts again, and drawn at random, for it must not start all at once."""

BRIEF: Final = Backoff(base=SECOND // 50, cap=SECOND)
"""The same where somebody waits for the answer."""


async def ride_out(
    what: str, clock: Clock, patience: Micros, call: Callable[[], Awaitable[T]]
) -> T:
    """Repeat `call` while the store is away, but not beyond `patience`.

    Raises what the last call raised; StoreFull at once, for room on a disk does not come back
    in seconds.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + patience / SECOND
    failures = 0
    while True:
        try:
            return await call()
        except StoreFull:
            raise
        except StoreUnavailable as error:
            failures += 1
            wait = policy.backoff(BRIEF, failures, clock.rng)
            if loop.time() + wait / SECOND >= until:
                raise
            log.warning("%s: %s; again in %s", what, error, span(wait))
        await asyncio.sleep(wait / SECOND)


class Outage:
    """The failures in a row of one thing that is tried until it works.

    The first is logged, with its traceback if it is neither a StoreError nor an OSError, which
    say all there is to say, and so is the end; what is between is at level DEBUG, so that a
    store that is away for a night fills no log.
    """

    def __init__(self, what: str, clock: Clock, rule: Backoff = SHORT) -> None:
        self.failures = 0
        self._what = what
        self._clock = clock
        self._rule = rule

    async def wait(self, error: Exception) -> None:
        """Note a failure, and wait until it is time to try again."""
        await asyncio.sleep(self.failed(error) / SECOND)

    def failed(self, error: Exception) -> Micros:
        """Note a failure; returns how long to wait before the next try."""
        self.failures += 1
        foreseen = isinstance(error, StoreError | OSError)
        level = logging.WARNING if foreseen else logging.ERROR
        log.log(
            level if self.failures == 1 else logging.DEBUG,
            "%s: %s; it is tried again until it works",
            self._what,
            error if str(error) else type(error).__name__,
            exc_info=None if foreseen else error,
        )
        return policy.backoff(self._rule, self.failures, self._clock.rng)

    def over(self) -> None:
        """Note that it worked."""
        if self.failures:
            log.info("%s: works again, after %d failures", self._what, self.failures)
            self.failures = 0
