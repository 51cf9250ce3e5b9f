"""One simulated system: hosts, producers, an operator and a nemesis around one store."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from backline.errors import StoreError
from backline.faults import hooked
from backline.job import SECOND, JobId, JobRecord, JobRequest, Micros
from backline.states import TERMINAL
from backline.store import Filter, QueueSettings, QueueStats, Store
from backline.testing.clock import VirtualClock
from backline.testing.flaky import NO_FAULTS
from backline.testing.loop import VirtualLoop
from backline.testing.simulation.history import History, What
from backline.testing.simulation.host import Host, Machine
from backline.testing.simulation.nemesis import Nemesis
from backline.testing.simulation.observed import ObservedStore
from backline.testing.simulation.plan import (
    AFTER,
    BOUNDED,
    HOSTS,
    MAIN,
    MANY,
    PRODUCERS,
    QUEUES,
    SYNC,
    UNKNOWN,
    Order,
    Plan,
    PlannedCall,
    PlannedOrder,
)
from backline.testing.simulation.producer import Producer
from backline.testing.simulation.serial import SerialStore
from backline.testing.simulation.setting import MachineClock, Setting, Way
from backline.testing.simulation.tasks import Tasks

TRIES: Final = 6
"""How often the operator repeats an order that got no answer."""
DRAIN: Final = 900
"""Seconds in which everything must have ended once nothing more is done to the system."""
SNAPSHOT: Final = 5
LAST_STOP: Final = 60
"""Seconds in which every supervisor must have stopped when told to."""
MACHINES: Final = (0, 0, 1)
"""Which machine each host is on: those of one machine adopt each other's boards."""


@dataclass(frozen=True)
class Ending:
    """The store after the quiet period."""

    jobs: dict[JobId, JobRecord]
    queues: list[QueueStats]
    stopped: bool
    """Every supervisor ended when it was told to."""


class World:
    """Runs one plan."""

    def __init__(
        self,
        plan: Plan,
        clock: VirtualClock,
        loop: VirtualLoop,
        store: Store,
        folder: Path,
    ) -> None:
        self.plan = plan
        self.history = History(clock)
        self._loop = loop
        self._store = store
        self._recorded = ObservedStore(store, self.history, clock)
        at_once = not store.capabilities.between_processes  # its calls never wait
        self._setting = Setting(
            loop=loop,
            history=self.history,
            store=self._recorded if at_once else SerialStore(self._recorded),
            lease=plan.lease,
            folder=folder,
            rng=random.Random(f"world {plan.seed}"),
            faults=plan.faults,
            crashes=plan.crashes,
            max_jobs=plan.max_jobs,
        )
        self._rng = random.Random(f"people {plan.seed}")
        self._doings: set[asyncio.Task[None]] = set()
        self._producers = [
            Producer(index, self._setting, clock, plan.on_full, plan.patience)
            for index in range(PRODUCERS)
        ]
        self._hosts: list[Host] = []
        self.nemesis = Nemesis(self._setting, clock, self._hosts, self._producers, self._do)
        tasks = Tasks(plan.behaviours, self.history, self.nemesis.crash, self.nemesis.block)
        known = (MAIN, SYNC, MANY, AFTER)
        old, new = tasks.registry(*known), tasks.registry(*known, UNKNOWN)
        self._machines = machines = [
            Machine(folder / f"run-{index}", self.history) for index in sorted(set(MACHINES))
        ]
        for index in range(HOSTS):
            machine_clock = MachineClock(clock, f"host {index} {plan.seed}", *plan.skews[index])
            registry = old if index == HOSTS - 1 else new
            machine = machines[MACHINES[index]]
            self._hosts.append(Host(index, self._setting, machine_clock, registry, machine))

    def close(self) -> None:
        """Let go of what its processes had open. Once, when nothing runs any more."""
        for machine in self._machines:
            machine.close()

    async def run(self) -> Ending:
        """Play the plan, let everything drain, and read what the store then holds."""
        await self._store.open()
        bounded = QueueSettings(queue=BOUNDED, max_depth=self.plan.max_depth)
        await self._recorded.configure([bounded])
        with hooked(self.nemesis.reach):
            for host in self._hosts:
                host.boot()
            await self._play()
            await self._drain()
            stopped = await self._stop()
        final = await self._read(stopped=stopped)
        self._recorded.mirror.final(final.jobs)
        self.history.close()
        for host in self._hosts:
            host.kill()
        await self._store.close()
        return final

    @property
    def follow_ups(self) -> dict[JobId, JobRequest]:
        """The jobs that ends of others have enqueued."""
        return self._recorded.follow_ups

    def struck(self) -> Counter[str]:
        """How often each fault of the ways to the store struck."""
        total: Counter[str] = Counter()
        for way in self._setting.ways:
            total.update(+way.struck)
        return total

    async def _play(self) -> None:
        for call in self.plan.calls:
            self._do(call.at, partial(self._send, call))
        for order in self.plan.orders:
            self._do(order.at, partial(self._insist, order))
        for blow in self.plan.blows:
            self._do(blow.at, partial(self.nemesis.strike, blow))
        for at in range(SNAPSHOT, self.plan.active // SECOND, SNAPSHOT):
            self._do(at * SECOND, self._snapshot)
        while self._doings:
            await asyncio.wait(self._doings)
        self.nemesis.relent()
        setting = self._setting
        setting.faults, setting.crashes = NO_FAULTS, 0.0
        setting.change()
        settings = [QueueSettings(queue=queue, paused=False) for queue in QUEUES]
        await setting.store.configure(settings)
        self.history.record(What.QUIET, "nemesis")

    def _do(self, at: Micros, what: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def do() -> None:
            await asyncio.sleep(at / SECOND)
            await what()

        # In a context of no process: it may be one that asks, and is about to be paused.
        task = self._loop.create_task(do(), context=Context())
        self._doings.add(task)
        task.add_done_callback(self._doings.discard, context=Context())

    # Producers and the operator.

    async def _send(self, call: PlannedCall) -> None:
        self._producers[call.producer].send(call)

    async def _obey(self, order: PlannedOrder) -> None:
        way, jobs = Way(self._setting, None), order.jobs
        match order.order:
            case Order.CANCEL:
                await way.cancel(jobs)
            case Order.REDRIVE:
                await way.redrive(jobs)
            case Order.PURGE:
                await way.purge(jobs)
            case Order.EDIT:
                await way.edit(jobs, order.change)
            case Order.PAUSE | Order.RESUME:
                paused = order.order is Order.PAUSE
                await way.configure([QueueSettings(queue=order.queue, paused=paused)])
            case Order.TELL:
                assert order.event is not None, "there is something to tell"
                await way.publish([order.event])

    async def _insist(self, order: PlannedOrder) -> None:
        for _ in range(TRIES):
            try:
                await self._obey(order)
            except StoreError:
                await asyncio.sleep(self._rng.uniform(0.1, 1.5))
            else:
                return

    async def _snapshot(self) -> None:
        await self._setting.store.stats()

    # The end.

    async def _drain(self) -> None:
        """Wait until every call was answered and every job has ended, or there is no hope."""
        for _ in range(DRAIN):
            counts = [queue.counts for queue in await self._store.stats()]
            left = any(
                count for each in counts for state, count in each.items() if state not in TERMINAL
            )
            if not left and not any(producer.busy for producer in self._producers):
                return
            await asyncio.sleep(1)

    async def _stop(self) -> bool:
        for host in self._hosts:
            host.terminate()
        for _ in range(LAST_STOP):
            if not any(host.lives for host in self._hosts):
                return True
            await asyncio.sleep(1)
        return False

    async def _read(self, *, stopped: bool) -> Ending:
        jobs: dict[JobId, JobRecord] = {}
        after: JobId | None = None
        while True:
            page = await self._store.find(Filter(), limit=1_000, after=after)
            jobs.update((job.id, job) for job in page.jobs)
            after = page.after
            if after is None:
                return Ending(jobs, await self._store.stats(), stopped)
