"""The signals that a supervisor heeds."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def heeded(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Call `stop` for SIGTERM and SIGINT and `reload` for SIGHUP, on the running loop.

    SIGHUP tells a service to reload. To what somebody started at a terminal it also says that
    the terminal has closed, and then it means `stop`, unless it was started by `nohup`, whose
    whole purpose is to outlive it.
    """
    loop = asyncio.get_running_loop()
    at_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    def hung_up() -> None:
        if at_terminal and not _has_terminal():
            stop()
        else:
            reload()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: hung_up}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _has_terminal() -> bool:
    """Whether this process belongs to a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
