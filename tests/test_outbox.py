"""Jobs and completions in the caller's own transaction, through every kind of connection."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import Raw
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from backline import (
    AlreadyCompleted,
    App,
    ConfigError,
    InvalidArguments,
    JobContext,
    JobFailed,
    JobNotFound,
    State,
    StoreRefused,
    StoreUnavailable,
    UniqueConflict,
    UnknownOption,
)
from backline.faults import hooked
from backline.job import DAY, SECOND, Enqueued, JobRequest, Refused
from backline.outbox import Outbox, Relay
from backline.outbox.relay import KEEP
from backline.store import Call, Filter, Store
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.testing.wrapper import StoreWrapper


class Base(DeclarativeBase):
    """The caller's own tables, as its ORM has them."""


class Order(Base):
    """A row of the caller's."""

    __tablename__ = "orders"
    n: Mapped[int] = mapped_column(primary_key=True)


class Shop:
    """A service with a database of its own, and an app whose clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.file = folder / "business.db"
        self.app = App(store=MemoryStore(clock=self.clock), clock=self.clock)
        self.outbox = self.app.outbox(f"sqlite:///{self.file}")
        self.outbox.migrate()
        self.ran: list[int] = []
        self.news = asyncio.Event()

        @self.app.task(name="shop.ship")
        async def ship(n: int) -> int:
            self.ran.append(n)
            self.news.set()
            return n

        self.ship = ship
        with self.connected() as connection:
            connection.execute("create table orders (n integer primary key)")
            connection.execute("create table shipped (n integer)")

    @contextmanager
    def connected(self, **options: Any) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.file, **options)
        try:
            yield connection
        finally:
            connection.close()

    def read(self, sql: str) -> list[Any]:
        with self.connected() as connection:
            return connection.execute(sql).fetchall()

    def write(self, sql: str, *parameters: object) -> None:
        with self.connected() as connection, connection:
            connection.execute(sql, parameters)

    @property
    def orders(self) -> list[int]:
        return [n for (n,) in self.read("select n from orders order by n")]

    @property
    def shipped(self) -> list[int]:
        return [n for (n,) in self.read("select n from shipped order by n")]

    @property
    def waiting(self) -> int:
        [(count,)] = self.read("select count(*) from backline_outbox where error is null")
        return int(count)

    async def has_run(self, count: int) -> None:
        """Wait until so many jobs have run."""
        while len(self.ran) < count:
            self.news.clear()
            await self.news.wait()

    def run(self, work: Callable[[], Any]) -> Any:
        """Run a coroutine on virtual time."""
        return run(work(), clock=self.clock)

    def drain(self) -> int:
        return int(self.run(self.app.adrain))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.app.close()


# --------------------------------------------------------- every kind of connection

Place = Callable[[Shop, int, bool], None]
"""Places an order and enqueues its job in one transaction; commits, or rolls back."""


def by_sqlite3(**options: Any) -> Place:
    def place(shop: Shop, n: int, commits: bool) -> None:
        with shop.connected(**options) as connection:
            if options.get("isolation_level", "") is None:
                connection.execute("begin")
            connection.execute("insert into orders values (?)", (n,))
            shop.ship.using(within=connection).enqueue(n)
            connection.execute("commit" if commits else "rollback")

    return place


def with_odd_factories(shop: Shop, n: int, commits: bool) -> None:
    with shop.connected() as connection:
        connection.row_factory = lambda cursor, row: {"row": row}
        connection.text_factory = bytes
        connection.execute("insert into orders values (?)", (n,))
        shop.ship.using(within=connection).enqueue(n)
        connection.execute("commit" if commits else "rollback")


def by_core(shop: Shop, n: int, commits: bool) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    with engine.connect() as connection:
        connection.execute(sa.insert(Order).values(n=n))
        shop.ship.using(within=connection).enqueue(n)
        connection.commit() if commits else connection.rollback()
    engine.dispose()


def by_core_first(shop: Shop, n: int, commits: bool) -> None:
    """The job before the row: SQLAlchemy begins because of our statement."""
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    with engine.connect() as connection:
        shop.app.enqueue_many([shop.ship.job(n)], within=connection)
        connection.execute(sa.insert(Order).values(n=n))
        connection.commit() if commits else connection.rollback()
    engine.dispose()


def by_session(shop: Shop, n: int, commits: bool) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    with Session(engine) as session:
        session.add(Order(n=n))
        shop.ship.using(within=session).enqueue(n)
        session.commit() if commits else session.rollback()
    engine.dispose()


def by_scoped_session(shop: Shop, n: int, commits: bool) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    session = scoped_session(sessionmaker(engine))
    session.add(Order(n=n))
    shop.ship.using(within=session).enqueue(n)
    session.commit() if commits else session.rollback()
    session.remove()
    engine.dispose()


def by_savepoint(shop: Shop, n: int, commits: bool) -> None:
    """Rolled back to a savepoint, the rest committed."""
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    with Session(engine) as session, session.begin():
        inner = session.begin_nested()
        session.add(Order(n=n))
        shop.ship.using(within=session).enqueue(n)
        inner.commit() if commits else inner.rollback()
    engine.dispose()


def by_async_session(shop: Shop, n: int, commits: bool) -> None:
    async def place() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
        async with AsyncSession(engine) as session:
            session.add(Order(n=n))
            await shop.ship.using(within=session).aenqueue(n)
            await (session.commit() if commits else session.rollback())
        await engine.dispose()

    asyncio.run(place())


def by_async_connection(shop: Shop, n: int, commits: bool) -> None:
    async def place() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
        async with engine.connect() as connection:
            await connection.execute(sa.insert(Order).values(n=n))
            await shop.app.aenqueue_many([shop.ship.job(n)], within=connection)
            await (connection.commit() if commits else connection.rollback())
        await engine.dispose()

    asyncio.run(place())


KINDS: dict[str, Place] = {
    "sqlite3": by_sqlite3(),
    "sqlite3 immediate": by_sqlite3(isolation_level="IMMEDIATE"),
    "sqlite3 with begin": by_sqlite3(isolation_level=None),
    "sqlite3 odd factories": with_odd_factories,
    "core": by_core,
    "core, job first": by_core_first,
    "session": by_session,
    "scoped session": by_scoped_session,
    "savepoint": by_savepoint,
    "async session": by_async_session,
    "async connection": by_async_connection,
}


@pytest.mark.parametrize("place", KINDS.values(), ids=KINDS)
def test_row_and_job_are_committed_together_or_not_at_all(shop: Shop, place: Place) -> None:
    place(shop, 1, False)
    place(shop, 2, True)

    assert (shop.orders, shop.waiting) == ([2], 1)
    assert shop.drain() == 1
    assert (shop.ran, shop.waiting) == ([2], 0)


def test_a_workload_of_which_a_third_is_rolled_back_has_no_mismatch(shop: Shop) -> None:
    kinds = [KINDS["sqlite3"], KINDS["core"], KINDS["session"]]
    for n in range(60):
        kinds[n % 3](shop, n, n % 10 >= 3)
        if n % 7 == 0:
            shop.drain()
    shop.drain()

    assert len(shop.orders) == 42
    assert sorted(shop.ran) == shop.orders


def test_jobs_start_in_the_order_of_their_commits(shop: Shop) -> None:
    for n in (3, 1, 2):
        KINDS["sqlite3"](shop, n, True)

    async def relayed() -> list[bytes]:
        await shop.app.arelay()
        page = await shop.app.store.find(Filter(), limit=9, oldest_first=True)
        return [bytes(job.payload) for job in page.jobs]

    assert shop.run(relayed) == [b"[[3],{}]", b"[[1],{}]", b"[[2],{}]"]


# ------------------------------------------------------------------- what is refused


def test_a_connection_that_commits_by_itself_is_refused(shop: Shop) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}", isolation_level="AUTOCOMMIT")
    with shop.connected(isolation_level=None) as alone, engine.connect() as alone_too:
        for within in (alone, alone_too):
            with pytest.raises(ConfigError, match="execute BEGIN first"):
                shop.ship.using(within=within).enqueue(1)
    engine.dispose()
    assert shop.waiting == 0


def test_a_database_that_is_no_outbox_is_refused(shop: Shop, tmp_path: Path) -> None:
    for file in (tmp_path / "other.db", ":memory:"):
        other = sqlite3.connect(file)
        with pytest.raises(ConfigError, match="backline migrate --outbox sqlite:///"):
            shop.ship.using(within=other).enqueue(1)
        other.close()


@pytest.mark.parametrize("by", [sqlite3.connect, lambda f: sa.create_engine(f"sqlite:///{f}")])
def test_tables_that_are_missing_are_named(tmp_path: Path, by: Callable[[Path], Any]) -> None:
    app = App("memory://")
    app.outbox(f"sqlite:///{tmp_path / 'new.db'}")
    maker = by(tmp_path / "new.db")
    within = maker.connect() if hasattr(maker, "connect") else maker
    with pytest.raises(StoreRefused, match=r"backline migrate --outbox sqlite:////.*new\.db"):
        app.remote("x").using(within=within).enqueue()
    within.close()
    if maker is not within:
        maker.dispose()


def test_what_is_no_connection_is_refused(shop: Shop) -> None:
    engine = sa.create_engine(f"sqlite:///{shop.file}")
    for within in (engine, shop.file, 7):
        with pytest.raises(ConfigError, match="within= takes an open connection"):
            shop.ship.using(within=within).enqueue(1)
    engine.dispose()


def test_an_async_session_needs_the_async_twin(shop: Shop) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
    for within in (AsyncSession(engine), AsyncConnection(engine)):
        with pytest.raises(ConfigError, match="aenqueue"):
            shop.ship.using(within=within).enqueue(1)


def test_within_belongs_to_one_call(shop: Shop) -> None:
    with shop.connected() as connection:
        with pytest.raises(ConfigError, match="one transaction"):
            shop.app.task(within=connection)(lambda: None)
        with pytest.raises(ConfigError, match="enqueue_many"):
            shop.ship.using(within=connection).job(1)
        with pytest.raises(UnknownOption, match="within="):
            shop.ship.using(session=connection)  # type: ignore[call-arg]


def test_arguments_are_checked_before_anything_is_written(shop: Shop) -> None:
    with shop.connected() as connection:
        with pytest.raises(InvalidArguments):
            shop.ship.using(within=connection).enqueue("one")  # type: ignore[arg-type]
        assert not connection.in_transaction


def test_two_jobs_of_one_call_with_one_key_are_settled_at_once(shop: Shop) -> None:
    keyed = shop.ship.using(unique_key="k")
    with shop.connected() as connection, connection:
        one, two = shop.app.enqueue_many([keyed.job(1), keyed.job(2)], within=connection)
        assert (one.added, two.added, two.id) == (True, False, one.id)
        picky = keyed.using(on_conflict="raise")
        with pytest.raises(UniqueConflict):
            shop.app.enqueue_many([keyed.job(3), picky.job(4)], within=connection)
    assert shop.waiting == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://db/shop", "no SQLite database"),
    ],
)
def test_an_outbox_is_a_sqlite_file(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        App("memory://").outbox(url)


def test_the_stores_own_file_is_no_outbox(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path / 'jobs.db'}")
    (tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")
    for name in ("jobs.db", "link.db"):
        with pytest.raises(ConfigError, match="the store's own file"):
            app.outbox(f"sqlite:///{tmp_path / name}")


# ----------------------------------------------------------------------- the tables


def test_making_the_tables_is_repeatable_and_touches_nothing_else(shop: Shop) -> None:
    before = shop.read("select name, sql from sqlite_master order by name")
    assert [shop.outbox.migrate() for _ in range(3)] == [1, 1, 1]
    assert shop.read("select name, sql from sqlite_master order by name") == before
    assert shop.read("pragma user_version") == [(0,)]


def test_tables_of_a_newer_version_are_left_alone(shop: Shop) -> None:
    shop.write("insert into backline_version values (99)")
    with pytest.raises(StoreRefused, match="upgrade this process"):
        shop.outbox.migrate()
    with pytest.raises(StoreRefused, match="upgrade this process"):
        shop.drain()


def test_a_missing_database_is_not_made_by_a_relay(tmp_path: Path) -> None:
    app = App("memory://")
    app.outbox(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(StoreUnavailable):
        asyncio.run(app.arelay())
    assert not (tmp_path / "none.db").exists()


# ------------------------------------------------------------------------- the relay


def test_a_job_is_not_known_before_the_commit(shop: Shop) -> None:
    with shop.connected() as connection:
        job = shop.ship.using(within=connection).enqueue(1)
        assert shop.run(shop.app.arelay) == 0
        with pytest.raises(JobNotFound):
            shop.run(job.arefresh)
        connection.commit()
    shop.drain()
    assert shop.run(lambda: job.aresult(1)) == 1


def test_no_position_is_remembered(shop: Shop) -> None:
    """F19: what commits late, with a lower number than others, is moved all the same."""
    KINDS["sqlite3"](shop, 1, True)
    shop.write("update backline_outbox set seq = 1000")
    assert shop.drain() == 1
    shop.write("delete from sqlite_sequence")
    KINDS["sqlite3"](shop, 2, True)
    assert shop.read("select seq from backline_outbox")[0][0] < 1000
    assert shop.drain() == 1
    assert shop.ran == [1, 2]


def test_times_count_from_the_enqueue(shop: Shop) -> None:
    with shop.connected() as connection, connection:
        later = shop.ship.using(within=connection, delay="1h", expires="2h").enqueue(1)
    began = shop.clock.now()
    shop.clock.advance("30m")

    async def relayed() -> tuple[int, int | None]:
        await shop.app.arelay()
        record = await later.arefresh()
        return record.due, record.expires_at

    assert shop.run(relayed) == (began + 3_600 * SECOND, began + 7_200 * SECOND)


def dying_at(point: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == point:
            raise InterruptedError(point)

    return hook


@pytest.mark.parametrize(
    "point",
    ["relay.before_enqueue", "relay.after_enqueue", "relay.before_delete", "relay.after_delete"],
)
def test_relaying_again_adds_nothing_twice(shop: Shop, point: str) -> None:
    for n in range(5):
        KINDS["sqlite3"](shop, n, True)
    with hooked(dying_at(point)), pytest.raises(InterruptedError):
        shop.run(shop.app.arelay)

    assert shop.drain() == 5
    assert sorted(shop.ran) == [0, 1, 2, 3, 4]
    assert shop.waiting == 0


def test_a_store_that_is_away_loses_nothing(shop: Shop) -> None:
    KINDS["sqlite3"](shop, 1, True)

    async def fails(*_: object) -> Any:
        raise StoreUnavailable("away")

    async def outage() -> None:
        store = MemoryStore(clock=shop.clock)
        store.enqueue = fails  # type: ignore[method-assign]
        relay = Relay(shop.outbox, store, shop.clock)
        with pytest.raises(StoreUnavailable):
            await relay.move()
        await relay.close()

    shop.run(outage)
    assert shop.waiting == 1
    assert shop.drain() == 1


def test_several_relays_move_each_job_once(shop: Shop) -> None:
    for n in range(50):
        KINDS["sqlite3"](shop, n, True)

    async def compete() -> None:
        store = shop.app.store
        await store.open()
        relays = [Relay(shop.outbox, store, shop.clock) for _ in range(3)]
        await asyncio.gather(*(relay.move_all() for relay in relays))
        for relay in relays:
            await relay.close()

    shop.run(compete)
    assert shop.drain() == 50


def test_of_several_relays_one_has_the_turn_until_it_stands_still(shop: Shop) -> None:
    from backline.outbox.turn import PATIENCE, Turn

    one, two = (Turn(str(shop.file), shop.clock) for _ in range(2))
    assert [one.take(), two.take()] == [True, False]
    one.give_up()
    assert [two.take(), one.take()] == [True, False]
    shop.clock.advance(PATIENCE / SECOND)
    assert one.take(), "two has stood still for too long"
    one.close()
    two.close()


def test_a_full_queue_waits_and_holds_up_no_other(shop: Shop) -> None:
    shop.app.queue("small", max_depth=2)
    with shop.connected() as connection, connection:
        for n in range(5):
            shop.ship.using(within=connection, queue="small").enqueue(n)
        shop.ship.using(within=connection).enqueue(9)

    assert shop.run(shop.app.arelay) == 3
    assert shop.waiting == 3

    async def work() -> None:
        async with shop.app.worker():
            await shop.has_run(6)

    shop.run(work)
    assert sorted(shop.ran) == [0, 1, 2, 3, 4, 9]
    assert [n for n in shop.ran if n < 9] == [0, 1, 2, 3, 4]


class Refusing(StoreWrapper):
    """A store whose queues are full at the first call, and have room from then on."""

    def __init__(self, store: Store, *, refusals: int) -> None:
        super().__init__(store)
        self.calls: list[list[JobRequest]] = []
        self._refusals = refusals

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        self.calls.append([request for call in calls for request in call])
        if len(self.calls) <= self._refusals:
            return [Refused(call[0].queue, 1, 1, 0.0) for call in calls]
        return await super().enqueue(calls)


@pytest.mark.parametrize("refusals", [0, 1])
def test_jobs_with_one_key_are_in_different_batches_and_in_order(shop: Shop, refusals: int) -> None:
    for n in range(4):
        with shop.connected() as connection, connection:
            key = "even" if n % 2 == 0 else "odd"
            replacing = shop.ship.using(within=connection, unique_key=key, on_conflict="replace")
            replacing.enqueue(n)

    async def move() -> tuple[int, list[int]]:
        store = Refusing(MemoryStore(clock=shop.clock), refusals=refusals)
        relay = Relay(shop.outbox, store, shop.clock)
        gone = await relay.move()
        await relay.close()
        return gone, [len(call) for call in store.calls]

    # When the first two found no room, the later two have not overtaken them.
    assert shop.run(move) == ((0, [2]) if refusals else (4, [2, 2]))


def test_one_job_that_breaks_the_store_stops_no_other(shop: Shop) -> None:
    for n in range(9):
        KINDS["sqlite3"](shop, n, True)

    class Picky(StoreWrapper):
        async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
            if any(bytes(call[0].payload) == b"[[4],{}]" for call in calls):
                raise ValueError("no fours")
            return await super().enqueue(calls)

    async def move() -> int:
        relay = Relay(shop.outbox, Picky(MemoryStore(clock=shop.clock)), shop.clock)
        gone = await relay.move()
        await relay.close()
        return gone

    assert shop.run(move) == 9
    assert shop.read("select error from backline_outbox") == [("ValueError: no fours",)]


def test_what_can_never_be_enqueued_is_set_aside(shop: Shop) -> None:
    picky = shop.ship.using(unique_key="k", on_conflict="raise", delay="1h")
    once = shop.ship.using(idempotency_key="i", delay="1h")
    for task, n in ((picky, 1), (picky, 2), (once, 1), (once, 1), (once, 2)):
        with shop.connected() as connection, connection:
            task.using(within=connection).enqueue(n)
    shop.write("insert into backline_outbox (id, queue, job, written_at) values ('x', 'q', '{', 1)")
    KINDS["sqlite3"](shop, 3, True)

    assert shop.drain() == 1
    assert shop.ran == [3]
    database = shop.outbox.open()
    first, second, third = database.failed(10)
    assert first.error.startswith("conflict: shop.ship is already enqueued under the key 'k'")
    assert second.error.startswith("conflict: shop.ship was enqueued under the idempotency key 'i'")
    assert third.error.startswith("malformed: ")
    assert database.count_failed() == 3
    assert database.try_again() == 3
    database.close()
    assert shop.waiting == 3


def test_a_worker_relays_what_is_committed_soon(shop: Shop) -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        slowest = 0.0
        async with shop.app.worker():
            for n in range(5):
                await asyncio.sleep(7 + n * 0.06)  # anywhere between two looks
                began = loop.time()
                KINDS["sqlite3"](shop, n, True)
                await shop.has_run(n + 1)
                slowest = max(slowest, loop.time() - began)
        return slowest

    assert shop.run(work) <= 0.02  # without the hint it would be up to a quarter of a second


def test_a_commit_that_comes_a_little_after_the_enqueue_is_seen_soon(shop: Shop) -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        async with shop.app.worker():
            await asyncio.sleep(7.11)
            with shop.connected() as connection:
                shop.ship.using(within=connection).enqueue(1)
                await asyncio.sleep(0.035)
                connection.commit()
            began = loop.time()
            await shop.has_run(1)
            return loop.time() - began

    assert shop.run(work) <= 0.06


@pytest.mark.parametrize("steps", range(5))
def test_a_relay_that_is_cancelled_beside_a_write_ends(shop: Shop, steps: int) -> None:
    async def shut_down() -> None:
        relay = Relay(shop.outbox, MemoryStore(clock=shop.clock), shop.clock)
        relaying = asyncio.create_task(relay.run())
        await asyncio.sleep(1)
        KINDS["sqlite3"](shop, 1, True)
        for _ in range(steps):
            await asyncio.sleep(0)
        relaying.cancel()
        await asyncio.wait([relaying], timeout=60)
        assert relaying.cancelled()

    shop.run(shut_down)


def test_a_relay_that_was_closed_says_so(shop: Shop) -> None:
    async def use_it_after() -> None:
        relay = Relay(shop.outbox, MemoryStore(clock=shop.clock), shop.clock)
        await relay.close()
        await relay.close()
        with pytest.raises(StoreUnavailable, match=r"the relay of .* is closed"):
            await relay.move()

    shop.run(use_it_after)


def test_a_worker_sees_what_another_process_commits(shop: Shop) -> None:
    async def work() -> float:
        loop = asyncio.get_running_loop()
        async with shop.app.worker():
            await asyncio.sleep(7.3)
            began = loop.time()
            shop.outbox.ring = lambda: None  # type: ignore[method-assign]  # nobody hears of it
            KINDS["sqlite3"](shop, 1, True)
            await shop.has_run(1)
            return loop.time() - began

    assert shop.run(work) <= 0.5


# ------------------------------------------------------------------------- the inbox


def completing(shop: Shop, body: Callable[[JobContext, sqlite3.Connection, int], Any]) -> Any:
    """A task that runs `body` in a transaction of its own."""

    @shop.app.task(name="shop.complete", max_attempts=1)
    async def complete(job: JobContext, n: int) -> int | None:
        with shop.connected() as connection, connection:
            connection.execute("insert into shipped values (?)", (n,))
            result: int | None = body(job, connection, n)
        return result

    return complete


def outcome(shop: Shop, task: Any, n: int = 7) -> Any:
    """What the task's job comes to."""

    async def work() -> Any:
        job = await task.aenqueue(n)
        await shop.app.adrain()
        return await job.aresult(1)

    return shop.run(work)


def test_effect_and_completion_are_committed_together(shop: Shop) -> None:
    task = completing(shop, lambda job, within, n: job.complete(within=within, result=n * 2))
    assert outcome(shop, task) == 14
    assert shop.shipped == [7]
    assert [row[1:3] for row in shop.read("select * from backline_inbox")] == [(1, "14")]


def test_a_run_that_fails_after_its_commit_has_succeeded(shop: Shop) -> None:
    @shop.app.task(name="shop.late", max_attempts=1)
    async def late(job: JobContext, n: int) -> int | None:
        with shop.connected() as connection, connection:
            connection.execute("insert into shipped values (?)", (n,))
            job.complete(within=connection, result=n)
        raise RuntimeError("after the commit")

    assert outcome(shop, late) == 7
    assert shop.shipped == [7]


def test_a_run_that_fails_before_its_commit_has_failed(shop: Shop) -> None:
    def body(job: JobContext, within: sqlite3.Connection, n: int) -> None:
        job.complete(within=within, result=n)
        raise RuntimeError("before the commit")

    with pytest.raises(JobFailed, match="before the commit"):
        outcome(shop, completing(shop, body))
    assert shop.shipped == []
    assert shop.read("select * from backline_inbox") == []


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_second_run_rolls_back_and_succeeds_with_the_first_ones_result(
    shop: Shop, wrapped: bool
) -> None:
    seen: list[type[BaseException]] = []

    def body(job: JobContext, within: sqlite3.Connection, n: int) -> None:
        try:
            job.complete(within=within, result=99)
        except AlreadyCompleted as error:
            seen.append(type(error))
            if wrapped:
                raise ExceptionGroup("several", [error]) from error
            raise

    async def work() -> Any:
        job = await completing(shop, body).aenqueue(7)
        insert = "insert into backline_inbox values (?, 0, '5', 1)"  # by an earlier attempt
        shop.write(insert, job.id)
        await shop.app.adrain()
        return await job.aresult(1)

    assert shop.run(work) == 5
    assert (seen, shop.shipped) == ([AlreadyCompleted], [])


def test_a_def_task_completes_too(shop: Shop) -> None:
    app = App("memory://")
    app.outbox(shop.outbox.url)

    @app.task(name="shop.complete")
    def complete(job: JobContext, n: int) -> int | None:
        with shop.connected() as connection, connection:
            connection.execute("insert into shipped values (?)", (n,))
            job.complete(within=connection, result=n)
        if n == 8:
            raise RuntimeError("after the commit")
        return None

    jobs = [complete.enqueue(7), complete.enqueue(8)]
    app.drain()
    assert [job.result(1) for job in jobs] == [7, 8]
    assert shop.shipped == [7, 8]
    app.close()


def test_an_async_session_completes_too(shop: Shop) -> None:
    app = App("memory://")
    app.outbox(shop.outbox.url)

    @app.task(name="shop.complete")
    async def complete(job: JobContext, n: int) -> int | None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{shop.file}")
        async with AsyncSession(engine) as session, session.begin():
            session.add(Order(n=n))
            await job.acomplete(within=session, result=n)
        await engine.dispose()
        return None

    async def work() -> int | None:
        job = await complete.aenqueue(7)
        await app.adrain()
        try:
            return await job.aresult(1)
        finally:
            await app.aclose()

    assert asyncio.run(work()) == 7
    assert shop.orders == [7]


def test_completing_twice_in_one_transaction_is_an_error_and_commits_nothing(shop: Shop) -> None:
    def body(job: JobContext, within: sqlite3.Connection, n: int) -> None:
        job.complete(within=within, result=n)
        job.complete(within=within, result=n)

    with pytest.raises(JobFailed) as caught:
        outcome(shop, completing(shop, body))
    assert caught.value.kind == "backline.errors.BacklineError"
    assert "called complete twice" in caught.value.reason
    assert shop.shipped == []


def test_after_a_rollback_a_run_may_complete_again(shop: Shop) -> None:
    def body(job: JobContext, within: sqlite3.Connection, n: int) -> None:
        job.complete(within=within, result=1)
        within.rollback()
        within.execute("insert into shipped values (?)", (n + 1,))
        job.complete(within=within, result=2)

    assert outcome(shop, completing(shop, body)) == 2
    assert shop.shipped == [8]


def test_a_result_that_does_not_fit_its_annotation_is_refused_at_once(shop: Shop) -> None:
    task = completing(shop, lambda job, within, n: job.complete(within=within, result="seven"))
    with pytest.raises(JobFailed, match=r"the result of shop\.complete"):
        outcome(shop, task)
    assert shop.shipped == []


def test_completions_are_kept_while_their_jobs_may_run_again(shop: Shop) -> None:
    done = completing(shop, lambda job, within, n: job.complete(within=within, result=n))

    @shop.app.task(name="shop.dies", max_attempts=1)
    async def dies() -> None:
        raise RuntimeError("dead")

    async def work() -> list[str]:
        app = shop.app
        jobs = [await done.using(keep="90d").aenqueue(1), await dies.aenqueue()]
        await app.adrain()
        dead = jobs[1].id
        shop.write("insert into backline_inbox values (?, 1, null, ?)", dead, shop.clock.now())
        relay = Relay(shop.outbox, app.store, shop.clock)
        counts = [await relay.forget()]
        shop.clock.advance((KEEP - SECOND) / SECOND)
        counts.append(await relay.forget())
        shop.clock.advance(2)
        counts.append(await relay.forget())
        await relay.close()
        assert counts == [0, 0, 1]
        assert (await jobs[1].arefresh()).state is State.DEAD
        return [dead]

    dead = shop.run(work)
    assert [row[0] for row in shop.read("select id from backline_inbox")] == dead
    assert KEEP >= DAY


def test_the_completion_of_a_database_that_cannot_be_read_is_not_guessed(shop: Shop) -> None:
    outboxes = shop.app._transacting
    assert outboxes.completion("nobody") is None
    shop.write("insert into backline_inbox values ('somebody', 1, '3', 1)")
    assert outboxes.completion("somebody") == (Raw(b"3"),)
    shop.file.rename(shop.file.with_suffix(".gone"))
    with pytest.raises(StoreUnavailable):
        outboxes.completion("somebody")


def test_an_outbox_that_is_declared_twice_is_one(shop: Shop) -> None:
    assert shop.app.outbox(f"sqlite:///{shop.file}") is shop.outbox
    assert shop.app.outboxes == (shop.outbox,)
    assert isinstance(shop.outbox, Outbox)
