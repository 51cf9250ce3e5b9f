"""Fixtures for tests of tasks; pytest finds them by itself where Backline is installed.

The ini option `backline_app` names the app, as `module:attribute`:

    [tool.pytest.ini_options]
    backline_app = "shop.jobs:app"

    def test_it(backline_app):
        job = welcome.enqueue("Ada")
        assert backline_app.drain() == 1
        assert job.result() == "hello Ada"
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from backline.app import App
from backline.child import load

_STARTS_WITHIN_S = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option `backline_app`."""
    parser.addini("backline_app", "the Backline app to test, as module:attribute", default="")


@pytest.fixture
def backline_app(request: pytest.FixtureRequest) -> Iterator[App]:
    """The app of the ini option `backline_app`, else a fresh one, on an empty memory store.

    Its jobs wait for `backline_app.drain()` or the fixture `backline_worker`, and are
    forgotten at the end of the test. Raises CannotLoad.
    """
    target = str(request.config.getini("backline_app"))
    app = load(target) if target else App("memory://")
    with app.isolated():
        yield app


@pytest.fixture
def backline_worker(backline_app: App) -> Iterator[App]:
    """The same app, with a worker that runs its jobs in another thread until the test ends."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def work() -> None:
        over = asyncio.Event()
        async with backline_app.worker(grace=0):
            ready.set_result((asyncio.get_running_loop(), over))
            await over.wait()

    def serve() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread: threading.Thread = backline_app.clock.thread("backline-test-worker", serve)
    loop, over = ready.result(_STARTS_WITHIN_S)
    try:
        yield backline_app
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
