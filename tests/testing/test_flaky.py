"""The flaky store fails as it says, and only what it says."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from backline.errors import StoreFull, StoreUnavailable
from backline.faults import hooked
from backline.job import SECOND, JobId, JobRequest, Lane
from backline.store import Edit, Filter, Hint, Store
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.flaky import NO_FAULTS, FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop, run
from backline.testing.process import current_process

DEMAND = {("default", Lane.MAIN): 10}
TTL = 30 * SECOND


class Bench:
    """A memory store behind a flaky one."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock(seed)
        self.inner = MemoryStore(clock=self.clock)
        self.flaky = FlakyStore(self.inner, NO_FAULTS, random.Random(seed))
        store: Store = self.flaky
        assert store.url == self.inner.url
        assert store.capabilities == self.inner.capabilities

    def request(self) -> JobRequest:
        return JobRequest(id=self.clock.new_id(), task="t")

    async def enqueue(self) -> JobRequest:
        job = self.request()
        await self.flaky.enqueue([[job]])
        return job

    async def count(self) -> int:
        return len((await self.inner.find(Filter(), limit=1_000)).jobs)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_without_faults_it_is_the_store(bench: Bench) -> None:
    job = await bench.enqueue()
    reply = await bench.flaky.exchange("w", 1, [], DEMAND, TTL)
    assert [leased.id for leased in reply.jobs] == [job.id]
    assert [lease.id for lease in await bench.flaky.held("w")] == [job.id]
    assert await bench.flaky.extend(reply.jobs, TTL) == [True]
    assert not +bench.flaky.struck


async def test_a_refused_call_is_not_applied(bench: Bench) -> None:
    bench.flaky.faults = StoreFaults(refused=1.0)
    with pytest.raises(StoreUnavailable, match="cannot reach"):
        await bench.enqueue()
    assert await bench.count() == 0
    assert +bench.flaky.struck == {"refused": 1}


async def test_a_lost_reply_was_applied(bench: Bench) -> None:
    bench.flaky.faults = StoreFaults(lost=1.0)
    with pytest.raises(StoreUnavailable, match="reply was lost"):
        await bench.enqueue()
    assert await bench.count() == 1


async def test_a_lost_exchange_is_answered_again(bench: Bench) -> None:
    job = await bench.enqueue()
    bench.flaky.faults = StoreFaults(lost=1.0)
    with pytest.raises(StoreUnavailable):
        await bench.flaky.exchange("w", 1, [], DEMAND, TTL)
    bench.flaky.faults = NO_FAULTS
    reply = await bench.flaky.exchange("w", 1, [], DEMAND, TTL)
    assert [(leased.id, leased.attempt) for leased in reply.jobs] == [(job.id, 1)]


async def test_a_repeated_call_arrives_twice(bench: Bench) -> None:
    job = await bench.enqueue()
    bench.flaky.faults = StoreFaults(repeated=1.0)
    points: list[str] = []
    with hooked(points.append):
        reply = await bench.flaky.exchange("w", 1, [], DEMAND, TTL)
    assert points == ["exchange.before_commit", "exchange.after_commit"] * 2
    assert [(leased.id, leased.attempt) for leased in reply.jobs] == [(job.id, 1)]


async def test_a_full_store_refuses_what_makes_it_grow_and_drains(bench: Bench) -> None:
    job = await bench.enqueue()
    bench.flaky.faults = StoreFaults(full=1.0)
    with pytest.raises(StoreFull):
        await bench.enqueue()
    reply = await bench.flaky.exchange("w", 1, [], DEMAND, TTL)
    assert [leased.id for leased in reply.jobs] == [job.id]
    assert await bench.count() == 1


async def test_a_partition_cuts_off_one_worker_and_its_hints(bench: Bench) -> None:
    other = FlakyStore(bench.inner, NO_FAULTS, random.Random(1))
    woken: list[str] = []
    async with (
        bench.flaky.watch([Hint.WORK], lambda: woken.append("cut off")),
        other.watch([Hint.WORK], lambda: woken.append("other")),
    ):
        bench.flaky.cut = True
        with pytest.raises(StoreUnavailable):
            await bench.flaky.held("w")
        await other.enqueue([[bench.request()]])
        await asyncio.sleep(0)
        assert woken == ["other"]
        bench.flaky.cut = False
        await bench.enqueue()
        await asyncio.sleep(0)
        assert sorted(woken) == ["cut off", "other", "other"]
    assert bench.flaky.struck["cut"] == 1


def test_a_cut_while_the_reply_is_under_way_loses_it() -> None:
    bench = Bench()
    bench.flaky.faults = StoreFaults(delayed=1.0, longest_delay=10 * SECOND)

    def cut(point: str) -> None:
        bench.flaky.cut = point == "enqueue.after_commit"

    async def main() -> None:
        with hooked(cut), pytest.raises(StoreUnavailable, match="reply was lost"):
            await bench.enqueue()
        assert await bench.count() == 1

    run(main(), clock=bench.clock)


def test_delays_take_virtual_time_within_their_bound() -> None:
    bench = Bench()
    bench.flaky.faults = StoreFaults(delayed=1.0, longest_delay=10 * SECOND)

    async def main() -> list[int]:
        took = []
        for _ in range(100):
            before = bench.clock.tick()
            await bench.flaky.stats()
            took.append(bench.clock.tick() - before)
        return took

    took = run(main(), clock=bench.clock)
    assert 0 < min(took) < 5 * SECOND < 15 * SECOND < max(took) <= 20 * SECOND


def test_a_late_call_is_applied_after_its_failure() -> None:
    bench = Bench()
    bench.flaky.faults = StoreFaults(late=1.0, longest_delay=10 * SECOND)

    async def main() -> None:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await bench.enqueue()
        assert await bench.count() == 0
        await asyncio.sleep(10)
        assert await bench.count() == 1

    run(main(), clock=bench.clock)


@pytest.mark.parametrize(
    ("point", "added"), [("enqueue.before_commit", 0), ("enqueue.after_commit", 1)]
)
def test_a_kill_in_the_middle_of_a_call(point: str, added: int) -> None:
    bench = Bench()
    loop = VirtualLoop(bench.clock)
    went_on: list[str] = []

    def kill(at: str) -> None:
        process = current_process()
        if at == point and process is not None:
            process.kill()

    async def producer() -> None:
        await bench.enqueue()
        went_on.append("the dead go on")

    async def main() -> None:
        with hooked(kill):
            loop.process("producer").start(producer())
            await asyncio.sleep(60)
        assert await bench.count() == added

    loop.run(main())
    loop.close()
    assert went_on == []


def test_a_pause_in_the_middle_of_a_call() -> None:
    bench = Bench()
    loop = VirtualLoop(bench.clock)

    def pause(at: str) -> None:
        process = current_process()
        if at == "enqueue.before_commit" and process is not None:
            process.pause()

    async def main() -> None:
        process = loop.process("producer")
        with hooked(pause):
            task = process.start(bench.enqueue())
            await asyncio.sleep(60)
        assert await bench.count() == 0
        process.resume()
        await task
        assert await bench.count() == 1

    loop.run(main())
    loop.close()


def test_a_seed_decides_which_calls_fail() -> None:
    def failures(seed: int) -> list[bool]:
        bench = Bench(seed)
        bench.flaky.faults = StoreFaults(refused=0.2, lost=0.2)

        async def main() -> list[bool]:
            failed = []
            for _ in range(200):
                try:
                    await bench.flaky.stats()
                    failed.append(False)
                except StoreUnavailable:
                    failed.append(True)
            return failed

        return run(main(), clock=bench.clock)

    assert failures(1) == failures(1) != failures(2)
    assert 40 < sum(failures(1)) < 110


def every_call(store: Store, job_id: JobId) -> dict[str, Callable[[], Awaitable[object]]]:
    """A call of each method of the contract that reaches out, by its name."""
    return {
        "open": store.open,
        "migrate": store.migrate,
        "enqueue": lambda: store.enqueue([]),
        "exchange": lambda: store.exchange("w", 1, [], {}, TTL),
        "held": lambda: store.held("w"),
        "retire": lambda: store.retire("w"),
        "extend": lambda: store.extend([], TTL),
        "overdue": lambda: store.overdue(1),
        "promote": lambda: store.promote(1),
        "expire": lambda: store.expire(1),
        "sweep": lambda: store.sweep(1),
        "redrive": lambda: store.redrive([job_id]),
        "cancel": lambda: store.cancel([job_id]),
        "progress": lambda: store.progress([]),
        "record": lambda: store.record([]),
        "steps": lambda: store.steps([job_id]),
        "get": lambda: store.get([job_id]),
        "find": lambda: store.find(Filter(), limit=1),
        "stats": store.stats,
        "configure": lambda: store.configure([]),
        "schedules": lambda: store.schedules(limit=1),
        "due_schedules": lambda: store.due_schedules(limit=1),
        "arrange": lambda: store.arrange([]),
        "tick": lambda: store.tick([]),
        "subscriptions": lambda: store.subscriptions(limit=1),
        "subscribe": lambda: store.subscribe([]),
        "publish": lambda: store.publish([]),
        "events": lambda: store.events([]),
        "flows": lambda: store.flows([]),
        "cancel_flows": lambda: store.cancel_flows([], 1),
        "report": lambda: store.report([], TTL),
        "workers": store.workers,
        "purge": lambda: store.purge([job_id]),
        "edit": lambda: store.edit([job_id], Edit()),
    }


async def test_every_method_of_the_contract_passes_through(bench: Bench) -> None:
    """A method that the wrapper forgot to fail would never be tested under faults."""
    job = await bench.enqueue()
    bench.flaky.faults = StoreFaults(refused=1.0)
    store = bench.flaky
    calls = every_call(store, job.id)
    methods = {name for name in dir(Store) if not name.startswith("_")}
    assert methods - set(calls) == {"url", "capabilities", "close", "watch"}
    for name, call in calls.items():
        with pytest.raises(StoreUnavailable, match=f"{name}: cannot reach"):
            await call()
    store.faults = NO_FAULTS
    for call in calls.values():
        await call()
    await store.close()
    assert await bench.inner.get([job.id]) == [None]  # cancelled, then purged
