"""The kernel of a simulated machine: worker processes, as a supervisor sees them.

What a supervisor and a worker say to each other, and every decision, is the real code; only
starting, ending and killing a process happen here.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from backline.child import Channel
from backline.clock import Clock
from backline.job import Lane, Micros
from backline.store import Store
from backline.supervisor.messages import ChildSettings, Hello
from backline.supervisor.processes import Child, Processes
from backline.supervisor.settlement import ProcessExit
from backline.task import Registry
from backline.testing.process import Process
from backline.testing.simulation.channel import channel_pair
from backline.testing.simulation.history import What
from backline.testing.simulation.plan import QUEUES
from backline.testing.simulation.setting import Setting
from backline.worker.board import Board, Token
from backline.worker.gathering import most_held
from backline.worker.loop import Worker
from backline.worker.settings import WorkerSettings

SIGKILL: Final = ProcessExit(signal=9)
FIRST_PID: Final = 1 << 30
"""Above every real process id: code that signals one of these meets nobody."""
PREFETCH: Final = 8
_LONGEST_START_S: Final = 0.3

MakeWay: TypeAlias = Callable[[], Store]


@dataclass(eq=False)
class WorkerLife:
    """One worker process, from its start to its end."""

    settings: ChildSettings
    process: Process
    end: socket.socket
    """Its end of the channel."""
    worker: Worker | None = None
    child: "SimulatedChild | None" = None
    """What its supervisor sees of it."""

    def close(self) -> None:
        """Unmap its board: what a killed process leaves behind is never stepped again, so
        nothing else would, and each seed would keep some descriptors for good.
        """
        if self.worker is not None:
            self.worker.board.close()
        if self.child is not None:
            self.child.close()


class SimulatedChild(Child):
    """A worker process as its supervisor sees it."""

    def __init__(
        self,
        life: WorkerLife,
        pid: int,
        channel: socket.socket,
        tick: Callable[[], Micros],
        end: Callable[[ProcessExit], None],
    ) -> None:
        super().__init__(life.settings, pid, channel, tick)
        self.life: Final = life
        life.child = self
        self._end = end

    def kill(
        self,
        *,
        ours: bool = True,
        timed_out: frozenset[Token] = frozenset(),
        cancelled: frozenset[Token] = frozenset(),
    ) -> None:
        super().kill(ours=ours, timed_out=timed_out, cancelled=cancelled)
        self._end(SIGKILL)

    def mourn(self) -> None:
        """Simulated processes leave no others behind."""
        self._read()
        self._hang_up()
        self.finished = 0 if self.board is None else self.board.finished


class SimulatedProcesses(Processes):
    """The children of one supervisor. `parent` is its process."""

    def __init__(
        self,
        setting: Setting,
        clock: Clock,
        parent: Process,
        name: Callable[[str], str],
        start: Callable[[WorkerLife], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(clock)
        self._setting = setting
        self._machine_clock = clock
        self._parent = parent
        self._name = name
        self._start = start
        self._pids = FIRST_PID

    def spawn(self, settings: ChildSettings) -> Child:
        """Start a worker process; its name is short, and the same in every run of a seed."""
        setting, loop = self._setting, self._setting.loop
        name = self._name(settings.lane.value)
        board = Path(settings.board).with_name(f"{name}.board")
        settings = replace(settings, worker=name, board=str(board))
        ours, theirs = channel_pair(loop)
        life = WorkerLife(settings, loop.process(name), theirs)
        self._pids += 1
        pid = self._pids
        child = SimulatedChild(
            life, pid, ours, self._machine_clock.tick, lambda how: self.end(child, how, ours=True)
        )
        self._children[pid] = child
        setting.history.record(What.STARTED, name, host=name[1], lane=settings.lane.value)
        task = life.process.start(self._start(life))
        ended = ProcessExit(code=0)
        task.add_done_callback(lambda _: self.end(child, ended), context=Context())
        return child

    def end(self, child: SimulatedChild, how: ProcessExit, *, ours: bool = False) -> None:
        """The process ends now, if it has not; its supervisor sees it as soon as it can."""
        process = child.life.process
        if not process.alive:
            return
        if how.code != 0:
            self._setting.history.record(What.KILLED, process.name, ours=ours)
        process.kill()
        child.life.end.close()
        self._parent.call(self._see_end, child, how)

    def of(self, process: Process) -> SimulatedChild | None:
        """The child that is this process."""
        return next((each for each in self.workers if each.life.process is process), None)

    @property
    def workers(self) -> list[SimulatedChild]:
        """The children whose end has not been seen."""
        return [child for child in self.all if isinstance(child, SimulatedChild)]

    def _see_end(self, child: Child, how: ProcessExit) -> None:
        child.mourn()
        del self._children[child.pid]
        child.bury(how)


async def live_as_worker(
    life: WorkerLife, setting: Setting, store: Store, registry: Registry, clock: Clock
) -> bool:
    """What a worker process does with its life, as `backline.child`; False: it crashed."""
    await asyncio.sleep(setting.rng.uniform(0, _LONGEST_START_S))  # it imports the app
    if setting.rng.random() < setting.crashes:
        return False
    given = life.settings
    cell = given.lane is Lane.CELL
    chosen = WorkerSettings(
        name=given.worker,
        queues=dict.fromkeys(QUEUES, 1),
        lane=given.lane,
        concurrency=1 if cell else given.concurrency or 1,
        max_prefetch=0 if cell else PREFETCH,
        lease=given.lease,
        grace=given.grace,
        replaceable=True,
    )
    board = Board.create(Path(given.board), most_held(chosen, registry), chosen.name)
    life.worker = worker = Worker(store, registry, chosen, clock=clock, board=board)
    channel = Channel(life.end)
    channel.obey(worker)
    channel.say(
        Hello(
            url="simulated://",
            queues=tuple(chosen.queues),
            tasks=registry.names(),
            concurrency=chosen.concurrency,
        )
    )
    await worker.run()
    setting.history.record(What.STOPPED, given.worker)
    return True
