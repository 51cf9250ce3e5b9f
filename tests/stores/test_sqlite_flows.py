"""Damaged rows of flows harm their own flow alone."""

from pathlib import Path

import apsw
import pytest

from backline.job import SECOND, JobRequest, Lane
from backline.parents import After, On
from backline.states import State
from backline.store import Filter
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import BareWorker, done, make_job, make_jobs, state_of

MOST, LEAST = 2**63 - 1, -(2**63)
UNTEXT = "cast(x'ff' as text)"
SEQS = [*range(10, 40)]
DAMAGES = [
    *(
        f"update job set {column} = {value} where batch is not null or follows is not null"
        for column, values in {
            "batch": ("null", 999, MOST),
            "follows": ("null", 1, 7, MOST),
            "followed": ("null", 7, MOST),
            "result": ("'{'", UNTEXT),
        }.items()
        for value in values
    ),
    *(
        f"update edge set {column} = {value}"
        for column, values in {
            "child": ("child + 1000",),
            "place": ("place + 7",),
            "parent": ("'nobody'", UNTEXT),
            "needs": ("''", "'{'", UNTEXT),
            "wanted": (7, LEAST),
            "asked": ("'nobody'", UNTEXT),
            "ended": ("'succeeded'", "'dead'", "''", UNTEXT),
            "result": ("'{'", UNTEXT),
        }.items()
        for value in values
    ),
    *(
        f"update job_group set {column} = {value}"
        for column in ("added", "ended", "failed", "purged", "cancelled", "followed", "touched")
        for value in (0, 7, -5, MOST, LEAST)
    ),
    *(f"update job_group set flow = {value}" for value in ("''", "'{'", UNTEXT)),
    f"update job_group set id = {UNTEXT} where id = 'g'",
    "delete from edge",
    "delete from job_group",
    # Rows that nobody asked for: SQLite gives the numbers of rows anew.
    *(
        "insert into edge (child, place, parent, needs, wanted, ended) "
        f"select value, {place}, 'ghost', 'success', 0, {ended} from json_each('{SEQS}') "
        "where true "
        "on conflict do nothing"
        for place, ended in ((0, "null"), (1, "'dead'"))
    ),
]


def a_flow(clock: VirtualClock, name: str) -> list[JobRequest]:
    """Two jobs of a group, one that gets their results, and one that follows the group."""
    group = "g" if name == "f" else f"{name}-g"
    first, second = make_jobs(clock, 2, flow=name, group=group)
    wanted = (After(first.id, On.END, result=True), After(second.id, On.END, result=True))
    child = make_job(clock, flow=name, after=wanted)
    return [first, second, child, make_job(clock, flow=name, after=(After(group, On.END),))]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_flow_stops_no_other_job(tmp_path: Path, damage: str) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    flow, other = a_flow(clock, "f"), a_flow(clock, "f2")
    later = make_job(clock, delay=SECOND, queue="other")
    await store.enqueue([flow, other, [later]])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute(damage)
    fresh = a_flow(clock, "fresh")
    await store.enqueue([fresh])
    worker = BareWorker(store)
    demand = {("mail", Lane.MAIN): 9, ("other", Lane.MAIN): 9}
    for _ in range(4):
        clock.advance(1)
        await store.promote(100)
        await store.expire(100)
        jobs = (await worker.exchange((), demand)).jobs
        await worker.settle(*[done(job, b"1") for job in jobs])
        await store.sweep(100)
    assert await state_of(store, later.id) == [State.SUCCEEDED]
    assert await state_of(store, *[job.id for job in fresh]) == [State.SUCCEEDED] * 4
    ids = [job.id for job in (*flow, *other)]
    await store.get(ids)
    await store.flows(["f", "f2", "fresh"])
    await store.cancel_flows(["f"], 100)
    await store.cancel(ids)
    await store.redrive(ids)
    await store.purge(ids)
    clock.advance("2d")
    await store.sweep(100)
    await store.close()


async def test_the_rest_of_a_flow_that_is_gone_ties_no_new_job(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    old = a_flow(clock, "f")
    await store.enqueue([old])
    await store.cancel([job.id for job in old])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute("update job set follows = null")
    assert await store.purge([job.id for job in old]) == [True] * 4
    parent = make_job(clock)
    child = make_job(clock, after=(After(parent.id),))
    await store.enqueue([make_jobs(clock, 2), [parent, child]])
    worker = BareWorker(store)
    await worker.settle(*[done(job) for job in await worker.lease(9)])
    assert await state_of(store, child.id) == [State.READY]
    await store.close()


async def test_the_few_that_match_of_a_large_flow_are_found_in_one_page(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    members = make_jobs(clock, 1_000, flow="f", group="g")
    await store.enqueue([members])
    await store.cancel([members[-1].id])
    where = Filter(flow="f", states=frozenset({State.CANCELLED}))
    page = await store.find(where, limit=2, oldest_first=True)
    assert [job.id for job in page.jobs] == [members[-1].id]
    assert page.after is None
    await store.close()
