"""What a supervisor and its workers say to each other: JSON lines over a socket pair."""

import socket
from typing import Final, TypeAlias

import msgspec

from backline.job import Lane, Micros, WorkerName
from backline.logs import LogFormat
from backline.worker.settings import DEFAULT_GRACE, DEFAULT_LEASE

MAX_LINE: Final = 16 * 1024 * 1024


class ChildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker process is told at its start, on its command line."""

    target: str
    """The user's app, as `module:attribute`."""
    worker: WorkerName
    lane: Lane
    board: str
    """The board file it is to make."""
    channel: int = -1
    """The file descriptor of its end of the socket pair."""
    parent: int = 0
    """The supervisor's process id: with another parent the worker has nobody."""
    queues: dict[str, int] | None = None
    """None: what the app and the worker's defaults say."""
    concurrency: int | None = None
    lease: Micros = DEFAULT_LEASE
    grace: Micros = DEFAULT_GRACE
    log_level: str = "info"
    log_format: LogFormat = "text"
    events: bool = False
    """Write a line for every run that ends to standard output."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """From a worker that has imported the app: what its supervisor cannot know."""

    url: str
    """Opens the app's store, secrets and all."""
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    concurrency: int
    schedules: tuple[tuple[str, str], ...] = ()
    """Those that stand in code: name, and when in words."""
    subscriptions: tuple[tuple[str, str], ...] = ()
    """Those that stand in code: the task's name, and its patterns."""
    named: tuple[str, ...] = ()
    """The queues that stand in code, served or not."""


class CannotStart(msgspec.Struct, frozen=True, kw_only=True, tag="cannot-start"):
    """From a worker whose app cannot be loaded, or cannot work: it ends after this."""

    message: str
    """For people: one line, and what of the traceback is theirs."""
    passing: bool = False
    """The system had no room for it: another one may start in a while."""


class Wake(msgspec.Struct, frozen=True, tag="wake"):
    """To a worker: look at the board, there is a reply."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """To a worker: no new lease, finish what runs within the grace, then end."""


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """To a worker: no new lease, finish what runs, whatever it takes, then end."""


class Quit(msgspec.Struct, frozen=True, tag="quit"):
    """To a worker: hand everything back and end now."""


FromWorker: TypeAlias = Hello | CannotStart
ToWorker: TypeAlias = Wake | Stop | Leave | Quit

_encode: Final = msgspec.json.Encoder().encode
_from_worker: Final[msgspec.json.Decoder[FromWorker]] = msgspec.json.Decoder(FromWorker)
_to_worker: Final[msgspec.json.Decoder[ToWorker]] = msgspec.json.Decoder(ToWorker)


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises ValueError for one that never ends."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        if len(rest) > MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE:,} bytes")
        self._rest = bytearray(rest)
        return [bytes(line) for line in lines if line]


def line(message: FromWorker | ToWorker) -> bytes:
    """A message on its way."""
    return _encode(message) + b"\n"


def read_from_worker(text: bytes) -> FromWorker:
    """Raises msgspec.MsgspecError for what no worker of this version says."""
    return _from_worker.decode(text)


def read_to_worker(text: bytes) -> ToWorker:
    """Raises msgspec.MsgspecError for what no supervisor of this version says."""
    return _to_worker.decode(text)


def send_now(channel: socket.socket, message: ToWorker) -> bool:
    """Send if it can be sent at once; False: the worker is gone, or it does not listen."""
    text = line(message)
    try:
        return channel.send(text) == len(text)
    except OSError:
        return False
