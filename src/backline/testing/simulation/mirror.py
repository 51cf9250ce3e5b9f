"""The reference model beside a store: what each commit should have answered."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from backline.clock import Clock
from backline.fanout import Publication, Published
from backline.job import (
    Ack,
    Acked,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    Lane,
    Lease,
    Micros,
    Refused,
    Step,
    StepRecord,
    WorkerName,
)
from backline.states import QUEUED, State
from backline.store import (
    Call,
    Cancelling,
    Demand,
    Edit,
    Edited,
    Exchange,
    QueueSettings,
    QueueStats,
)
from backline.testing.kept import COMPARED, Kept
from backline.testing.model import Model
from backline.testing.simulation.history import History, What

_COUNTS: Final = ("purged", "cells", "asleep")


class Mirror:
    """Does to a `Model` what was just done to the store, and compares the answers.

    Called right after each commit, at the same virtual moment. The first difference goes to
    the history; after it the two have parted, and nothing is compared any more.
    """

    def __init__(self, history: History, clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._model = Model()
        self._parted = False
        self._published: set[str] = set()
        """Ids of events: none is forgotten in a simulation."""

    def enqueue(self, calls: Sequence[Call], answers: Sequence[list[Enqueued] | Refused]) -> None:
        model = self._at_this_moment()
        self._compare("enqueue", [_plain(each) for each in answers], model.enqueue(calls))

    def exchange(
        self,
        asked: tuple[WorkerName, int, Sequence[Ack], Demand, Micros],
        reply: Exchange,
        expired: Collection[JobId],
    ) -> None:
        """`expired`: see `Model.exchange`."""
        worker, call, acks, demand, _ = asked
        model = self._at_this_moment()
        repeated = model.calls.get(worker, (None,))[0] == call
        acked, granted, next_in = model.exchange(*asked, expired)
        for ack, ours, theirs in zip(acks, reply.acks, acked, strict=True):
            kept = model.jobs.get(ack.id)
            # Of a job that was purged, a store may no longer know who settled it.
            if ours is Acked.APPLIED or kept is None or not kept.purged:
                self._compare(f"ack of {ack.id}", ours, theirs)
        by_line: dict[tuple[str, Lane], list[tuple[JobId, int]]] = {line: [] for line in demand}
        for job in reply.jobs:
            by_line.setdefault((job.queue, job.lane), []).append((job.id, job.attempt))
        given = [token for line in by_line.values() for token in line]
        if repeated:  # answered in any order
            given, granted = sorted(given), sorted(granted)
        self._compare(f"leases of {worker}", given, granted)
        self._compare(f"next_in for {worker}", reply.next_in, next_in)

    def retire(self, worker: WorkerName) -> None:
        self._model.retired.add(worker)

    def extend(self, leases: Sequence[Lease], ttl: Micros, answers: Sequence[bool]) -> None:
        self._compare("extend", list(answers), self._at_this_moment().extend(leases, ttl))

    def record(self, steps: Sequence[Step], answers: Sequence[bool]) -> None:
        self._compare("record", list(answers), self._at_this_moment().record(steps))

    def steps(self, ids: Sequence[JobId], answers: Sequence[list[StepRecord]]) -> None:
        self._compare(f"steps of {ids}", list(answers), self._at_this_moment().steps(ids))

    def publish(self, events: Sequence[Publication], answers: Sequence[Published]) -> None:
        model = self._at_this_moment()
        new = [each for each in events if each.id not in self._published]
        self._published.update(each.id for each in new)
        model.hear(new)
        added = [each in new for each in events]
        self._compare("publish", [answer.added for answer in answers], added)

    def held(self, worker: WorkerName, answer: Sequence[HeldLease]) -> None:
        running = self._in(State.RUNNING)
        theirs = {_held(job) for job in running if job.worker == worker}
        ours = {(each.id, each.attempt, each.until, each.cancel) for each in answer}
        self._compare(f"held by {worker}", ours, theirs)

    def overdue(self, answer: Sequence[HeldLease]) -> None:
        theirs = self._at_this_moment().overdue()
        self._compare("overdue", sorted(each.id for each in answer), sorted(theirs))

    def promote(self, count: int) -> None:
        self._compare("promote", count, self._at_this_moment().promote())

    def expire(self, count: int) -> None:
        self._compare("expire", count, self._at_this_moment().expire())

    def sweep(self) -> None:
        """What was purged, and what not, is compared wherever a job is looked at."""
        self._at_this_moment().sweep()

    def cancel(self, ids: Sequence[JobId], answers: Sequence[Cancelling]) -> None:
        self._compare("cancel", list(answers), self._at_this_moment().cancel(ids))

    def redrive(self, ids: Sequence[JobId], answers: Sequence[bool]) -> None:
        self._compare("redrive", list(answers), self._at_this_moment().redrive(ids))

    def purge(self, ids: Sequence[JobId], answers: Sequence[bool]) -> None:
        self._compare("purge", list(answers), self._at_this_moment().purge(ids))

    def edit(self, ids: Sequence[JobId], change: Edit, answers: Sequence[Edited]) -> None:
        self._compare("edit", list(answers), self._at_this_moment().edit(ids, change))

    def configure(self, settings: Sequence[QueueSettings]) -> None:
        for each in settings:
            self._model.queues.configure(each)

    def stats(self, answer: Sequence[QueueStats]) -> None:
        counts: Counter[tuple[str, State | str]] = Counter()
        for job in self._model.jobs.values():
            queue = job.queue
            counts[queue, "purged" if job.purged else job.state] += 1
            cell = job.state is State.READY and job.lane is Lane.CELL
            counts[queue, "cells"] += cell and not job.purged
            counts[queue, "asleep"] += job.asleep and not job.purged
        for ours in answer:
            queue = ours.queue
            states = {state: counts[queue, state] for state in State}
            theirs = (states, *(counts[queue, name] for name in _COUNTS))
            found = (ours.counts, *(getattr(ours, name) for name in _COUNTS))
            self._compare(f"stats of {queue}", found, theirs)
            limits = (ours.max_depth, self._model.queues.depths.get(queue))
            self._compare(f"limit of {queue}", *limits)

    def late(self) -> list[JobId]:
        """The jobs that a store may move to expired when it meets them."""
        model = self._at_this_moment()
        return [job.request.id for job in self._in(*QUEUED) if model.is_late(job)]

    def final(self, jobs: Mapping[JobId, JobRecord]) -> None:
        """Every job at the end, field by field."""
        theirs = {job.request.id: job for job in self._model.present()}
        self._compare("the jobs at the end", sorted(jobs), sorted(theirs))
        for job_id in sorted(jobs.keys() & theirs.keys()):
            record, kept = jobs[job_id], theirs[job_id]
            for name in COMPARED:
                self._compare(f"{name} of {job_id}", getattr(record, name), getattr(kept, name))

    def _in(self, *states: State) -> Iterable[Kept]:
        return [job for job in self._model.present() if job.state in states]

    def _at_this_moment(self) -> Model:
        self._model.now, self._model.tick = self._clock.now(), self._clock.tick()
        return self._model

    def _compare(self, what: str, ours: object, theirs: object) -> None:
        if ours != theirs and not self._parted:
            self._parted = True
            self._history.record(
                What.DIFFERS, "store", call=what, answer=_text(ours), expected=_text(theirs)
            )


def _plain(answer: list[Enqueued] | Refused) -> list[Enqueued] | Refused:
    """Without the rate, which the model does not know."""
    if isinstance(answer, list):
        return answer
    return Refused(answer.queue, answer.depth, answer.max_depth, 0.0)


def _held(job: Kept) -> tuple[JobId, int, Micros, bool]:
    return job.request.id, job.attempt, job.until, job.cancel


def _text(value: object) -> str:
    """The same in every process, for sets too."""
    return str(sorted(value) if isinstance(value, set) else value)
