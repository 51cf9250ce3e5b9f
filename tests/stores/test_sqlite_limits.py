"""Damaged rows of limits harm their own key alone."""

from pathlib import Path

import apsw
import pytest

from backline.job import SECOND, Lane, Limits, Micros, Pacing
from backline.states import State
from backline.store import QueueSettings
from backline.stores.sqlite import SqliteStore
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

LIMITED = Limits("k", 1, rate_key="r", pacing=Pacing(SECOND, 1))
PACED = Limits(rate_key="p", pacing=Pacing(SECOND, 1))
MOST, LEAST = 2**63 - 1, -(2**63)
DAMAGES = [
    *(
        f"update job set {column} = {value} where limits is not null"
        for column, values in {
            "weight": ("null", 0, -5, MOST, LEAST),
            "slot": ("null", 7, -1, MOST),
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
