"""The nemesis: does to hosts, producers and the store what a plan says."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from backline.job import SECOND, Lane, Micros
from backline.supervisor.settlement import ProcessExit
from backline.testing.clock import VirtualClock
from backline.testing.process import Process, current_process
from backline.testing.simulation.history import What
from backline.testing.simulation.host import Host
from backline.testing.simulation.plan import Act, Blow
from backline.testing.simulation.producer import Producer
from backline.testing.simulation.setting import Setting

At: TypeAlias = Callable[[Micros, Callable[[], Coroutine[Any, Any, None]]], None]
"""Does something after a while, outside of every process."""

SEGFAULT: Final = ProcessExit(signal=11)


class Nemesis:
    """Strikes. `at` is how it does something later."""

    def __init__(
        self,
        setting: Setting,
        clock: VirtualClock,
        hosts: Sequence[Host],
        producers: Sequence[Producer],
        at: At,
    ) -> None:
        self._setting = setting
        self._clock = clock
        self._hosts = hosts
        self._producers = producers
        self._at = at
        self._rng = random.Random(setting.rng.getrandbits(64))
        self._armed: list[tuple[Host, Blow]] = []
        self.reached: Counter[str] = Counter()
        """How often each fault point was reached."""

    async def strike(self, blow: Blow) -> None:
        """Do it, and what goes with it later."""
        host = self._hosts[blow.host]
        match blow.act:
            case Act.KILL_WORKER:
                host.kill_worker(host.worker())
            case Act.KILL_CELL:
                host.kill_worker(host.worker(Lane.CELL))
            case Act.STOP_WORKER:
                host.stop_worker()
            case Act.KILL_AT | Act.PAUSE_AT:
                self._armed.append((host, blow))
            case Act.KILL_SUPERVISOR | Act.POWER_OFF | Act.STOP_HOST | Act.RECYCLE:
                await self._strike_supervisor(host, blow)
            case Act.PAUSE_WORKER | Act.PAUSE_HOST:
                paused = host.pause(whole=blow.act is Act.PAUSE_HOST)
                await asyncio.sleep(blow.lasts / SECOND)
                host.resume(paused)
            case Act.KILL_PRODUCER:
                self._rng.choice(self._producers).kill()
            case Act.CUT | Act.DOWN:
                await self._cut(host, blow)
            case Act.STEP:
                self._clock.step_wall(blow.by)
                self._setting.history.record(What.STEPPED, "nemesis", by=round(blow.by * SECOND))

    def relent(self) -> None:
        """What has not struck by now never will."""
        self._armed.clear()

    def crash(self, process: Process) -> None:
        """A job ends its process."""
        for host in self._hosts:
            host.crash(process, SEGFAULT)

    def block(self, process: Process, lasts: Micros) -> None:
        """A job lets its process do nothing else."""
        for host in self._hosts:
            if process in host.processes(whole=True) and not process.paused:
                self._at(
                    lasts, partial(self._resume, host, host.stand_still([process], whole=False))
                )

    def reach(self, point: str) -> None:
        """The hook of the fault points: strike who was to be struck here."""
        self.reached[point] += 1
        process = current_process()
        for armed in self._armed:
            host, blow = armed
            if blow.point != point or process is None:
                continue
            worker = host.worker()
            if blow.act is Act.KILL_AT:
                if worker is None or worker.life.process is not process:
                    continue
                host.kill_worker(worker)
            elif any(life.process is process for life in host.lives):
                self._at(blow.lasts, partial(self._resume, host, host.pause(whole=True)))
            else:
                continue
            self._armed.remove(armed)
            return

    async def _resume(self, host: Host, paused: list[Process]) -> None:
        host.resume(paused)

    async def _strike_supervisor(self, host: Host, blow: Blow) -> None:
        if blow.act is Act.RECYCLE:
            for life in host.lives:
                life.process.call(life.supervisor.recycle)
            return
        if blow.act is Act.KILL_SUPERVISOR:
            host.kill()
        elif blow.act is Act.POWER_OFF:
            host.power_off()
        else:
            host.terminate()
            if self._rng.random() < 0.5:
                host.boot()  # the next one starts beside it, as at a deploy
        await asyncio.sleep(blow.lasts / SECOND)
        if blow.act is Act.STOP_HOST and self._rng.random() < 0.5:
            host.quit()
        if not host.staffed:
            host.boot()

    async def _cut(self, host: Host, blow: Blow) -> None:
        if blow.act is Act.DOWN:
            begin, end, where = What.DOWN, What.UP, "*"
        else:
            begin, end, where = What.CUT, What.HEALED, str(host.index)
        for cut, what in ((True, begin), (False, end)):
            if blow.act is Act.DOWN:
                self._setting.down = cut
            else:
                host.cut = cut
            self._setting.change()
            self._setting.history.record(what, "nemesis", host=where)
            if cut:
                await asyncio.sleep(blow.lasts / SECOND)
