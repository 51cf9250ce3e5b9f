"""The one door for time, randomness, ids and threads.

Nothing else in Backline reads a clock, draws a random number, makes an id or starts a
thread, so a test or a simulation that passes another `Clock` owns all of them. Waiting is
the event loop's business (`asyncio.sleep`, `loop.call_later`): a simulation brings its own
loop.
"""

import asyncio
import contextlib
import os
import random
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from queue import SimpleQueue
from typing import Final, ParamSpec, Protocol, TypeAlias, TypeVar
from uuid import UUID
from weakref import WeakSet

from backline.job import JobId, Micros

P = ParamSpec("P")
T = TypeVar("T")

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SHIFTS: Final = Path("/proc/self/timens_offsets")
# Looked up once: `tick` is called several times a job.
_clock_gettime_ns: Final = time.clock_gettime_ns
_CLOCK_BOOTTIME: Final = time.CLOCK_BOOTTIME


class Pool(Executor):
    """Threads that run calls. How many they are at most may change."""

    @abstractmethod
    def resize(self, threads: int) -> None:
        """Have at most so many from now on. Those beyond end, after what they run now."""


class Clock(Protocol):
    """Where time, randomness, ids and threads come from. Safe to call from any thread."""

    rng: random.Random

    def now(self) -> Micros:
        """Wall time, UTC microseconds since 1970; may step either way."""
        ...

    def tick(self) -> Micros:
        """Microseconds since this boot; never steps, goes on while the machine sleeps."""
        ...

    def boot(self) -> str:
        """Names the boot that `tick` counts from: ticks of two boots do not compare."""
        ...

    def new_id(self) -> JobId:
        """A fresh UUIDv7, greater than any this clock made before."""
        ...

    def executor(self, name: str, threads: int = 1) -> Pool:
        """Threads to run blocking calls on; `threads=1` runs them one by one, in order."""
        ...

    def thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """A started daemon thread that runs `target` once."""
        ...


class SystemClock:
    """The machine's own clocks, randomness and threads."""

    def __init__(self) -> None:
        self.rng = random.Random()
        self._ids = IdMaker(self.now, self.rng)
        self._shift = _shift()

    def now(self) -> Micros:
        return time.time_ns() // 1_000

    def tick(self) -> Micros:
        return _clock_gettime_ns(_CLOCK_BOOTTIME) // 1_000 - self._shift

    def boot(self) -> str:
        return _BOOT_ID.read_text().strip()

    def new_id(self) -> JobId:
        return self._ids()

    def executor(self, name: str, threads: int = 1) -> Pool:
        return DaemonExecutor(name, threads)

    def thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread


def _shift() -> Micros:
    """What the time namespace of this process adds to the time since the boot.

    Containers that were moved or restored have one. The boot has the same name inside and
    outside, so its ticks must mean the same, or every lease looks over from the other side.
    """
    try:
        shifts = [line.split() for line in _SHIFTS.read_text().splitlines()]
    except OSError:  # an older kernel, without time namespaces
        return 0
    return sum(
        int(seconds) * 1_000_000 + int(nanos) // 1_000
        for clock, seconds, nanos in shifts
        if clock == "boottime"
    )


_WorkItem: TypeAlias = Callable[[], None]


class DaemonExecutor(Pool):
    """A pool of daemon threads, started one by one as calls find none idle.

    Where the system has no room for another thread, the call waits for one of those that
    there are; if there is none yet, `submit` raises RuntimeError and nothing is called.

    The standard pool joins its threads when the interpreter exits, so a job that never
    returns would keep the process alive for ever.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._count = 0
        """Threads that were not told to end."""
        self._started = 0
        self._calls: SimpleQueue[_WorkItem | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - it is the caller's to see
                    future.set_exception(error)

        with self._lock:
            if self._closed:
                raise RuntimeError(f"the threads of {self._name} were shut down")
            if self._free <= 0 and self._count < self._most:
                self._start()
            self._free -= 1
            self._calls.put(call)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after the calls submitted so far; `wait` for them."""
        del cancel_futures
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def resize(self, threads: int) -> None:
        """Have at most so many from now on. Those beyond end, after what they run now."""
        with self._lock:
            self._most = threads
            if self._closed:
                return
            while self._free < 0 and self._count < threads and self._start():
                pass  # one more of the calls that wait has a thread
            while self._count > threads:  # whoever takes it ends
                self._count -= 1
                self._free -= 1
                self._calls.put(None)

    def _start(self) -> bool:
        name = f"{self._name}-{self._started}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no memory, or no more threads allowed
            if not self._count:
                raise
            return False
        self._threads.append(thread)
        self._started += 1
        self._count += 1
        self._free += 1
        return True

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call
            with self._lock:
                self._free += 1
        with self._lock:
            if not self._closed:  # or somebody waits for all of them
                self._threads.remove(threading.current_thread())


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Have `call` called on a loop, soon. From any thread; if the loop is closed: nothing."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
        loop.call_soon_threadsafe(call)


class IdMaker:
    """Makes UUIDv7 (RFC 9562, section 6.2, method 1: a counter beside the millisecond).

    The 48 bits of milliseconds and a 26-bit counter (in rand_a and the top of rand_b) only
    grow, also when the wall clock steps back; 48 bits are random. A child of a fork draws
    from a generator of its own, so parent and child never make the same id.
    """

    def __init__(self, now: Callable[[], Micros], rng: random.Random) -> None:
        self._now = now
        self._rng = rng
        self._lock = threading.Lock()
        self._millis = 0
        self._counter = 0
        self._prefix = ""
        _MAKERS.add(self)

    def after_fork(self) -> None:
        """In the child: another generator, and a lock that no thread of the parent holds."""
        self._lock = threading.Lock()
        self._rng.seed()

    def __call__(self) -> JobId:
        with self._lock:
            millis = self._now() // 1_000
            if millis > self._millis:
                self._begin(millis, self._rng.getrandbits(25))
            else:
                self._counter += 1
                if self._counter >> 26:
                    self._begin(self._millis + 1, 0)
            low = self._rng.getrandbits(48)
            prefix, counter = self._prefix, self._counter
        parts = (prefix, counter >> 14, 0x8000 | counter & 0x3FFF, low)
        return "%s%03x-%04x-%012x" % parts  # noqa: UP031 - an f-string takes twice as long

    def _begin(self, millis: int, counter: int) -> None:
        """A new millisecond: most of the text of its ids is the same."""
        text = f"{millis:012x}"
        self._millis, self._counter = millis, counter
        self._prefix = f"{text[:8]}-{text[8:]}-7"


def drawn_id(millis: int, drawn: bytes) -> JobId:
    """A UUIDv7 of this time, milliseconds since 1970, whose other bits are those of `drawn`.

    For ids that are the same whoever makes them; `drawn` has at least ten bytes.
    """
    bits = int.from_bytes(drawn[:10])
    high, low = bits >> 62 & 0xFFF, bits & ((1 << 62) - 1)
    return str(UUID(int=(millis & ((1 << 48) - 1)) << 80 | 7 << 76 | high << 64 | 2 << 62 | low))


_MAKERS: Final[WeakSet[IdMaker]] = WeakSet()


def _after_fork() -> None:
    for maker in _MAKERS:
        maker.after_fork()


os.register_at_fork(after_in_child=_after_fork)

SYSTEM_CLOCK: Final[Clock] = SystemClock()
