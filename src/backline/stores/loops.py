"""Calls into event loops that belong to others, who may close them at any moment."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVarTuple

Ts = TypeVarTuple("Ts")

running: Final = asyncio._get_running_loop  # noqa: SLF001 - the only look that raises nothing
"""The loop that runs in this thread, or None."""


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[*Ts], object], *args: *Ts) -> None:
    """Have `loop` make the call in its next turn. From any thread; a closed loop makes none."""
    if running() is loop:
        loop.call_soon(call, *args)
        return
    # A look whether it is closed would not do: it may close between the look and the call.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)
