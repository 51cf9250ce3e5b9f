"""What each process of a crowd does to a store; it answers what it saw, as JSON can tell it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from msgspec import Raw

from backline.clock import SYSTEM_CLOCK
from backline.job import HOUR, Acked, Enqueued, OnConflict
from backline.schedule import firing
from backline.store import Store
from backline.testing.conformance.fanning import publish_same
from backline.testing.conformance.jobs import (
    MAIN,
    BareWorker,
    assert_adds_up,
    done,
    make_job,
    make_jobs,
    put_back,
)

Role: TypeAlias = Callable[[Store, str, int], Awaitable[list[Any]]]


async def lease_and_finish(store: Store, name: str, count: int) -> list[Any]:
    """Lease a few at a time and ack with the next call, until there is nothing left."""
    return await _drain(BareWorker(store, name), count)


async def lease_for_ever(store: Store, name: str, count: int) -> list[Any]:
    """Lease, finish, and add as many again; somebody has to end it."""
    worker = BareWorker(store, name)
    while True:
        leased = await _drain(worker, count)
        await store.enqueue([make_jobs(SYSTEM_CLOCK, max(len(leased), 10))])


async def enqueue_keys(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue a job for each of `count` keys, the same keys as everybody."""
    del name
    answers: list[Any] = []
    for n in range(count):
        how = OnConflict.RAISE if n % 2 else OnConflict.SKIP
        job = make_job(SYSTEM_CLOCK, unique_key=f"key {n}", on_conflict=how)
        [answer] = await store.enqueue([[job]])
        assert isinstance(answer, list)
        answers.append([answer[0].id, answer[0].added, answer[0].conflict])
    return answers


async def enqueue_once(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue the same request for each of `count` keys as everybody; one of two asks for more."""
    answers: list[Any] = []
    for n in range(count):
        payload = Raw(b"[[2],{}]" if name.endswith(("1", "3")) else b"[[1],{}]")
        job = make_job(SYSTEM_CLOCK, idempotency_key=f"key {n}", payload=payload)
        [answer] = await store.enqueue([[job]])
        assert isinstance(answer, list)
        answers.append([answer[0].id, answer[0].added, answer[0].mismatch])
    return answers


async def replace_in_turn(store: Store, name: str, count: int) -> list[Any]:
    """Put off the same job `count` times, as everybody does; says what was added."""
    del name
    jobs = [
        make_job(
            SYSTEM_CLOCK,
            unique_key="k",
            on_conflict=OnConflict.REPLACE,
            delay=HOUR,
            max_wait=HOUR + HOUR,
        )
        for _ in range(count)
    ]
    for job in jobs:
        assert await store.enqueue([[job]]) == [[Enqueued(job.id)]]
    return [job.id for job in jobs]


async def enqueue_many(store: Store, name: str, count: int) -> list[Any]:
    """Enqueue `count` jobs one by one; says which of them were admitted."""
    del name
    jobs = make_jobs(SYSTEM_CLOCK, count)
    return [isinstance((await store.enqueue([[job]]))[0], list) for job in jobs]


async def reap(store: Store, name: str, count: int) -> list[Any]:
    """Put back what is overdue; says which jobs this process put back."""
    reaper = BareWorker(store, name)
    applied: list[Any] = []
    while over := await store.overdue(count):
        acks = await reaper.settle(*[put_back(lease, if_overdue=True) for lease in over])
        pairs = zip(over, acks, strict=True)
        applied += [lease.id for lease, acked in pairs if acked is Acked.APPLIED]
    return applied


async def tick_slots(store: Store, name: str, count: int) -> list[Any]:
    """Use slots, at most `count` at a time, until none is due; says which this process used."""
    del name
    used: list[Any] = []
    while (page := await store.due_schedules(limit=10)).schedules:
        [found] = page.schedules
        due = firing(found, page.now, limit=count)
        assert due is not None
        if await store.tick([due.tick]) == [True]:
            used += [job.run_at for job in due.tick.jobs]
    return used


async def look(store: Store, name: str, count: int) -> list[Any]:
    """Migrate, and look at the store: nothing may be half done."""
    del name
    for _ in range(count):
        await store.migrate()
        await assert_adds_up(store)
    return []


ROLES: Final[Mapping[str, Role]] = {
    role.__name__: role
    for role in (
        lease_and_finish,
        lease_for_ever,
        enqueue_keys,
        enqueue_once,
        replace_in_turn,
        enqueue_many,
        reap,
        tick_slots,
        publish_same,
        look,
    )
}


async def _drain(worker: BareWorker, count: int) -> list[Any]:
    leased: list[Any] = []
    exchange = await worker.exchange((), {MAIN: count})
    while exchange.jobs:
        leased += [[job.id, job.attempt] for job in exchange.jobs]
        exchange = await worker.exchange([done(job) for job in exchange.jobs], {MAIN: count})
        assert all(acked is Acked.APPLIED for acked in exchange.acks)
    return leased
