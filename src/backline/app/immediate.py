"""Running jobs where they are enqueued, for tests."""

import asyncio
from collections.abc import Iterable
from typing import Any

from backline.app.working import Parts, drain
from backline.context import JobContext, current_run
from backline.errors import JobSignal
from backline.job import JobId
from backline.store import Store
from backline.worker.execute import CallNext


class Immediate:
    """Works off a memory store after each enqueue, by the real worker and the real rules.

    What is due runs before the enqueue returns; what is scheduled, a retry's backoff
    included, stays scheduled. A job that a job enqueues runs beside it. With `raising`, what a
    job raised is raised by the enqueue, after it was recorded as ever.
    """

    def __init__(self, parts: Parts, *, raising: bool) -> None:
        self._parts = parts
        self._raising = raising
        self._turn = asyncio.Lock()
        self._raised: dict[JobId, Exception] = {}

    async def after(self, store: Store, ids: Iterable[JobId]) -> None:
        """Run what is due, and raise what the first of these jobs that failed raised."""
        running = current_run.get(None)
        if running is not None and running.busy:
            return  # within a job: whoever runs that one goes on to this one
        async with self._turn:
            await drain(self._parts, store, innermost=[self._note])
        for job_id in ids:
            error = self._raised.pop(job_id, None)
            if error is not None and self._raising:
                raise error

    async def _note(self, job: JobContext, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except JobSignal:
            raise
        except Exception as error:
            self._raised[job.id] = error
            raise
