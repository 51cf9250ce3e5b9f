"""Every planted bug is caught by the invariant that is there for it, within a few seeds.

A simulation that never fails is worth what it would have failed on. Each bug is one that
some real system has or had; most sit between the store and its recorder, some in our code.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from msgspec import UNSET, Raw
from msgspec.structs import replace

from backline import fairness, follow_up, limits, policy
from backline.batching import Batcher
from backline.clock import Clock
from backline.fanout import KeptEvent
from backline.follow_up import id_of
from backline.job import (
    HOUR,
    SECOND,
    Ack,
    AttemptError,
    Charge,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    JobRequest,
    Lease,
    Micros,
    OnConflict,
    Pacing,
    Refused,
    Step,
    WorkerName,
)
from backline.queue import Queue, admission
from backline.queue import queue as queue_module
from backline.reaper import Reaper
from backline.states import State
from backline.store import (
    Call,
    Cancelling,
    Demand,
    Edit,
    Edited,
    Exchange,
    QueueSettings,
    QueueStats,
    Store,
)
from backline.stores.memory import MemoryStore, flows, follow, store
from backline.stores.memory.firsts import Firsts
from backline.stores.memory.gates import Gates
from backline.stores.memory.ready import Ready
from backline.stores.memory.row import Row
from backline.stores.memory.table import Table
from backline.stores.sqlite import gates, waits
from backline.stores.sqlite.transaction import Transaction
from backline.supervisor import rundir, settlement
from backline.testing.simulation import simulate, world
from backline.testing.simulation.observed import ObservedStore
from backline.testing.simulation.plan import BOUNDED, HOSTS, MAIN, SMALL, Act, Blow, Plan
from backline.testing.simulation.run import OpenStore, as_drawn, in_memory, in_sqlite
from backline.testing.simulation.setting import MachineClock
from backline.testing.wrapper import StoreWrapper
from backline.worker.batches import BatchCalls, BatchRun
from backline.worker.board import Board, Phase
from backline.worker.heartbeat import Heartbeat
from backline.worker.loop import Worker
from backline.worker.run import Run

SEEDS: Final = 60
"""Within this many seeds every bug is caught."""


# Bugs of a store, or of whatever stands between a store and a worker.


class NoFence(StoreWrapper):
    """The ack names the job, not the lease (Oban, River)."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        records = await self._store.get([ack.id for ack in acks])
        loose = [
            ack if record is None else replace(ack, attempt=record.attempt)
            for ack, record in zip(acks, records, strict=True)
        ]
        return await self._store.exchange(worker, call, loose, demand, ttl)


class SplitClaim(StoreWrapper):
    """The job is handed out in one step and marked in another, which sometimes fails (RQ)."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._calls = 0

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        reply = await self._store.exchange(worker, call, acks, demand, ttl)
        self._calls += 1
        if self._calls % 10 == 0:
            undone = [policy.released(job) for job in reply.jobs]
            await self._store.exchange("nobody", self._calls, undone, {}, ttl)
        return reply


class EveryCallIsNew(StoreWrapper):
    """The repeat of a call whose reply was lost leases other jobs; the first are stranded."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._calls = 0

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        self._calls += 1
        return await self._store.exchange(worker, self._calls, acks, demand, ttl)


class DelaysForgotten(StoreWrapper):
    """A retry is ready after half of its time. (A sleep has its time on record.)"""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        hasty = [ack if ack.asleep else replace(ack, delay=ack.delay // 2) for ack in acks]
        return await self._store.exchange(worker, call, hasty, demand, ttl)


class CancelForgotten(StoreWrapper):
    """The cancel of a running job is kept nowhere (Celery's revoke)."""

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        answers = []
        for job, record in zip(ids, await self._store.get(ids), strict=True):
            if record is not None and record.state is State.RUNNING:
                answers.append(Cancelling.REQUESTED)
            else:
                answers += await self._store.cancel([job])
        return answers


class KeysForgotten(StoreWrapper):
    """A unique key is not held."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, unique_key=None) for job in call] for call in calls]
        )


class LimitIgnored(StoreWrapper):
    """A full queue takes the call all the same."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = await self._store.enqueue(calls)
        for index, answer in enumerate(answers):
            if isinstance(answer, Refused):
                limit = QueueSettings(queue=answer.queue, max_depth=None)
                await self._store.configure([limit])
                [answers[index]] = await self._store.enqueue([calls[index]])
                limit = QueueSettings(queue=answer.queue, max_depth=answer.max_depth)
                await self._store.configure([limit])
        return answers


class CountsDrift(StoreWrapper):
    """A counter is not part of the commit."""

    async def stats(self) -> list[QueueStats]:
        drifted = await self._store.stats()
        for queue in drifted:
            if queue.counts[State.DEAD]:
                queue.counts[State.READY] += 1
        return drifted


class ExtendsAnything(StoreWrapper):
    """The heartbeat is not fenced: it says that all is well."""

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        await self._store.extend(leases, ttl)
        return [True] * len(leases)


class DropsAJob(StoreWrapper):
    """A full disk that nobody noticed: one in a hundred enqueues is not written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._count = 0

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        self._count += 1
        if self._count % 25 == 0:
            return [[Enqueued(job.id) for job in call] for call in calls]
        return await self._store.enqueue(calls)


class WallTicks(MachineClock):
    """Leases are counted on the wall clock, which somebody sets forward."""

    def __init__(self, base: Any) -> None:
        super().__init__(base, "wall ticks", 0, 0)
        self._latest = 0

    def tick(self) -> Micros:
        self._latest = max(self._latest, self.now())
        return self._latest


def leases_by_the_wall(clock: Clock, folder: Path) -> Store:
    return MemoryStore(clock=WallTicks(clock))


class Hasty(MachineClock):
    """A clock that `PromotesEarly` sets forward."""

    lead: Micros = 0

    def now(self) -> Micros:
        return super().now() + self.lead


class PromotesEarly(StoreWrapper):
    """Due jobs are looked for with a margin."""

    def __init__(self, store: Store, clock: Hasty) -> None:
        super().__init__(store)
        self._clock = clock

    async def promote(self, limit: int) -> int:
        self._clock.lead = SECOND
        try:
            return await self._store.promote(limit)
        finally:
            self._clock.lead = 0


def promotes_early(clock: Any, folder: Path) -> Store:
    hasty = Hasty(clock, "hasty", 0, 0)
    return PromotesEarly(MemoryStore(clock=hasty), hasty)


def behind(wrapper: Callable[[Store], Store]) -> OpenStore:
    return lambda clock, folder: wrapper(MemoryStore(clock=clock))


class WindowsForgotten(StoreWrapper):
    """The end of a job frees its key, whatever its window."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, unique_for=0) for job in call] for call in calls]
        )


class SuccessorsDoNotWait(StoreWrapper):
    """A job that replaces another does not care whether that runs."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue([[_loose(job) for job in call] for call in calls])


def _loose(job: JobRequest) -> JobRequest:
    return replace(job, unique_key=None) if job.on_conflict is OnConflict.REPLACE else job


class LimitsForgotten(StoreWrapper):
    """What a job is limited to is lost on its way."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, limits=None) for job in call] for call in calls]
        )


def slots_are_taken_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job takes a slot, and the count of its key stays as it is."""
    monkeypatch.setattr(gates, "_take", lambda *_: None)


def slots_are_given_back_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends leaves the count of its key as it is."""
    monkeypatch.setattr(gates, "count_slots", lambda *_: None)


def slots_are_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends keeps its slot (RQ, Celery: a lock that outlives a crash)."""
    monkeypatch.setattr(Gates, "leave", lambda *_: [])


def pauses_save_up_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that counts from where it was, however long nothing started."""
    monkeypatch.setattr(limits, "started", _from_where_it_was)


def _from_where_it_was(pacing: Pacing, arrival: Micros, tick: Micros, count: int) -> Micros:
    del tick
    return arrival + count * pacing.interval


class MaxWaitForgotten(StoreWrapper):
    """A job that is replaced again and again is put off for ever."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, max_wait=None) for job in call] for call in calls]
        )


class IdempotencyEndsWithTheJob(StoreWrapper):
    """A key is kept with its job, and forgotten when that is over (arq, bullmq)."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue([[_while_it_lives(job) for job in call] for call in calls])


def _while_it_lives(job: JobRequest) -> JobRequest:
    if job.idempotency_key is None or job.unique_key is not None:
        return job
    return replace(
        job, unique_key=job.idempotency_key, idempotency_key=None, on_conflict=OnConflict.SKIP
    )


class AnyPayloadWillDo(StoreWrapper):
    """A key answers whatever is asked under it."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = await self._store.enqueue(calls)
        return [
            answer if isinstance(answer, Refused) else [replace(a, mismatch=False) for a in answer]
            for answer in answers
        ]


class ParentsForgotten(StoreWrapper):
    """Jobs that are to wait for others do not."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, after=()) for job in call] for call in calls]
        )


class ExpiryForgotten(StoreWrapper):
    """A job that nobody wants any more is run (Celery, without a worker that looks)."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        return await self._store.enqueue(
            [[replace(job, expires_in=None) for job in call] for call in calls]
        )


class PausesForgotten(StoreWrapper):
    """A pause is told to the workers, and the store does not know of it."""

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        await self._store.configure(
            [replace(each, paused=UNSET) for each in settings], declared=declared
        )


class SweepsEarly(StoreWrapper):
    """What has ended is thrown away by its own idea of time (RQ's default ttl)."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        short = [replace(ack, keep=ack.keep // 2) for ack in acks]
        return await self._store.exchange(worker, call, short, demand, ttl)


class PurgesTheLiving(StoreWrapper):
    """A purge deletes rows, whatever they are doing (SAQ, streaq)."""

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        await self._store.cancel(ids)
        return await self._store.purge(ids)


class LanesForgotten(StoreWrapper):
    """A suspect goes back among the others."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        same = [replace(ack, lane=None) for ack in acks]
        return await self._store.exchange(worker, call, same, demand, ttl)


class PurgedUncounted(StoreWrapper):
    """What was purged is in no sum."""

    async def stats(self) -> list[QueueStats]:
        return [replace(queue, purged=0) for queue in await self._store.stats()]


class MovesForgotten(StoreWrapper):
    """An operator is told that jobs were moved, and they stay in their queue."""

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        return await self._store.edit(ids, replace(change, queue=UNSET))


class PutsOffForHalf(StoreWrapper):
    """A job that is put off comes back too soon."""

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        hasty = UNSET if change.delay is UNSET else change.delay // 2
        return await self._store.edit(ids, replace(change, delay=hasty))


class TakesTheRunning(StoreWrapper):
    """An edit does not look whether a worker has the job."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._calls = 0

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        records = await self._store.get(ids)
        running = [job for job in records if job is not None and job.state is State.RUNNING]
        self._calls += 1
        taken = [Ack(job.id, job.attempt, State.READY) for job in running]
        await self._store.exchange("nobody", self._calls, taken, {}, HOUR)
        return await self._store.edit(ids, change)


def moves_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    edited = Transaction.edited

    def within_a_queue(self: Transaction, source: int, target: int, *rest: Any) -> None:
        if source == target:
            edited(self, source, target, *rest)

    patch.setattr(Transaction, "edited", within_a_queue)


class StepsForgotten(StoreWrapper):
    """Steps are kept in the worker's memory, and die with it."""

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        records = await self._store.get([step.id for step in steps])
        return [
            record is not None and (record.state, record.attempt) == (State.RUNNING, step.attempt)
            for record, step in zip(records, steps, strict=True)
        ]


class StepsOfOneAttempt(StoreWrapper):
    """A new attempt is told of no steps."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        reply = await self._store.exchange(worker, call, acks, demand, ttl)
        return replace(reply, jobs=[replace(job, steps=0) for job in reply.jobs])


class StepsWithoutFence(StoreWrapper):
    """A step names the job, not the lease."""

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        records = await self._store.get([step.id for step in steps])
        loose = [
            step if record is None else replace(step, attempt=record.attempt)
            for step, record in zip(steps, records, strict=True)
        ]
        return await self._store.record(loose)


class SleepersFillTheQueue(StoreWrapper):
    """A job that sleeps for weeks keeps its place in the depth."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        awake = [replace(ack, asleep=False) for ack in acks]
        return await self._store.exchange(worker, call, awake, demand, ttl)


def only_who_waits_already_hears(patch: pytest.MonkeyPatch) -> None:
    """The events that came before are not looked at when a job is parked: a lost wake-up."""
    patch.setattr(Firsts, "get", lambda self, place, now: None)


def nobody_looks_before_a_job_is_parked(patch: pytest.MonkeyPatch) -> None:
    assert "event.until > :now" in waits._ADD
    patch.setattr(waits, "_ADD", waits._ADD.replace("event.until > :now", "false"))


def events_wake_nobody(patch: pytest.MonkeyPatch) -> None:
    """What was heard is read when the time of the wait is over."""
    patch.setattr(store, "wake", lambda table, now, tick: table.firsts.heard.clear())


def the_last_event_counts(patch: pytest.MonkeyPatch) -> None:
    publish = Firsts.publish

    def overwrite(self: Firsts, event: KeptEvent, now: Micros) -> None:
        self._kept.pop((event.name, event.key), None)
        publish(self, event, now)

    patch.setattr(Firsts, "publish", overwrite)


class TenantsForgotten(StoreWrapper):
    """Nobody asks whose a job is: first come, first served."""

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        plain = [[replace(job, fair_key=None) for job in call] for call in calls]
        return await self._store.enqueue(plain)


def who_comes_back_catches_up(patch: pytest.MonkeyPatch) -> None:
    """The present turn is forgotten: who had nothing ready is owed all that others got."""
    turns = fairness.turns
    patch.setattr(
        fairness,
        "turns",
        lambda coming, first, *rest: turns(coming, first and fairness.FIRST, *rest),
    )


def all_jobs_have_tenants(plan: Plan) -> Plan:
    """One has most of the jobs, the others come and go beside it; jobs pile up."""
    tenants = cycle(["alice", "alice", "alice", "bob", "alice", "carol"])
    calls = tuple(
        dataclasses.replace(
            call,
            at=call.at // 8,
            jobs=tuple(
                replace(job, fair_key=next(tenants), limits=None, priority=0) for job in call.jobs
            ),
        )
        for call in plan.calls
    )
    return dataclasses.replace(plan, calls=calls)


def put_back_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """What a lost worker held goes last."""
    patch.setattr(fairness, "PUT_BACK", fairness.FARTHEST_TURN)


def unused_turns_are_owed(patch: pytest.MonkeyPatch) -> None:
    """Who cancels jobs waits as if they had run."""
    patch.setattr(Ready, "give_back", lambda *_: None)


# Bugs of the producing side.


def answers_go_to_others(patch: pytest.MonkeyPatch) -> None:
    answers = Batcher._answers

    async def turned(self: Any, items: Any) -> Any:
        found = await answers(self, items)
        return list(reversed(found)) if len(set(map(len, items))) == 1 else found

    patch.setattr(Batcher, "_answers", turned)


def callers_are_left_behind(patch: pytest.MonkeyPatch) -> None:
    settle = Batcher._settle

    async def first_only(self: Any, batch: Any) -> None:
        await settle(self, batch[:1])

    patch.setattr(Batcher, "_settle", first_only)


def a_retry_is_another_job(patch: pytest.MonkeyPatch) -> None:
    submit = Batcher.submit
    sent: set[str] = set()

    async def renamed(self: Any, call: Any) -> Any:
        again = [replace(job, id=f"{job.id[:-2]}ff") if job.id in sent else job for job in call]
        sent.update(job.id for job in call)
        return await submit(self, again)

    patch.setattr(Batcher, "submit", renamed)


def sheds_what_it_stored(patch: pytest.MonkeyPatch) -> None:
    admitted = Queue._admitted

    async def late(self: Queue, call: Any) -> Any:
        answer = await admitted(self, call)
        [stats] = [each for each in await self.store.stats() if each.queue == BOUNDED]
        return None if stats.depth == stats.max_depth else answer

    patch.setattr(Queue, "_admitted", late)


def conflicts_within_a_call_are_sent(patch: pytest.MonkeyPatch) -> None:
    def unsettled(call: Sequence[JobRequest]) -> admission.Distinct:
        return admission.Distinct(list(call), list(range(len(call))))

    patch.setattr(queue_module, "distinct", unsettled)


# Bugs of the supervisor.


def suspects_stay_among_the_others(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(policy, "LOSSES_TO_SUSPECT", 99)


def a_folder_is_taken_without_its_lock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rundir, "_try_lock", lambda path: os.open(path, os.O_RDONLY))


# Bugs of the worker, of those who look after it, and of the policy.


class AcksBeforeTheRun(ObservedStore):
    """A job is done once it is handed out (Huey, Sidekiq without its reliable fetch)."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        reply = await super().exchange(worker, 2 * call, acks, demand, ttl)
        done = [policy.succeeded(job, None) for job in reply.jobs]
        await super().exchange(worker, 2 * call + 1, done, {}, ttl)
        return reply


def acks_before_the_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world, "ObservedStore", AcksBeforeTheRun)


def the_reaper_does_not_look_again(patch: pytest.MonkeyPatch) -> None:
    ack = Reaper._ack
    patch.setattr(Reaper, "_ack", lambda self, lease: replace(ack(self, lease), if_overdue=False))


def nobody_extends(patch: pytest.MonkeyPatch) -> None:
    beat = Heartbeat.beat
    patch.setattr(Heartbeat, "beat", lambda self, **_: beat(self, extend=False))


def losses_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    lost = policy._lost
    patch.setattr(policy, "_lost", lambda *given: replace(lost(*given), charge=Charge.NONE))


def retries_at_once(patch: pytest.MonkeyPatch) -> None:
    failed = policy._failed
    patch.setattr(policy, "_failed", lambda *given: replace(failed(*given), delay=0))


def one_attempt_too_many(patch: pytest.MonkeyPatch) -> None:
    failed = policy._failed

    def lenient(lease: Lease, *rest: Any) -> Ack:
        terms = replace(lease.terms, max_attempts=lease.terms.max_attempts + 1)
        return failed(replace(lease, terms=terms), *rest)

    patch.setattr(policy, "_failed", lenient)


def unknown_tasks_die(patch: pytest.MonkeyPatch) -> None:
    error = AttemptError(1, "unknown", "no such task")

    def bury(lease: Lease) -> Ack:
        return Ack(lease.id, lease.attempt, State.DEAD, charge=Charge.FAILURE, error=error)

    patch.setattr(policy, "_put_back", bury)


def a_lost_child_counts_as_a_success(patch: pytest.MonkeyPatch) -> None:
    outcome = settlement._outcome

    def hopeful(lease: HeldLease, entry: Any, death: settlement.Death) -> policy.Outcome:
        if entry is not None and entry.phase is Phase.STARTED:
            return policy.Succeeded(Raw(b'"surely"'))
        return outcome(lease, entry, death)

    patch.setattr(settlement, "_outcome", hopeful)


def shutdown_drops_what_it_holds(patch: pytest.MonkeyPatch) -> None:
    give_back = Worker._give_back

    def forget(self: Worker) -> None:
        if self.stopping:
            self._held -= len(self._lines.take_back())
            self._held -= len(self._outcomes)
            self._outcomes.clear()
        give_back(self)

    patch.setattr(Worker, "_give_back", forget)


def a_batch_is_lost_by_its_first_job(patch: pytest.MonkeyPatch) -> None:
    """Only one job of a batch is on the board: the others seem not to have begun."""
    begin = BatchCalls._begin

    def begun(self: BatchCalls, batch: BatchRun) -> None:
        begin(self, batch)
        for run in list(batch.open)[1:]:
            self._setup.board.finish_other(run.slot)

    patch.setattr(BatchCalls, "_begin", begun)


def one_success_is_that_of_all(patch: pytest.MonkeyPatch) -> None:
    """A batch is acked as one (Celery's `Batches`, when the last message is acked)."""
    noted = BatchCalls._noted

    def all_noted(self: BatchCalls, batch: BatchRun, run: Run, item: Any) -> None:
        noted(self, batch, run, item)
        if item.error is None:
            for other in list(batch.open):
                self._give(other, policy.succeeded(other.lease, None))

    patch.setattr(BatchCalls, "_noted", all_noted)


def what_gathers_is_forgotten_at_the_end(patch: pytest.MonkeyPatch) -> None:
    give_back = Worker._give_back

    def forget(self: Worker) -> None:
        if self.stopping:
            self._held -= len(self._lines._gathering.take_back())
        give_back(self)

    patch.setattr(Worker, "_give_back", forget)


def nobody_reads_the_replies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Board, "any_reply", lambda self: False)


def time_limits_do_nothing(patch: pytest.MonkeyPatch) -> None:
    begin = Run.begin

    def for_ever(self: Run, now: Micros) -> Any:
        begun = begin(self, now)
        self.deadline += HOUR
        return begun

    patch.setattr(Run, "begin", for_ever)


def only_acks_have_follow_ups(patch: pytest.MonkeyPatch) -> None:
    """What follows a job hangs on its ack, so a job that never ran has no callback (Celery)."""
    end = Table._end

    def silent(self: Table, row: Any, *rest: Any) -> None:
        end(self, row, *rest)
        if row.attempt == 0 and row in self.ended:
            self.ended.remove(row)

    patch.setattr(Table, "_end", silent)


def every_ack_has_follow_ups(patch: pytest.MonkeyPatch) -> None:
    """A job that fails and is tried again calls back each time."""
    jobs_after = follow.jobs_after

    def hasty(record: JobRecord) -> list[JobRequest]:
        at = record.finished_at or record.due
        return jobs_after(
            replace(record, state=State.DEAD, finished_at=at, redrives=record.attempt)
        )

    settle = Table.move

    def move(self: Table, row: Any, target: State, now: Micros, tick: Micros, *rest: Any) -> None:
        ran = row.state is State.RUNNING
        settle(self, row, target, now, tick, *rest)
        if ran and target is State.SCHEDULED and row.request.follow_ups:
            self.ended.append(row)

    patch.setattr(follow, "jobs_after", hasty)
    patch.setattr(Table, "move", move)


def ends_after_a_redrive_are_silent(patch: pytest.MonkeyPatch) -> None:
    """The id of a callback comes from its job alone, so the second end adds nothing."""
    patch.setattr(follow_up, "id_of", lambda job, redrives, place, at: id_of(job, 0, place, 0))


def freezes_and_slow_reapers(plan: Plan) -> Plan:
    """A host freezes for a lease and wakes while who settles its leases stands still."""
    starts = [at * SECOND for at in range(3, 40, 8)]
    freezes = [Blow(at=start, act=Act.PAUSE_HOST, host=0, lasts=plan.lease) for start in starts]
    pauses = [
        Blow(
            at=start + plan.lease * 2 // 3,
            act=Act.PAUSE_AT,
            host=host,
            lasts=SECOND,
            point="exchange.before_commit",
        )
        for host in range(1, HOSTS)
        for start in starts
    ]
    return dataclasses.replace(plan, blows=(*pauses, *freezes))


def one_kills_whoever_runs_it(plan: Plan) -> Plan:
    """Among the jobs that run on the loop there is one that is poison."""
    jobs = [job.id for call in plan.calls for job in call.jobs if job.task == MAIN]
    poison = {job: dataclasses.replace(plan.behaviours[job], kills=99) for job in jobs[:1]}
    return dataclasses.replace(plan, behaviours={**plan.behaviours, **poison})


def the_first_parent_suffices(patch: pytest.MonkeyPatch) -> None:
    """A job goes on when one of its parents has ended."""
    waits = property(lambda ties: all(edge.ended is None for edge in ties.parents or [_OPEN]))
    patch.setattr(flows.Ties, "waits", waits)


_OPEN: Final[Any] = SimpleNamespace(ended=State.SUCCEEDED)


def only_what_ran_counts_in_its_group(patch: pytest.MonkeyPatch) -> None:
    """The end of a group hangs on acks (Celery's chords): who expires is waited for for ever."""
    touched = flows.Flows._touched

    def acked(self: flows.Flows, row: Row, now: Micros) -> list[flows.Edge]:
        return touched(self, row, now) if row.attempt else []

    patch.setattr(flows.Flows, "_touched", acked)


def each_attempt_counts_in_its_group(patch: pytest.MonkeyPatch) -> None:
    """A counter that is not idempotent (django-celery-results): a retried member counts twice, so
    that the group has ended too early, or never."""
    touched = flows.Flows._touched

    def counted(self: flows.Flows, row: Row, now: Micros) -> list[flows.Edge]:
        assert row.ties is not None
        if row.ties.group is not None:
            row.ties.group.ended += max(0, row.attempt - 1)
        return touched(self, row, now)

    patch.setattr(flows.Flows, "_touched", counted)


@dataclass(frozen=True)
class Bug:
    """`caught_by`: the invariants one of which must notice it."""

    name: str
    caught_by: tuple[str, ...]
    store: OpenStore = in_memory
    patch: Callable[[pytest.MonkeyPatch], None] | None = None
    shape: Callable[[Plan], Plan] = as_drawn


BUGS: Final = (
    Bug("no fence in acks", ("c4_fencing",), behind(NoFence)),
    Bug("split claim", ("c15_explained",), behind(SplitClaim)),
    Bug("lost replies not replayed", ("c1_no_loss",), behind(EveryCallIsNew)),
    Bug("delays forgotten", ("c13_not_early",), behind(DelaysForgotten)),
    Bug("cancel forgotten", ("c17_cancel",), behind(CancelForgotten)),
    Bug("unique key not held", ("c8_unique",), behind(KeysForgotten)),
    Bug("limit ignored", ("c18_backpressure",), behind(LimitIgnored)),
    Bug("counts drift", ("c11_sums",), behind(CountsDrift)),
    Bug("extends anything", ("c4_fencing",), behind(ExtendsAnything)),
    Bug("a job dropped", ("c1_no_loss",), behind(DropsAJob)),
    Bug("leases by the wall", ("c15_explained", "no_theft"), leases_by_the_wall),
    Bug("promotes early", ("c13_not_early",), promotes_early),
    Bug("ack before run", ("c3_one_outcome",), patch=acks_before_the_run),
    Bug(
        "reaper without if_overdue",
        ("no_theft",),
        patch=the_reaper_does_not_look_again,
        shape=freezes_and_slow_reapers,
    ),
    Bug("heartbeat not extending", ("c15_explained",), patch=nobody_extends),
    Bug("losses not counted", ("c5_attempts",), patch=losses_are_not_counted),
    Bug("retry delay ignored", ("c13_not_early",), patch=retries_at_once),
    Bug("one attempt too many", ("c5_attempts",), patch=one_attempt_too_many),
    Bug("unknown tasks die", ("c5_attempts",), patch=unknown_tasks_die),
    Bug("lost child a success", ("c3_one_outcome",), patch=a_lost_child_counts_as_a_success),
    Bug("shutdown drops jobs", ("clean_stop",), patch=shutdown_drops_what_it_holds),
    Bug("batch on the board by one", ("c5_attempts",), patch=a_batch_is_lost_by_its_first_job),
    Bug("batch acked as one", ("c3_one_outcome",), patch=one_success_is_that_of_all),
    Bug("gathered jobs dropped", ("clean_stop",), patch=what_gathers_is_forgotten_at_the_end),
    Bug("replies unread", ("c17_cancel",), patch=nobody_reads_the_replies),
    Bug("no time limits", ("time_limit",), patch=time_limits_do_nothing),
    Bug("windows forgotten", ("c8_unique",), behind(WindowsForgotten)),
    Bug("successors do not wait", ("c8_unique",), behind(SuccessorsDoNotWait)),
    Bug("limits forgotten", ("limits_hold",), behind(LimitsForgotten)),
    Bug("slots not given back", ("c1_no_loss",), patch=slots_are_not_given_back),
    Bug("taken uncounted", ("limits_hold",), in_sqlite, slots_are_taken_uncounted),
    Bug("given back uncounted", ("c1_no_loss",), in_sqlite, slots_are_given_back_uncounted),
    Bug("pauses save up starts", ("limits_hold",), patch=pauses_save_up_starts),
    Bug("max wait forgotten", ("as_the_model",), behind(MaxWaitForgotten)),
    Bug("keys end with jobs", ("c8_idempotent",), behind(IdempotencyEndsWithTheJob)),
    Bug("any payload will do", ("c8_idempotent",), behind(AnyPayloadWillDo)),
    Bug("expiry forgotten", ("time_to_live",), behind(ExpiryForgotten)),
    Bug("parents forgotten", ("i9_after_its_parents",), behind(ParentsForgotten)),
    Bug("first parent suffices", ("i9_after_its_parents",), patch=the_first_parent_suffices),
    Bug("cancelled uncounted", ("c1_no_loss",), patch=only_what_ran_counts_in_its_group),
    Bug(
        "retries counted",
        ("i9_after_its_parents", "c1_no_loss"),
        patch=each_attempt_counts_in_its_group,
    ),
    Bug("pauses forgotten", ("pauses_hold",), behind(PausesForgotten)),
    Bug("sweeps early", ("time_to_live",), behind(SweepsEarly)),
    Bug("purges the living", ("c1_no_loss",), behind(PurgesTheLiving)),
    Bug("lanes forgotten", ("as_the_model",), behind(LanesForgotten)),
    Bug("purged uncounted", ("c11_sums",), behind(PurgedUncounted)),
    Bug("moves forgotten", ("c11_sums",), behind(MovesForgotten)),
    Bug("puts off for half", ("c13_not_early",), behind(PutsOffForHalf)),
    Bug("moves uncounted", ("c11_sums",), in_sqlite, moves_are_not_counted),
    Bug("takes the running", ("as_the_model", "no_theft"), behind(TakesTheRunning)),
    Bug("answers go to others", ("answers_true", "c1_no_loss"), patch=answers_go_to_others),
    Bug("callers left behind", ("every_call_ends",), patch=callers_are_left_behind),
    Bug("a retry is another job", ("c2_no_invention",), patch=a_retry_is_another_job),
    Bug("sheds what it stored", ("c18_backpressure",), patch=sheds_what_it_stored),
    Bug("conflicts sent", ("answers_true",), patch=conflicts_within_a_call_are_sent),
    Bug(
        "suspects not isolated",
        ("c1_no_loss",),
        patch=suspects_stay_among_the_others,
        shape=one_kills_whoever_runs_it,
    ),
    Bug("steps forgotten", ("once_recorded_never_again",), behind(StepsForgotten)),
    Bug("steps of one attempt", ("once_recorded_never_again",), behind(StepsOfOneAttempt)),
    Bug("no fence in steps", ("as_the_model",), behind(StepsWithoutFence)),
    Bug("past events unheard", ("i17_waits_end_once",), patch=only_who_waits_already_hears),
    Bug(
        "past events unread",
        ("i17_waits_end_once",),
        in_sqlite,
        nobody_looks_before_a_job_is_parked,
    ),
    Bug("events wake nobody", ("as_the_model",), patch=events_wake_nobody),
    Bug("last event counts", ("i17_waits_end_once",), patch=the_last_event_counts),
    Bug("sleepers in the depth", ("as_the_model",), behind(SleepersFillTheQueue)),
    Bug("follow-ups of acks alone", ("follow_ups",), patch=only_acks_have_follow_ups),
    Bug("follow-ups of retries", ("follow_ups",), patch=every_ack_has_follow_ups),
    Bug("one follow-up for all ends", ("follow_ups",), patch=ends_after_a_redrive_are_silent),
    Bug(
        "tenants forgotten",
        ("as_the_model",),
        behind(TenantsForgotten),
        shape=all_jobs_have_tenants,
    ),
    Bug(
        "who comes back catches up",
        ("as_the_model",),
        patch=who_comes_back_catches_up,
        shape=all_jobs_have_tenants,
    ),
    Bug(
        "put back at the end",
        ("as_the_model",),
        in_sqlite,
        put_back_at_the_end,
        all_jobs_have_tenants,
    ),
    Bug(
        "unused turns are owed",
        ("as_the_model",),
        patch=unused_turns_are_owed,
        shape=all_jobs_have_tenants,
    ),
    Bug("locks ignored", ("no_theft",), patch=a_folder_is_taken_without_its_lock),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug.patch is not None:
        bug.patch(monkeypatch)
    noticed: set[str] = set()
    for seed in range(SEEDS):
        report = simulate(seed, SMALL, bug.store, bug.shape)
        noticed |= {violation.partition(":")[0] for violation in report.violations}
        if noticed & set(bug.caught_by):
            return
    pytest.fail(f"{SEEDS} seeds, and none of {bug.caught_by} noticed; only {sorted(noticed)}")


def test_a_failure_says_how_to_see_it_again() -> None:
    reports = (simulate(seed, SMALL, behind(KeysForgotten)) for seed in range(SEEDS))
    report = next(each for each in reports if each.violations)
    assert f"--seed {report.seed}" in str(report)
    again = simulate(report.seed, SMALL, behind(KeysForgotten))
    assert (again.violations, again.digest) == (report.violations, report.digest)


def test_without_a_bug_the_same_way_holds() -> None:
    for seed in range(5):
        assert not simulate(seed, SMALL, behind(StoreWrapper)).violations
        assert not simulate(seed, SMALL, in_memory, freezes_and_slow_reapers).violations
