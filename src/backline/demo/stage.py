"""The processes of the story: started together, ended together, whatever happens."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from backline.demo.library import Library
from backline.demo.load import Browser, Outcome, Plan
from backline.errors import BacklineError
from backline.store import Store
from backline.stores import open_store

WORKERS: Final = 2
_START_S: Final = 30.0
_STOP_S: Final = 10.0

OFTEN_S: Final = 0.005
SELDOM_S: Final = 0.25
"""How often to look for something that takes long: looking costs the workers' time."""

T = TypeVar("T")


class StageError(BacklineError):
    """Something that the story needs did not happen; the message says what."""


class Stage:
    """A photo service that runs: its web server, its workers, its data."""

    def __init__(self, home: Path, port: int | None) -> None:
        self.home = home
        self.library = Library(home)
        self.store: Store = open_store(f"sqlite:///{(home / 'jobs.db').resolve()}")
        self._socket = socket.create_server(("127.0.0.1", port or 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    @asynccontextmanager
    async def set_up(self) -> AsyncIterator[None]:
        """Start everything; inside, it is there. End it all after.

        Raises StageError if it does not start.
        """
        self.library.prepare()
        async with AsyncExitStack() as stack:
            with self._socket as bound:
                fd = bound.fileno()
                server = self._process("service", "backline.demo.serve", str(fd), keep=(fd,))
                service = await stack.enter_async_context(server)
            work = self._process("workers", "backline.demo.work", str(WORKERS))
            workers = await stack.enter_async_context(work)
            await self.store.open()
            stack.push_async_callback(self.store.close)
            await self._serving(service)
            await self._staffed(workers)
            yield

    async def crowd(self, plan: Plan) -> Outcome:
        """Let users loose on the service, in a process of their own. Raises StageError."""
        arguments = ("backline.demo.crowd", msgspec.json.encode(plan).decode())
        async with self._process("users", *arguments, stdout=PIPE) as users:
            output, _ = await users.communicate()
        if users.returncode:
            raise StageError(self._end_of("users", users))
        return msgspec.json.decode(output, type=Outcome)

    async def _serving(self, service: Process) -> None:
        async def answers() -> bool:
            async with Browser(self.port) as browser:
                with suppress(OSError, EOFError):
                    return await browser.request("GET /live HTTP/1.1") == HTTPStatus.OK
            return False

        await self._starting("service", service, answers)

    async def _staffed(self, workers: Process) -> None:
        async def reported() -> bool:
            return len(await self.store.workers()) >= WORKERS

        await self._starting("workers", workers, reported)

    async def _starting(
        self, name: str, process: Process, ready: Callable[[], Awaitable[bool]]
    ) -> None:
        async def look() -> bool | None:
            if process.returncode is not None:
                raise StageError(self._end_of(name, process))
            return await ready() or None

        await eventually(f"the {name} to start", look, within_s=_START_S, every_s=0.05)

    @asynccontextmanager
    async def _process(
        self, name: str, *arguments: str, keep: tuple[int, ...] = (), stdout: int = DEVNULL
    ) -> AsyncIterator[Process]:
        """A Python process that runs a module; what it complains about goes to a log file."""
        with self._log(name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=DEVNULL,
                stdout=stdout,
                stderr=log,
                pass_fds=keep,
                env=self._environment(),
                process_group=0,  # Ctrl-C is for the story, which ends the others
            )
        try:
            yield process
        finally:
            await _end(process)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "BACKLINE_URL": self.store.url, "PHOTOS_HOME": str(self.home)}

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def _end_of(self, name: str, process: Process) -> str:
        words = self._log(name).read_text(errors="replace").strip().splitlines()[-8:]
        return "\n    ".join([f"the {name} ended with status {process.returncode}", *words])


async def eventually(
    what: str,
    look: Callable[[], Awaitable[T | None]],
    *,
    within_s: float,
    every_s: float = OFTEN_S,
) -> T:
    """Look again and again until there is something to see, and return it.

    Raises StageError, naming `what` was waited for, after `within_s` seconds.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                seen = await look()
                if seen is not None:
                    return seen
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise StageError(f"waited {within_s:g} s in vain for {what}") from None


async def _end(process: Process) -> None:
    """SIGTERM, a while to tidy up, SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)
            return
