"""What SIGHUP means: a reload to a service, the end to what sits at a terminal that closes."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from backline.supervisor import signals


class Terminal:
    """In the place of the one that this process may have."""

    def __init__(self) -> None:
        self.is_open = True
        self.looked = asyncio.Event()

    def __call__(self) -> bool:
        self.looked.set()
        return self.is_open

    async def close_unheard(self) -> None:
        """A shell lets what it started outlive it: no signal comes."""
        self.is_open = False
        self.looked.clear()
        await asyncio.wait_for(self.looked.wait(), 10)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setattr(signals, "_has_terminal", terminal)
    monkeypatch.setattr(signals, "_LOOK", 0.01)
    before = signal.getsignal(signal.SIGHUP)
    yield terminal
    signal.signal(signal.SIGHUP, before)


@contextmanager
def listening() -> Iterator[Callable[[], Awaitable[str]]]:
    """Heed signals while inside; yields what says what a SIGHUP comes to."""
    calls: asyncio.Queue[str] = asyncio.Queue()

    async def hang_up() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        return await asyncio.wait_for(calls.get(), 10)

    with signals.heeded(lambda: calls.put_nowait("stop"), lambda: calls.put_nowait("reload")):
        yield hang_up


async def test_a_terminal_that_closes_means_the_end(terminal: Terminal) -> None:
    with listening() as hang_up:
        assert await hang_up() == "reload"  # it is open: somebody asked for it
        terminal.is_open = False
        assert await hang_up() == "stop"


async def test_what_outlived_its_terminal_is_a_service(terminal: Terminal) -> None:
    with listening() as hang_up:
        await terminal.close_unheard()
        assert await hang_up() == "reload"


async def test_without_a_terminal_it_is_a_service(terminal: Terminal) -> None:
    terminal.is_open = False
    with listening() as hang_up:
        assert await hang_up() == "reload"


async def test_under_nohup_it_outlives_its_terminal(terminal: Terminal) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with listening() as hang_up:
        terminal.is_open = False
        assert await hang_up() == "reload"
