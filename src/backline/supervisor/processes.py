"""Worker processes: how they are started, spoken to, and found to have ended.

Children are started from the main thread only: they ask the kernel to be killed when
their parent ends, and to the kernel that is the *thread* that forked them. They are reaped
by `wait4`, which tells how much memory they took.
"""

import asyncio
import contextlib
import logging
import os
import resource  # noqa: F401 - `wait4` imports it, and loses the child's end if it cannot
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec.structs import replace

from backline.clock import Clock
from backline.job import Lane, Micros, WorkerName
from backline.supervisor import linux
from backline.supervisor.messages import (
    CannotStart,
    ChildSettings,
    Hello,
    Leave,
    Lines,
    Quit,
    Stop,
    ToWorker,
    read_from_worker,
    send_now,
)
from backline.supervisor.settlement import Death, ProcessExit
from backline.worker.board import Board, Token

log = logging.getLogger(__name__)

CHILD: Final = ("-m", "backline.child")
MARK: Final = "BACKLINE_WORKER"
"""In the environment of every worker process and, unless they drop it, of what it starts."""
_REAP_AGAIN: Final = 1.0


class Child:
    """A worker process, from its start to its end."""

    def __init__(
        self, settings: ChildSettings, pid: int, channel: socket.socket, tick: Callable[[], Micros]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.settings: Final = settings
        self.pid: Final = pid
        self.started_at: Final = tick()
        self.hello: Hello | None = None
        """What it said of itself: until then it is still importing the app."""
        self.spoke: Final = asyncio.Event()
        """It said hello, or it ended without."""
        self.ended: Final[asyncio.Future[ProcessExit]] = loop.create_future()
        self.failure: str | None = None
        """Why it cannot start, in its own words."""
        self.passing = False
        """That is no fault of the app: the next one may be able to."""
        self.finished = 0
        """How many jobs it had finished; known once it has ended."""
        self.stopping_since: Micros | None = None
        """Since when it knows that it is to end."""
        self.stop_asked = False
        self.leaving = False
        """It was told to take no more jobs and to end after those it has, whatever they take."""
        self.leave_asked = False
        self.reaped = False
        """Somebody else has reaped it: its id may be another's by now."""
        self.killed = False
        """It was sent SIGKILL, and will end as soon as the kernel can have it so."""
        self.hung_up_at: Micros | None = None
        """Since when its end of the channel is closed: it ends, or a job has closed it."""
        self._tick = tick
        self._channel = channel
        self._lines = Lines()
        self._board: Board | None = None
        self._killed_by_us = False
        self._timed_out: frozenset[Token] = frozenset()
        self._cancelled: frozenset[Token] = frozenset()
        loop.add_reader(channel, self._read)

    @property
    def name(self) -> WorkerName:
        """The worker's name."""
        return self.settings.worker

    @property
    def is_cell(self) -> bool:
        """It runs one job at a time, on its own."""
        return self.settings.lane is Lane.CELL

    @property
    def alive(self) -> bool:
        """Its end has not been seen."""
        return not self.ended.done()

    @property
    def board(self) -> Board | None:
        """Its board; None as long as it has not made one."""
        if self._board is None:
            with contextlib.suppress(OSError, ValueError):
                self._board = Board.open(Path(self.settings.board))
        return self._board

    @property
    def death(self) -> Death:
        """How it ended, and whose doing that was. Only once it has ended."""
        return Death(self.ended.result(), self._killed_by_us, self._timed_out, self._cancelled)

    def send(self, message: ToWorker) -> bool:
        """Send if it can be sent at once; False: it is gone or does not listen."""
        return self.alive and send_now(self._channel, message)

    def stop(self, now: Micros) -> None:
        """Ask it to finish what runs and end. Repeated: asks again."""
        if self.stopping_since is None:
            self.stopping_since = now
        self.stop_asked = self.send(Stop()) or self.stop_asked

    def leave(self) -> None:
        """Ask it to finish what runs, whatever that takes, and end. Repeated: asks again."""
        self.leaving = True
        self.leave_asked = self.send(Leave()) or self.leave_asked

    def quit(self, now: Micros) -> None:
        """Ask it to hand everything back and end now."""
        if self.stopping_since is None:
            self.stopping_since = now
        self.send(Quit())

    def kill(
        self,
        *,
        ours: bool = True,
        timed_out: frozenset[Token] = frozenset(),
        cancelled: frozenset[Token] = frozenset(),
    ) -> None:
        """End it now; says which of its jobs are the reason, if any is.

        Without `ours` it counts as if it had died by itself, of what it ran.
        """
        if not self.alive:
            return
        self._killed_by_us |= ours
        self._timed_out |= timed_out
        self._cancelled |= cancelled
        self.killed = True
        linux.kill(self.pid)

    def mourn(self) -> None:
        """It has ended and, if all is well, is not reaped yet, so its id is its own still: hear
        its last words, and kill what it left behind if it is a cell or its jobs were cut short,
        by its death or by its having to end. Those run again elsewhere, and what they had
        started must not work beside that.
        """
        self._read()
        self._hang_up()
        self.finished = 0 if self.board is None else self.board.finished
        cut_short = self.board is not None and self.board.was_cut_short
        if self.is_cell or cut_short:
            if not self.reaped:
                linux.kill_group(self.pid)
            self._kill_what_is_left()

    def _kill_what_is_left(self) -> None:
        try:
            left = linux.processes_with(f"{MARK}={self.name}")
        except OSError as error:  # no file can be opened; it must be reaped all the same
            log.warning("cannot look for what worker %s left behind: %s", self.name, error)
            return
        for pid in left:
            linux.kill(pid)

    def bury(self, how: ProcessExit) -> None:
        """It is reaped: tell those who wait for it."""
        self.ended.set_result(how)
        self.spoke.set()

    def close(self) -> None:
        """Let go of its board."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _read(self) -> None:
        if self._channel.fileno() < 0:
            return
        while True:
            try:
                data = self._channel.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.hung_up_at = self._tick()
                asyncio.get_running_loop().remove_reader(self._channel)
                return
            try:
                for text in self._lines.feed(data):
                    self._heard(text)
            except (ValueError, msgspec.MsgspecError) as error:
                log.warning("worker %s says what nobody understands: %s", self.name, error)
                self._hang_up()
                return

    def _heard(self, text: bytes) -> None:
        match read_from_worker(text):
            case Hello() as hello:
                self.hello = hello
                self.spoke.set()
            case CannotStart(message=message, passing=passing):
                self.failure, self.passing = message, passing

    def _hang_up(self) -> None:
        if self._channel.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()

    def __repr__(self) -> str:
        return f"<Child {self.name} pid {self.pid} {'alive' if self.alive else 'ended'}>"


class Processes:
    """The children of this process. There is one of these in a process, and it reaps all
    children, orphans that the kernel hands over included.
    """

    def __init__(self, clock: Clock, command: Sequence[str] = CHILD) -> None:
        self._clock = clock
        self._command = tuple(command)
        self._children: dict[int, Child] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        linux.adopt_orphans()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        self._reap_again()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def all(self) -> list[Child]:
        """The children whose end has not been seen, oldest first."""
        return list(self._children.values())

    def spawn(self, settings: ChildSettings) -> Child:
        """Start a worker process. From the main thread only (see above); raises OSError."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("workers are started from the main thread, or die with another")
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.set_inheritable(True)
            settings = replace(settings, channel=theirs.fileno(), parent=os.getpid())
            pid = self._exec(settings)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = self._children[pid] = Child(settings, pid, ours, self._clock.tick)
        return child

    def _exec(self, settings: ChildSettings) -> int:
        cell = settings.lane is Lane.CELL
        no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)] if cell else []
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *self._command, msgspec.json.encode(settings).decode()],
            {**os.environ, MARK: settings.worker},
            file_actions=no_input,
            # A session of its own, and so no terminal: a Ctrl-C is for the supervisor, not for
            # the programs that jobs have started; and no job is stopped (SIGTTIN, SIGTTOU) or
            # waits for a password when it turns to the terminal.
            setsid=True,
            # Until the child ignores it, one that somebody sends it must not end it.
            setsigmask=[signal.SIGINT],
        )

    def reap(self) -> None:
        """Bury the children that have ended."""
        for child in self.all:
            try:
                if not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    continue
                child.mourn()
                _, status, usage = os.wait4(child.pid, 0)
                how = _how(status, usage.ru_maxrss)
            except ChildProcessError:  # somebody else has reaped it, and kept how it ended
                child.reaped = True
                child.mourn()
                how = ProcessExit()
            del self._children[child.pid]
            child.bury(how)
        with contextlib.suppress(ChildProcessError):
            while True:  # what is left are orphans of theirs
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or found.si_pid in self._children:
                    return
                os.waitpid(found.si_pid, 0)

    def _reap_again(self) -> None:
        """Signals of several children may come as one, or be lost on the way to Python."""
        self.reap()
        self._timer = asyncio.get_running_loop().call_later(_REAP_AGAIN, self._reap_again)


def _how(status: int, peak_kib: int) -> ProcessExit:
    if os.WIFSIGNALED(status):
        return ProcessExit(signal=os.WTERMSIG(status), peak_kib=peak_kib)
    return ProcessExit(code=os.WEXITSTATUS(status), peak_kib=peak_kib)
