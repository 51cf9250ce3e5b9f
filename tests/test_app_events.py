"""Events through an app: who gets a job, with what, and how often."""

import asyncio
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from backline import App, ConfigError, Event, JobContext, State, StoreUnavailable, UnknownOption
from backline.errors import InvalidArguments, PayloadTooLarge
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.wrapper import StoreWrapper


@dataclass
class Registered:
    """What a subscriber wants to see."""

    user_id: int
    mail: str = "nobody@example.com"


class Model(pydantic.BaseModel):
    """The same, of pydantic."""

    user_id: int


@pytest.fixture
def app() -> App:
    return App("memory://")


def test_every_subscriber_gets_a_job_with_its_own_types(app: App) -> None:
    seen: dict[str, Any] = {}

    @app.on("user.registered", queue="mail", name="mail")
    def mail(payload: Registered) -> None:
        seen["mail"] = payload

    @app.on("user.*", name="crm")
    async def crm(job: JobContext, event: Event[Registered]) -> None:
        seen["crm"] = event
        assert job.attempt == 1

    @app.on("user.#", "user.registered", name="model")
    def model(event: Event[Model], more: int = 7) -> None:
        seen["model"] = event.payload
        assert more == 7

    @app.on("#", name="anything")
    def anything(event: Event) -> None:  # type: ignore[type-arg]
        seen["anything"] = event.payload

    @app.on("user.gone", name="other")
    def other(payload: object) -> None:
        raise AssertionError

    with app.immediate():
        event = app.publish("user.registered", Registered(42, "a@b"), id="u42", key="42")
    assert event.added
    assert {name.rpartition(".")[2] for name in event.jobs} == {"mail", "crm", "model", "anything"}
    assert seen["mail"] == Registered(42, "a@b")
    assert seen["model"] == Model(user_id=42)
    assert seen["anything"] == {"user_id": 42, "mail": "a@b"}
    told = seen["crm"]
    assert (told.id, told.name, told.key) == ("u42", "user.registered", "42")
    assert told.payload == Registered(42, "a@b")
    assert isinstance(told.published_at, datetime)
    assert told.published_at.utcoffset() is not None


def test_an_id_is_published_once(app: App) -> None:
    runs: list[int] = []

    @app.on("a", name="one")
    def one(payload: int) -> None:
        runs.append(payload)

    with app.isolated():
        first = app.publish("a", 1, id="x")
        again = app.publish("a", 2, id="x")
        other = app.publish("a", 3)
        assert app.drain() == 2
        assert (again.id, again.added) == ("x", False)
        assert [job.id for job in again.jobs.values()] == [job.id for job in first.jobs.values()]
        assert other.id != "x"
        [job] = first.jobs.values()
        assert job.status() is State.SUCCEEDED
    assert sorted(runs) == [1, 3]


def test_a_payload_that_does_not_fit_is_dead_for_its_subscriber_alone(app: App) -> None:
    @app.on("a", name="strict")
    def strict(payload: Registered) -> None:
        raise AssertionError

    @app.on("a", name="lax")
    def lax(payload: object) -> str:
        return f"{payload}"

    with app.isolated():
        event = app.publish("a", {"user_id": "no number"})
        app.drain()
        bad, good = (event.jobs[task.name] for task in (strict, lax))
        assert bad.status() is State.DEAD
        assert bad.record is not None
        assert "expected int" in bad.record.errors[-1].message.lower()
        assert bad.record.failures == 1, "it can never fit: it is not tried again"
        assert good.result() == "{'user_id': 'no number'}"


async def test_options_of_the_task_hold_for_its_events(app: App) -> None:
    clock = VirtualClock()

    @app.headers
    def trace() -> dict[str, str]:
        return {"trace": "abc"}

    @app.on("a", queue="mail", priority=7, delay="5m", max_attempts=2, tags=["t"], name="one")
    def one(payload: object) -> None: ...

    with app.isolated(clock=clock):
        [job] = (await app.apublish("a")).jobs.values()
        await job.astatus()
        record = job.record
        assert record is not None
        assert (record.queue, record.priority, record.tags) == ("mail", 7, ("t",))
        assert record.due == clock.now() + 300_000_000
        assert record.headers == {"trace": "abc"}
        assert record.terms.max_attempts == 2
        assert record.state is State.SCHEDULED


def test_a_declared_task_subscribes_with_its_options_or_others(app: App) -> None:
    @app.on("a")
    @app.task(queue="one", name="first")
    def first(payload: object) -> None: ...

    @app.task(name="second")
    def second(payload: object) -> None: ...

    app.on("a", "b")(second.using(queue="two"))
    with app.isolated():
        queues = set()
        for job in app.publish("a").jobs.values():
            job.status()
            assert job.record is not None
            queues.add(job.record.queue)
    assert queues == {"one", "two"}
    assert app.queues() >= {"one", "default"}


async def test_publishers_know_no_subscriber(tmp_path: Path) -> None:
    """The subscriptions are in the store: another process, with none of the code, publishes."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    service, publisher = App(url), App(url)
    done = asyncio.Event()

    @service.on("user.*", name="greet")
    async def greet(payload: int) -> None:
        done.set()

    early = await publisher.apublish("user.registered", 1)
    assert not early.jobs, "nobody subscribes yet"
    async with service.worker(), asyncio.timeout(10):
        await service.aopen()
        assert (await publisher.apublish("user.registered", 2)).jobs
        await done.wait()
    assert await greet.aenqueue(3)
    page = await publisher.store.subscriptions(limit=9)
    assert [found.name for found in page.subscriptions] == [greet.name]
    for each in (service, publisher):
        await each.aclose()


@pytest.mark.parametrize("commit", [True, False])
def test_an_event_is_published_with_the_transaction_of_its_caller(
    tmp_path: Path, commit: bool
) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    outbox = app.outbox(f"sqlite:///{tmp_path}/business.db")
    outbox.migrate()
    seen: list[Event[int]] = []

    @app.on("a", name="one")
    def one(event: Event[int]) -> None:
        seen.append(event)

    @app.task(name="plain")
    def plain() -> None: ...

    connection = sqlite3.connect(tmp_path / "business.db")
    connection.execute("create table user (id)")
    connection.execute("insert into user values (1)")
    published = app.publish("a", 42, id="x", key="k", within=connection)
    plain.using(within=connection).enqueue()
    app.publish("a", 42, id="x", within=connection)
    assert (published.id, dict(published.jobs)) == ("x", {})
    (connection.commit if commit else connection.rollback)()
    connection.close()
    assert app.relay() == (3 if commit else 0)
    assert app.drain() == (2 if commit else 0)
    assert [(event.id, event.payload, event.key) for event in seen] == [("x", 42, "k")] * commit
    assert app.relay() == 0
    app.close()


async def test_an_async_transaction_and_an_isolated_one(tmp_path: Path) -> None:
    app = App("memory://")
    app.outbox(f"sqlite:///{tmp_path}/business.db")
    seen: list[int] = []

    @app.on("a", name="one")
    async def one(payload: int) -> None:
        seen.append(payload)

    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/business.db")
    with app.isolated():
        async with engine.begin() as connection:
            await app.apublish("a", 1, within=connection)
        assert await app.adrain() == 1
    with app.immediate():
        async with engine.begin() as connection:
            await app.apublish("a", 2, within=connection)
        await app.apublish("a", 3)
    await engine.dispose()
    assert seen == [1, 2, 3]


def test_a_row_of_the_outbox_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path}/jobs.db")
    app.outbox(f"sqlite:///{tmp_path}/business.db").migrate()

    @app.on("a", name="one")
    def one(payload: int) -> None: ...

    connection = sqlite3.connect(tmp_path / "business.db")
    for event in ("bad", "worse", "good"):
        app.publish("a", 1, id=event, within=connection)
    damage = "update backline_outbox set job = ? where id = ?"
    connection.execute(damage, ("{", "bad"))
    connection.execute(damage, ('{"id":"worse","name":"a","event_ttl":0}', "worse"))
    connection.commit()
    assert app.relay() == 3
    assert app.drain() == 1
    failed = dict(connection.execute("select id, error from backline_outbox").fetchall())
    connection.close()
    assert failed.keys() == {"bad", "worse"}
    assert "malformed" in failed["bad"]
    assert "event_ttl" in failed["worse"]
    app.close()


class LostReplies(StoreWrapper):
    """The first two replies to publishers are lost."""

    lost = 0

    async def publish(self, events: Any) -> Any:
        answer = await super().publish(events)
        self.lost += 1
        if self.lost <= 2:
            raise StoreUnavailable("the reply was lost")
        return answer


async def test_a_store_that_is_away_is_asked_again_with_the_same_id() -> None:
    store = LostReplies(MemoryStore())
    app = App(store=store)

    @app.on("a", name="one")
    async def one(payload: object) -> None: ...

    event = await app.apublish("a")
    assert (len(event.jobs), event.added) == (1, False)
    assert store.lost == 3
    assert await app.adrain() == 1
    await app.aclose()


def test_what_cannot_be_published_is_refused(app: App) -> None:
    with app.isolated():
        for name in ("user.*", "", "a..b", "a b", ".a", "a\n", "x" * 201, 7):
            with pytest.raises(ConfigError, match="event"):
                app.publish(name)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="id="):
            app.publish("a", id="")
        with pytest.raises(ConfigError, match="key="):
            app.publish("a", key=7)  # type: ignore[arg-type]
        for ttl in (0, -1, "soon"):
            with pytest.raises(ConfigError, match="event_ttl="):
                app.publish("a", event_ttl=ttl)
        with pytest.raises(InvalidArguments, match="payload of event a"):
            app.publish("a", object())
        with pytest.raises(PayloadTooLarge):
            app.publish("a", "x" * 300_000)
        with pytest.raises(UnknownOption, match="delay"):
            app.publish("a", delay=3)  # type: ignore[call-arg]
        with pytest.raises(ConfigError, match="outbox"):
            app.publish("a", within=sqlite3.connect(":memory:", isolation_level="DEFERRED"))


def test_who_cannot_subscribe_is_told_so(app: App) -> None:
    def refused(text: str, *patterns: Any, **settings: Any) -> None:
        def task(payload: object) -> None: ...

        with pytest.raises(ConfigError, match=text):
            app.on(*patterns, name="task", **settings)(task)

    refused("takes names", *())
    refused("whole words", "user*")
    refused("words with dots", "a..b")
    refused("text such as", 7)
    refused("unique_key", "a", unique_key="k")
    refused("idempotency_key", "a", idempotency_key="k")
    refused("concurrency_key", "a", concurrency_key=lambda payload: "k")
    refused("rate_key", "a", rate="1/s", rate_key=lambda payload: "k")
    refused("expires", "a", expires=datetime.now().astimezone())
    with pytest.raises(ConfigError, match="with the name"):
        app.on(lambda payload: None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="payload alone"):

        @app.on("a", name="none")
        def none() -> None: ...

    with pytest.raises(ConfigError, match="payload alone"):

        @app.on("a", name="two")
        def two(payload: object, more: object) -> None: ...

    @app.on("a", name="fine")
    def fine(payload: object) -> None: ...

    with pytest.raises(ConfigError, match="subscribes already"):
        app.on("b")(fine)
    with pytest.raises(ConfigError, match="another app"):
        App("memory://").on("b")(fine)
    with pytest.raises(ConfigError, match="using"):
        app.on("b", queue="x")(fine)
    assert app.registry.names() == (fine.name,)


def test_a_retried_job_sees_the_same_event(app: App) -> None:
    seen: list[Event[int]] = []

    @app.on("a", max_attempts=2, retry=_at_once(), name="one")
    def one(event: Event[int]) -> None:
        seen.append(event)
        if len(seen) == 1:
            raise ValueError

    with app.isolated():
        app.publish("a", 1)
        app.drain(scheduled=True)
    assert seen[0] == seen[1]


def _at_once() -> Any:
    from backline import Retry

    return Retry(delays=(0.001,))


async def test_the_first_event_of_a_key_is_kept(app: App) -> None:
    with app.isolated():
        await app.apublish("payment.settled", {"sum": 1}, key="o1", id="first", event_ttl="1h")
        await app.apublish("payment.settled", {"sum": 2}, key="o1")
        [kept] = await app.store.events([("payment.settled", "o1")])
    assert kept is not None
    assert (kept.id, msgspec.json.decode(kept.payload)) == ("first", {"sum": 1})
