"""An isolated app in callers' transactions: like the real thing, and away from it."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import Raw
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from backline import App, ConfigError, JobContext, JobFailed, JobNotFound, State


class Shop:
    """A service whose outbox is in production: there is a committed job in it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "business.db"
        self.app = App("memory://")
        self.app.outbox(f"sqlite:///{self.file}").migrate()
        self.ran: list[int] = []

        @self.app.task(name="shop.ship", max_attempts=1)
        async def ship(n: int) -> int:
            if n < 0:
                raise ValueError("no such order")
            self.ran.append(n)
            return n

        @self.app.task(name="shop.pay", max_attempts=3)
        def pay(job: JobContext, n: int) -> str:
            with self.connected() as connection, connection:
                connection.execute("insert into paid values (?)", (n,))
                job.complete(within=connection, result="paid")
            raise OSError("after the commit")

        self.ship, self.pay = ship, pay
        with self.connected() as connection, connection:
            connection.execute("create table orders (n integer)")
            connection.execute("create table paid (n integer)")
            self.real = ship.using(within=connection).enqueue(1000)

    @contextmanager
    def connected(self, **options: Any) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, **options)) as connection:
            yield connection

    def place(self, n: int) -> Any:
        """The code under test: an order and its job."""
        with self.connected() as connection, connection:
            connection.execute("insert into orders values (?)", (n,))
            return self.ship.using(within=connection).enqueue(n)

    def rows(self) -> list[Any]:
        with self.connected() as connection:
            jobs = connection.execute("select id from backline_outbox order by seq").fetchall()
            return jobs + connection.execute("select id from backline_inbox").fetchall()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    # Whatever the test did: the job that production had committed is there, and no other.
    assert shop.rows() == [(shop.real.id,)]
    assert shop.app.drain() == 1
    assert shop.real.status() is State.SUCCEEDED
    assert shop.ran[-1] == 1000
    shop.app.close()


def test_what_production_committed_is_not_relayed(shop: Shop) -> None:
    with shop.app.isolated():
        assert shop.app.drain() == 0
        assert shop.app.relay() == 0
        with pytest.raises(JobNotFound):
            shop.real.status()


def test_a_worker_of_the_isolation_leaves_it_too(shop: Shop) -> None:
    async def main() -> None:
        async with shop.app.worker():
            job = await asyncio.to_thread(shop.place, 1)
            assert await job.aresult(timeout=20) == 1

    with shop.app.isolated():
        asyncio.run(main())
    assert shop.ran == [1]


def test_a_job_is_there_once_its_transaction_is_committed(shop: Shop) -> None:
    with shop.app.isolated():
        with shop.connected() as connection:
            connection.execute("insert into orders values (1)")
            job = shop.ship.using(within=connection).enqueue(1)
            assert shop.app.drain() == 0
            with pytest.raises(JobNotFound):
                job.status()
            connection.commit()
            assert job.status() is State.READY
        assert shop.app.drain() == 1
        assert job.result() == 1


def test_a_job_whose_transaction_is_rolled_back_never_runs(shop: Shop) -> None:
    with shop.app.isolated():
        with shop.connected() as connection:
            job = shop.ship.using(within=connection).enqueue(1)
            connection.rollback()
            later = shop.ship.using(within=connection).enqueue(2)
            connection.commit()
        assert shop.app.drain() == 1
        assert later.result() == 2
        with pytest.raises(JobNotFound):
            job.status()
    assert shop.ran == [2]


def test_what_was_not_drained_is_gone_with_the_isolation(shop: Shop) -> None:
    with shop.connected() as connection:
        for n in range(12):  # more than SQLite attaches to one connection
            with shop.app.isolated(), connection:
                shop.ship.using(within=connection).enqueue(n)
        with shop.app.isolated():
            assert shop.app.drain() == 0
            with connection:
                shop.ship.using(within=connection).enqueue(50)
            assert shop.app.drain() == 1
    assert shop.ran == [50]


def test_isolations_within_each_other_are_apart(shop: Shop) -> None:
    with shop.app.isolated():
        outer = shop.place(1)
        with shop.app.isolated():
            inner = shop.place(2)
            assert shop.app.drain() == 1
            assert inner.result() == 2
        assert shop.app.drain() == 1
        assert outer.result() == 1


def test_jobs_start_in_the_order_of_their_enqueues(shop: Shop) -> None:
    with shop.app.isolated():
        for n in (3, 1, 2):
            shop.place(n)
        shop.app.drain()
    assert shop.ran == [3, 1, 2]


def test_a_transaction_that_stays_open_holds_up_nobody(shop: Shop) -> None:
    with shop.app.isolated(), closing(sqlite3.connect(":memory:")) as idle:
        shop.ship.using(within=idle).enqueue(1)
        shop.place(2)
        assert shop.app.drain() == 1
    assert shop.ran == [2]


def by_memory(shop: Shop) -> None:
    with closing(sqlite3.connect(":memory:")) as connection, connection:
        connection.execute("create table orders (n integer)")
        shop.app.enqueue_many([shop.ship.job(1), shop.ship.job(2)], within=connection)


def by_immediate(shop: Shop) -> None:
    with shop.connected(isolation_level=None) as connection:
        connection.execute("begin immediate")
        shop.app.enqueue_many([shop.ship.job(1)], within=connection)
        shop.ship.using(within=connection).enqueue(2)
        connection.execute("commit")


def by_session(shop: Shop) -> None:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    for n in (1, 2):
        with Session(engine) as session, session.begin():
            shop.ship.using(within=session).enqueue(n)
    engine.dispose()


def by_savepoint(shop: Shop) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    with Session(engine) as session, session.begin():
        shop.ship.using(within=session).enqueue(1)
        inner = session.begin_nested()
        shop.ship.using(within=session).enqueue(7)
        inner.rollback()
        shop.ship.using(within=session).enqueue(2)
    engine.dispose()


def by_async_session(shop: Shop) -> None:
    async def place() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
        async with AsyncSession(engine) as session:
            await shop.ship.using(within=session).aenqueue(1)
            await shop.app.aenqueue_many([shop.ship.job(2)], within=session)
            await session.commit()
        await engine.dispose()

    asyncio.run(place())


@pytest.mark.parametrize(
    "place", [by_memory, by_immediate, by_session, by_savepoint, by_async_session]
)
def test_every_kind_of_connection(shop: Shop, place: Callable[[Shop], None]) -> None:
    with shop.app.isolated():
        place(shop)
        shop.app.drain()
    assert shop.ran == [1, 2]


def test_a_database_needs_no_tables_but_the_app_an_outbox(tmp_path: Path) -> None:
    app = App("memory://")
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection, app.isolated():
        with pytest.raises(ConfigError, match=r"app\.outbox"):
            app.remote("x").using(within=connection).enqueue()
        app.outbox("sqlite:///business.db")
        with connection:
            app.remote("x").using(within=connection).enqueue()
        assert connection.execute("select name from sqlite_master").fetchall() == []


def test_a_connection_that_commits_by_itself_is_refused_here_too(shop: Shop) -> None:
    with (
        shop.app.isolated(),
        shop.connected(isolation_level=None) as connection,
        pytest.raises(ConfigError, match="BEGIN"),
    ):
        shop.ship.using(within=connection).enqueue(1)


# ---------------------------------------------------------------------------- complete


def test_a_completion_is_the_result_whatever_is_raised_after_it(shop: Shop) -> None:
    with shop.app.isolated():
        job = shop.pay.enqueue(1)
        assert shop.app.drain() == 1
        assert job.result() == "paid"


def test_a_completion_that_is_rolled_back_is_none(shop: Shop) -> None:
    @shop.app.task(name="shop.fail", max_attempts=1)
    def fail(job: JobContext) -> None:
        with shop.connected() as connection:
            job.complete(within=connection)
            raise OSError("before the commit")

    with shop.app.isolated():
        job = fail.enqueue()
        shop.app.drain()
        with pytest.raises(JobFailed, match="before the commit"):
            job.result()


def test_a_second_run_finds_what_the_first_completed(shop: Shop) -> None:
    @shop.app.task(name="shop.twice", max_attempts=1)
    def twice(job: JobContext) -> str | None:
        with shop.connected() as earlier, earlier:  # a run that died right after its commit
            shop.app._transacting.complete(job.id, 0, Raw(b'"the first"'), earlier)
        with shop.connected() as connection, connection:
            connection.execute("insert into paid values (1)")
            job.complete(within=connection)
        return None

    with shop.app.isolated():
        job = twice.enqueue()
        shop.app.drain()
        assert job.result() == "the first"
    with shop.connected() as connection:
        assert connection.execute("select * from paid").fetchall() == []


def test_completing_twice_in_one_run_is_told(shop: Shop) -> None:
    @shop.app.task(name="shop.again", max_attempts=1)
    def again(job: JobContext) -> None:
        with shop.connected() as connection:
            job.complete(within=connection)
            job.complete(within=connection)

    with shop.app.isolated():
        job = again.enqueue()
        shop.app.drain()
        with pytest.raises(JobFailed, match="called complete twice"):
            job.result()


# --------------------------------------------------------------------------- immediate


def test_immediate_runs_it_when_somebody_looks_after_the_commit(shop: Shop) -> None:
    with shop.app.immediate():
        with shop.connected() as connection:
            job = shop.ship.using(within=connection).enqueue(1)
            with pytest.raises(JobNotFound):
                job.status()
            connection.commit()
        assert job.status() is State.SUCCEEDED
        another = shop.place(2)
        assert another.result(timeout=5) == 2
        shop.place(3)
        shop.ship.enqueue(4)
        assert shop.ran == [1, 2, 3, 4]


def test_immediate_does_not_raise_for_a_job_that_was_committed_earlier(shop: Shop) -> None:
    with shop.app.immediate():
        job = shop.place(-1)
        assert shop.ship.enqueue(1).status() is State.SUCCEEDED
        assert job.status() is State.DEAD


def test_immediate_runs_what_a_job_enqueued_in_its_own_transaction(shop: Shop) -> None:
    @shop.app.task(name="shop.order")
    def order(n: int) -> None:
        shop.place(n)

    with shop.app.immediate():
        order.enqueue(1)
    assert shop.ran == [1]


# ------------------------------------------------------------------------- left behind

CHILD = """
import sqlite3, sys
from backline import App
app = App("memory://")
app.outbox("sqlite:///business.db")
kept = sqlite3.connect(":memory:")
for n in range(3):
    with app.isolated(), kept:
        app.remote("x").using(within=kept).enqueue(n)
        brief = sqlite3.connect(":memory:")
        app.remote("x").using(within=brief).enqueue(n)
        brief.commit()
        brief.close()
import pathlib, tempfile
files = [f for f in pathlib.Path(tempfile.gettempdir()).rglob("*.db")]
assert len(files) == 1, files
"""


def test_no_scratch_file_outlives_its_use(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", CHILD], check=True, cwd=tmp_path, env={"TMPDIR": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []
