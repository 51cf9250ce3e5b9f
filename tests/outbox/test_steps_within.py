"""Steps in callers' transactions: the effect and its record commit together."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from backline import App, BacklineError, ConfigError, JobContext, RetryLater, State
from backline.job import DAY
from backline.outbox.relay import Relay
from backline.testing import assert_idempotent
from backline.testing.clock import VirtualClock


class Shop:
    """Its tasks book orders in a database of its own."""

    def __init__(self, folder: Path, app: App) -> None:
        self.file = folder / "business.db"
        self.app = app
        app.outbox(f"sqlite:///{self.file}").migrate()
        with self.connected() as connection, connection:
            connection.execute("create table booked (n integer)")

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file)) as connection:
            yield connection

    def booked(self) -> list[int]:
        with self.connected() as connection:
            return [n for (n,) in connection.execute("select n from booked")]

    def steps(self) -> list[tuple[str, int]]:
        with self.connected() as connection:
            return connection.execute("select step, attempt from backline_step").fetchall()


def book(connection: sqlite3.Connection, n: int) -> int:
    connection.execute("insert into booked values (?)", (n,))
    return n + 1_000


def book_by_sqlalchemy(session: Session, n: int) -> int:
    session.execute(sa.text("insert into booked values (:n)"), {"n": n})
    return n + 1_000


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, App("memory://"))
    yield shop
    shop.app.close()


def worked(shop: Shop, task: Any, *args: Any) -> Any:
    """The job, after all of its runs."""

    async def work() -> Any:
        job = await task.aenqueue(*args)
        for _ in range(3):
            await shop.app.adrain()
        return await job.arefresh()

    return asyncio.run(work())


@pytest.mark.parametrize("isolated", [False, True])
def test_a_step_that_was_committed_is_not_done_again(shop: Shop, isolated: bool) -> None:
    seen: list[int] = []

    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> int:
        with shop.connected() as connection, connection:
            seen.append(await job.step("book", book, connection, n, within=connection))
        if job.failures == 0:
            raise RetryLater(0)
        return seen[-1]

    with shop.app.isolated() if isolated else nullcontext():
        record = worked(shop, order, 7)
    assert (record.state, seen, shop.booked()) == (State.SUCCEEDED, [1_007, 1_007], [7])
    assert shop.steps() == ([] if isolated else [("book", 1)])


def test_a_step_that_was_rolled_back_is_done_again(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> int:
        with shop.connected() as connection, connection:
            booked = await job.step("book", book, connection, n, within=connection)
            if job.failures == 0:
                raise RetryLater(0)
        return booked

    assert worked(shop, order, 7).state is State.SUCCEEDED
    assert shop.booked() == [7]


def test_a_run_may_come_to_it_again_after_a_rollback_and_not_after_a_commit(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> None:
        with shop.connected() as connection:
            await job.step("book", book, connection, n, within=connection)
            connection.rollback()
            await job.step("book", book, connection, n, within=connection)
            connection.commit()
            with pytest.raises(BacklineError, match="comes to step 'book' twice"):
                await job.step("book", book, connection, n, within=connection)

    record = worked(shop, order, 7)
    assert (record.state, record.attempt, shop.booked()) == (State.SUCCEEDED, 1, [7])


def test_a_session_of_sqlalchemy_will_do(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> list[int]:
        engine = sa.create_engine(f"sqlite:///{shop.file}")
        with Session(engine) as session, session.begin():
            one = await job.step("one", book_by_sqlalchemy, session, n, within=session)
        engine.dispose()
        if job.failures == 0:
            raise RetryLater(0)
        return [one]

    record = worked(shop, order, 7)
    assert (record.state, bytes(record.result), shop.booked()) == (
        State.SUCCEEDED,
        b"[1007]",
        [7],
    )


def test_an_async_session_will_do(shop: Shop) -> None:
    async def book_it(session: AsyncSession, n: int) -> int:
        await session.execute(sa.text("insert into booked values (:n)"), {"n": n})
        return n

    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> int:
        engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
        async with AsyncSession(engine) as session, session.begin():
            booked = await job.step("book", book_it, session, n, within=session)
        await engine.dispose()
        if job.failures == 0:
            raise RetryLater(0)
        return booked

    assert worked(shop, order, 7).state is State.SUCCEEDED
    assert shop.booked() == [7]


def test_a_crash_anywhere_leaves_one_effect(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> int:
        with shop.connected() as connection, connection:
            return await job.step("book", book, connection, n, within=connection)

    def clear() -> None:
        with shop.connected() as connection, connection:
            connection.execute("delete from booked")

    assert_idempotent(order, 7, state=shop.booked, reset=clear)


def test_a_connection_to_no_outbox_is_refused(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int) -> None:
        with (
            closing(sqlite3.connect(":memory:")) as connection,
            pytest.raises(ConfigError, match="the declared outboxes are"),
        ):
            await job.step("book", book, connection, n, within=connection)
        with (
            closing(sqlite3.connect(shop.file, isolation_level=None)) as connection,
            pytest.raises(ConfigError, match="needs an open transaction"),
        ):
            await job.step("book", book, connection, n, within=connection)

    assert worked(shop, order, 7).state is State.SUCCEEDED
    assert shop.booked() == []


def test_steps_are_forgotten_with_their_jobs_and_not_before(shop: Shop) -> None:
    @shop.app.task(name="order")
    async def order(job: JobContext, n: int, naps: bool) -> None:
        with shop.connected() as connection, connection:
            await job.step("book", book, connection, n, within=connection)
        if naps:
            await job.sleep("30d")

    clock = VirtualClock()

    async def work() -> tuple[Any, Any]:
        for n in (7, 8):
            await order.aenqueue(n, naps=n == 8)
        await shop.app.adrain()
        outbox = next(iter(shop.app._transacting.outboxes))
        relay = Relay(outbox, shop.app.store, clock)
        try:
            assert not await relay.forget_steps()
            young = shop.steps()
            with shop.connected() as connection, connection:
                connection.execute("update backline_step set recorded_at = ?", (-8 * DAY,))
            assert not await relay.forget_steps()
        finally:
            await relay.close()
        return young, shop.steps()

    young, old = asyncio.run(work())
    assert (len(young), len(old)) == (2, 1)
