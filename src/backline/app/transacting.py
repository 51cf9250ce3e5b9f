"""Taking part in callers' transactions, for an app and its tasks."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from msgspec import Raw

from backline.clock import Clock
from backline.errors import ConfigError
from backline.fanout import Publication
from backline.job import Enqueued, JobId, JobRequest
from backline.outbox import (
    IsolatedOutboxes,
    Outbox,
    Outboxes,
    Relay,
    Writer,
    relaying,
    sqlite_path,
)
from backline.queue.admission import Distinct, distinct
from backline.store import Store
from backline.task import Completion, DoneStep, Job, JobClient


class Transacting:
    """Writes jobs, events and completions where the caller's transaction is. Implements
    `task.Transactions`.
    """

    def __init__(self, clock: Clock, client: JobClient) -> None:
        self.outboxes = Outboxes(clock)
        self._writer: Writer = self.outboxes
        self._clock = clock
        self._client = client

    def declare(self, url: str, store_url: str) -> Outbox:
        """Add an outbox. Raises ConfigError for what is no database of the caller's."""
        outbox = Outbox(url)
        if store_url.startswith("sqlite:") and outbox.holds(str(sqlite_path(store_url))):
            raise ConfigError(
                f"{outbox.path} is the store's own file, which only Backline may open: keep your "
                "tables in another one"
            )
        return self.outboxes.declare(outbox)

    @property
    def is_isolated(self) -> bool:
        """Whether the outboxes are out of reach."""
        return self._writer is not self.outboxes

    @contextmanager
    def isolated(self, clock: Clock) -> Iterator[None]:
        """Neither write to the outboxes nor relay them while inside; go by `clock`."""
        outside = self._writer, self._clock
        self._writer = inside = IsolatedOutboxes(clock, self.outboxes)
        self._clock = clock
        try:
            yield
        finally:
            self._writer, self._clock = outside
            inside.remove()

    def relaying(self, store: Store) -> AbstractAsyncContextManager[None]:
        """Relay to a store that is open on the running loop, while inside."""
        return relaying(self._writer.relayed(), store, self._clock)

    async def relay_all(self, store: Store) -> int:
        """Relay what is committed now; returns how many rows that were. Raises StoreError."""
        moved = 0
        for outbox in self._writer.relayed():
            relay = Relay(outbox, store, self._clock)
            try:
                moved += await relay.move_all()
            finally:
                await relay.close()
        return moved

    def write(self, requests: Sequence[JobRequest], within: object) -> list[Job[Any]]:
        """Write jobs in the caller's transaction; they are enqueued when it commits."""
        alone = _untied(distinct(requests))
        self._writer.write(alone.requests, within)
        return self._handles(alone.answers(_written(alone.requests), requests), requests)

    async def awrite(self, requests: Sequence[JobRequest], within: object) -> list[Job[Any]]:
        """The same; `within` may be async too."""
        alone = _untied(distinct(requests))
        await self._writer.awrite(alone.requests, within)
        return self._handles(alone.answers(_written(alone.requests), requests), requests)

    def publish(self, event: Publication, within: object) -> None:
        """Write an event in the caller's transaction; it is published when it commits."""
        self._writer.publish(event, within)

    async def apublish(self, event: Publication, within: object) -> None:
        """The same; `within` may be async too."""
        await self._writer.apublish(event, within)

    def complete(self, job_id: JobId, attempt: int, result: Raw | None, within: object) -> None:
        """Write that the job has completed. Raises AlreadyCompleted."""
        self._writer.complete(job_id, attempt, result, within)

    async def acomplete(
        self, job_id: JobId, attempt: int, result: Raw | None, within: object
    ) -> None:
        """The same; `within` may be async too."""
        await self._writer.acomplete(job_id, attempt, result, within)

    async def recorded(
        self, job_id: JobId, attempt: int, step: str, within: object
    ) -> DoneStep | None:
        """What a step returned that an earlier attempt did in a caller's transaction."""
        return await self._writer.recorded(job_id, attempt, step, within)

    async def record(
        self, job_id: JobId, attempt: int, step: str, value: Raw | None, within: object
    ) -> None:
        """Record a step in the caller's transaction."""
        await self._writer.record(job_id, attempt, step, value, within)

    def completion(self, job_id: JobId) -> Completion | None:
        """The completion of the job that a caller's transaction committed. Raises StoreError."""
        return self._writer.completion(job_id)

    def _handles(
        self, answers: Sequence[Enqueued], requests: Sequence[JobRequest]
    ) -> list[Job[Any]]:
        pairs = zip(answers, requests, strict=True)
        return [
            Job(answer.id, request.task, self._client, added=answer.added)
            for answer, request in pairs
        ]


def _written(requests: Sequence[JobRequest]) -> list[Enqueued]:
    return [Enqueued(request.id) for request in requests]


def _untied(call: Distinct) -> Distinct:
    """Relays move rows one by one. Raises ConfigError for jobs that must go in together."""
    if any(request.after or request.group_id for request in call.requests):
        raise ConfigError(
            "jobs that wait for others (after=, previous) cannot be enqueued with within=: enqueue "
            "one job in the transaction, and the flow in its task"
        )
    return call
