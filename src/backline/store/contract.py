"""The contract between Backline and where its jobs live.

A store makes things atomic and holds no opinion: what to retry, when, and who is to blame
is decided by `policy` and arrives as plain data. Every method takes and returns sequences:
results are in input order, one per item. Every method may be repeated after
`StoreUnavailable`, which means that the call may or may not have been applied.

**Time.** Two clocks, both the store's (an embedded store's are its `Clock`'s): wall time
for due times, expiry and retention; ticks, which never step, for leases. A store whose
ticks restarted (another boot) treats every older lease as over.

**Errors.** Any method may raise StoreUnavailable (StoreFull: nothing was applied) and, when
repeating does not help, StoreRefused or SchemaMismatch; `enqueue` refuses jobs that it could
not give back (EnqueueError). A job, worker or queue that is not known is an answer and no
error. A limit or a demand below 1 asks for nothing; a lease whose `ttl` is not positive is over
at once.

**Order.** Within a (queue, lane): priority from high to low, then due time, then order of
enqueue; best effort between callers that lease at the same moment. With `ageing`, of the first
jobs of the priorities the one that has waited longest, where each priority counts as that time.

**Fairness.** The first job with a `fair_key` makes its queue fair, for ever. From then on each job
that is added or moved there is one of its key, or of those without, and gets a turn when it becomes
ready (`backline.fairness`), which takes the place of its due time in the order. The turns of one
call are given at its end, and before an exchange leases, oldest due first. A job that is put back
goes first of its priority; one that is edited, retried or redriven gets a new turn.

**Limits.** A job whose time has come (at once, by `promote`, by a redrive, when its predecessor
ends) and that has `Limits` is ready if its key has a free slot and its rate lets it start; else
it waits, in the order of a queue, and what frees a slot or a permit lets it go on in the same
commit. Slots are given in order of arrival. It holds its slot while it is ready and running;
with one slot, through its retries too, and with `OnPoison.BLOCK` also while it is dead. It uses
up its permit when it is leased. `promote` lets those go on for whom time alone has done it. The
limits of a queue as a whole hold for leases alone: its jobs stay ready.

**Moves.** Whichever method moves a job checks `states.MOVES` and applies the effects of the
move in the same commit: the counts of the queue, the end of the job's hold on its unique
key, the count of its group, the release of the jobs that waited for it, its follow-ups. These
are enqueued after all else that the call moves (an exchange does it before it leases, too), in
the order in which their jobs were, whatever the depth of their queues; a unique key that is
taken holds one back.

Invariants, each the name of a test in `backline.testing.conformance`:

    I1  no accepted job is lost
    I2  only the holder of (id, attempt) acks, extends, reports progress or records a step
    I3  one unexpired lease per job; one recorded outcome per attempt
    I4  jobs are leased in order
    I5  repeating a call whose reply was lost neither loses nor doubles, neither leases twice
        nor strands
    I6  one result per input, in the same order
    I7  nothing starts before its time, by the store's clock
    I8  an enqueue never takes the depth above the limit by more than the calls in flight;
        retries and releases are never refused; draining works while full
    I9  a job that waits for others goes on exactly once, when all have ended, whatever
        crashes
    I10 never more leases for a key, or a queue, than its limit, nor more starts than its rate
        allows; who waits for such a limit goes on as soon as it lets them
    I11 the counts of a queue add up in every snapshot
    I12 a slot of a schedule makes one job, however many schedulers look at it; by who read the
        schedule before it was changed, paused or deleted, it makes none
    I13 an event makes one job a subscription, all in one commit, however often it is published
    I14 a follow-up is enqueued once for each end of its job in a state that it is on, by the
        commit that records this end; for no other, and never without it
    I15 a recorded step stays as it was recorded until its job is purged, whatever ends, redrives,
        edits or repeats the job: a later attempt finds it. An edit of the due time of a job that
        is asleep moves the end of its sleep, and of its wait
    I16 keys that always have jobs ready share their queue by their weights, whoever came first
        with however many: none is ahead by more than a job of each other; with `ageing` no
        job waits for ever behind higher priorities
    I17 a wait ends once: by the event of its name and key that is kept when it begins, else by
        the first that is published before its time is over, else without one; and stays as it
        ended. The commit that publishes the event wakes the job: no wake-up is lost
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from backline.job import (
    Ack,
    Enqueued,
    HeldLease,
    JobId,
    JobRecord,
    Lease,
    Micros,
    Progress,
    Refused,
    Step,
    StepRecord,
    WorkerName,
)
from backline.store.fanout import FanoutStore
from backline.store.flows import FlowStore
from backline.store.schedules import ScheduleStore
from backline.store.values import (
    Call,
    Cancelling,
    Capabilities,
    Demand,
    Edit,
    Edited,
    Exchange,
    Filter,
    Hint,
    Page,
    QueueSettings,
    QueueStats,
    WorkerReport,
)


class Store(FanoutStore, FlowStore, ScheduleStore, Protocol):
    """Where jobs live. See the module's docstring for what holds of every method."""

    @property
    def url(self) -> str:
        """What opens the same store again, secrets and all: people are shown it
        `display.without_secrets`. That of a store which is not `between_processes` only names
        its kind.
        """
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Facts about this store; known once it is open."""
        ...

    async def open(self) -> None:
        """Connect. Repeated: nothing. Raises StoreRefused, SchemaMismatch, StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Finish what is under way and disconnect. Repeated: nothing."""
        ...

    async def migrate(self) -> int:
        """Bring the schema to this version and return its number; forward only.

        Safe from many processes at once. Embedded stores do it in `open`.
        """
        ...

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        """Add jobs; each call as a whole, or not at all when a queue of it is full.

        A call is refused when it would take a queue's depth above its `max_depth`. A job whose
        id is known already does not count, so a repeat is not refused for what it added
        itself (I5): it answers `added`, also for a day after the job was purged.

        Nor does one whose `idempotency_key` was given within `job.IDEMPOTENCY`: it adds
        nothing, and answers the job that was answered then, whatever became of that, with
        `mismatch` if the `fingerprint` is another one. A key is remembered in the commit that
        answers its job, be it by another that holds its unique key; one that is refused or in
        conflict leaves none.

        A job whose unique key is held by another does count; it adds nothing, or takes its
        place:

        - `skip`: answers the holder.
        - `raise`: answers the holder, with `conflict`. The rest of the call is added.
        - `replace`: a holder that is not running is cancelled and the new job added; if it
          never was, it stays readable for `job.REPLACED_KEEP` at most, and what the new job's
          `max_wait` counts from is handed on to it. A running holder is left alone: the new
          job is added as `waiting`, becomes ready (or scheduled) in the commit that ends the
          holder, and holds the key from now on. Who takes its place waits for the same job;
          if it ends before, the key goes back, for as long as the running holder would have
          had it.

        A job with `after` is added as `waiting` unless all its parents have ended. One whose
        parent ends otherwise than `on` asks for, or has, is cancelled in that commit: redrive
        of that parent lets it wait again. A parent that added nothing, because a key of it is
        taken, is stood in for by the job that was answered. What is added to a flow that was
        cancelled is cancelled at once.

        Two jobs of one batch never share an id, a unique key or an idempotency key: the
        caller sees to it.

        Raises UnknownParent for a parent that is not known, nor earlier in the same call (a
        purged one is for a day, its result is not): then nothing of the batch was written.
        Raises EnqueueError for a job with a field that could not be read back as what it is (a
        payload that is no JSON, a time beyond `job.FARTHEST`, a lone surrogate, ...): then
        nothing of the batch was written.
        """
        ...

    async def exchange(
        self,
        worker: WorkerName,
        call: int,
        acks: Sequence[Ack],
        demand: Demand,
        ttl: Micros,
    ) -> Exchange:
        """Record how runs ended and lease new jobs, in one commit: the hot path.

        `call` is the worker's running number: greater with every exchange that is no repeat.
        A worker has one exchange under way at a time; one that it gave up may still arrive,
        late, and then leases nothing. A repeat of the worker's last call (I5) answers
        the same jobs again, as far as they are still running, and leases no others. A job is
        leased at most `demand` times per (queue, lane), never from a paused queue, never for
        the first time past its `expires_at`, and its lease is over `ttl` from now. Each ack
        applies, or not, by itself.

        An ack to `ready` keeps the job's place in the order; one to `scheduled` gives it a
        new due time. `error` is added to the job's errors (the newest `MAX_ERRORS` stay).
        A stored row that cannot be read as a job goes dead as `malformed` and is not leased.
        An ack that applies records its `steps` as `record` does; one that is `asleep` takes the
        job out of the queue's depth until it is due, or ends. If a wait among its steps is over,
        as its event had come, such a job is due now.

        Acks that are answered are kept like an enqueue. Leases alone need not outlast those
        who hold them: a store that dies with all its workers, as with the power of their
        machine, may forget the newest.
        """
        ...

    async def held(self, worker: WorkerName) -> list[HeldLease]:
        """The leases `worker` holds, over or not. Reads only."""
        ...

    async def retire(self, worker: WorkerName) -> None:
        """From now on an exchange by this worker, also one under way, leases nothing.

        Its acks still count. Repeated, or of a name never heard: the same.
        """
        ...

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        """Let each lease last `ttl` from now.

        True: done. False: no longer held by this (id, attempt), and nothing was changed. A
        lease that is over but was not settled yet is extended: its holder was only slow.
        """
        ...

    async def overdue(self, limit: int) -> list[HeldLease]:
        """Leases that are over, the longest over first. Reads only; settle with `if_overdue`."""
        ...

    async def promote(self, limit: int) -> int:
        """Make jobs ready whose time has come, earliest first, and let those start whom their
        rate now lets; returns how many jobs and rates."""
        ...

    async def expire(self, limit: int) -> int:
        """Move jobs that are past their `expires_at` and not started to expired; how many."""
        ...

    async def sweep(self, limit: int) -> int:
        """Purge finished jobs past their `keep`, and forget what is no longer needed.

        Ids and unique keys are remembered for a day after the purge, so that a late repeat
        of an enqueue adds nothing; idempotency keys for their time, whatever was purged.
        Returns how many rows went, of jobs and of ids and idempotency keys forgotten.
        """
        ...

    async def cancel(self, ids: Sequence[JobId]) -> list[Cancelling]:
        """Cancel jobs: at once before they start, else by a request to their worker."""
        ...

    async def redrive(self, ids: Sequence[JobId]) -> list[bool]:
        """Make dead, cancelled and expired jobs ready now, their failures forgotten.

        So are result, expiry and a requested cancel; a suspect stays in the cells. True: this
        call did it. Refuses no job for a full queue. Takes the unique key back only if nobody
        else holds it now. Recorded steps stay: the job goes on where it was. Its next end has
        follow-ups again. The job no longer waits for anything. It is counted out of what ended
        in its group; jobs that were cancelled because it failed wait for it again (and theirs
        for them), unless another parent forbids it; those that went on stay as they are. Its
        flow is no longer cancelled.
        """
        ...

    async def purge(self, ids: Sequence[JobId]) -> list[bool]:
        """Purge finished jobs now, whatever their `keep`. True: this call did it."""
        ...

    async def edit(self, ids: Sequence[JobId], change: Edit) -> list[Edited]:
        """Change queue, priority or due time of jobs that are waiting, scheduled or ready.

        A running job is left alone, a retry that waits for its time is not. A new due time
        makes a job scheduled or, if that has come, ready; one that waits for another job goes
        on waiting, and is due then. The rest of a job stays: its place among those enqueued,
        its unique key, when it expires. A full queue refuses no job that is moved there.

        A repeat changes no more (I5), but a `delay` counts from the last one. Raises
        EnqueueError for a change that could not be read back as what it is.
        """
        ...

    async def progress(self, reports: Sequence[Progress]) -> list[bool]:
        """Record how far running jobs are. False: the lease was no longer held."""
        ...

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        """Record steps of running jobs. False: the lease was no longer held.

        The first record of a (job, name) stays: a repeat answers True and changes nothing, but
        that a wait which is `over` ends one that was not. A wait for an event that is kept (see
        `events`) is over at once, by that one.
        """
        ...

    async def steps(self, ids: Sequence[JobId]) -> list[list[StepRecord]]:
        """The recorded steps of each job, in the order they were recorded; none for a job that
        is unknown or purged. What is damaged is answered as it stands. Reads only.
        """
        ...

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        """The jobs, None for those unknown or purged."""
        ...

    async def find(
        self,
        where: Filter,
        *,
        limit: int,
        after: JobId | None = None,
        oldest_first: bool = False,
        payloads: bool = True,
    ) -> Page:
        """A page of jobs, newest id first (or oldest), that follow `after`.

        Ids are compared byte by byte: in the order of their times if they are UUIDv7.
        A page may hold fewer than `limit`, even none, and yet not be the last: only
        `Page.after` says so. Without `payloads` the jobs come as if they had no arguments, no
        result, no errors and no follow-ups, which are not read then: that is what may be large.
        """
        ...

    async def stats(self) -> list[QueueStats]:
        """Every queue that ever had a job or a setting, by name; costs nothing per job."""
        ...

    async def configure(self, settings: Sequence[QueueSettings], *, declared: bool = False) -> None:
        """Change settings of queues, making the queues if need be.

        `declared`: they stand in code. Each setting applies when it differs from the last
        one declared for that queue; in between an operator's edit stays.
        """
        ...

    async def report(self, workers: Sequence[WorkerReport], ttl: Micros) -> None:
        """Tell that these workers live; a report is forgotten `ttl` after its last repeat."""
        ...

    async def workers(self) -> list[WorkerReport]:
        """The workers whose reports are not forgotten, by name."""
        ...

    def watch(
        self, hints: Collection[Hint], wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Call `wake` on the running loop, while inside, when something of `hints` happened.

        Calls may be lost, repeated or merged: polling stays the truth.
        """
        ...
