"""The signals that a supervisor heeds."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LOOK: Final = 1.0
"""Seconds; a signal that comes so soon after the terminal has closed is of its closing."""


@contextmanager
def heeded(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for SIGTERM and SIGINT and `reload` for SIGHUP, on the running loop.

    SIGHUP tells a service to reload. When the terminal closes at which it was started it means
    `stop`; but not if that was by `nohup`, or if a shell let it outlive the terminal.
    """
    loop = asyncio.get_running_loop()
    at_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    looking: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal at_terminal, looking
        at_terminal = at_terminal and _has_terminal()
        looking = loop.call_later(_LOOK, look) if at_terminal else None

    def hung_up() -> None:
        if at_terminal and not _has_terminal():
            stop()
        else:
            reload()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hung_up}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    look()
    try:
        yield
    finally:
        if looking is not None:
            looking.cancel()
        for number in handlers:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
