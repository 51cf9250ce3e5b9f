"""A store that writes down what it committed, in the order in which it did."""

from collections.abc import Sequence

from backline.clock import Clock
from backline.job import Ack, Acked, Enqueued, JobId, Lease, Micros, Refused, WorkerName
from backline.store import Call, Cancelling, Demand, Exchange, QueueStats, Store
from backline.testing.simulation.history import History, Note, What
from backline.testing.wrapper import StoreWrapper


class ObservedStore(StoreWrapper):
    """Writes every commit that changes a job to `history`, and every snapshot of counts.

    Only for a store whose calls do not overlap: then the order of its returns is the order
    of its commits. Stands right before the store; whatever loses replies stands before it.
    """

    def __init__(self, store: Store, history: History, clock: Clock) -> None:
        super().__init__(store)
        self._history = history
        self._clock = clock
        self._seen: dict[JobId, bool] = {}
        self._leased: dict[tuple[JobId, int], WorkerName] = {}

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = await self._store.enqueue(calls)
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Refused):
                self._history.record(
                    What.FULL,
                    "store",
                    queue=answer.queue,
                    depth=answer.depth,
                    max_depth=answer.max_depth,
                    jobs=len(call),
                )
                continue
            for job, one in zip(call, answer, strict=True):
                self._enqueued(job.id, one)
        await self.stats()
        return answers

    async def exchange(
        self,
        worker: WorkerName,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
    ) -> Exchange:
        reply = await self._store.exchange(worker, call, acks, demand, ttl)
        for ack, answer in zip(acks, reply.acks, strict=True):
            self._acked(worker, ack, answer)
        until = self._clock.tick() + ttl
        for lease in reply.jobs:
            token = (lease.id, lease.attempt)
            if self._leased.get(token) != worker:  # or it is the answer to a repeated call
                self._leased[token] = worker
                self._history.record(
                    What.LEASED, worker, *token, until=until, lane=lease.lane.value
                )
        return reply

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        answers = await self._store.extend(leases, ttl)
        until = self._clock.tick() + ttl
        for lease, ok in zip(leases, answers, strict=True):
            self._history.record(
                What.EXTENDED, "store", lease.id, lease.attempt, ok=ok, until=until if ok else None
            )
        return answers

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        answers = await self._store.cancel(ids)
        for job, answer in zip(ids, answers, strict=True):
            self._history.record(What.CANCEL, "store", job, answer=answer.value)
        return answers

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        answers = await self._store.redrive(ids)
        for job, done in zip(ids, answers, strict=True):
            self._history.record(What.REDRIVEN, "store", job, done=done)
        return answers

    async def stats(self) -> list[QueueStats]:
        snapshot = await self._store.stats()
        for queue in snapshot:
            note: Note = {
                "queue": queue.queue,
                "depth": queue.depth,
                "max_depth": queue.max_depth,
                "purged": queue.purged,
            }
            note.update((state.value, count) for state, count in queue.counts.items())
            self._history.note(What.COUNTS, "store", note)
        return snapshot

    def _enqueued(self, job: JobId, answer: Enqueued) -> None:
        if answer.id != job or not answer.added:
            self._history.record(
                What.TAKEN, "store", job, holder=answer.id, conflict=answer.conflict
            )
        elif job not in self._seen:  # or it is the answer to a repeated call
            self._seen[job] = True
            self._history.record(What.ADDED, "store", job)

    def _acked(self, worker: WorkerName, ack: Ack, answer: Acked) -> None:
        self._history.record(
            What.ACKED,
            worker,
            ack.id,
            ack.attempt,
            answer=answer.value,
            state=ack.state.value,
            delay=ack.delay,
            charge=ack.charge.value,
            kind=None if ack.error is None else ack.error.kind,
            if_overdue=ack.if_overdue,
        )
