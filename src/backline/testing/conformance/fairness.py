"""Fair keys, their weights, and ageing (I16)."""

from collections import Counter

import pytest
from msgspec.structs import replace

from backline.errors import EnqueueError
from backline.job import HOUR, MINUTE, SECOND, JobRequest, LeasedJob, Limits, OnConflict, Pacing
from backline.states import State
from backline.store import Edit, QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    BareWorker,
    add,
    done,
    get,
    later,
    make_job,
    make_jobs,
    put_back,
    stats_of,
)


async def take(worker: BareWorker, count: int, *, at_once: int = 1) -> list[LeasedJob]:
    """So many jobs leased and done, one after the other."""
    taken: list[LeasedJob] = []
    while len(taken) < count and (leases := await worker.lease(at_once)):
        taken += leases
        await worker.settle(*map(done, leases))
    return taken


def ids(jobs: list[LeasedJob] | list[JobRequest]) -> list[str]:
    """The ids of jobs, in their order."""
    return [job.id for job in jobs]


class Fairness(Harness):
    """Tenants are fair keys here: alice came first, with many jobs."""

    async def test_i16_keys_take_turns_whoever_came_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 6, fair_key="alice")
        await add(store, *alice)
        bob = make_jobs(clock, 3, fair_key="bob")
        await add(store, *bob)
        a, b = ids(alice), ids(bob)
        assert ids(await take(worker, 9)) == [a[0], b[0], a[1], b[1], a[2], b[2], *a[3:]]

    async def test_i16_a_few_jobs_wait_for_their_share_alone(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        for _ in range(10):
            await add(store, *make_jobs(clock, 200, fair_key="alice"))
        await take(worker, 100, at_once=10)
        bob = make_jobs(clock, 10, fair_key="bob")
        await add(store, *bob)
        assert set(ids(bob)) <= set(ids(await take(worker, 20)))

    async def test_i16_who_comes_back_has_saved_up_nothing_and_owes_nothing(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 60, fair_key="alice"))
        await add(store, *make_jobs(clock, 2, fair_key="bob"))
        await take(worker, 40)
        bob = make_jobs(clock, 10, fair_key="bob")
        await add(store, *bob)
        taken = ids(await take(worker, 20))
        assert len(set(taken) & set(ids(bob))) == 10
        assert len(set(taken[:10]) & set(ids(bob))) == 5

    async def test_i16_after_a_pause_of_all_nobody_has_saved_up(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await add(store, *make_jobs(clock, 30, fair_key="alice"))
        await take(worker, 30)
        both = [make_job(clock, fair_key=key) for _ in range(5) for key in ("alice", "bob")]
        await add(store, *both)
        assert ids(await take(worker, 10)) == ids(both)

    async def test_i16_weights_divide_what_there_is(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, weights={"alice": 3.0, "carol": 0.5})])
        owner: dict[str, str] = {}
        for key in ("alice", "bob", "carol"):
            jobs = make_jobs(clock, 60, fair_key=key)
            await add(store, *jobs)
            owner |= dict.fromkeys(ids(jobs), key)
        shares = Counter(owner[job.id] for job in await take(worker, 45))
        assert shares == {"alice": 30, "bob": 10, "carol": 5}

    async def test_weights_hold_for_those_who_come_and_can_be_edited(
        self, store: Store, clock: VirtualClock
    ) -> None:
        said = QueueSettings(queue=QUEUE, weights={"alice": 2.0}, ageing=MINUTE)
        await store.configure([said], declared=True)
        await store.configure([QueueSettings(queue=QUEUE, weights={})])
        await store.configure([said], declared=True)
        stats = await stats_of(store)
        assert (stats.fair, stats.weights, stats.ageing) == (False, {}, MINUTE)
        news = QueueSettings(queue=QUEUE, weights={"bob": 2.0}, ageing=None)
        await store.configure([news], declared=True)
        stats = await stats_of(store)
        assert (stats.weights, stats.ageing) == ({"bob": 2.0}, None)

    async def test_jobs_without_a_key_are_one_tenant(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        first = make_job(clock, fair_key="alice")
        await add(store, first)
        plain = make_jobs(clock, 6)
        await add(store, *plain)
        bob = make_jobs(clock, 3, fair_key="bob")
        await add(store, *bob)
        taken = ids(await take(worker, 7))
        assert taken[0] == first.id
        assert len(set(taken[1:]) & set(ids(plain))) == 3
        assert (await get(store, plain[0].id)).fair_key is None
        assert (await get(store, first.id)).fair_key == "alice"

    async def test_what_was_there_before_the_queue_was_fair_goes_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        old = make_jobs(clock, 3)
        delayed = make_job(clock, delay=SECOND)
        await add(store, *old, delayed)
        assert not (await stats_of(store)).fair
        new = make_jobs(clock, 2, fair_key="alice")
        await add(store, *new)
        assert (await stats_of(store)).fair
        clock.advance(1)
        await store.promote(10)
        assert ids(await take(worker, 6)) == [*ids(old), delayed.id, *ids(new)]

    async def test_priorities_are_strict_and_each_is_shared(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        low = make_jobs(clock, 2, fair_key="alice")
        high = make_jobs(clock, 2, fair_key="alice", priority=1)
        bob = make_job(clock, fair_key="bob", priority=1)
        await add(store, *low, *high, bob)
        order = [high[0].id, bob.id, high[1].id, *ids(low)]
        assert ids(await take(worker, 5)) == order

    async def test_what_is_put_back_goes_first(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 4, fair_key="alice")
        await add(store, *alice)
        await add(store, *make_jobs(clock, 2, fair_key="bob"))
        taken = await worker.lease(3)
        await worker.settle(put_back(taken[2]))
        again = await worker.lease(1)
        assert ids(again) == [taken[2].id]
        await worker.settle(*map(put_back, [*taken[:2], *again]))
        assert ids(await worker.lease(3)) == sorted(ids(taken))

    async def test_a_retry_takes_a_new_turn(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 3, fair_key="alice")
        await add(store, *alice)
        [first] = await worker.lease(1)
        await worker.settle(later(first, SECOND))
        bob = make_jobs(clock, 2, fair_key="bob")
        await add(store, *bob)
        clock.advance(1)
        assert await store.promote(10) == 1
        a, b = ids(alice), ids(bob)
        assert ids(await take(worker, 5)) == [a[1], b[0], a[2], b[1], a[0]]

    async def test_a_limit_comes_before_the_turn(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 3, fair_key="alice", limits=Limits("alice"))
        await add(store, *alice)
        bob = make_jobs(clock, 3, fair_key="bob", limits=Limits("bob", 2))
        await add(store, *bob)
        a, b = ids(alice), ids(bob)
        leases = await worker.lease(10)
        assert ids(leases) == [a[0], b[0], b[1]]
        await worker.settle(*map(done, leases))
        assert ids(await worker.lease(10)) == [a[1], b[2]]

    async def test_what_is_put_back_waits_within_its_limits_by_its_time(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        paced = Limits(rate_key="api", pacing=Pacing(SECOND))
        await add(store, *make_jobs(clock, 3, fair_key="alice", limits=paced))
        [first] = await worker.lease(3)
        await worker.settle(put_back(first))
        assert await worker.lease(3) == []
        clock.advance(1)
        await store.promote(10)
        assert ids(await worker.lease(3)) == [first.id]

    async def test_an_edit_takes_a_new_turn(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 3, fair_key="alice")
        await add(store, *alice)
        carol = make_jobs(clock, 2, fair_key="carol", queue="film")
        await add(store, *carol)
        await store.edit([alice[0].id], Edit(priority=1))
        await store.edit([alice[0].id], Edit(priority=0))
        await store.edit(ids(carol), Edit(queue=QUEUE))
        a, c = ids(alice), ids(carol)
        assert ids(await take(worker, 5)) == [a[1], c[0], a[0], a[2], c[1]]

    async def test_an_edit_makes_a_queue_fair(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        plain = make_jobs(clock, 2, queue="film")
        keyed = make_job(clock, fair_key="alice")
        await add(store, *plain, keyed)
        await store.edit([keyed.id], Edit(queue="film"))
        assert (await stats_of(store, "film")).fair
        moved = make_job(clock)
        await add(store, moved)
        await store.edit([moved.id], Edit(queue="film"))
        assert ids(await worker.lease(9, queue="film")) == [*ids(plain), keyed.id, moved.id]

    async def test_a_redriven_job_takes_a_new_turn(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 3, fair_key="alice")
        await add(store, *alice)
        await store.cancel([alice[0].id])
        assert await store.redrive([alice[0].id]) == [True]
        bob = make_job(clock, fair_key="bob")
        await add(store, bob)
        a = ids(alice)
        assert ids(await take(worker, 4)) == [a[1], bob.id, a[0], a[2]]

    async def test_i16_what_never_ran_leaves_no_debt(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        alice = make_jobs(clock, 30, fair_key="alice")
        late = make_jobs(clock, 10, fair_key="alice", expires_in=SECOND)
        bob = make_jobs(clock, 3, fair_key="bob")
        named = make_job(clock, fair_key="alice", unique_key="a", on_conflict=OnConflict.REPLACE)
        await add(store, *alice, *late, *bob, named)
        clock.advance(2)
        await store.expire(100)
        await store.cancel(ids(alice[1:10]))
        await store.edit(ids(alice[10:20]), Edit(queue="film"))
        await store.edit(ids(alice[20:]), Edit(priority=-1))
        more = make_jobs(clock, 1, fair_key="alice")
        again = replace(named, id=clock.new_id())
        await add(store, again, *more)
        order = [alice[0].id, bob[0].id, bob[1].id, again.id, bob[2].id, more[0].id]
        assert ids(await take(worker, 6)) == order

    async def test_i16_who_has_one_job_at_a_time_gets_its_weight_alone(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, weights={"alice": 0.25})])
        await add(store, *make_jobs(clock, 60, fair_key="bob"))
        mine: set[str] = set()
        taken: list[str] = []
        for _ in range(50):
            if mine <= set(taken):
                job = make_job(clock, fair_key="alice")
                await add(store, job)
                mine.add(job.id)
            taken += ids(await take(worker, 1))
            await store.sweep(100)
        assert len(mine & set(taken)) == 10

    async def test_i5_a_repeat_answers_the_same_in_the_same_order(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, ageing=SECOND)])
        jobs = [make_job(clock, fair_key=key, priority=p) for p in (0, 1) for key in "xxyz"]
        await add(store, *jobs)
        first = (await worker.exchange((), {MAIN: 6})).jobs
        assert ids((await worker.repeat()).jobs) == ids(first)
        assert len(first) == 6

    async def test_i16_with_ageing_a_low_priority_waits_for_its_time_alone(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, ageing=MINUTE)])
        low = make_job(clock, priority=-1)
        await add(store, low, *make_jobs(clock, 2, priority=1))
        start = clock.now()
        while low.id not in ids(await take(worker, 1)):
            clock.advance(1)
            await add(store, *make_jobs(clock, 2, priority=1))
        assert 2 * MINUTE <= clock.now() - start <= 5 * MINUTE

    async def test_ageing_counts_each_priority_as_so_much_waiting(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        low, soon, late, urgent = (make_job(clock, priority=p) for p in (0, 1, 1, 3))
        for job, passed in ((low, 30), (soon, 60), (late, 60), (urgent, 0)):
            await add(store, job)
            clock.advance(passed)
        leases = await worker.lease(10)
        assert ids(leases) == ids([urgent, soon, late, low])
        await worker.settle(*map(put_back, leases))
        await store.configure([QueueSettings(queue=QUEUE, ageing=MINUTE)])
        assert ids(await worker.lease(10)) == ids([urgent, soon, low, late])

    async def test_ageing_passes_no_job_of_the_same_priority(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, ageing=HOUR)])
        await add(store, *make_jobs(clock, 4, fair_key="alice", priority=-1))
        clock.advance(HOUR / SECOND * 3)
        bob = make_job(clock, fair_key="bob", priority=-1)
        high = make_jobs(clock, 2, fair_key="alice", priority=1)
        await add(store, bob, *high)
        taken = await take(worker, 7)
        places = {job.id: place for place, job in enumerate(taken)}
        assert places[bob.id] == 3
        assert taken[-1].priority == -1

    async def test_stats_show_how_long_those_wait_that_are_up_next(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        start = clock.now()
        await add(store, *make_jobs(clock, 3, fair_key="alice"))
        clock.advance(5)
        await add(store, make_job(clock, fair_key="bob"))
        assert (await stats_of(store)).oldest_ready == start
        await worker.lease(1)
        assert (await stats_of(store)).oldest_ready == start + 5 * SECOND

    async def test_a_key_is_a_text(self, store: Store, clock: VirtualClock) -> None:
        for key in ("", "\ud800", 7):
            with pytest.raises(EnqueueError):
                await store.enqueue([[make_job(clock, fair_key=key)]])

    async def test_it_is_counted_like_any_other(
        self, store: Store, clock: VirtualClock, worker: BareWorker
    ) -> None:
        jobs = make_jobs(clock, 4, fair_key="alice")
        await add(store, *jobs)
        await store.purge([job.id for job in await take(worker, 2)])
        stats = await stats_of(store)
        assert (stats.counts[State.READY], stats.purged) == (2, 2)
