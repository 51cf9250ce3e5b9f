"""Where the store lives: loops that end under their callers, forks, declarations."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from backline import App, State
from backline.app import crossing
from backline.job import JobId, JobRecord
from backline.store import Hint
from backline.stores.memory import MemoryStore

PATIENCE_S = 30


async def add(a: int) -> int:
    return a + 1


class Watched(MemoryStore):
    """Says when somebody at its first home waits for hints."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = threading.Event()

    @asynccontextmanager
    async def watch(self, hints: Collection[Hint], wake: Callable[[], None]) -> AsyncIterator[None]:
        async with super().watch(hints, wake):
            self.watched.set()
            yield


class Service:
    """The loop of another thread, at home to the store of `app` until `end`."""

    def __init__(self, app: App, *, tidy: bool) -> None:
        self._app = app
        self._tidy = tidy
        """Whether it cancels what it leaves, as asyncio.run does."""
        self._at_home = threading.Event()
        self._over = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._at_home.wait(PATIENCE_S)

    def end(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)

    def _serve(self) -> None:
        if self._tidy:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        else:
            self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        await self._app.aopen()
        self._at_home.set()
        await asyncio.to_thread(self._over.wait)

    def close(self) -> None:
        if not self._loop.is_closed():
            asyncio.Runner(loop_factory=lambda: self._loop).__enter__().__exit__(None, None, None)


@pytest.mark.parametrize("tidy", [True, False])
def test_an_async_call_whose_loop_ends_meanwhile_is_begun_anew(
    tidy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossing, "LOOK_S", 0.01)
    store = Watched()
    app = App(store=store)
    service = Service(app, tidy=tidy)
    service.start()

    task = app.task(add)

    async def second_loop() -> int:
        job = await task.aenqueue(1)
        result = asyncio.create_task(job.aresult(PATIENCE_S))
        await asyncio.to_thread(store.watched.wait, PATIENCE_S)
        await asyncio.to_thread(service.end)
        await app.adrain()
        return await result

    assert asyncio.run(second_loop()) == 2
    app.close()
    service.close()


IN_A_CHILD = """
import contextlib, os, sys
from backline import App, StoreRefused
from backline.stores.memory import MemoryStore

app = App(store=MemoryStore()) if sys.argv[1] == "given" else App("memory://")

@app.task(name="t")
def t(n: int) -> int:
    return n

with app.isolated() if sys.argv[1] == "isolated" else contextlib.nullcontext():
    if sys.argv[2] == "used":
        t.enqueue(0)
    if os.fork() == 0:
        try:
            t.enqueue(1)
            print("child drains", app.drain(), flush=True)
        except StoreRefused as error:
            print("child:", error, flush=True)
        app.close()
        os._exit(0)
    os.wait()
    print("parent drains", app.drain())
"""


@pytest.mark.processes
@pytest.mark.parametrize("before", ["used", "unused"])
@pytest.mark.parametrize("kind", ["url", "given", "isolated"])
def test_no_job_in_memory_is_in_two_processes(kind: str, before: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_CHILD, kind, before],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    child, parent = ran.stdout.splitlines()
    if kind == "url":
        assert child == "child drains 1"
    else:
        assert child.startswith("child: the jobs of this memory store are in the process")
    assert parent == f"parent drains {int(before == 'used')}"
    assert (ran.stderr, ran.returncode) == ("", 0)


class Hangs(MemoryStore):
    """Never closes at its first home."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        if not self.asked.is_set():
            self.asked.set()
            await asyncio.get_running_loop().create_future()
        return await super().get(ids)


def test_an_async_caller_that_is_cancelled_itself_is_not_begun_anew() -> None:
    store = Hangs()
    app = App(store=store)
    service = Service(app, tidy=True)
    service.start()

    task = app.task(add)

    async def second_loop() -> State:
        job = await task.aenqueue(1)
        asking = asyncio.create_task(job.astatus())
        await asyncio.to_thread(store.asked.wait, PATIENCE_S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return await job.astatus()

    try:
        assert asyncio.run(second_loop()) is State.READY
    finally:
        service.end()
        app.close()
