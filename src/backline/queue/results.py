"""Waiting for jobs to end: one poll for everybody who waits."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from backline.clock import Clock
from backline.errors import JobNotFound, ResultTimeout, StoreError, StoreUnavailable
from backline.job import JobId, JobRecord
from backline.outage import Outage
from backline.queue.bell import Bell
from backline.states import TERMINAL
from backline.store import Store

FIRST_POLL_S: Final = 0.02
LONGEST_POLL_S: Final = 0.25
READ_AT_ONCE: Final = 500


class Results:
    """Waits for jobs to end, for any number of callers; belongs to one event loop.

    The store's hints say when to look; without any it is polled, ever slower, down to four
    times a second. Looking never takes more than half of the time.
    """

    def __init__(self, store: Store, bell: Bell, clock: Clock) -> None:
        self._store = store
        self._bell = bell
        self._outage = Outage("waiting for results", clock)
        self._waiting: dict[JobId, set[asyncio.Future[JobRecord | None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._pause = FIRST_POLL_S

    async def ended(self, job_id: JobId, timeout: float | None) -> JobRecord:
        """Wait until the job has ended.

        Raises ResultTimeout after `timeout` seconds, JobNotFound for a job that is unknown or
        was purged, StoreUnavailable if the store is away at the first look; later on the
        waiting goes on until it is back, and whatever else it raises is raised.
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
            with suppress(StoreUnavailable):  # then what was seen before is what is known
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
                await self._read_all()
                await asyncio.sleep(asyncio.get_running_loop().time() - began)
        finally:
            self._looking = None
            for waiting in self._waiting.values():
                for end in waiting:
                    end.cancel()

    async def _read_all(self) -> None:
        """Look at every job that is waited for, and tell those whose job has ended."""
        ids = list(self._waiting)
        try:
            for first in range(0, len(ids), READ_AT_ONCE):
                await self._read(ids[first : first + READ_AT_ONCE])
        except StoreUnavailable as error:
            self._outage.failed(error)
        except StoreError as error:  # the store's own, and nobody knows when that is over
            for job_id in list(self._waiting):
                self._fail(job_id, error)
        else:
            self._outage.over()

    async def _read(self, ids: Sequence[JobId]) -> None:
        """Look at these jobs; an error that is not the store's is traced to its job by halving."""
        try:
            records = await self._store.get(ids)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised to those who wait for that job
            if len(ids) == 1:
                self._fail(ids[0], error)
                return
            half = len(ids) // 2
            await self._read(ids[:half])
            await self._read(ids[half:])
        else:
            for job_id, record in zip(ids, records, strict=True):
                if record is None or record.state in TERMINAL:
                    self._tell(job_id, record)

    def _fail(self, job_id: JobId, error: Exception) -> None:
        for end in self._waiting.pop(job_id, ()):
            if not end.done():
                end.set_exception(error)

    def _tell(self, job_id: JobId, record: JobRecord | None) -> None:
        for end in self._waiting.pop(job_id, ()):
            if not end.done():
                end.set_result(record)
