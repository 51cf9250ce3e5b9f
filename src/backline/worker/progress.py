"""Progress on its way to the store: throttled, newest wins, never in a job's way."""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from backline.clock import call_in
from backline.errors import StoreError
from backline.job import JobId, Progress
from backline.store import Store

log = logging.getLogger("backline.worker")

_INTERVAL: Final = 0.25


class ProgressSender:
    """Sends what running jobs report, at most four times a second for all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: dict[JobId, Progress] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self._loop = None

    def send(self, progress: Progress) -> None:
        """Send soon; replaces what the same job reported and was not sent yet. Any thread."""
        self._latest[progress.id] = progress
        loop, sending = self._loop, self._sending
        if loop is not None and (sending is None or sending.done()):
            call_in(loop, self._start)

    def _start(self) -> None:
        if self._loop is not None and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(self._send(), name="backline progress")
            self._sending.add_done_callback(self._ended)

    def _ended(self, sending: asyncio.Task[None]) -> None:
        """A thread may have reported after the last look, while this was not done yet."""
        if self._latest and not sending.cancelled():
            self._start()

    async def _send(self) -> None:
        while self._latest:
            try:
                await self._store.progress(self._take())
            except StoreError as error:  # the next report says it better than a repeat
                log.debug("progress was not recorded: %s", error)
            except Exception:
                log.exception("progress was not recorded")
            await asyncio.sleep(_INTERVAL)

    def _take(self) -> list[Progress]:
        """What is to be sent; one by one, for threads add to it meanwhile."""
        latest = self._latest
        return [latest.popitem()[1] for _ in range(len(latest))]
