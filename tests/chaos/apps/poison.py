"""The app of the poison tests: the diner's work, and jobs that no process should have to run.

Before a job ends its process, or has it ended, it notes so: what else ran there was in
flight at a kill.
"""

import asyncio
import ctypes
import faulthandler
import locale
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from diner import AT_ONCE, app, pass_time, pass_time_in_thread
from recorder import note

from backline import JobContext

TWICE: dict[str, Any] = {"max_attempts": 2, "retry": AT_ONCE}
ONCE: dict[str, Any] = {"max_attempts": 1, "retry": AT_ONCE}


def dying() -> None:
    """From here on this process is as good as dead."""
    note("kill", wall=time.time_ns() // 1000)


def doomed() -> None:
    """From here on the supervisor may end this process, and charges nobody else for it."""
    note("term")


# Ends its process.


def crash() -> None:
    dying()
    faulthandler.disable()
    faulthandler._sigsegv()


def leave() -> None:
    dying()
    os._exit(0)


async def kill_self() -> None:
    dying()
    os.kill(os.getpid(), signal.SIGKILL)


def eat() -> None:
    """All the memory there is; the kernel ends it."""
    dying()
    hoard = []
    while True:
        hoard.append(b"\xff" * (8 << 20))


async def crash_in_a_fork_too() -> None:
    """What it forked, without exec, outlives it and has all its files open."""
    dying()
    if os.fork() == 0:
        pass_time_in_thread(30)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


for fn in (crash, leave, kill_self, eat, crash_in_a_fork_too):
    app.task(**TWICE)(fn)
segfault_in_cell = app.task(name="poison.crash_in_cell", executor="process", **TWICE)(crash)
eat_in_cell = app.task(name="poison.eat_in_cell", executor="process", **TWICE)(eat)


# Never ends.


def spin() -> None:
    doomed()
    while True:
        pass


def stand_in_c() -> None:
    doomed()
    ctypes.PyDLL(None).pause()


@app.task(timeout="1s", **ONCE)
async def spin_on_the_loop() -> None:
    spin()


@app.task(timeout="1s", **ONCE)
async def refuse_to_stop() -> None:
    doomed()
    over = asyncio.get_running_loop().time() + 60
    while asyncio.get_running_loop().time() < over:
        try:
            await pass_time(1)
        except asyncio.CancelledError:
            note("refused")


def fork_without_end() -> None:
    """Each of its processes starts others for as long as the system lets it."""
    doomed()
    while True:
        try:
            os.fork()
        except OSError:
            signal.pause()


app.task(name="poison.fork_bomb_in_cell", timeout="1s", executor="process", **ONCE)(
    fork_without_end
)
app.task(name="poison.spin_in_cell", timeout="1s", executor="process", **ONCE)(spin)
app.task(name="poison.stand_in_c_in_cell", timeout="1s", executor="process", **ONCE)(stand_in_c)
app.task(name="poison.stand_in_c", timeout="1s", **ONCE)(stand_in_c)


@app.task(timeout="1s", **ONCE)
def wait_in_thread() -> None:
    """In the kernel, where no thread can be told anything."""
    pass_time_in_thread(20)


# Raises, by name: see ERRORS.


class Rude(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)

    __repr__ = __str__


class Wordless(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock(), lambda: 1)

    def __reduce__(self) -> NoReturn:
        raise TypeError("no")


class Kind(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Kind):
    pass


def circular() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def deep() -> Exception:
    error = ValueError("0")
    for n in range(10_000):
        following = ValueError(str(n))
        following.__context__ = error
        error = following
    return error


def sink(depth: int = 0) -> int:
    return sink(depth + 1) + 1


def recursion() -> BaseException:
    try:
        sink()
    except RecursionError as error:
        return error
    raise AssertionError


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("bad"),
    "CancelledError": asyncio.CancelledError,
    "TimeoutError": lambda: TimeoutError("late"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "BaseException": lambda: BaseException("base"),
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "MemoryError": MemoryError,
    "RecursionError": recursion,
    "OSError": lambda: OSError(28, "No space left on device"),
    "BrokenPipeError": BrokenPipeError,
    "ConnectionResetError": ConnectionResetError,
    "PermissionError": PermissionError,
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"),
    "ExceptionGroup": lambda: ExceptionGroup("many", [ValueError("1"), TypeError("2")]),
    "BaseExceptionGroup": lambda: BaseExceptionGroup("many", [KeyboardInterrupt()]),
    "NotImplementedError": NotImplementedError,
    "AssertionError": AssertionError,
    "SyntaxError": lambda: SyntaxError("odd", ("x.py", 1, 1, "x" * 10_000)),
    "ImportError": lambda: ImportError("no module"),
    "Warning": lambda: DeprecationWarning("old"),
    "surrogate": lambda: ValueError("\udcff\x00\x1b[31m\r\n\u202e"),
    "huge": lambda: ValueError("x" * (10 << 20)),
    "rude": Rude,
    "wordless": Wordless,
    "unpicklable": Unpicklable,
    "nameless": Nameless,
    "circular": circular,
    "deep": deep,
    "noted": lambda: noted(),  # noqa: PLW0108 - it comes later
    "KeyError": lambda: KeyError("missing"),
}


def noted() -> Exception:
    error = ValueError("with notes")
    for n in range(2_000):
        error.add_note(f"{n} {'x' * 1_000}")
    return error


@app.task(**TWICE)
async def throw(job: JobContext, name: str) -> None:
    raise ERRORS[name]()  # noqa: RSE102 - they are made anew


@app.task(**TWICE)
def throw_in_thread(job: JobContext, name: str) -> None:
    raise ERRORS[name]()  # noqa: RSE102 - they are made anew


@app.task(executor="process", **TWICE)
def throw_in_cell(job: JobContext, name: str) -> None:
    raise ERRORS[name]()  # noqa: RSE102 - they are made anew


# Leaves something behind.


def return_too_much() -> str:
    return "x" * (100 << 20)


def close_all_files() -> str:
    doomed()
    os.closerange(0, 51)
    return "closed"


def change_everything() -> str:
    os.chdir("/")
    os.umask(0)
    os.environ.clear()
    sys.path.clear()
    sys.setrecursionlimit(200)
    locale.setlocale(locale.LC_ALL, "C")
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    return "changed"


async def change_everything_on_the_loop() -> str:
    return change_everything()


def take_all_memory_allowed() -> int:
    """Within a limit of its own, which it gives back."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), before[1]))
    try:
        return len(b"x" * (1 << 30))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


_FIRST_ENV = dict(os.environ)
"""By which the test knows its processes, also where `change_everything` ran before."""


def litter() -> int:
    """200 processes that nobody waits for."""
    return len([os.posix_spawn("/bin/sleep", ["sleep", "300"], _FIRST_ENV) for _ in range(200)])


app.task(name="poison.return_too_much", **TWICE)(return_too_much)
for fn in (close_all_files, change_everything, take_all_memory_allowed, litter):
    app.task(name=f"poison.{fn.__name__}_in_cell", executor="process", **TWICE)(fn)
for fn in (close_all_files, change_everything, take_all_memory_allowed):
    app.task(**TWICE)(fn)
app.task(**TWICE)(change_everything_on_the_loop)
