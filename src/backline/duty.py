"""Work that a process does for as long as it lives, whatever the store says."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from backline import policy
from backline.clock import Clock
from backline.errors import StoreError
from backline.job import SECOND, Backoff, Micros

log = logging.getLogger(__name__)

Round: TypeAlias = Callable[[], Awaitable[Micros]]
"""One round of a duty; returns how long to wait before the next."""

OUTAGE: Final = Backoff(base=SECOND // 4, cap=4 * SECOND)
"""How long a duty waits after its n-th failure in a row: short, for when the store is back
everything starts again, and drawn at random, for it must not start all at once."""


class Duty:
    """Something done round after round; an error is logged, waited out and survived.

    One duty never stops another: each has a loop of its own. `failures` counts the rounds
    that failed in a row, so 0 means healthy.
    """

    def __init__(self, name: str, round_: Round, clock: Clock, outage: Backoff = OUTAGE) -> None:
        self.name: Final = name
        self.failures = 0
        self._round = round_
        self._clock = clock
        self._outage = outage

    async def run(self) -> None:
        """Do it until cancelled."""
        while True:
            try:
                wait = await self._round()
            except Exception as error:  # noqa: BLE001 - a duty outlives every error of a round
                wait = self._failed(error)
            else:
                self._succeeded()
            await asyncio.sleep(wait / SECOND)

    def _failed(self, error: Exception) -> Micros:
        self.failures += 1
        if not isinstance(error, StoreError):
            log.error("%s failed: it goes on", self.name, exc_info=error)
        elif self.failures == 1:
            log.warning("%s: %s; it is tried again until it works", self.name, error)
        return policy.backoff(self._outage, self.failures, self._clock.rng)

    def _succeeded(self) -> None:
        if self.failures:
            log.info("%s works again, after %d failures", self.name, self.failures)
            self.failures = 0
