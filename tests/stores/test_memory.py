"""The memory store keeps the contract."""

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from backline.clock import SYSTEM_CLOCK
from backline.job import DAY, Enqueued, JobId, JobRecord, JobRequest
from backline.store import Hint, Store
from backline.stores.memory import MemoryStore
from backline.stores.memory.row import Row
from backline.stores.memory.table import Table
from backline.testing.clock import VirtualClock
from backline.testing.conformance import MakeStore, Malformed, StoreConformance
from backline.testing.conformance.jobs import (
    MAIN,
    BareWorker,
    assert_adds_up,
    done,
    make_job,
    make_jobs,
)
from backline.testing.machine import check_against_model
from backline.testing.raw import RAW_FIELDS, RawAccess


class MemoryRaw:
    """Behind a memory store: its tables."""

    def __init__(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        self._table: Table = store._table
        self._schedules = store._schedules
        self._fanout = store._fanout

    def read(self, job_id: JobId) -> Mapping[str, Any] | None:
        row = self._table.rows.get(job_id)
        if row is None:
            return None
        [members] = [table for table in row.queue.members.values() if row.seq in table]
        assert members is row.queue.members[row.state]
        values = {name: self._value(row, name) for name in RAW_FIELDS}
        for name in ("payload", "result"):
            values[name] = None if values[name] is None else bytes(values[name])
        return values | {"queue": row.queue.name}

    @staticmethod
    def _value(row: Row, name: str) -> Any:
        holder = row if name in Row.__slots__ else row.request
        return getattr(holder, name, None)

    def write(self, record: JobRecord) -> None:
        given = {
            name: getattr(record, name)
            for name in JobRequest.__struct_fields__
            if hasattr(record, name)
        }
        self._table._seq += 1
        queue = self._table.queue(record.queue)
        row = Row(JobRequest(**given), queue, self._table._seq, record.enqueued_at)
        for name in Row.__slots__:
            if hasattr(record, name) and name != "queue":
                setattr(row, name, getattr(record, name))
        self._table._insert(row, 0, 0)

    def corrupt(self, job_id: JobId, field: str, value: bytes) -> None:
        """A row in memory is objects: damaging a field leaves the row without it."""
        row = self._table.rows[job_id]
        fields = msgspec.structs.asdict(row.request)
        del fields[field]
        row.request = SimpleNamespace(**fields)  # type: ignore[assignment]

    def corrupt_schedule(self, name: str, value: bytes) -> None:
        """Objects cannot hold it: the schedule has no spec any more."""
        del value
        rows = self._schedules._rows
        rows[name] = msgspec.structs.replace(rows[name], spec=None)

    def corrupt_subscription(self, name: str, value: bytes) -> None:
        """Objects cannot hold it: the subscription has no spec any more."""
        del value
        rows = self._fanout._rows
        rows[name] = msgspec.structs.replace(rows[name], spec=None)


class _Memory:
    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda clock: MemoryStore(clock=clock)

    @pytest.fixture
    def make_raw(self) -> Callable[[Store], RawAccess]:
        return MemoryRaw


class TestMemoryStore(_Memory, StoreConformance):
    """The examples."""


class TestMalformedRows(_Memory, Malformed):
    """Rows that cannot be read."""


async def test_a_straggler_of_a_worker_that_went_on_leases_nothing() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    await store.enqueue([make_jobs(clock, 3)])
    first = await store.exchange("w", 5, (), {MAIN: 1}, 30)
    late = await store.exchange("w", 4, (), {MAIN: 1}, 30)
    assert (len(first.jobs), late.jobs) == (1, [])
    assert (await store.exchange("w", 5, (), {MAIN: 1}, 30)).jobs == first.jobs


def test_threads_share_a_store_and_lease_each_job_once() -> None:
    store = MemoryStore()
    threads, each = 4, 500
    asyncio.run(store.enqueue([make_jobs(SYSTEM_CLOCK, threads * each)]))
    leased: list[str] = []

    async def drain(worker: BareWorker) -> None:
        while jobs := await worker.lease(3):
            leased.extend(job.id for job in jobs)
            await worker.settle(*[done(job) for job in jobs])

    executor = SYSTEM_CLOCK.executor("drain", threads)
    workers = [BareWorker(store, f"worker-{n}") for n in range(threads)]
    futures = [executor.submit(asyncio.run, drain(worker)) for worker in workers]
    for future in futures:
        future.result(30)
    executor.shutdown()
    assert len(leased) == len(set(leased)) == threads * each
    asyncio.run(assert_adds_up(store))


async def test_a_hint_reaches_a_watcher_on_another_loop() -> None:
    store = MemoryStore()
    woken = asyncio.Event()
    executor = SYSTEM_CLOCK.executor("producer")
    async with store.watch({Hint.WORK}, woken.set):
        executor.submit(asyncio.run, store.enqueue([make_jobs(SYSTEM_CLOCK, 1)]))
        async with asyncio.timeout(5):
            await woken.wait()
    executor.shutdown()


async def test_a_watcher_whose_loop_closes_meanwhile_fails_no_call(
    closing_loop: asyncio.AbstractEventLoop,
) -> None:
    store = MemoryStore()
    async with store.watch({Hint.WORK}, lambda: None):
        watching = store._watchers._watching
        [token] = watching
        watching[token] = (closing_loop, frozenset({Hint.WORK}), lambda: None)
        [job] = make_jobs(SYSTEM_CLOCK, 1)
        assert await store.enqueue([[job]]) == [[Enqueued(job.id)]]


@pytest.mark.parametrize("count", [1_000, 8_000])
async def test_what_ended_early_leaves_no_trace_in_the_lines(count: int) -> None:
    """Jobs that leave from the middle of a line do not pile up there until their time."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    for _ in range(3):
        jobs = [make_job(clock, delay=DAY, expires_in=DAY, unique_key=None) for _ in range(count)]
        await store.enqueue([jobs])
        await store.cancel([job.id for job in jobs])
        await store.purge([job.id for job in jobs])
    queue, table = store._table.queues["mail"], store._table
    for line in (queue.scheduled, table._fuses, table._finished):
        assert len(line) == 0
        assert len(line._run) + len(line._heap) <= 130
    assert len(table.ids._sorted) + len(table.ids._new) <= 130


def test_the_model_agrees() -> None:
    check_against_model(lambda clock: MemoryStore(clock=clock))
