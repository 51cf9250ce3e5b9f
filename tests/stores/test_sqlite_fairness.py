"""What fairness costs in the SQLite store, and damaged turns harm nobody else."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from backline.job import SECOND
from backline.states import State
from backline.store import QueueSettings
from backline.stores.sqlite import SqliteStore
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import statement
from backline.testing.clock import VirtualClock
from backline.testing.conformance.jobs import (
    QUEUE,
    BareWorker,
    done,
    later,
    make_job,
    make_jobs,
    put_back,
    state_of,
)

MOST, LEAST = 2**63 - 1, -(2**63)
DAMAGES = [
    *(f"update job set turn = {value} where fair_key = 'alice'" for value in (MOST, LEAST, 0, 7)),
    f"update job set turn = {2**60 + 2**58} where seq = 3",
    f"update job set turn = {2**62} where seq = 3",
    "update job set turn = null where fair_key = 'alice'",
    "update job set fair_key = null where seq < 3",
    "update job set fair_key = cast(x'ff' as text) where seq < 3",
    "delete from share",
    "update share set fair_key = cast(x'ff' as text)",
    *(f"update share set finish = {value}" for value in (MOST, LEAST, 0, 2**60 + 2**58)),
    "update queue set fair = -5",
    "update queue set fair = 0",
    *(
        f"update queue set weights = {text}"
        for text in ("'{'", "'[]'", "'{\"bob\":-1}'", "'{\"bob\":0}'", "cast(x'ff' as text)", "''")
    ),
    *(f"update queue set ageing = {value}" for value in (MOST, LEAST, 0, -5)),
]
GIVING: Final = [
    statement(name)
    for name in ("turning", "levels", "new_period", "shares", "give_turns", "keep_shares")
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_turn_harms_no_other_job(tmp_path: Path, damage: str) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.enqueue([make_jobs(clock, 5, fair_key="alice")])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute(damage)
    bob = make_jobs(clock, 3, fair_key="bob")
    plain = make_job(clock)
    more = make_jobs(clock, 2, fair_key="alice", delay=SECOND)
    await store.enqueue([bob, [plain], more])
    clock.advance(1)
    await store.promote(10)
    worker = BareWorker(store, clock.new_id())
    ours = [*(job.id for job in bob), plain.id]
    seen: list[str] = []
    while leases := await worker.lease(1):
        seen += [job.id for job in leases]
        await worker.settle(*map(done, leases))
    assert len(seen) == 11
    assert set(ours) <= set(seen)
    assert await state_of(store, *ours) == [State.SUCCEEDED] * 4
    await store.close()


@pytest.mark.parametrize("finish", [2**60 + 2**55, MOST, LEAST])
async def test_a_damaged_finish_tag_does_not_hold_its_tenant_up(
    tmp_path: Path, finish: int
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.enqueue([make_jobs(clock, 2, fair_key="alice")])
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        db.execute("update share set finish = ?", (finish,))
    more = make_job(clock, fair_key="alice")
    await store.enqueue([[more], make_jobs(clock, 50, fair_key="bob")])
    assert more.id in [job.id for job in await BareWorker(store).lease(5)]
    await store.close()


async def test_the_sweep_forgets_who_is_even_with_those_that_come_anew(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.enqueue([make_jobs(clock, 9, fair_key="alice"), [make_job(clock, fair_key="bob")]])
    worker = BareWorker(store)

    async def left() -> list[str]:
        await store.sweep(100)
        await store.sweep(100)
        with apsw.Connection(str(tmp_path / "jobs.db")) as db:
            return [key for (key,) in db.execute("select fair_key from share order by 1")]

    assert await left() == ["alice", "bob"]
    await worker.lease(4)
    assert await left() == ["alice"]
    await worker.lease(6)
    assert await left() == []
    await store.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were run."""
    ran: list[str] = []
    for method in ("run", "rows"):
        plain = getattr(Connection, method)

        def noted(self: Any, sql: Any, *rest: Any, _plain: Any = plain) -> Any:
            ran.append(sql)
            return _plain(self, sql, *rest)

        monkeypatch.setattr(Connection, method, noted)
    return ran


async def _live(store: SqliteStore, clock: VirtualClock, **fields: Any) -> None:
    """Jobs that are added, leased, retried, put back and done."""
    await store.enqueue([make_jobs(clock, 20, **fields)])
    worker = BareWorker(store, clock.new_id())
    leases = await worker.lease(10)
    acks = [later(leases[0], SECOND), put_back(leases[1]), *map(done, leases[2:])]
    await worker.settle(*acks)
    clock.advance(1)
    await store.promote(100)
    await worker.lease(10)


async def test_turns_cost_a_few_statements_each_time_that_shared_jobs_become_ready(
    tmp_path: Path, statements: list[str]
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await _live(store, clock, fair_key="alice")
    assert [sql for sql in statements if sql in GIVING] == [
        *(sql for sql in GIVING if sql != statement("shares")),  # they were added
        *(sql for sql in GIVING if sql != statement("new_period")),  # one came back to be retried
    ]
    await store.close()


async def test_turns_cost_the_plain_jobs_of_another_queue_nothing(
    tmp_path: Path, statements: list[str]
) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await store.enqueue([[make_job(clock, fair_key="alice", queue="another")]])
    statements.clear()
    await _live(store, clock)
    assert not set(statements).intersection(GIVING)
    with apsw.Connection(str(tmp_path / "jobs.db")) as db:
        assert db.execute("select count(turn) from job where queue = 2").get == 0
    await store.close()


@pytest.fixture
def work() -> Iterator[list[None]]:
    """As long as the work of SQLite's virtual machine: one a hundred of its steps."""
    done: list[None] = []
    meter = partial(_meter, done)
    apsw.connection_hooks.append(meter)
    yield done
    apsw.connection_hooks.remove(meter)


def _meter(done: list[None], connection: apsw.Connection) -> None:
    def hundred() -> bool:
        done.append(None)
        return False

    connection.set_progress_handler(hundred, 100)


async def _cost_of_putting_back(path: Path, count: int, work: list[None]) -> int:
    clock = VirtualClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    await store.enqueue([[make_job(clock, fair_key=f"tenant {n}") for n in range(count)]])
    worker = BareWorker(store)
    leases = await worker.lease(count)
    work.clear()
    await worker.settle(*map(put_back, leases))
    cost = len(work)
    await store.close()
    return cost


async def test_putting_back_jobs_of_many_tenants_costs_the_same_for_each(
    tmp_path: Path, work: list[None]
) -> None:
    few = await _cost_of_putting_back(tmp_path / "few.db", 100, work)
    many = await _cost_of_putting_back(tmp_path / "many.db", 400, work)
    assert many < 5 * few


async def _cost_of_a_lease(path: Path, levels: int, work: list[None]) -> int:
    clock = VirtualClock()
    store = SqliteStore(path, clock=clock)
    await store.open()
    await store.configure([QueueSettings(queue=QUEUE, ageing=SECOND)])
    await store.enqueue([make_jobs(clock, 50, priority=n - 100) for n in range(levels)])
    work.clear()
    assert len(await BareWorker(store).lease(50)) == 50
    cost = len(work)
    await store.close()
    return cost


async def test_ageing_costs_little_a_priority_whatever_is_leased(
    tmp_path: Path, work: list[None]
) -> None:
    one = await _cost_of_a_lease(tmp_path / "one.db", 1, work)
    all_of_them = await _cost_of_a_lease(tmp_path / "all.db", 201, work)
    assert all_of_them < 3 * one


async def test_a_deep_queue_costs_a_new_job_no_more(tmp_path: Path, work: list[None]) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    costs: list[int] = []
    for _ in range(30):
        work.clear()
        await store.enqueue([make_jobs(clock, 200, fair_key="alice")])
        costs.append(len(work))
    assert costs[-1] < 1.2 * costs[0]
    await store.close()
