"""Waiting for jobs to end: one poll for everybody who waits."""

import asyncio
import logging
from typing import Final

from backline.errors import JobNotFound, ResultTimeout, StoreUnavailable
from backline.job import JobId, JobRecord
from backline.queue.bell import Bell
from backline.states import TERMINAL
from backline.store import Store

log = logging.getLogger("backline.queue")

FIRST_POLL_S: Final = 0.02
LONGEST_POLL_S: Final = 0.25
READ_AT_ONCE: Final = 500


class Results:
    """Waits for jobs to end, for any number of callers; belongs to one event loop.

    The store's hints say when to look; without any it is polled, ever slower, down to four
    times a second. Looking never takes more than half of the time.
    """

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._waiting: dict[JobId, set[asyncio.Future[JobRecord | None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._pause = FIRST_POLL_S

    async def ended(self, job_id: JobId, timeout: float | None) -> JobRecord:
        """Wait until the job has ended.

        Raises ResultTimeout after `timeout` seconds, JobNotFound for a job that is unknown or
        was purged, StoreUnavailable if the store is away at the first look; later on the
        waiting goes on until it is back.
        """
        [record] = await self._store.get([job_id])
        if record is None:
            raise JobNotFound(job_id)
        if record.state in TERMINAL:
            return record
        try:
            async with asyncio.timeout(timeout):
                found = await self._wait(job_id)
        except TimeoutError:
            [record] = await self._store.get([job_id])
            if record is not None and record.state in TERMINAL:
                return record
            state = "unknown" if record is None else record.state.value
            raise ResultTimeout(job_id, timeout=timeout or 0.0, state=state) from None
        if found is None:
            raise JobNotFound(job_id)
        return found

    def abandon(self) -> None:
        """Give up: whoever still waits gets StoreUnavailable."""
        for job_id, waiting in self._waiting.items():
            for end in waiting:
                if not end.done():
                    end.set_exception(
                        StoreUnavailable(f"the store was closed while job {job_id} was awaited")
                    )
        if self._looking is not None:
            self._looking.cancel()

    async def close(self) -> None:
        """Give up: whoever still waits gets StoreUnavailable."""
        self.abandon()
        if self._looking is not None:
            await asyncio.wait([self._looking])

    async def _wait(self, job_id: JobId) -> JobRecord | None:
        loop = asyncio.get_running_loop()
        end: asyncio.Future[JobRecord | None] = loop.create_future()
        self._waiting.setdefault(job_id, set()).add(end)
        self._pause = FIRST_POLL_S
        if self._looking is None:
            self._looking = loop.create_task(self._look(), name="backline results")
        try:
            return await end
        finally:
            if waiting := self._waiting.get(job_id):
                waiting.discard(end)
                if not waiting:
                    del self._waiting[job_id]

    async def _look(self) -> None:
        try:
            heard = self._bell.rings
            while self._waiting:
                rung = await self._bell.wait(self._pause, heard)
                self._pause = FIRST_POLL_S if rung else min(2 * self._pause, LONGEST_POLL_S)
                heard = self._bell.rings
                began = asyncio.get_running_loop().time()
                await self._read()
                await asyncio.sleep(asyncio.get_running_loop().time() - began)
        finally:
            self._looking = None
            for waiting in self._waiting.values():
                for end in waiting:
                    end.cancel()

    async def _read(self) -> None:
        """Look at every job that is waited for, and tell those whose job has ended."""
        ids = list(self._waiting)
        for first in range(0, len(ids), READ_AT_ONCE):
            some = ids[first : first + READ_AT_ONCE]
            try:
                records = await self._store.get(some)
            except StoreUnavailable as error:
                log.warning("results are late: %s", error)
                return
            for job_id, record in zip(some, records, strict=True):
                if record is None or record.state in TERMINAL:
                    self._tell(job_id, record)

    def _tell(self, job_id: JobId, record: JobRecord | None) -> None:
        for end in self._waiting.pop(job_id, ()):
            if not end.done():
                end.set_result(record)
