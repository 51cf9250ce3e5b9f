"""A socket pair between simulated processes, for code that expects the real one."""

import asyncio
import socket
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import cast

_OPEN_FD = 1 << 20


class ChannelEnd:
    """One end of a pair: what arrives is read in the process that watches it.

    Has what the supervisor and its workers use of a `socket.socket`. A process that is killed
    must have its end closed by whoever kills it, as the kernel does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.peer = self
        self.arrived = bytearray()
        self.closed = False
        self._reader: tuple[Callable[[], object], Context] | None = None

    def send(self, data: bytes) -> int:
        """All of it, at once. Raises BrokenPipeError if the other end is closed."""
        if self.closed or self.peer.closed:
            raise BrokenPipeError
        self.peer.arrived += data
        self.peer.ring()
        return len(data)

    def sendall(self, data: bytes) -> None:
        """As `send`."""
        self.send(data)

    def recv(self, size: int) -> bytes:
        """What arrived; b"" at the end. Raises BlockingIOError if nothing has yet."""
        if self.arrived:
            data = bytes(self.arrived[:size])
            del self.arrived[:size]
            return data
        if self.peer.closed:
            return b""
        raise BlockingIOError

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        """No real file's; -1 once closed."""
        return -1 if self.closed else _OPEN_FD

    def close(self) -> None:
        """The other end reads the end of the stream. Repeated: nothing."""
        if not self.closed:
            self.closed = True
            self._reader = None
            self.peer.ring()

    def watch(self, callback: Callable[[], object]) -> None:
        """Call `callback`, in the caller's process, when there is something to read."""
        self._reader = (callback, copy_context())
        if self.arrived or self.peer.closed:
            self.ring()

    def unwatch(self) -> bool:
        """Whether it was watched."""
        watched, self._reader = self._reader is not None, None
        return watched

    def ring(self) -> None:
        """There is something to read."""
        if self._reader is not None:
            self._loop.call_soon(self._read, context=self._reader[1])

    def _read(self) -> None:
        if self._reader is not None:
            self._reader[0]()


def channel_pair(loop: asyncio.AbstractEventLoop) -> tuple[socket.socket, socket.socket]:
    """Two ends of one channel."""
    one, other = ChannelEnd(loop), ChannelEnd(loop)
    one.peer, other.peer = other, one
    return cast("socket.socket", one), cast("socket.socket", other)
