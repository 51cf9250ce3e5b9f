"""Simulated processes: groups of tasks that are paused and killed as one."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeAlias, TypeVar, TypeVarTuple, Unpack
from weakref import WeakSet

from backline.job import Micros

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
AnyTask: TypeAlias = asyncio.Task[Any]


class Entry(NamedTuple):
    """A callback that waits for its turn, in the order in which it would run unshuffled."""

    when: Micros
    owner: int
    """The number of the task it steps; 0 if it steps none."""
    number: int
    handle: asyncio.Handle
    process: "Process | None"


class Process:
    """A group of tasks that can be paused and killed as one; made by `VirtualLoop.process`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, put: Callable[[Entry], None], name: str
    ) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self._loop = loop
        self._put = put
        self.parked: list[Entry] = []
        """What became due in a pause."""
        self._tasks: WeakSet[AnyTask] = WeakSet()
        self.remains: list[AnyTask] = []
        """The tasks of a dead process: kept, for to collect them would be to unwind them."""

    def start(self, main: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `main` as a task of this process; what it starts belongs to the process too."""
        context = copy_context()
        context.run(process_of_context.set, self)
        return self._loop.create_task(main, name=self.name, context=context)

    def call(self, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Call it soon, as part of this process: late if it is paused, never if it is dead."""
        context = copy_context()
        context.run(process_of_context.set, self)
        self._loop.call_soon(callback, *args, context=context)

    def kill(self) -> None:
        """Never step its tasks again: as SIGKILL does it, no `finally` runs."""
        self.alive = False
        self.remains = list(self._tasks)  # or they would be collected, and so unwound
        self.parked.clear()

    def pause(self) -> None:
        """Stop stepping its tasks until `resume`, while time goes on for all others."""
        self.paused = True

    def resume(self) -> None:
        """Go on: what became due in the pause runs now."""
        self.paused = False
        parked, self.parked = self.parked, []
        for entry in parked:
            self._put(entry)

    def hold(self, task: AnyTask) -> None:
        """Note that a task belongs to the process (used by `VirtualLoop`)."""
        self._tasks.add(task)
        if not self.alive:
            self.remains.append(task)

    def __repr__(self) -> str:
        state = "dead" if not self.alive else "paused" if self.paused else "alive"
        return f"<Process {self.name} {state}>"


process_of_context: ContextVar[Process | None] = ContextVar(
    "backline_simulated_process", default=None
)


def current_process() -> Process | None:
    """The simulated process this code runs in; None outside of any."""
    return process_of_context.get()
