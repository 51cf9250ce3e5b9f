"""One simulated system: hosts, producers, an operator and a nemesis around one store."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from backline.context import JobContext
from backline.errors import Cancel, RetryLater, Snooze, StoreError
from backline.faults import hooked
from backline.job import SECOND, JobId, JobRecord, JobRequest, Lane, Micros, Refused
from backline.states import TERMINAL
from backline.store import Filter, QueueSettings, QueueStats, Store
from backline.task import Registry, Retry, make_task
from backline.task.handle import Job
from backline.testing.clock import VirtualClock
from backline.testing.flaky import NO_FAULTS
from backline.testing.loop import VirtualLoop
from backline.testing.process import Process, current_process
from backline.testing.simulation.history import History, What
from backline.testing.simulation.host import Host, HostClock, Setting, Way
from backline.testing.simulation.observed import ObservedStore
from backline.testing.simulation.plan import (
    BOUNDED,
    HOSTS,
    MAIN,
    SYNC,
    UNKNOWN,
    Act,
    Behaviour,
    Blow,
    How,
    Plan,
    PlannedCall,
)
from backline.testing.simulation.serial import SerialStore

T = TypeVar("T")

TRIES: Final = 6
"""How often a producer sends a call."""
DRAIN: Final = 900
"""Seconds in which everything must have ended once nothing more is done to the system."""
SNAPSHOT: Final = 5


class FatalError(Exception):
    """An error that no retry helps."""


@dataclass(frozen=True)
class Ending:
    """The store after the quiet period."""

    jobs: dict[JobId, JobRecord]
    queues: list[QueueStats]


class Tasks:
    """The user's code: every run does what its job's behaviour says."""

    def __init__(self, behaviours: Mapping[JobId, Behaviour], history: History) -> None:
        self._behaviours = behaviours
        self._history = history
        self._snoozed: Counter[JobId] = Counter()

    def registry(self, *names: str) -> Registry:
        """Tasks of these names, and what they are called by."""

        async def work(job: JobContext, own: str) -> str:
            behaviour = self._begin(job, own)
            try:
                if behaviour.reports:
                    job.progress(0, 1)
                await asyncio.sleep(behaviour.takes / SECOND)
            except asyncio.CancelledError:
                self._end(job, How.STOPPED)
                raise
            return self._finish(job, behaviour)

        def quick(job: JobContext, own: str) -> str:
            return self._finish(job, self._begin(job, own))

        registry = Registry()
        producer = _NoProducer()
        for name in names:
            settings = {"name": name, "retry": Retry(not_on=FatalError)}
            registry.add(make_task(quick if name == SYNC else work, settings, producer))
        return registry

    def _begin(self, job: JobContext, own: str) -> Behaviour:
        self._history.record(What.RUN, _who(), job.id, job.attempt, own=own == job.id)
        return self._behaviours[job.id]

    def _finish(self, job: JobContext, behaviour: Behaviour) -> str:
        """Return or raise what the behaviour says, and write down which."""
        if self._snoozed[job.id] < behaviour.snoozes:
            self._snoozed[job.id] += 1
            self._end(job, How.SNOOZE, behaviour.wait)
            raise Snooze(behaviour.wait / SECOND)
        if job.failures < behaviour.fails:
            self._end(job, behaviour.fails_as, behaviour.wait)
            if behaviour.fails_as is How.LATER:
                raise RetryLater(behaviour.wait / SECOND)
            raise FatalError if behaviour.fails_as is How.FATAL else ValueError("planned")
        if behaviour.cancels:
            self._end(job, How.CANCEL)
            raise Cancel
        self._end(job, How.OK)
        return f"done {job.id}"

    def _end(self, job: JobContext, how: How, wait: Micros = 0) -> None:
        self._history.record(What.ENDED, _who(), job.id, job.attempt, how=how.value, wait=wait)


class World:
    """Runs one plan. `plant` may put something (a bug) between the store and its recorder."""

    def __init__(
        self,
        plan: Plan,
        clock: VirtualClock,
        loop: VirtualLoop,
        store: Store,
        folder: Path,
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.history = History(clock)
        self._loop = loop
        self._store = store
        recorded = ObservedStore(store, self.history, clock)
        at_once = not store.capabilities.between_processes  # its calls never wait
        self._setting = Setting(
            loop=loop,
            history=self.history,
            store=recorded if at_once else SerialStore(recorded),
            lease=plan.lease,
            folder=folder,
            rng=random.Random(f"world {plan.seed}"),
            faults=plan.faults,
        )
        self._rng = random.Random(f"people {plan.seed}")
        self._armed: list[tuple[Host, Blow]] = []
        tasks = Tasks(plan.behaviours, self.history)
        old, new = tasks.registry(MAIN, SYNC), tasks.registry(MAIN, SYNC, UNKNOWN)
        self._hosts = [
            Host(
                index,
                self._setting,
                HostClock(clock, f"host {index} {plan.seed}", *plan.skews[index]),
                old if index == HOSTS - 1 else new,
                (Lane.MAIN, Lane.CELL) if index == 0 else (Lane.MAIN,),
            )
            for index in range(HOSTS)
        ]
        self._doings: set[asyncio.Task[None]] = set()

    async def run(self) -> Ending:
        """Play the plan, let everything drain, and read what the store then holds."""
        await self._store.open()
        await self._store.configure([QueueSettings(queue=BOUNDED, max_depth=self.plan.max_depth)])
        with _silence(), hooked(self._reach):
            for host in self._hosts:
                host.boot()
            await self._play()
            await self._drain()
            await self._stop_workers()
        final = await self._read()
        self.history.close()
        for host in self._hosts:
            host.kill()
        await self._store.close()
        return final

    async def _play(self) -> None:
        way = Way(self._setting, None)
        for call in self.plan.calls:
            self._do(call.at, self._produce(way, call))
        for at, job in self.plan.cancels:
            self._do(at, self._insist(partial(way.cancel, [job])))
        for at, job in self.plan.redrives:
            self._do(at, self._insist(partial(way.redrive, [job])))
        for blow in self.plan.blows:
            self._do(blow.at, self._strike(blow))
        for at in range(SNAPSHOT, self.plan.active // SECOND, SNAPSHOT):
            self._do(at * SECOND, self._snapshot())
        while self._doings:
            await asyncio.wait(self._doings)
        self._armed.clear()
        self._setting.faults = NO_FAULTS
        self._change()
        self.history.record(What.QUIET, "nemesis")

    def _do(self, at: Micros, what: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            await asyncio.sleep(at / SECOND)
            await what

        # In a context of no process: it may be one that asks, and is about to be paused.
        task = self._loop.create_task(do(), context=Context())
        self._doings.add(task)
        task.add_done_callback(self._doings.discard, context=Context())

    # Producers and the operator.

    async def _produce(self, way: Way, call: PlannedCall) -> None:
        """Send a call until it is answered, with the same ids each time, as a client does."""
        doubt = False
        for _ in range(TRIES):
            try:
                [answer] = await way.enqueue([call.jobs])
            except StoreError:
                doubt = True
            else:
                if not isinstance(answer, Refused):
                    for job, one in zip(call.jobs, answer, strict=True):
                        added = one.added and one.id == job.id
                        self._tell(What.ENQUEUED, job, holder=None if added else one.id)
                    return
            await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        for job in call.jobs:
            self._tell(What.UNKNOWN if doubt else What.REFUSED, job)

    def _tell(self, what: What, job: JobRequest, **note: str | None) -> None:
        self.history.record(what, "producer", job.id, 0, **note)

    async def _insist(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        for _ in range(TRIES):
            try:
                await call()
            except StoreError:
                await asyncio.sleep(self._rng.uniform(0.1, 1.5))
            else:
                return

    async def _snapshot(self) -> None:
        await self._setting.store.stats()

    # The nemesis.

    async def _strike(self, blow: Blow) -> None:
        host = self._hosts[blow.host]
        match blow.act:
            case Act.KILL_WORKER:
                host.seat(Lane.MAIN).kill()
            case Act.KILL_CELL:
                self._hosts[0].seat(Lane.CELL).kill()
            case Act.KILL_AT | Act.PAUSE_AT:
                self._armed.append((host, blow))
            case Act.KILL_HOST:
                host.kill()
                await asyncio.sleep(blow.lasts / SECOND)
                host.kill()  # another blow may have booted it meanwhile
                host.boot(adopt=self._rng.random() < 0.5)
            case Act.STOP_WORKER:
                host.seat(Lane.MAIN).stop(at_once=False)
                await asyncio.sleep(blow.lasts / SECOND)
                host.seat(Lane.MAIN).stop(at_once=self._rng.random() < 0.5)
            case Act.PAUSE_WORKER | Act.PAUSE_HOST:
                paused = host.pause(whole=blow.act is Act.PAUSE_HOST)
                await asyncio.sleep(blow.lasts / SECOND)
                host.resume(paused)
            case Act.CUT | Act.DOWN:
                await self._cut(host, blow)
            case Act.STEP:
                self.clock.step_wall(blow.by)
                self.history.record(What.STEPPED, "nemesis", by=round(blow.by * SECOND))

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
            self._change()
            self.history.record(what, "nemesis", host=where)
            if cut:
                await asyncio.sleep(blow.lasts / SECOND)

    def _change(self) -> None:
        for way in self._setting.ways:
            way.follow(self._setting)

    async def _resume(self, host: Host, paused: list[Process]) -> None:
        host.resume(paused)

    def _reach(self, point: str) -> None:
        """A fault point: strike who was to be struck here."""
        process = current_process()
        for armed in self._armed:
            host, blow = armed
            seat = host.seat(Lane.MAIN)
            worker = None if seat.life is None else seat.life.process
            victim = worker if blow.act is Act.KILL_AT else host.supervisor
            if blow.point == point and process is not None and process is victim:
                self._armed.remove(armed)
                if blow.act is Act.KILL_AT:
                    seat.kill()
                else:
                    self._do(blow.lasts, self._resume(host, host.pause(whole=True)))
                return

    # The end.

    async def _drain(self) -> None:
        """Wait until every job has ended, or until there is no hope."""
        for _ in range(DRAIN):
            counts = [queue.counts for queue in await self._store.stats()]
            if all(
                not count
                for each in counts
                for state, count in each.items()
                if state not in TERMINAL
            ):
                return
            await asyncio.sleep(1)

    async def _stop_workers(self) -> None:
        for host in self._hosts:
            for seat in host.seats:
                seat.stop(at_once=False)
        await asyncio.sleep(2)

    async def _read(self) -> Ending:
        jobs: dict[JobId, JobRecord] = {}
        after: JobId | None = None
        while True:
            page = await self._store.find(Filter(), limit=1_000, after=after)
            jobs.update((job.id, job) for job in page.jobs)
            after = page.after
            if after is None:
                return Ending(jobs, await self._store.stats())


class _NoProducer:
    """A task's app in a simulation: the plan makes the jobs."""

    def new_id(self) -> JobId:
        raise NotImplementedError

    def headers_now(self) -> Mapping[str, str]:
        return {}

    async def send(self, request: JobRequest) -> Job[Any]:
        raise NotImplementedError

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        raise NotImplementedError


def _who() -> str:
    process = current_process()
    return "nobody" if process is None else process.name


@contextmanager
def _silence() -> Iterator[None]:
    """What goes wrong is all on purpose: nothing of it is worth a line in the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
