"""A queue that nobody knows is misspelt, as a rule: who serves it is told, once."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from backline import App
from backline.errors import StoreUnavailable
from backline.store import QueueStats, Store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.upkeep import Upkeep
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.queue_names import strange_queues

TOLD = (
    "no task here uses the queue nosuch, and the store has never had it: is it misspelt? The "
    "queues are default, mail, pdf"
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore(clock=VirtualClock())
    else:
        yield SqliteStore(tmp_path / "jobs.db")


async def test_a_queue_that_neither_the_code_nor_the_store_has_is_told(store: Store) -> None:
    app = App(store=store)
    await app.remote("app.render").using(queue="pdf").aenqueue()
    named = {"default", "mail"}
    assert await strange_queues(store, ["mail", "nosuch"], named) == TOLD
    assert await strange_queues(store, ["mail", "pdf"], named) == "", "the store has it"
    two = await strange_queues(store, ["b", "mail", "a"], named)
    assert two.startswith("no task here uses the queues a, b, and the store has never had them")
    many = await strange_queues(store, ["a\x1b"], {f"q{n:02}" for n in range(30)})
    assert "uses the queue a\\x1b, " in many
    assert many.endswith("The queues are pdf, q00, q01, q02, q03, q04, q05, q06, q07, ... 22 more")
    await app.aclose()


async def test_who_serves_what_the_code_names_asks_no_store() -> None:
    store = MemoryStore(clock=VirtualClock())
    assert await strange_queues(store, ["mail"], {"default", "mail"}) == "", "it is not open"


class Away(MemoryStore):
    async def stats(self) -> list[QueueStats]:
        raise StoreUnavailable("away")


@pytest.mark.parametrize(("kind", "told"), [(MemoryStore, ["nosuch"]), (Away, [])])
def test_a_supervisor_and_an_embedded_worker_tell_it_once(
    kind: type[MemoryStore], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    store = kind(clock=clock)
    app = App(store=store, clock=clock)
    hello = Hello(
        url="memory://", queues=("nosuch",), named=("default",), tasks=("t",), concurrency=3
    )
    settings = SupervisorSettings(target="shop:app", queues={"nosuch": 1})
    upkeep = Upkeep(store, hello, settings, clock, "supervisor")

    async def supervise() -> None:
        async with upkeep.running():
            await asyncio.sleep(60)

    async def embed() -> None:
        async with app.worker("nosuch,default"):
            await asyncio.sleep(60)

    for work in (supervise, embed):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "backline"):
            run(work(), clock=clock)
        assert [each for each in told if each in caplog.text] == told
        assert caplog.text.count("is it misspelt?") == len(told)
