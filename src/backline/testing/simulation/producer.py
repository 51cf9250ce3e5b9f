"""A simulated service that enqueues: a process with the real `Queue` over its own way."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

from backline.clock import Clock
from backline.errors import IdempotencyConflict, QueueFull, StoreError, UniqueConflict
from backline.job import SECOND, Enqueued, JobRequest, Micros
from backline.queue import OnFull, Queue
from backline.testing.process import Process
from backline.testing.simulation.history import History, What
from backline.testing.simulation.plan import PlannedCall
from backline.testing.simulation.setting import Setting, Way

TRIES: Final = 6
"""How often a call is sent until it is answered."""


class Producer:
    """Sends calls, each until it is answered, with the same ids each time, as clients do.

    When its process is killed, the calls under way are never answered there; who had made
    them sends some of them again by the next process.
    """

    def __init__(
        self, index: int, setting: Setting, clock: Clock, on_full: OnFull, patience: Micros
    ) -> None:
        self.index: Final = index
        self._setting = setting
        self._history: History = setting.history
        self._clock = clock
        self._on_full = on_full
        self._patience = patience
        self._rng = random.Random(setting.rng.getrandbits(64))
        self._starts = 0
        self._open: dict[int, PlannedCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = 0
        self._doubtful: set[str] = set()
        """Jobs of which a sending was not answered: they may be there, whatever comes."""
        self._boot()

    def send(self, call: PlannedCall) -> None:
        """Begin to send a call, in the process as it is now; a dead one does nothing."""
        self._asked += 1
        self._open[self._asked] = call
        task = self._process.start(self._insist(self._asked, call))
        self._tasks.add(task)  # a caller that is left behind waits for ever

    def kill(self) -> None:
        """End its process as SIGKILL does, and start another."""
        self._history.record(What.KILLED, self._process.name)
        self._process.kill()
        left, self._open = self._open, {}
        for call in left.values():
            self._doubtful.update(job.id for job in call.jobs)
            self._tell(What.UNKNOWN, call)
        self._boot()
        for call in left.values():
            if self._rng.random() < 0.5:
                self.send(call)

    @property
    def busy(self) -> bool:
        """Some call is not answered yet."""
        return bool(self._open)

    def _boot(self) -> None:
        self._starts += 1
        name = f"producer-{self.index}-{self._starts}"
        self._process: Process = self._setting.loop.process(name)
        way = Way(self._setting, None)
        self._queue = Queue(way, self._clock, lambda _: self._on_full, patience=self._patience)
        self._history.record(What.STARTED, name, host="")

    async def _insist(self, number: int, call: PlannedCall) -> None:
        times = 2 if call.again else 1
        for _ in range(TRIES):
            times -= await self._ask(call, number)
            if not times:
                break
            await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        del self._open[number]

    async def _ask(self, call: PlannedCall, number: int) -> bool:
        """Send a call once; whether there is nothing to ask again about."""
        self._tell(What.ASKED, call, number=number)
        try:
            async with asyncio.timeout(None if call.patience is None else call.patience / SECOND):
                answer = await self._queue.enqueue(call.jobs)
        except QueueFull:
            self._tell_unless_doubtful(What.REFUSED, call)
            return False
        except (UniqueConflict, IdempotencyConflict) as conflict:
            inner = any(job.id == conflict.holder for job in call.jobs)
            self._tell(What.CONFLICT, call, holder=conflict.holder, inner=inner)
            return True
        except (StoreError, TimeoutError):
            self._doubtful.update(job.id for job in call.jobs)
            self._tell(What.UNKNOWN, call)
            return False
        if answer is None:
            self._tell_unless_doubtful(What.SHED, call)
        else:
            self._tell_stored(call.jobs, answer)
        return True

    def _tell_stored(self, jobs: Sequence[JobRequest], answer: Sequence[Enqueued]) -> None:
        for job, one in zip(jobs, answer, strict=True):
            own = one.added and one.id == job.id
            holder = None if own else one.id
            self._history.record(What.ENQUEUED, self._process.name, job.id, holder=holder)

    def _tell_unless_doubtful(self, what: What, call: PlannedCall) -> None:
        doubt = any(job.id in self._doubtful for job in call.jobs)
        self._tell(What.UNKNOWN if doubt else what, call)

    def _tell(self, what: What, call: PlannedCall, **note: str | int | bool | None) -> None:
        for job in dict.fromkeys(job.id for job in call.jobs):
            self._history.note(what, self._process.name, note, job)
