"""The contract of a store in a hundred lines: slow, plain, and what every store is held to.

Calls take and answer what the store's do, short of what is only looked at. A job is the
`Kept` of its id; it stays after its purge, because ids and keys are remembered. The caller
moves `now` and `tick`. Ids are known for ever here: do not repeat an enqueue a day after.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from backline import limits
from backline.job import (
    IDEMPOTENCY,
    REPLACED_KEEP,
    Ack,
    Acked,
    Enqueued,
    JobId,
    JobRequest,
    Lease,
    Micros,
    OnConflict,
    Pacing,
    Refused,
    Step,
    StepRecord,
)
from backline.states import QUEUED, TERMINAL, State
from backline.store import Call, Cancelling, Demand, Edit, Edited, QueueSettings
from backline.testing.kept import Holding, Kept, Stand, asked
from backline.testing.limits_model import LimitsModel


@dataclass
class Model:
    """A store without a store."""

    now: Micros = 0
    tick: Micros = 0
    jobs: dict[JobId, Kept] = field(default_factory=dict)
    keys: dict[str, Holding] = field(default_factory=dict)
    given: dict[str, tuple[JobId, bytes, Micros]] = field(default_factory=dict)
    """What idempotency keys stand for: the job that was answered, what was asked, until when."""
    limits: dict[str, int | None] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    calls: dict[str, tuple[int, list[tuple[JobId, int]]]] = field(default_factory=dict)
    queues: dict[str, QueueSettings] = field(default_factory=dict)
    """What was said last of the concurrency and the rate of each."""
    arrivals: dict[str, Micros] = field(default_factory=dict)
    ended: list[Kept] = field(default_factory=list)
    """The jobs that ended in this call."""

    def __post_init__(self) -> None:
        self.within = LimitsModel(self.present)

    def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = [self._refusal(call) or [self.add(job) for job in call] for call in calls]
        self._follow()
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
        self._follow()
        late = [job for job in self._in(*QUEUED) if self.is_late(job)]
        self._move_all(State.EXPIRED, [job for job in late if job.request.id in expired])
        last, granted = self.calls.get(worker, (-1, []))
        if worker in self.retired or call < last:
            granted = []
        elif call == last:
            granted = [(i, n) for i, n in granted if self.runs(i, n)]
        else:
            granted = [(j.id, self.jobs[j.id].attempt) for j in self._lease(worker, demand, ttl)]
            self.calls[worker] = (call, granted)
        self._follow()
        return acked, granted, self._next_in(demand)

    def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        ours = [self.runs(lease.id, lease.attempt) for lease in leases]
        for lease, mine in zip(leases, ours, strict=True):
            if mine:
                self.jobs[lease.id].until = self.tick + ttl
        return ours

    def record(self, steps: Sequence[Step]) -> list[bool]:
        ours = [self.runs(step.id, step.attempt) for step in steps]
        self._keep([step for step, mine in zip(steps, ours, strict=True) if mine])
        return ours

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
        return len(due) + self.within.permit(self.tick)

    def expire(self) -> int:
        count = self._move_all(State.EXPIRED, [j for j in self._in(*QUEUED) if self.is_late(j)])
        self._follow()
        return count

    def sweep(self) -> None:
        for job in self._in(*TERMINAL):
            job.purged = (job.purge_at or 0) <= self.now
        self.within.go_on(self.tick)

    def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        answers = [self._cancel(self._present(job_id)) for job_id in ids]
        self._follow()
        return answers

    def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        return [self._redrive(self._present(job_id)) for job_id in ids]

    def purge(self, ids: Sequence[JobId]) -> list[bool]:
        jobs = [self._present(job_id) for job_id in ids]
        for job in jobs:
            if job is not None:
                job.purged = job.state in TERMINAL
        self.within.go_on(self.tick)
        return [job is not None and job.purged for job in jobs]

    def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        jobs = [self._present(job_id) for job_id in ids]
        queued = {id(job): job for job in jobs if job is not None and job.state in QUEUED}
        moves = change.queue is not UNSET
        asking: list[JobId] = []
        if moves or change.due(self.now) is not None:
            asking = [job.request.id for job in queued.values() if self._let_go(job, moves=moves)]
        for job in queued.values():
            self._edit(job, change, asks=job.request.id in asking)
        return [Edited.UNKNOWN if job is None else job.edited for job in jobs]

    def configure(self, settings: QueueSettings) -> None:
        if isinstance(settings.max_depth, int | None):
            self.limits[settings.queue] = settings.max_depth
        if settings.paused is True:
            self.paused.add(settings.queue)
        if settings.paused is False:
            self.paused.discard(settings.queue)
        self.queues[settings.queue] = settings

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

    def _refusal(self, call: Call) -> Refused | None:
        for job in call:
            limit = self.limits.get(job.queue)
            queued = (kept for kept in self._in(*QUEUED) if not kept.asleep)
            depth = sum(kept.queue == job.queue for kept in queued)
            new = (not self._repeat(other) for other in call if other.queue == job.queue)
            more = sum(new)
            if limit is not None and more and depth + more > limit:
                return Refused(job.queue, depth, limit, 0.0)
        return None

    def _repeat(self, request: JobRequest) -> Enqueued | None:
        """The answer for what was settled before."""
        if request.id in self.jobs:
            return Enqueued(request.id)
        job, before, until = self.given.get(request.idempotency_key or "", ("", b"", 0))
        return Enqueued(job, False, mismatch=before != asked(request)) if until > self.now else None

    def add(self, request: JobRequest) -> Enqueued:
        """Add a job whatever the depth of its queue."""
        answer = self._repeat(request)
        if answer is None:
            answer = self._add(request)
            if request.idempotency_key is not None and not answer.conflict:
                until = self.now + IDEMPOTENCY
                self.given[request.idempotency_key] = (answer.id, asked(request), until)
        return answer

    def _add(self, request: JobRequest) -> Enqueued:
        held = self.keys.get(request.unique_key or "")
        if held and held.holder.state in TERMINAL and held.until <= self.now:
            held = None
        if held and request.on_conflict is not OnConflict.REPLACE:
            return Enqueued(
                held.holder.request.id,
                added=False,
                conflict=request.on_conflict is OnConflict.RAISE,
            )
        due = self.now + request.delay if request.run_at is None else request.run_at
        expires = request.expires_at
        if expires is None and request.expires_in is not None:
            expires = self.now + request.expires_in
        job = Kept(request, len(self.jobs), self.now, due, expires, request.lane)
        self.jobs[request.id] = job
        job.state = State.SCHEDULED
        if request.unique_key is not None:
            self._take_key(request.unique_key, held, job)
        if job.state is State.SCHEDULED:
            self._set_free(job)
        return Enqueued(request.id)

    def _follow(self) -> None:
        """What follows the jobs that ended in this call, whatever the queues hold."""
        while self.ended:
            ended, self.ended = sorted(self.ended, key=lambda job: job.seq), []
            for job in ended:
                for request in job.followers():
                    self.add(request)

    def _take_key(self, key: str, held: Holding | None, job: Kept) -> None:
        self.keys[key] = mine = Holding(job, until=job.window_end, since=self.now)
        if held is not None:
            mine.predecessor = held.predecessor
            if held.holder.state is State.RUNNING:
                mine.predecessor = held.holder
            elif held.holder.state in QUEUED and held.holder.attempt:
                self._move(held.holder, State.CANCELLED)
            elif held.holder.state in QUEUED:
                keep = min(held.holder.request.terms.keep, REPLACED_KEEP)
                self._move(held.holder, State.CANCELLED, keep)
                mine.since = min(held.since, self.now)
        if job.request.max_wait is not None:
            job.due = min(job.due, max(mine.since + job.request.max_wait, self.now))
        if mine.predecessor is not None:
            job.state = State.WAITING

    def _set_free(self, job: Kept) -> None:
        if job.due > self.now:
            job.state = State.SCHEDULED
        else:
            self.within.come(job, self.tick)

    def _move_all(self, target: State, jobs: Sequence[Kept]) -> int:
        for job in jobs:
            self._move(job, target)
        return len(jobs)

    def _move(self, job: Kept, target: State, keep: Micros | None = None) -> None:
        job.asleep = False
        if target is State.READY:
            self.within.come(job, self.tick)
            return
        job.state = target
        self.within.moved(job, self.tick)
        if target not in TERMINAL:
            return
        if keep is None:
            keep = job.request.terms.keep_for(target)
        job.finished_at, job.purge_at = self.now, self.now + keep
        self.ended.append(job)
        for held in self.keys.values():
            if held.predecessor is job:
                held.predecessor = None
                self._set_free(held.holder)
            elif held.holder is job and held.predecessor is not None:
                held.holder, held.predecessor = held.predecessor, None
                held.until = held.holder.window_end

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
        self._keep(ack.steps)
        return Acked.APPLIED

    def _keep(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.jobs[step.id].keep_step(step, self.now)

    def _lease(self, worker: str, demand: Demand, ttl: Micros) -> list[JobRequest]:
        leased: list[Kept] = []
        ready = [job for job in self._in(State.READY) if not self.is_late(job)]
        for (queue, lane), count in demand.items():
            if queue in self.paused:
                continue
            mine = [job for job in ready if (job.queue, job.lane) == (queue, lane)]
            found = sorted(mine, key=lambda job: job.order)[: max(0, min(count, self._room(queue)))]
            for job in found:
                job.state, job.worker, job.started_at = State.RUNNING, worker, self.now
                job.attempt, job.until = job.attempt + 1, self.tick + ttl
            leased += found
            if found:
                self._started(queue, len(found))
        for job in leased:
            self.within.started(job, self.tick)
        return [job.request for job in leased]

    def _room(self, queue: str) -> int:
        """How many jobs may start by the limits of the queue itself."""
        said, room = self.queues.get(queue), len(self.jobs)
        if said is not None and isinstance(said.concurrency, int):
            running = sum(job.queue == queue for job in self._in(State.RUNNING))
            room = min(room, said.concurrency - running)
        if said is not None and isinstance(said.pacing, Pacing):
            arrival = self.arrivals.get(queue, 0)
            room = min(room, limits.startable(said.pacing, arrival, self.tick))
        return room

    def _started(self, queue: str, count: int) -> None:
        said = self.queues.get(queue)
        if said is not None and isinstance(said.pacing, Pacing):
            arrival = self.arrivals.get(queue, 0)
            self.arrivals[queue] = limits.started(said.pacing, arrival, self.tick, count)

    def _next_in(self, demand: Demand) -> Micros | None:
        """How long until a job of theirs is due, or may start by a rate."""
        queues = {queue for queue, _ in demand}
        dues = [job.due for job in self._in(State.SCHEDULED) if job.queue in queues]
        waits = [due - self.now for due in dues]
        waits += [tick - self.tick for tick in self.within.opens(queues)]
        for (queue, lane), wanted in demand.items():
            said, arrival = self.queues.get(queue), self.arrivals.get(queue, 0)
            if said is None or not isinstance(said.pacing, Pacing):
                continue
            ready = [job for job in self._in(State.READY) if wanted > 0]
            held = any((job.queue, job.lane) == (queue, lane) for job in ready)
            opens = limits.opens_at(said.pacing, arrival, 1)
            if held and opens and not limits.startable(said.pacing, arrival, self.tick):
                waits.append(opens - self.tick)
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
        job.begin_anew(self.now)
        key = job.request.unique_key
        if key is not None:
            held = self.keys.get(key)
            free = held is None or (held.holder.state in TERMINAL and held.until <= self.now)
            if free or (held is not None and held.holder is job):
                self.keys[key] = Holding(job, until=job.window_end, since=self.now)
        self.within.come(job, self.tick)
        return True

    def _let_go(self, job: Kept, *, moves: bool) -> bool:
        """Give back what it holds within its limits; whether it was ready, or waited for more."""
        stand = job.stand
        asks = job.state is not State.SCHEDULED and bool(stand.gate or stand.pace)
        if asks or moves:
            job.stand = Stand()
            self.within.go_on(self.tick, set() if stand.pace is None else {stand.pace})
        return asks

    def _edit(self, job: Kept, change: Edit, *, asks: bool) -> None:
        job.change(change, self.now)
        if asks or (change.due(self.now) is not None and job.state is not State.WAITING):
            self._set_free(job)
        job.asleep = job.asleep and job.state is State.SCHEDULED
