"""A store that writes down what it committed, in the order in which it did."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from backline.clock import Clock
from backline.fanout import Publication, Published
from backline.follow_up import FOLLOWS
from backline.job import (
    Ack,
    Acked,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    JobRequest,
    Lease,
    Micros,
    OnConflict,
    Refused,
    Step,
    StepRecord,
    WorkerName,
)
from backline.states import TERMINAL, State
from backline.store import (
    Call,
    Cancelling,
    Demand,
    Edit,
    Edited,
    Exchange,
    Filter,
    QueueSettings,
    QueueStats,
    Store,
)
from backline.testing.simulation.history import History, Note, What
from backline.testing.simulation.mirror import Mirror
from backline.testing.simulation.plan import AFTER
from backline.testing.wrapper import StoreWrapper


class ObservedStore(StoreWrapper):
    """Writes every commit that changes a job to `history`, and every snapshot of counts.

    A move of which the answer says nothing (a job that expired, was replaced or purged) it
    finds by reading. Each answer is held against a `Mirror`.

    Only for a store whose calls do not overlap: then the order of its returns is the order
    of its commits. Stands right before the store; whatever loses replies stands before it.
    """

    def __init__(self, store: Store, history: History, clock: Clock) -> None:
        super().__init__(store)
        self.mirror = Mirror(history, clock)
        self._history = history
        self._clock = clock
        self._added: set[JobId] = set()
        self._known: dict[JobId, JobRequest] = {}
        """Those that are not known to have been purged."""
        self._open: dict[JobId, JobRequest] = {}
        """Those that are not known to have ended."""
        self._cancelling: set[JobId] = set()
        self._barred: dict[JobId, JobRequest] = {}
        """Those that were cancelled because of a parent."""
        self._leased: dict[tuple[JobId, int], WorkerName] = {}
        self._snapshot: list[QueueStats] = []
        self._counts: dict[str, Note] = {}
        self.follow_ups: dict[JobId, JobRequest] = {}
        """Those that were found."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = await self._store.enqueue(calls)
        self._history.record(What.BATCH, "store", calls=len(calls))
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
                self._enqueued(job, one)
        self.mirror.enqueue(calls, answers)
        await self._find_barred()
        await self._find_replaced([job for call in calls for job in call])
        await self._find_follow_ups()
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
        expired = await self._find_ended(self.mirror.late(), What.EXPIRED)
        await self._find_barred()
        if expired or any(ack.state in TERMINAL or ack.id in self._cancelling for ack in acks):
            await self._find_follow_ups()
        until = self._clock.tick() + ttl
        for lease in reply.jobs:
            token = (lease.id, lease.attempt)
            if self._leased.get(token) != worker:  # or it is the answer to a repeated call
                self._leased[token] = worker
                self._history.record(
                    What.LEASED, worker, *token, until=until, lane=lease.lane.value
                )
        self.mirror.exchange((worker, call, acks, demand, ttl), reply, expired)
        return reply

    async def retire(self, worker: WorkerName) -> None:
        await self._store.retire(worker)
        self.mirror.retire(worker)

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        answer = await self._store.held(worker)
        self.mirror.held(worker, answer)
        return answer

    async def overdue(self, limit: int) -> list[HeldLease]:
        answer = await self._store.overdue(limit)
        self.mirror.overdue(answer)
        return answer

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        answers = await self._store.extend(leases, ttl)
        until = self._clock.tick() + ttl
        for lease, ok in zip(leases, answers, strict=True):
            self._history.record(
                What.EXTENDED, "store", lease.id, lease.attempt, ok=ok, until=until if ok else None
            )
        self.mirror.extend(leases, ttl, answers)
        return answers

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        answers = await self._store.record(steps)
        for step, ok in zip(steps, answers, strict=True):
            self._history.record(
                What.RECORDED, "store", step.id, step.attempt, step=step.name, ok=ok
            )
        self.mirror.record(steps, answers)
        return answers

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        answers = await self._store.steps(ids)
        self.mirror.steps(ids, answers)
        return answers

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        answers = await self._store.publish(events)
        for event, answer in zip(events, answers, strict=True):
            self._history.record(
                What.TOLD, "store", key=event.key, event=event.id, added=answer.added
            )
        self.mirror.publish(events, answers)
        return answers

    async def promote(self, limit: int) -> int:
        count = await self._store.promote(limit)
        self.mirror.promote(count)
        return count

    async def expire(self, limit: int) -> int:
        count = await self._store.expire(limit)
        self.mirror.expire(count)
        if count:
            await self._find_ended(list(self._open), What.EXPIRED)
            await self._find_barred()
            await self._find_follow_ups()
        return count

    async def sweep(self, limit: int) -> int:
        count = await self._store.sweep(limit)
        self.mirror.sweep()
        if count:
            ids = list(self._known)
            for job, record in zip(ids, await self._store.get(ids), strict=True):
                if record is None:
                    self._purged(job, by="sweep")
        return count

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        answers = await self._store.cancel(ids)
        for job, answer in zip(ids, answers, strict=True):
            self._history.record(What.CANCEL, "store", job, answer=answer.value)
            if answer is Cancelling.CANCELLED:
                self._open.pop(job, None)
            elif answer is Cancelling.REQUESTED:
                self._cancelling.add(job)
        self.mirror.cancel(ids, answers)
        await self._find_barred()
        await self._find_follow_ups()
        return answers

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        answers = await self._store.redrive(ids)
        for job, done in zip(ids, answers, strict=True):
            self._history.record(What.REDRIVEN, "store", job, done=done)
            if done:
                self._open[job] = self._known[job]
                self._cancelling.discard(job)
                self._barred.pop(job, None)
        self.mirror.redrive(ids, answers)
        await self._find_barred()
        return answers

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        answers = await self._store.purge(ids)
        for job, done in zip(ids, answers, strict=True):
            if done:
                self._purged(job, by="operator")
        self.mirror.purge(ids, answers)
        return answers

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        answers = await self._store.edit(ids, change)
        queue = None if change.queue is UNSET else change.queue
        due = change.due(self._clock.now())
        for job, answer in zip(ids, answers, strict=True):
            self._history.record(
                What.EDITED, "store", job, answer=answer.value, queue=queue, due=due
            )
        self.mirror.edit(ids, change, answers)
        await self.stats()
        return answers

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        await self._store.configure(settings, declared=declared)
        self.mirror.configure(settings)
        for each in settings:
            if isinstance(each.paused, bool):
                self._history.record(What.SET, "store", queue=each.queue, paused=each.paused)

    async def stats(self) -> list[QueueStats]:
        snapshot = await self._store.stats()
        if snapshot == self._snapshot:
            return snapshot
        self._snapshot = snapshot
        for queue in snapshot:
            note: Note = {
                "queue": queue.queue,
                "depth": queue.depth,
                "max_depth": queue.max_depth,
                "purged": queue.purged,
            }
            note.update((state.value, count) for state, count in queue.counts.items())
            if self._counts.get(queue.queue) != note:
                self._counts[queue.queue] = note
                self._history.note(What.COUNTS, "store", note)
        self.mirror.stats(snapshot)
        return snapshot

    def _enqueued(self, request: JobRequest, answer: Enqueued) -> None:
        job = request.id
        if answer.id != job or not answer.added:
            self._history.record(
                What.TAKEN,
                "store",
                job,
                holder=answer.id,
                conflict=answer.conflict,
                mismatch=answer.mismatch,
            )
        elif job in self._added:
            self._history.record(What.AGAIN, "store", job)
        else:
            self._added.add(job)
            self._known[job] = self._open[job] = request
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
        if answer is Acked.APPLIED and (ack.state in TERMINAL or ack.id in self._cancelling):
            self._open.pop(ack.id, None)

    async def _find_replaced(self, added: Sequence[JobRequest]) -> None:
        keys = {job.unique_key for job in added if job.on_conflict is OnConflict.REPLACE}
        holders = [job for job, held in self._open.items() if held.unique_key in keys - {None}]
        await self._find_ended(holders, What.REPLACED)

    async def _find_barred(self) -> None:
        """The jobs that were cancelled, or wait again, because of a parent."""
        ids = [job for job, request in self._open.items() if request.after]
        for job in await self._find_ended(ids, What.BARRED):
            self._barred[job] = self._known[job]
        ids = list(self._barred)
        for job, record in zip(ids, await self._store.get(ids), strict=True):
            if record is None or record.state is not State.CANCELLED:
                request = self._barred.pop(job)
                if record is not None:
                    self._open[job] = request
                    self._history.record(What.REDRIVEN, "store", job, done=True)

    async def _find_ended(self, ids: Sequence[JobId], what: What) -> list[JobId]:
        """Of these, the jobs that ended without a word."""
        state = State.EXPIRED if what is What.EXPIRED else State.CANCELLED
        ended: list[JobId] = []
        if ids:
            for job, record in zip(ids, await self._store.get(ids), strict=True):
                if record is not None and record.state is state and job in self._open:
                    del self._open[job]
                    self._history.record(what, "store", job)
                    ended.append(job)
        return ended

    async def _find_follow_ups(self) -> None:
        """What the ends of jobs enqueued in this call."""
        page = await self._store.find(Filter(task=AFTER), limit=1_000, oldest_first=True)
        for record in page.jobs:
            if record.id not in self._added:
                request = _request_of(record)
                self._added.add(record.id)
                self.follow_ups[record.id] = request
                self._known[record.id] = self._open[record.id] = request
                told = msgspec.json.decode(record.payload)[0][0]["state"]
                self._history.record(
                    What.ADDED, "store", record.id, after=record.headers.get(FOLLOWS), told=told
                )

    def _purged(self, job: JobId, by: str) -> None:
        self._history.record(What.PURGED, "store", job, by=by)
        del self._known[job]
        self._open.pop(job, None)


def _request_of(record: JobRecord) -> JobRequest:
    """What a job must have been asked for as, that is looked at right after it was added."""
    return JobRequest(
        id=record.id,
        task=record.task,
        payload=record.payload,
        queue=record.queue,
        delay=record.due - record.enqueued_at,
        terms=record.terms,
    )
