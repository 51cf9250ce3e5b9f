"""Enqueueing over a store."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from backline import policy
from backline.batching import Batcher, claims
from backline.clock import Clock
from backline.errors import StoreError, StoreUnavailable
from backline.job import SECOND, Enqueued, JobId, JobRecord, JobRequest, Micros, Refused
from backline.outage import BRIEF, ride_out
from backline.queue.admission import (
    Distinct,
    OnFull,
    dispute,
    distinct,
    never_fits,
    queue_full,
)
from backline.queue.bell import Bell
from backline.queue.results import Results
from backline.store import Call, Cancelling, Hint, Store

MOST_JOBS: Final = 1_000
"""Jobs that share one commit, at most, unless one call has more."""
PATIENCE: Final[Micros] = 5 * SECOND
"""How long an enqueue rides out a store that is away."""


class Queue:
    """Enqueues jobs in a store and waits for them; belongs to one event loop.

    Concurrent calls share commits. `on_full` says for a queue's name what to do when it is
    full.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_full: Callable[[str], OnFull] = lambda _: OnFull.RAISE,
        shed: Counter[str] | None = None,
        *,
        patience: Micros = PATIENCE,
    ) -> None:
        self.store = store
        self.shed = Counter() if shed is None else shed
        """How many jobs were dropped by `on_full="shed"`, by queue."""
        self._clock = clock
        self._on_full = on_full
        self._patience = patience
        self._bell = Bell(store, [Hint.FINISHED])
        self._results = Results(store, self._bell, clock)
        self._batches = Batcher(
            store.enqueue, most=MOST_JOBS, weight=len, keys=claims, shared=(StoreError,)
        )

    async def enqueue(self, call: Sequence[JobRequest]) -> list[Enqueued] | None:
        """Add jobs, all or none; one answer per job, in order, once they are committed.

        None: a queue of the call was full and sheds. A job whose unique key was taken answers
        the holder's id, one whose idempotency key was given before that of the job then.
        Raises QueueFull, StoreError, and UniqueConflict or IdempotencyConflict, with which the
        rest of the call was added, unless the conflict was between two jobs of the call
        itself. A store that is away is asked again, with the same ids, for `patience`.
        """
        if not call:
            return []
        alone = distinct(call)
        answer = await self._admitted(alone)
        return None if answer is None else _told(alone, answer, call)

    async def offer(self, call: Sequence[JobRequest]) -> list[Enqueued] | Refused:
        """As `enqueue`, but Refused when a queue is full, whatever `on_full` says."""
        alone = distinct(call)
        answer = await self._send(alone.requests)
        return answer if isinstance(answer, Refused) else _told(alone, answer, call)

    async def fetch(self, job_id: JobId) -> JobRecord | None:
        """The job as it is now, None if unknown or purged."""
        [record] = await self.store.get([job_id])
        return record

    async def ended(self, job_id: JobId, timeout: float | None) -> JobRecord:
        """Wait until the job has ended. Raises ResultTimeout, JobNotFound."""
        return await self._results.ended(job_id, timeout)

    async def cancel(self, job_id: JobId) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        [done] = await self.store.cancel([job_id])
        return done

    async def redrive(self, job_id: JobId) -> bool:
        """Make a dead, cancelled or expired job ready again. True: this call did it."""
        [done] = await self.store.redrive([job_id])
        return done

    async def close(self) -> None:
        """Finish what is being enqueued; whoever waits for one gets StoreUnavailable."""
        await self._batches.idle()
        await self._results.close()
        await self._bell.close()

    def abandon(self) -> None:
        """Let go of the loop at once: whoever still waits gets StoreUnavailable."""
        self._results.abandon()
        self._bell.abandon()

    async def _admitted(self, call: Distinct) -> list[Enqueued] | None:
        """Send a call until it is taken, or is not to be."""
        refusals = 0
        while True:
            answer = await self._send(call.requests)
            if not isinstance(answer, Refused):
                return answer
            on_full = self._on_full(answer.queue)
            if on_full is OnFull.RAISE or never_fits(answer, call.requests):
                raise queue_full(answer, call.requests)
            if on_full is OnFull.SHED:
                self.shed[answer.queue] += len(call.requests)
                return None
            # Outside of any batch: whoever is admitted meanwhile does not wait for us. A
            # job that ended may have made room; that it was only begun is not hinted at.
            refusals += 1
            wait = policy.backoff(BRIEF, refusals, self._clock.rng)
            await self._bell.wait(wait / SECOND)

    async def _send(self, call: Call) -> list[Enqueued] | Refused:
        """Send a call; a store that is away is asked again for as long as patience lasts."""
        unsure = False

        async def once() -> list[Enqueued] | Refused:
            nonlocal unsure
            try:
                answer = await self._batches.submit(call)
                known = await self._known(call) if unsure and isinstance(answer, Refused) else None
            except StoreUnavailable:
                unsure = True
                raise
            return known or answer

        return await ride_out("enqueueing", self._clock, self._patience, once)

    async def _known(self, call: Call) -> list[Enqueued] | None:
        """The answer to a call that was refused after an earlier sending got no reply.

        If any of its jobs is known, that sending was applied, all of it, and the queue is
        full because of it: what is unknown then had its unique key taken.
        """
        records = await self.store.get([request.id for request in call])
        if not any(records):
            return None
        return [
            Enqueued(request.id, added=bool(r)) for request, r in zip(call, records, strict=True)
        ]


def _told(
    alone: Distinct, stored: Sequence[Enqueued], call: Sequence[JobRequest]
) -> list[Enqueued]:
    """The answers for a call that was added. Raises UniqueConflict, IdempotencyConflict."""
    for request, answer in zip(alone.requests, stored, strict=True):
        if not answer.added and (error := dispute(request, answer)) is not None:
            raise error
    return alone.answers(stored, call)
