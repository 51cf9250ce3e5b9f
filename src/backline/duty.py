"""Work that a process does for as long as it lives, whatever the store says."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from backline.clock import Clock
from backline.job import SECOND, Backoff, Micros
from backline.outage import SHORT, Outage

Round: TypeAlias = Callable[[], Awaitable[Micros]]
"""One round of a duty; returns how long to wait before the next."""


async def rung(bell: asyncio.Event, within: Micros) -> bool:
    """Whether somebody rang since this was last asked, or does so in time; the bell is still
    again."""
    # Not `wait_for`, which in Python 3.11 may swallow a cancel that comes with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within / SECOND):
            await bell.wait()
    was_rung = bell.is_set()
    bell.clear()
    return was_rung


class Duty:
    """Something done round after round; an error is logged, waited out and survived.

    One duty never stops another: each has a loop of its own. `failures` counts the rounds
    that failed in a row, so 0 means healthy.
    """

    def __init__(self, name: str, round_: Round, clock: Clock, rule: Backoff = SHORT) -> None:
        self.name: Final = name
        self._round = round_
        self._outage = Outage(name, clock, rule)

    @property
    def failures(self) -> int:
        """How many rounds failed in a row."""
        return self._outage.failures

    async def run(self) -> None:
        """Do it until cancelled."""
        while True:
            try:
                wait = await self._round()
            except Exception as error:  # noqa: BLE001 - a duty outlives every error of a round
                await self._outage.wait(error)
            else:
                self._outage.over()
                await asyncio.sleep(wait / SECOND)
