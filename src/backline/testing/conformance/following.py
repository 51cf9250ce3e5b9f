"""What the end of a job enqueues: once, in its commit, and for no other end."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from backline.clock import Clock
from backline.errors import EnqueueError
from backline.follow_up import FOLLOWS, Outcome
from backline.job import (
    HOUR,
    MINUTE,
    Acked,
    FollowUp,
    JobId,
    JobRecord,
    JobRequest,
    Limits,
    OnConflict,
    Refused,
)
from backline.parents import After
from backline.states import TERMINAL, State
from backline.store import Cancelling, Filter, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    add,
    done,
    failed,
    find_all,
    get,
    later,
    make_job,
    put_back,
    stats_of,
)

EVERY_END = tuple(sorted(TERMINAL))
AFTER = "after"
"""The queue of the follow-ups."""


def follow_up(
    on: tuple[State, ...] = EVERY_END, *, outcome: bool = True, **fields: Any
) -> FollowUp:
    """A job of the task `app.after` that follows some ends."""
    values: dict[str, Any] = {"id": "", "task": "app.after", "queue": AFTER}
    return FollowUp(on, JobRequest(**values | fields), outcome)


def followed(clock: Clock, *follow_ups: FollowUp, **fields: Any) -> JobRequest:
    """A job with follow-ups: one on every end, if none is given."""
    return make_job(clock, follow_ups=follow_ups or (follow_up(),), **fields)


async def after(store: Store) -> list[JobRecord]:
    """The follow-ups that were enqueued, oldest first."""
    found = await find_all(store, Filter(task="app.after"))
    return sorted(found, key=lambda record: record.id)


async def states_told(store: Store, job_id: JobId) -> list[State]:
    """What the follow-ups of a job were told of its ends, in no order."""
    return [_outcome(each).state for each in await after(store) if each.headers[FOLLOWS] == job_id]


def _outcome(record: JobRecord) -> Outcome[Any]:
    args, _ = msgspec.json.decode(record.payload)
    return msgspec.convert(args[0], Outcome[Any])


class Following(Harness):
    """`JobRequest.follow_ups`."""

    async def test_i14_each_way_to_end_enqueues_what_follows_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = [followed(clock) for _ in range(4)]
        await add(store, *jobs)
        good, bad, stopped, put = await worker.lease(4)
        await store.cancel([put.id])
        cancelled = done(stopped)
        cancelled = msgspec.structs.replace(cancelled, state=State.CANCELLED)
        await worker.settle(done(good, b'"yes"'), failed(bad), cancelled, put_back(put))
        assert await states_told(store, good.id) == [State.SUCCEEDED]
        assert await states_told(store, bad.id) == [State.DEAD]
        assert await states_told(store, stopped.id) == [State.CANCELLED]
        assert await states_told(store, put.id) == [State.CANCELLED]

    async def test_i14_jobs_that_never_ran_have_follow_ups_too(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        early, late = followed(clock), followed(clock, expires_in=MINUTE)
        met = followed(clock, queue="met", expires_in=HOUR)
        replaced = followed(clock, unique_key="k", delay=HOUR)
        await add(store, early, late, met, replaced)
        assert await store.cancel([early.id]) == [Cancelling.CANCELLED]
        clock.advance("2m")
        assert await store.expire(10) == 1
        await add(store, make_job(clock, unique_key="k", on_conflict=OnConflict.REPLACE))
        clock.advance("2h")
        await worker.lease(1, "met")
        await store.expire(10)
        assert await states_told(store, early.id) == [State.CANCELLED]
        assert await states_told(store, late.id) == [State.EXPIRED]
        assert await states_told(store, met.id) == [State.EXPIRED]
        assert await states_told(store, replaced.id) == [State.CANCELLED]

    async def test_i14_only_the_ends_it_is_on(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        well, ill = follow_up((State.SUCCEEDED,)), follow_up((State.DEAD, State.EXPIRED))
        await add(store, followed(clock, well, ill), followed(clock, well, ill))
        good, bad = await worker.lease(2)
        await worker.settle(done(good), failed(bad))
        assert await states_told(store, good.id) == [State.SUCCEEDED]
        assert await states_told(store, bad.id) == [State.DEAD]

    async def test_i14_nothing_follows_a_retry_or_a_lost_lease(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, followed(clock))
        lease = await worker.run_one(later, MINUTE)
        assert await BareWorker(store, "late").settle(done(lease)) == [Acked.LOST]
        clock.advance("1m")
        await store.promote(1)
        await worker.run_one(put_back)
        assert not await after(store)

    async def test_i14_a_repeated_ack_or_cancel_enqueues_nothing_more(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        waits = followed(clock, delay=HOUR)
        await add(store, followed(clock), waits)
        await worker.run_one()
        assert (await worker.repeat()).acks == [Acked.ALREADY]
        await store.cancel([waits.id, waits.id])
        await store.cancel([waits.id])
        assert len(await after(store)) == 2

    async def test_i14_each_end_counts_after_a_redrive(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        job = followed(clock)
        await add(store, job)
        await store.cancel([job.id])
        await store.redrive([job.id])
        await store.cancel([job.id])  # within the same microsecond, never started
        await store.redrive([job.id])
        await worker.run_one(failed)
        await store.redrive([job.id])
        await worker.run_one()
        told = await states_told(store, job.id)
        assert sorted(told) == ["cancelled", "cancelled", "dead", "succeeded"]
        assert (await get(store, job.id)).redrives == 3

    async def test_i14_the_outcome_is_that_of_the_end(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, followed(clock, follow_up(payload=Raw(b'[[7],{"to":"b"}]')), tags=("x",)))
        [lease] = await worker.lease()
        clock.advance("1s")
        await worker.settle(failed(lease, "half \ud800", keep=0))
        await store.purge([lease.id])
        [told] = await after(store)
        outcome = _outcome(told)
        assert (outcome.id, outcome.task, outcome.queue) == (lease.id, "app.send", QUEUE)
        assert (outcome.state, outcome.attempts, outcome.tags) == (State.DEAD, 1, ("x",))
        assert outcome.error is not None
        assert (outcome.error.kind, outcome.error.message) == ("OSError", "half ?")
        assert (outcome.finished_at - outcome.enqueued_at).total_seconds() == 1
        (_, seven), kwargs = msgspec.json.decode(told.payload)
        assert (seven, kwargs) == (7, {"to": "b"})

    async def test_i14_a_result_is_handed_on(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        own = follow_up(outcome=False, payload=Raw(b'[["mine"],{}]'))
        odd = follow_up(payload=Raw(b'"no arguments"'))
        await add(store, followed(clock, follow_up(), own, odd))
        await worker.run_one(done, b'{"total":[1,2]}')
        told, odd_one, mine = sorted(await after(store), key=lambda each: -len(bytes(each.payload)))
        assert _outcome(told).result == {"total": [1, 2]}
        assert bytes(mine.payload) == b'[["mine"],{}]'
        assert bytes(odd_one.payload) == b'"no arguments"'

    async def test_i14_it_is_a_job_like_any_other(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        wanted = follow_up(
            delay=MINUTE, expires_in=HOUR, priority=5, headers={"a": "b"}, tags=("t",)
        )
        await add(store, followed(clock, wanted))
        clock.advance("1h")
        lease = await worker.run_one()
        [told] = await after(store)
        assert (told.state, told.due) == (State.SCHEDULED, clock.now() + MINUTE)
        assert (told.expires_at, told.priority) == (clock.now() + HOUR, 5)
        assert (dict(told.headers), told.tags) == ({"a": "b", FOLLOWS: lease.id}, ("t",))
        assert (told.follow_ups, told.queue) == ((), AFTER)

    async def test_i14_a_full_queue_refuses_no_follow_up(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=AFTER, max_depth=1)])
        await add(store, followed(clock), followed(clock))
        await worker.settle(*[done(lease) for lease in await worker.lease(2)])
        assert (await stats_of(store, AFTER)).depth == 2
        [answer] = await store.enqueue([[make_job(clock, queue=AFTER)]])
        assert isinstance(answer, Refused)

    async def test_i14_what_has_not_ended_has_no_job_of_its_follow_ups(
        self, store: Store, clock: VirtualClock
    ) -> None:
        wanted = follow_up((State.DEAD,))
        job = followed(clock, wanted)
        await store.configure([QueueSettings(queue=AFTER, max_depth=1)])
        await add(store, job)
        assert (await stats_of(store, QUEUE)).depth == 1
        assert not await after(store)
        record = await get(store, job.id)
        assert record.follow_ups == (wanted,)

    async def test_i14_the_same_worker_leases_it_with_the_ack(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, followed(clock, follow_up(queue=QUEUE)))
        [lease] = await worker.lease()
        reply = await worker.exchange([done(lease)], {(QUEUE, lease.lane): 1})
        assert [job.task for job in reply.jobs] == ["app.after"]

    async def test_i14_a_taken_key_holds_one_back_and_replace_takes_it(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        skips = follow_up(unique_key="k")
        takes = follow_up(unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, followed(clock, skips, skips, takes))
        await worker.run_one()
        first, second = sorted(await after(store), key=lambda each: each.state)
        assert (first.state, second.state) == (State.CANCELLED, State.READY)

    async def test_i14_its_limits_hold_from_its_start(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        """It may take the very slot that the end of its job has freed, if nobody waits for it."""
        alone = Limits("k")
        await add(store, followed(clock, follow_up(queue=QUEUE, limits=alone), limits=alone))
        await add(store, followed(clock, follow_up(queue=QUEUE, limits=alone), limits=alone))
        for task in ("app.send", "app.send", "app.after", "app.after"):
            [lease] = await worker.lease(9)
            assert lease.task == task
            await worker.settle(done(lease))
        assert (await stats_of(store, QUEUE)).depth == 0

    async def test_i14_who_is_replaced_by_a_follow_up_has_follow_ups(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        holder = followed(clock, unique_key="k", delay=HOUR)
        takes = follow_up(unique_key="k", on_conflict=OnConflict.REPLACE)
        await add(store, holder, followed(clock, takes))
        await worker.run_one()
        assert await states_told(store, holder.id) == [State.CANCELLED]

    async def test_i14_what_could_not_be_enqueued_is_refused_at_once(
        self, store: Store, clock: VirtualClock
    ) -> None:
        nested = JobRequest(id="", task="app.after", follow_ups=(follow_up(),))
        wrong: list[Any] = [
            FollowUp((), follow_up().job),
            FollowUp((State.READY,), follow_up().job),
            FollowUp(EVERY_END, nested),
            follow_up(after=(After("a"),)),
            follow_up(flow="f"),
            follow_up(payload=Raw(b"[")),
            follow_up(tags=("\ud800",)),
            "notify",
        ]
        for each in wrong:
            with pytest.raises(EnqueueError, match="cannot be stored"):
                await store.enqueue([[make_job(clock), make_job(clock, follow_ups=(each,))]])
        assert not await find_all(store)
