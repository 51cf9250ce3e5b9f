"""Damaged rows of limits harm their own key alone."""

from functools import partial
from itertools import count
from pathlib import Path

import apsw
import pytest

from backline.errors import StoreRefused
from backline.job import SECOND, Lane, Limits, Micros, Pacing
from backline.states import State
from backline.store import QueueSettings
from backline.stores.sqlite import SqliteStore, audit
from backline.stores.sqlite.statements import statement
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import (
    MAIN,
    QUEUE,
    BareWorker,
    done,
    make_job,
    make_jobs,
    state_of,
)
from backline.testing.machine import check_against_model

LIMITED = Limits("k", 1, rate_key="r", pacing=Pacing(SECOND, 1))
PACED = Limits(rate_key="p", pacing=Pacing(SECOND, 1))
ALICE, BOB = Limits("alice", 2), Limits("bob", 1)
MOST, LEAST = 2**63 - 1, -(2**63)
DAMAGES = [
    *(
        f"update job set {column} = {value} where limits is not null"
        for column, values in {
            "weight": ("null", 0, -5, MOST, LEAST),
            "slot": ("null", 0, 2, 7, -1, MOST),
            "permit": ("null", 7, -1, MOST),
            "gate": ("null", 999, MOST),
            "pace": ("null", 999, MOST),
            "limits": ("'{'", "'[1,2,3]'", "cast(x'ff' as text)", "'null'"),
        }.items()
        for value in values
    ),
    *(
        f"update {table} set {column} = {value}"
        for table, column in (
            ("gate", "slots"),
            ("gate", "blocks"),
            ("gate", "taken"),
            ("pace", "interval"),
            ("pace", "burst"),
            ("pace", "arrival"),
            ("pace", "next"),
        )
        for value in (0, -5, MOST, LEAST)
    ),
    "update queue set interval = 0, burst = -5, arrival = 9223372036854775807 where name = 'mail'",
    "update queue set concurrency = -5 where name = 'nobody'",
    "delete from gate",
    "delete from pace",
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_limit_stops_no_other_job(tmp_path: Path, damage: str) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    limited = [*make_jobs(clock, 3, limits=LIMITED), *make_jobs(clock, 3, limits=PACED)]
    later = make_job(clock, delay=SECOND, queue="other")
    await store.enqueue([limited, [later]])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute(damage)
    worker = BareWorker(store)
    demand = {("mail", Lane.MAIN): 5, ("other", Lane.MAIN): 5}
    for _ in range(4):
        clock.advance(1)
        await store.promote(100)
        await store.expire(100)
        jobs = (await worker.exchange((), demand)).jobs
        await worker.settle(*[done(job, b"1") for job in jobs])
        await store.sweep(100)
    assert await state_of(store, later.id) == [State.SUCCEEDED]
    await store.enqueue([make_jobs(clock, 2, limits=LIMITED)])
    await store.cancel([job.id for job in limited])
    await store.close()


@pytest.mark.parametrize(
    ("limit", "next_in"),
    [
        (QueueSettings(queue=QUEUE, concurrency=1), None),
        (QueueSettings(queue=QUEUE, pacing=Pacing(SECOND)), SECOND),
    ],
)
async def test_who_is_woken_for_a_queue_at_its_limit_writes_nothing(
    tmp_path: Path, limit: QueueSettings, next_in: Micros | None
) -> None:
    store = SqliteStore(tmp_path / "jobs.db", clock=VirtualClock())
    await store.open()
    await store.configure([limit])
    await store.enqueue([make_jobs(VirtualClock(), 3)])
    assert len(await BareWorker(store, "first").lease(3)) == 1
    answer = await BareWorker(store, "second").exchange((), {MAIN: 3})
    assert (answer.jobs, answer.next_in) == ([], next_in)
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        assert db.execute("select name from worker").fetchall() == [("first",)]
    await store.close()


async def counted_wrong(store: SqliteStore) -> str:
    """The gates whose counts are not how many jobs have a slot."""
    found: str = await store._read(lambda db: db.value(statement("miscounted")))
    return found


@pytest.mark.parametrize("taken", [LEAST, -5, 0, 1, 7, MOST])
async def test_a_wrong_count_of_slots_comes_right_by_itself(tmp_path: Path, taken: int) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.sweep(100)
    worker = BareWorker(store)
    alice, bob = make_jobs(clock, 5, limits=ALICE), make_jobs(clock, 5, limits=BOB)
    await store.enqueue([[*alice, *bob]])
    leases = await worker.lease(10)
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute("update gate set taken = ? where key = 'alice'", (taken,))
    bobs = {job.id for job in bob}
    for _ in range(3):
        assert sum(job.id in bobs for job in leases) == 1
        await worker.settle(*[done(job) for job in leases])
        leases = await worker.lease(10)
    clock.advance(audit.EVERY / SECOND)
    await store.sweep(100)
    assert await counted_wrong(store) == "[]"
    while leases := [*leases, *await worker.lease(10)]:
        await worker.settle(*[done(job) for job in leases])
        leases = []
    ended = await state_of(store, *(job.id for job in [*alice, *bob]))
    assert set(ended) <= {State.SUCCEEDED, None}  # and purged
    again = make_jobs(clock, 4, limits=ALICE)
    await store.enqueue([again])
    states = await state_of(store, *(job.id for job in again))
    assert states == [State.READY] * 2 + [State.WAITING] * 2
    await store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "delete from gate where key = 'alice'",
        "update job set slot = 7 where state = 'waiting' and gate = 1",
    ],
)
async def test_who_waits_for_what_will_not_come_goes_on_by_itself(
    tmp_path: Path, damage: str
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    alice = make_jobs(clock, 5, limits=ALICE)
    await store.enqueue([alice])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute(damage)
    worker = BareWorker(store, clock.new_id())
    ran: list[str] = []
    for _ in range(4):
        clock.advance(audit.EVERY / SECOND)
        await store.sweep(100)
        leases = await worker.lease(10)
        ran += [job.id for job in leases]
        await worker.settle(*map(done, leases))
    assert ran == [job.id for job in alice]
    assert await store._read(audit.look) is None
    await store.close()


async def test_a_count_that_fails_does_not_stop_the_sweeps_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    looks: list[None] = []

    def look(db: object) -> None:
        del db
        looks.append(None)
        raise StoreRefused("database disk image is malformed")

    monkeypatch.setattr(audit, "look", look)
    for _ in range(2):
        with pytest.raises(StoreRefused):
            await store.sweep(100)
        assert await store.sweep(100) == 0
        clock.advance(audit.EVERY / SECOND)
    assert len(looks) == 2
    await store.close()


async def test_a_key_comes_back_whose_job_was_taken_out_of_the_file(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    first, second = make_jobs(clock, 2, limits=BOB)
    await store.enqueue([[first, second]])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute("delete from job where id = ?", (first.id,))
    await store.sweep(100)
    assert await state_of(store, second.id) == [State.READY]
    await store.close()


async def test_two_that_count_at_once_correct_once_whatever_moves_meanwhile(
    tmp_path: Path,
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    worker = BareWorker(store)
    await store.enqueue([make_jobs(clock, 6, limits=ALICE)])
    leases = await worker.lease(10)
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute("update gate set taken = taken + 1")
    found = [await store._read(audit.look) for _ in range(2)]
    await worker.settle(done(leases[0]))
    for each in found:
        assert each is not None
        await store._write(partial(audit.correct, found=each))
    assert await store._read(audit.look) is None
    await store.close()


class CountedStore(SqliteStore):
    """Its counts of slots are right whenever it is closed."""

    async def close(self) -> None:
        assert await counted_wrong(self) == "[]"
        await super().close()


def test_in_every_life_the_counts_of_slots_are_right(tmp_path: Path) -> None:
    numbers = count()
    check_against_model(
        lambda clock: CountedStore(
            tmp_path / f"{next(numbers)}.db", clock=clock, durability="normal"
        ),
        examples=12,
    )
