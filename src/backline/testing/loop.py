"""An asyncio event loop on virtual time: waiting takes no time, and a seed decides the order.

When nothing is ready to run, time jumps to the next timer: a test of a week's retries takes
milliseconds. When there is no timer either, nothing could ever happen again, and the loop
raises `Deadlock` with the pending tasks and where each one waits. Callbacks that are ready at
the same moment run in an order drawn from the seed: asyncio promises less about the order of
tasks than code tends to rely on. Callbacks that ran `limit` times without time moving are a
`Livelock`.

A `Process` is a simulated process: the tasks started in it, and all that these start. It can
be paused, as SIGSTOP or a long garbage collection would do it, and killed: then none of its
tasks is ever stepped again, no `finally` runs, and its timers are gone.

There is no I/O and there are no threads: `run_in_executor` runs the call in a later step of
the loop, whichever executor is given.
"""

import asyncio
import heapq
import random
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Protocol,
    TypeVar,
    TypeVarTuple,
    Unpack,
    runtime_checkable,
)
from weakref import WeakKeyDictionary

from backline.job import SECOND, Micros
from backline.testing.clock import VirtualClock
from backline.testing.process import AnyTask, Entry, Process, process_of_context
from backline.testing.unwinding import drive, unwind, where

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LIMIT: Final = 1_000_000
"""How many callbacks may run at one instant of virtual time."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set, and the main task is not done."""


class Livelock(RuntimeError):
    """Callback after callback ran, and time never moved."""


@runtime_checkable
class Watchable(Protocol):
    """Something that tells when there is something to read."""

    def watch(self, callback: Callable[[], object]) -> None: ...

    def unwatch(self) -> bool: ...


class VirtualLoop(asyncio.BaseEventLoop):
    """The event loop; `run` makes one, runs a coroutine and closes it.

    `loop.time()` is `clock.elapsed`, in seconds. Errors that nothing handled (a callback
    raised, a task's error was never retrieved) are kept in `unhandled`.
    """

    def __init__(self, clock: VirtualClock, seed: int = 0, *, limit: int = LIMIT) -> None:
        self._active = False
        super().__init__()
        self.clock = clock
        self.unhandled: list[BaseException] = []
        self._rng = random.Random(f"order {seed}")
        self._limit = limit
        self._runnable: list[Entry] = []
        self._timers: list[Entry] = []
        self._entries = 0
        self._steps_now = 0
        self._numbers: WeakKeyDictionary[AnyTask, int] = WeakKeyDictionary()
        self._tasks_made = 0
        self._processes: list[Process] = []
        self._generators: WeakKeyDictionary[AsyncGenerator[Any, Any], Process | None] = (
            WeakKeyDictionary()
        )
        self._halt = False
        self._at: Process | None = None

    def process(self, name: str) -> Process:
        """A new simulated process."""
        process = Process(self, self.put, name)
        self._processes.append(process)
        return process

    # Calls

    def time(self) -> float:
        return self.clock.elapsed / SECOND

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        context = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, context)
        self._enter(handle, callback, context, self.clock.elapsed)
        return handle

    call_soon_threadsafe = call_soon

    def add_reader(
        self, fd: "FileDescriptorLike", callback: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> None:
        """Only for an `fd` that can be watched: a channel between simulated processes."""
        if not isinstance(fd, Watchable):
            raise NotImplementedError("there is no I/O on virtual time")
        fd.watch(partial(callback, *args))

    def remove_reader(self, fd: "FileDescriptorLike") -> bool:
        """Whether it was watched."""
        return isinstance(fd, Watchable) and fd.unwatch()

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        context = copy_context() if context is None else context
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._enter(timer, callback, context, max(round(when * SECOND), self.clock.elapsed))
        return timer

    def _enter(
        self, handle: asyncio.Handle, callback: object, context: Context, when: Micros
    ) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        process = context.get(process_of_context)
        owner = getattr(callback, "__self__", None)
        number = self._number(owner, process) if isinstance(owner, asyncio.Task) else 0
        if process is not None and not process.alive:
            handle.cancel()
            return
        self._entries += 1
        self.put(Entry(when, number, self._entries, handle, process))

    def _number(self, task: AnyTask, process: Process | None) -> int:
        number = self._numbers.get(task)
        if number is None:
            self._tasks_made += 1
            number = self._numbers[task] = self._tasks_made
            if process is not None:
                process.hold(task)
        return number

    def _order(self, task: AnyTask) -> int:
        return self._numbers.get(task, 0)

    def put(self, entry: Entry) -> None:
        """Let an entry wait for its turn (used by `Process`)."""
        if entry.when > self.clock.elapsed:
            heapq.heappush(self._timers, entry)
        else:
            self._runnable.append(entry)

    def run_in_executor(
        self,
        executor: object,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Run `func` in a later step of the loop; `executor` is not used."""
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - the awaiting task gets every error
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(call)
        return future

    # Running

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end, then cancel what is left, as `asyncio.run` does.

        Raises what `main` raises, `Deadlock`, `Livelock`, or an ExceptionGroup of the errors
        that nothing handled.
        """
        task = self.create_task(main, name="main")
        try:
            result = self.run_until_complete(task)
        except (Deadlock, Livelock):
            raise
        except BaseException:
            self._wind_down()
            raise
        self._wind_down()
        if self.unhandled:
            raise BaseExceptionGroup("errors that nothing handled", self.unhandled)
        return result

    def _wind_down(self) -> None:
        gone: set[AnyTask] = set()
        for process in self._processes:
            if process.paused:
                process.kill()
            gone.update(process.remains)
        left = sorted(asyncio.all_tasks(self) - gone, key=self._order)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.wait(left))
        for task in left:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.unhandled.append(error)
        self.run_until_complete(self.shutdown_asyncgens())

    def run_forever(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if self._active:
            raise RuntimeError("This event loop is already running")
        hooks = sys.get_asyncgen_hooks()
        self._active = True
        asyncio._set_running_loop(self)  # noqa: SLF001 - made for those who write loops
        sys.set_asyncgen_hooks(firstiter=self._begin, finalizer=self._finalize)
        try:
            while not self._halt:
                self._turn()
        finally:
            self._halt = self._active = False
            asyncio._set_running_loop(None)  # noqa: SLF001
            sys.set_asyncgen_hooks(*hooks)

    def stop(self) -> None:
        self._halt = True

    def is_running(self) -> bool:
        return self._active

    def _turn(self) -> None:
        """Run what is ready, or jump to the next timer."""
        self._ripen()
        batch, self._runnable = self._runnable, []
        if not batch:
            self._jump()
            return
        if len(batch) > 1:
            batch.sort()  # the order of a set of tasks is no matter of the seed
            self._rng.shuffle(batch)
        self._steps_now += len(batch)
        if self._steps_now > self._limit:
            raise Livelock(f"{self._limit:,} callbacks and it is still {self.time():.6f} s")
        try:
            while batch:
                self._step(batch.pop())
        finally:
            self._runnable.extend(batch)

    def _step(self, entry: Entry) -> None:
        process = entry.process
        if process is not None:
            if not process.alive:
                return
            if process.paused:
                process.parked.append(entry)
                return
        if not entry.handle.cancelled():
            self._at = process
            entry.handle._run()  # noqa: SLF001 - made for those who write loops

    def _ripen(self) -> None:
        """Move the timers that are due to what is ready; drop those that never will be."""
        timers = self._timers
        while timers:
            when, _, _, handle, process = timers[0]
            dead = process is not None and not process.alive
            if when <= self.clock.elapsed and not dead and not handle.cancelled():
                self._runnable.append(timers[0])
            elif process is not None and process.paused and not dead:
                process.parked.append(timers[0])  # it must not move time
            elif not dead and not handle.cancelled():
                return
            heapq.heappop(timers)

    def _jump(self) -> None:
        if not self._timers:
            raise Deadlock(f"nothing can ever happen again; pending:\n{self._pending()}")
        self.clock.elapsed = self._timers[0].when
        self._steps_now = 0

    def _pending(self) -> str:
        left = sorted(asyncio.all_tasks(self), key=self._order)
        lines = [f"  {task.get_name()} at {where(task)}" for task in left]
        return "\n".join(lines) or "  no task"

    # Endings

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._at is not None and not self._at.alive:
            return  # it was killed in this very step
        whose = context.get("task") or context.get("future") or context.get("handle")
        error = context.get("exception") or RuntimeError(f"{context.get('message')} {whose}")
        self.unhandled.append(error)

    def _begin(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators[generator] = process_of_context.get()

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        process = self._generators.pop(generator, None)
        if self.is_closed() or (process is not None and not process.alive):
            drive(generator.aclose())
        else:
            self.create_task(generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        for generator, process in list(self._generators.items()):
            if process is None or process.alive:  # the dead do not go on
                await generator.aclose()

    def close(self) -> None:
        """Forget everything. What is pending is unwound now, and cannot touch the loop."""
        if self.is_closed():
            return
        left = asyncio.all_tasks(self)
        left.update(*(process.remains for process in self._processes))
        self._runnable.clear()
        self._timers.clear()
        super().close()
        for task in sorted(left, key=self._order):
            unwind(task)
        for generator in list(self._generators):
            drive(generator.aclose())
        self._processes.clear()


def run(main: Coroutine[Any, Any, T], *, clock: VirtualClock | None = None, seed: int = 0) -> T:
    """Run `main` on a `VirtualLoop` of its own and return its result; see `VirtualLoop.run`."""
    loop = VirtualLoop(clock or VirtualClock(seed), seed)
    try:
        return loop.run(main)
    finally:
        loop.close()
