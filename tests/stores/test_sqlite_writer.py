"""The writer's batches: one commit for many callers, and errors to whom they belong."""

import asyncio
import errno
from collections.abc import Awaitable, Sequence
from pathlib import Path
from threading import Event, Thread

import pytest

from backline.clock import SYSTEM_CLOCK
from backline.errors import StoreUnavailable
from backline.job import Enqueued, JobRequest
from backline.store import QueueSettings
from backline.stores.sqlite import SqliteStore, log, writer
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.writer import Request, Writer


class Gate:
    """An `apply` that waits for the test in its first batch, and keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun = Event()
        self.opened = Event()

    def __call__(self, batch: Sequence[Request[str]]) -> None:
        self.batches.append([request.item for request in batch])
        self.begun.set()
        self.opened.wait(10)
        for request in batch:
            request.result = request.item.upper()


async def test_who_comes_during_a_batch_joins_the_next() -> None:
    gate = Gate()
    requests = Writer[str](SYSTEM_CLOCK.executor("test writer"), gate, lambda: None)
    first = asyncio.ensure_future(requests.submit("a"))
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, gate.begun.wait, 10)
    rest = [asyncio.ensure_future(requests.submit(item)) for item in "bcd"]
    await asyncio.sleep(0)
    rest[1].cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    assert await first == "A"
    assert await asyncio.gather(rest[0], rest[2]) == ["B", "D"]
    assert gate.batches == [["a"], ["b", "d"]]


async def test_without_a_thread_to_write_each_call_is_told_and_the_next_one_tries_again() -> None:
    gate = Gate()
    gate.opened.set()
    executor = SYSTEM_CLOCK.executor("test writer")
    requests = Writer[str](executor, gate, lambda: None)
    submit = executor.submit

    def no_room(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    executor.submit = no_room  # type: ignore[assignment, method-assign]
    for item in "ab":
        with pytest.raises(StoreUnavailable, match="can't start new thread"):
            await requests.submit(item)
    executor.submit = submit  # type: ignore[method-assign]
    assert await asyncio.wait_for(requests.submit("c"), 10) == "C"
    assert gate.batches == [["c"]]


async def test_without_a_thread_the_store_is_away_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "jobs.db")

    def no_room(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", no_room)
        with pytest.raises(StoreUnavailable, match="can't start new thread"):
            await store.open()
    await store.open()
    with monkeypatch.context() as patch:  # from now on it has all the threads that it needs
        patch.setattr(Thread, "start", no_room)
        assert await store.stats() == []
        await store.configure([QueueSettings(queue="q", max_depth=3)])
    await store.close()


async def test_who_gets_no_turn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PATIENCE", 0.02)
    gate = Gate()
    requests = Writer[str](SYSTEM_CLOCK.executor("test writer"), gate, lambda: None)
    answers = await asyncio.gather(
        requests.submit("a"), requests.submit("b"), return_exceptions=True
    )
    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    gate.opened.set()
    assert await requests.submit("c") == "C"
    assert "b" not in gate.batches[-1]


async def test_an_error_of_apply_reaches_everybody_and_ends_nothing() -> None:
    def apply(batch: Sequence[Request[str]]) -> None:
        if batch[0].item == "bad":
            raise ZeroDivisionError
        batch[0].result = "good"

    requests = Writer[str](SYSTEM_CLOCK.executor("test writer"), apply, lambda: None)
    with pytest.raises(ZeroDivisionError):
        await requests.submit("bad")
    assert await requests.submit("fine") == "good"


async def test_a_caller_whose_loop_closes_before_its_answer_stops_nobody(
    closing_loop: asyncio.AbstractEventLoop,
) -> None:
    gate = Gate()
    requests = Writer[str](SYSTEM_CLOCK.executor("test writer"), gate, lambda: None)
    first = asyncio.ensure_future(requests.submit("a"))
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, gate.begun.wait, 10)
    lost = Request("b")
    lost.loop = closing_loop
    requests._waiting.append(lost)
    second = asyncio.ensure_future(requests.submit("c"))
    await asyncio.sleep(0)
    gate.opened.set()
    assert await asyncio.wait_for(first, 10) == "A"
    assert await asyncio.wait_for(second, 10) == "C"
    assert gate.batches == [["a"], ["b", "c"]]
    assert await asyncio.wait_for(requests.submit("d"), 10) == "D"


async def test_an_error_after_a_batch_is_told_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    gate = Gate()
    gate.opened.set()
    requests = Writer[str](SYSTEM_CLOCK.executor("test writer"), gate, fail)
    assert await asyncio.wait_for(requests.submit("a"), 10) == "A"
    assert await asyncio.wait_for(requests.submit("b"), 10) == "B"
    assert "ZeroDivisionError" in caplog.text


async def test_a_disk_that_refuses_a_checkpoint_stops_no_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(log, "CHECKPOINT", 0)
        patch.setattr(log, "CHECKPOINT_ALONE", 0)
        patch.setattr(Connection, "checkpoint", refuse)
        await store.enqueue([[JobRequest(id=SYSTEM_CLOCK.new_id(), task="t")]])
        await store.promote(1)
    assert "No locks available" in caplog.text
    assert await asyncio.wait_for(store.promote(1), 10) == 0
    await store.close()


async def test_many_callers_share_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 0
    run = Connection.run

    def counted(self: Connection, sql: str, params: dict[str, object] | None = None) -> int:
        nonlocal commits
        commits += sql == "commit"
        return run(self, sql, params or {})

    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    monkeypatch.setattr(Connection, "run", counted)
    jobs = [JobRequest(id=SYSTEM_CLOCK.new_id(), task="t") for _ in range(200)]
    answers = await asyncio.gather(*[store.enqueue([[job]]) for job in jobs])
    assert answers == [[[Enqueued(job.id)]] for job in jobs]
    assert commits < 20
    await store.close()


async def test_a_bad_request_does_not_spoil_the_batch(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    jobs = [JobRequest(id=SYSTEM_CLOCK.new_id(), task="t") for _ in range(20)]
    calls: list[Awaitable[object]] = [store.enqueue([[job]]) for job in jobs]
    calls[7:7] = [store.configure([QueueSettings(queue="half a character: \udc80")])]
    calls[11:11] = [store.configure([QueueSettings(queue="default", max_depth=10**30)])]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    bad = [at for at, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert bad == [7, 11]
    assert all(isinstance(answers[at], ValueError | OverflowError) for at in bad)
    [stats] = await store.stats()
    assert stats.depth == 20
    await store.close()


async def test_the_write_ahead_log_stays_short_beside_writers_without_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "CHECKPOINT", 50)
    monkeypatch.setattr(log, "CHECKPOINT_ALONE", 200)
    path = tmp_path / "jobs.db"
    stores = [SqliteStore(path, durability="normal") for _ in range(2)]

    async def write(store: SqliteStore) -> None:
        for _ in range(200):
            jobs = [JobRequest(id=SYSTEM_CLOCK.new_id(), task="t" * 500) for _ in range(20)]
            await store.enqueue([jobs])

    for store in stores:
        await store.open()
    await asyncio.gather(*[write(store) for store in stores])
    # It grows by what is written while somebody copies, and by no more.
    assert (tmp_path / "jobs.db-wal").stat().st_size < 2_000 * 4_096
    for store in stores:
        await store.close()
