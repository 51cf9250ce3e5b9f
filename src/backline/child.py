"""A worker process: `python -m backline.child SETTINGS`, started by a supervisor.

It imports the user's app, makes its board, says hello and works until it is told to stop.
"""

import asyncio
import contextlib
import errno
import faulthandler
import importlib
import importlib.util
import logging
import os
import shlex
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Final

import msgspec

from backline import logs
from backline.app import App
from backline.app.app import DEFAULT_URL
from backline.errors import BacklineError, ConfigError
from backline.events import A_WHILE, EventLines
from backline.job import SECOND, Lane
from backline.schedule import in_words
from backline.supervisor import linux
from backline.supervisor.messages import (
    CannotStart,
    ChildSettings,
    FromWorker,
    Hello,
    Leave,
    Lines,
    Quit,
    Stop,
    Wake,
    line,
    read_to_worker,
)
from backline.supervisor.settings import EXIT_APP, EXIT_OK
from backline.worker import Board, Worker, WorkerSettings, most_held
from backline.worker.settings import DEFAULT_CONCURRENCY, DEFAULT_PREFETCH

log = logging.getLogger("backline.worker")

_SWITCH_INTERVAL: Final = 0.001
_OURS: Final = f"{Path(__file__).parent}{os.sep}"
_SOONER_THAN_THE_SUPERVISOR: Final = 300
_SOONER_THAN_A_WORKER: Final = 500
"""Points of the kernel's badness, of a thousand: cells run what took too much before."""

_NO_ROOM: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}
)


class CannotLoad(ConfigError):
    """The app that `module:attribute` names cannot be loaded; the message says why."""


def load(target: str) -> App:
    """Import the app that `module:attribute` names, as `python -m` would find it.

    Raises CannotLoad.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute or name.startswith("."):
        raise CannotLoad(f"{target!r} names no app: write module:attribute, such as shop:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(target, name)
    try:
        app = getattr(module, attribute)
    except AttributeError:
        raise CannotLoad(
            f"cannot load {target!r}: module {name!r} has no {attribute!r}{_apps_of(module)}"
        ) from None
    if not isinstance(app, App):
        kind = type(app).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise CannotLoad(
            f"cannot load {target!r}: it is {article} {kind}, not a backline.App{_apps_of(module)}"
        )
    return app


def _import(target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise CannotLoad(
                f"cannot load {target!r}: no module named {error.name!r} in {Path.cwd()} "
                "or on the module path"
            ) from None
        raise CannotLoad(_explain(target, error)) from error
    except (Exception, SystemExit) as error:
        raise CannotLoad(_explain(target, error)) from error


def _apps_of(module: ModuleType) -> str:
    found = sorted(name for name, value in vars(module).items() if isinstance(value, App))
    return f"; did you mean {module.__name__}:{found[0]}?" if found else ""


def _explain(target: str, error: BaseException) -> str:
    """What went wrong, and where in the user's own code."""
    what, *rest = traceback.format_exception_only(error)
    if isinstance(error, SyntaxError):  # of which the message comes last
        *where, message = rest
        what, rest = message, [what, *where]
    summary = traceback.extract_tb(_users_part(error.__traceback__))
    theirs = [frame for frame in summary if not frame.filename.startswith(_OURS)]
    frames = traceback.format_list(theirs or list(summary))
    return "\n".join(
        [f"cannot load {target!r}: {what.rstrip()}", *(part.rstrip() for part in frames + rest)]
    )


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the machinery of importing at its head."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file not in {__file__, importlib.__file__} and not file.startswith("<frozen "):
            return trace
        trace = trace.tb_next
    return None


class Channel:
    """The worker's end of the channel to its supervisor."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lines = Lines()

    def say(self, message: FromWorker) -> None:
        """Tell the supervisor; it may be gone."""
        try:
            self._socket.setblocking(True)
            self._socket.sendall(line(message))
        except OSError as error:
            log.warning("the supervisor does not listen: %s", error)

    def obey(self, worker: Worker) -> None:
        """From now on do what the supervisor says. On the worker's loop."""
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._read, worker)

    def _read(self, worker: Worker) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone, and the kernel will not be long
            asyncio.get_running_loop().remove_reader(self._socket)
            worker.quit()
            return
        for text in self._lines.feed(data):
            match read_to_worker(text):
                case Wake():
                    worker.wake()
                case Stop():
                    worker.stop()
                case Leave():
                    worker.stop(patient=True)
                case Quit():
                    worker.quit()


def worker_settings(settings: ChildSettings, app: App) -> WorkerSettings:
    """The settings of the worker: one of many jobs at a time, or a cell."""
    queues = settings.queues or dict.fromkeys(sorted(app.queues()), 1)
    cell = settings.lane is Lane.CELL
    return WorkerSettings(
        name=settings.worker,
        queues=queues,
        lane=settings.lane,
        concurrency=1 if cell else settings.concurrency or DEFAULT_CONCURRENCY,
        max_prefetch=0 if cell else DEFAULT_PREFETCH,
        lease=settings.lease,
        grace=settings.grace,
        replaceable=True,
    )


async def _work(app: App, settings: ChildSettings, channel: Channel) -> int:
    chosen = worker_settings(settings, app)
    board = Board.create(Path(settings.board), most_held(chosen, app.registry), chosen.name)
    watching = _event_lines(app, settings.target) if settings.events else None
    looking: asyncio.Task[None] | None = None
    worker = app.make_worker(app.store, chosen, board, observer=watching)
    channel.obey(worker)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    channel.say(
        Hello(
            url=app.url,
            queues=tuple(chosen.queues),
            tasks=app.registry.names(),
            concurrency=chosen.concurrency,
            schedules=tuple(
                (name, in_words(spec.rule)) for name, spec in app.registry.schedules.items()
            ),
            subscriptions=tuple(
                (name, ", ".join(spec.patterns))
                for name, spec in app.registry.subscriptions.items()
            ),
            named=tuple(sorted(app.queues())),
        )
    )
    if watching is not None:
        looking = asyncio.create_task(_look(watching, worker), name="event lines")
    async with _errands(app, chosen):
        await worker.run()
    if looking is not None:
        looking.cancel()
    await app.aclose()
    return worker.stuck


@contextlib.asynccontextmanager
async def _errands(app: App, chosen: WorkerSettings) -> AsyncIterator[None]:
    """What a worker does beside its jobs, while inside; cells come and go with theirs."""
    if chosen.lane is Lane.CELL:
        yield
        return
    async with app.relaying(), app.declaring(chosen.name):
        yield


async def _look(lines: EventLines, worker: Worker) -> None:
    """Show what runs for a while, until cancelled."""
    try:
        while True:
            await asyncio.sleep(A_WHILE / SECOND)
            lines.look(worker.runs)
    finally:
        lines.end()


def _event_lines(app: App, target: str) -> EventLines:
    """An observer that shows every run on standard output."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def write(text: str) -> None:
        with contextlib.suppress(OSError):  # nobody looks any more
            sys.stdout.write(text)
            sys.stdout.flush()

    where = options_for(app.url, target, os.environ)
    return EventLines(app.clock, write, colour=colour, where=where)


def options_for(url: str, target: str, environ: Mapping[str, str]) -> str:
    """What has a command work on the store `url` of the app; "" if it does so without a word."""
    by_app = url if environ.get("BACKLINE_APP") == target else DEFAULT_URL
    found = environ.get("BACKLINE_URL") or by_app
    return "" if found == url else f" -A {shlex.quote(target)}"


def _live_as_a_child(settings: ChildSettings) -> None:
    """Die with the supervisor, before it when memory runs out, and by none of its signals."""
    if not linux.die_with_parent(settings.parent):
        os._exit(EXIT_OK)
    cell = settings.lane is Lane.CELL
    linux.be_killed_before(_SOONER_THAN_A_WORKER if cell else _SOONER_THAN_THE_SUPERVISOR)
    for number in (signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which the programs that jobs start would inherit.
        signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    faulthandler.enable()
    # Beside a job that burns Python in a thread, the loop and the store's thread wait this
    # long for every turn; the default of 5 ms halves what they get done.
    sys.setswitchinterval(_SWITCH_INTERVAL)


def _nothing(number: int, frame: object) -> None:
    """Sent to every process of that name, say; the supervisor decides what it means."""
    del number, frame


def is_passing(error: BaseException | None) -> bool:
    """No fault of the app: the system had no memory, file, thread or room on its disk left."""
    while error is not None:
        if isinstance(error, MemoryError) or "can't start new thread" in str(error):
            return True
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__
    return False


def main() -> int:
    """Be a worker process; returns the exit code."""
    settings = msgspec.json.decode(sys.argv[1], type=ChildSettings)
    _live_as_a_child(settings)
    logs.configure(settings.log_level, settings.log_format)
    channel = Channel(socket.socket(fileno=settings.channel))
    try:
        app = load(settings.target)
        stuck = asyncio.run(_work(app, settings, channel))
    except BacklineError as error:
        channel.say(CannotStart(message=f"backline: {error}", passing=is_passing(error)))
        return EXIT_APP
    except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
        text = "".join(traceback.format_exception(error)).rstrip()
        what = f"backline: a worker of {settings.target} failed\n{text}"
        channel.say(CannotStart(message=what, passing=is_passing(error)))
        return EXIT_APP
    if stuck:  # threads that never end would hold up the end of the interpreter
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_OK)
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
