"""The contract of a store in a hundred lines: slow, plain, and what every store is held to.

Calls take and answer what the store's do, short of what is only looked at. A job is the
`Kept` of its id; it stays after its purge, because ids and keys are remembered. The caller
moves `now` and `tick`. Ids are known for ever here: do not repeat an enqueue a day after.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from msgspec import UNSET

from backline.fanout import Publication
from backline.job import (
    REPLACED_KEEP,
    Ack,
    Acked,
    Enqueued,
    JobId,
    JobRequest,
    Lease,
    Micros,
    OnConflict,
    Refused,
    Step,
    StepRecord,
)
from backline.states import QUEUED, TERMINAL, State
from backline.store import Call, Cancelling, Demand, Edit, Edited
from backline.testing.fairness_model import FairnessModel
from backline.testing.flows_model import FlowsModel
from backline.testing.kept import Kept
from backline.testing.keys_model import KeysModel
from backline.testing.known_model import KnownModel
from backline.testing.limits_model import LimitsModel
from backline.testing.queues_model import QueuesModel
from backline.testing.waits_model import WaitsModel


@dataclass
class Model:
    """A store without a store."""

    now: Micros = 0
    tick: Micros = 0
    jobs: dict[JobId, Kept] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)
    calls: dict[str, tuple[int, list[tuple[JobId, int]]]] = field(default_factory=dict)
    ended: list[Kept] = field(default_factory=list)
    """The jobs that ended in this call."""

    def __post_init__(self) -> None:
        self.within = LimitsModel(self.present)
        self.flows = FlowsModel(self.jobs)
        self.keys = KeysModel()
        self.known = KnownModel(self.jobs)
        self.queues = QueuesModel(self.present)
        self.waits = WaitsModel(self.jobs)
        self.shares = FairnessModel(self.present, self.queues)

    def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        new = partial(self.known.is_new, now=self.now)
        answers = [self.queues.refusal(call, new) or self._add_call(call) for call in calls]
        self._close()
        return answers

    def exchange(
        self,
        worker: str,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
        expired: Collection[JobId] = (),
    ) -> tuple[list[Acked], list[tuple[JobId, int]], Micros | None]:
        """`expired`: the jobs past their `expires_at` that this store moved on meeting them."""
        acked = [self._ack(worker, ack) for ack in acks]
        self._park([ack for ack, each in zip(acks, acked, strict=True) if each is Acked.APPLIED])
        self._settle()
        self._follow()
        self._expire([job for job in self._late() if job.request.id in expired])
        self.shares.settle()
        last, granted = self.calls.get(worker, (-1, []))
        if worker in self.retired or call < last:
            granted = []
        elif call == last:
            granted = [(i, n) for i, n in granted if self.runs(i, n)]
        else:
            granted = [(j.id, self.jobs[j.id].attempt) for j in self._lease(worker, demand, ttl)]
            self.calls[worker] = (call, granted)
        self._close()
        return acked, granted, self._next_in(demand)

    def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        ours = [self.runs(lease.id, lease.attempt) for lease in leases]
        for lease, mine in zip(leases, ours, strict=True):
            if mine:
                self.jobs[lease.id].until = self.tick + ttl
        return ours

    def record(self, steps: Sequence[Step]) -> list[bool]:
        ours = [self.runs(step.id, step.attempt) for step in steps]
        for step, mine in zip(steps, ours, strict=True):
            if mine:
                self.waits.record(step, self.now)
        return ours

    def hear(self, events: Iterable[Publication]) -> None:
        """These events are new."""
        self._wake(
            WaitsModel.asleep(
                [job for each in events for job in self.waits.publish(each, self.now)]
            )
        )

    def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        found = [self._present(job_id) for job_id in ids]
        return [[] if job is None else job.step_records(self.now) for job in found]

    def overdue(self) -> list[JobId]:
        over = [job for job in self._in(State.RUNNING) if job.until <= self.tick]
        return [job.request.id for job in sorted(over, key=lambda job: job.until)]

    def promote(self) -> int:
        due = [job for job in self._in(State.SCHEDULED) if job.due <= self.now]
        for job in sorted(due, key=lambda job: job.order):
            job.asleep = False
            self.within.come(job, self.tick)
        paces = self.within.permit(self.tick)
        self.shares.settle()
        return len(due) + paces

    def expire(self) -> int:
        late = self._late()
        self._expire(late)
        self._close()
        return len(late)

    def sweep(self) -> None:
        for job in self._in(*TERMINAL):
            job.purged = (job.purge_at or 0) <= self.now
        self.within.go_on(self.tick)
        self.shares.settle()

    def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        answers = [self._cancel(self._present(job_id)) for job_id in ids]
        self._settle()
        self._close()
        return answers

    def cancel_flow(self, flow: JobId) -> int:
        wanted = self.flows.halt(flow)
        for job in wanted:
            self._cancel(job)
        self._settle()
        self._close()
        return len(wanted)

    def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        answers = [self._redrive(self._present(job_id)) for job_id in ids]
        self._revive()
        self.shares.settle()
        return answers

    def purge(self, ids: Sequence[JobId]) -> list[bool]:
        jobs = [self._present(job_id) for job_id in ids]
        for job in jobs:
            if job is not None:
                job.purged = job.state in TERMINAL
        self.within.go_on(self.tick)
        self.shares.settle()
        return [job is not None and job.purged for job in jobs]

    def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        jobs = [self._present(job_id) for job_id in ids]
        queued = {id(job): job for job in jobs if job is not None and job.state in QUEUED}
        moves = change.queue is not UNSET
        asking: list[JobId] = []
        if moves or change.due(self.now) is not None:
            asking = self.within.let_all_go(queued.values(), self.tick, moves=moves)
        for job in queued.values():
            self._edit(job, change, asks=job.request.id in asking)
        if moves:
            self.shares.belong(queued.values())
        self.shares.settle()
        return [Edited.UNKNOWN if job is None else job.edited for job in jobs]

    def present(self) -> Iterable[Kept]:
        """Every job that was not purged."""
        return [job for job in self.jobs.values() if not job.purged]

    def _in(self, *states: State) -> list[Kept]:
        return [job for job in self.jobs.values() if job.state in states and not job.purged]

    def _present(self, job_id: JobId) -> Kept | None:
        job = self.jobs.get(job_id)
        return None if job is None or job.purged else job

    def runs(self, job_id: JobId, attempt: int) -> bool:
        """Whether this attempt runs now."""
        job = self._present(job_id)
        return job is not None and job.state is State.RUNNING and job.attempt == attempt

    def is_late(self, job: Kept) -> bool:
        """It was not started before it was to expire."""
        return job.expires_at is not None and job.expires_at <= self.now and not job.attempt

    def _late(self) -> list[Kept]:
        return [job for job in self._in(*QUEUED) if self.is_late(job)]

    def _expire(self, late: Iterable[Kept]) -> None:
        for job in late:
            self._move(job, State.EXPIRED)
        self._settle()

    def add(self, request: JobRequest) -> Enqueued:
        """Add a job whatever the depth of its queue."""
        return self._add_call([request])[0]

    def _add_call(self, call: Call) -> list[Enqueued]:
        answers: dict[JobId, Enqueued] = {}
        for request in call:
            self.flows.make_group(request)
            answers[request.id] = self._answer(request, answers)
        for job in self._in(*QUEUED):
            if self.flows.is_halted(job):
                self._move(job, State.CANCELLED)
        self._settle()
        return list(answers.values())

    def _settle(self) -> None:
        """Let all that wait for others go on, or cancel them, as those have ended: first who
        waits for what has ended by now, then who waits for those that this cancels."""
        while moving := [job for job in self._in(State.WAITING) if not self._is_held(job)]:
            for job in moving:
                self._go_on(job)

    def _is_held(self, job: Kept) -> bool:
        """It has still to wait."""
        if not job.waits_for_others:
            return True
        if self.flows.is_forbidden(job):
            return False
        return self.keys.is_successor(job) or self.flows.is_open(job)

    def _go_on(self, job: Kept) -> None:
        if self.flows.is_forbidden(job):
            job.stopped = True
            self._move(job, State.CANCELLED)
        else:
            self._set_free(job)

    def _revive(self) -> None:
        """Let those wait again that were cancelled for what now lives again."""
        revived = True
        while revived:
            revived = False
            for job in self._in(State.CANCELLED):
                if job.stopped and not self.flows.is_forbidden(job):
                    revived = True
                    self._start_over(job)
                    job.state = State.WAITING

    def _answer(self, request: JobRequest, answers: Mapping[JobId, Enqueued]) -> Enqueued:
        answer = self.known.repeat(request, self.now)
        if answer is None:
            answer = self._add(request, answers)
            self.known.remember(request, answer, self.now)
        return answer

    def _add(self, request: JobRequest, answers: Mapping[JobId, Enqueued]) -> Enqueued:
        held = self.keys.held(request.unique_key, self.now)
        if held and request.on_conflict is not OnConflict.REPLACE:
            return Enqueued(
                held.holder.request.id,
                added=False,
                conflict=request.on_conflict is OnConflict.RAISE,
            )
        self.jobs[request.id] = job = Kept.made(request, len(self.jobs), self.now)
        job.state = State.SCHEDULED
        self.shares.belong([job])
        self.keys.take(job, held, self.now)
        if held is not None:
            self._replace(held.holder)
        self.flows.tie(job, answers)
        if job.parents:
            job.state = State.WAITING
        if job.state is State.SCHEDULED:
            self._set_free(job)
        return Enqueued(request.id)

    def _close(self) -> None:
        self._follow()
        self.shares.settle()

    def _follow(self) -> None:
        """What follows the jobs that ended in this call, whatever the queues hold."""
        while self.ended:
            ended, self.ended = sorted(self.ended, key=lambda job: job.seq), []
            self._add_call([request for job in ended for request in job.followers()])

    def _replace(self, holder: Kept) -> None:
        if holder.state not in QUEUED:
            return
        keep = holder.request.terms.keep
        self._move(holder, State.CANCELLED, keep if holder.attempt else min(keep, REPLACED_KEEP))

    def _set_free(self, job: Kept) -> None:
        if job.due > self.now:
            job.state = State.SCHEDULED
        else:
            self.within.come(job, self.tick)

    def _move(self, job: Kept, target: State, keep: Micros | None = None) -> None:
        job.asleep = False
        if target is State.READY:
            self.within.come(job, self.tick)
            return
        job.state = target
        if target in TERMINAL:
            if keep is None:
                keep = job.request.terms.keep_for(target)
            job.finished_at, job.purge_at = self.now, self.now + keep
            self.ended.append(job)
            for successor in self.keys.give_back(job):
                if not self._is_held(successor):
                    self._go_on(successor)
        self.within.moved(job, self.tick)

    def _ack(self, worker: str, ack: Ack) -> Acked:
        job = self.jobs.get(ack.id)
        if job is None or job.attempt != ack.attempt:
            return Acked.LOST
        if job.state is not State.RUNNING:
            return Acked.ALREADY if job.worker == worker else Acked.LOST
        if ack.if_overdue and job.until > self.tick:
            return Acked.LOST
        job.take(worker, ack)
        again = ack.state in (State.READY, State.SCHEDULED)
        if ack.state is State.SCHEDULED and not job.cancel:
            job.due = self.now + ack.delay
        self._move(job, State.CANCELLED if again and job.cancel else ack.state, ack.keep)
        job.asleep = ack.asleep and job in self._in(State.SCHEDULED)
        for step in ack.steps:
            self.waits.record(step, self.now)
        return Acked.APPLIED

    def _park(self, acks: Sequence[Ack]) -> None:
        self._wake(self.waits.parked(tuple(step for ack in acks for step in ack.steps)))

    def _wake(self, jobs: Iterable[Kept]) -> None:
        for job in jobs:
            job.due, job.asleep = self.now, False
            self.within.come(job, self.tick)

    def _lease(self, worker: str, demand: Demand, ttl: Micros) -> list[JobRequest]:
        start = partial(Kept.start, worker=worker, now=self.now, until=self.tick + ttl)
        for job in (leased := self.shares.lease(self.is_late, demand, self.tick, start)):
            self.within.started(job, self.tick)
        return [job.request for job in leased]

    def _next_in(self, demand: Demand) -> Micros | None:
        """How long until a job of theirs is due, or may start by a rate."""
        queues = {queue for queue, _ in demand}
        waits = [job.due - self.now for job in self._in(State.SCHEDULED) if job.queue in queues]
        opens = self.within.opens(queues) + self.queues.opens(demand, self.tick)
        waits += [tick - self.tick for tick in opens]
        return max(0, min(waits)) if waits else None

    def _cancel(self, job: Kept | None) -> Cancelling:
        if job is None:
            return Cancelling.UNKNOWN
        if job.state in TERMINAL:
            return Cancelling.ENDED
        if job.state is State.RUNNING:
            job.cancel = True
            return Cancelling.REQUESTED
        self._move(job, State.CANCELLED)
        return Cancelling.CANCELLED

    def _redrive(self, job: Kept | None) -> bool:
        if job is None or job.state not in TERMINAL or job.state is State.SUCCEEDED:
            return False
        self._start_over(job)
        self.within.come(job, self.tick)
        return True

    def _start_over(self, job: Kept) -> None:
        job.begin_anew(self.now)
        job.stopped = False
        self.flows.resume(job)
        self.keys.take_back(job, self.now)

    def _edit(self, job: Kept, change: Edit, *, asks: bool) -> None:
        job.change(change, self.now)
        if asks or (change.due(self.now) is not None and job.state is not State.WAITING):
            self._set_free(job)
        job.asleep = job.asleep and job.state is State.SCHEDULED
