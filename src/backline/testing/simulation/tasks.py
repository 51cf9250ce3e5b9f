"""The user's code in a simulation: every run does what its job's behaviour says."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from backline.batch import Batch, BatchItem
from backline.context import JobContext, SuspendRun
from backline.errors import Cancel, RetryLater, Snooze, WaitTimeout
from backline.fanout import Event
from backline.follow_up import Outcome
from backline.job import SECOND, JobId, JobRequest, Micros
from backline.states import TERMINAL
from backline.task import Registry, Retry, make_task
from backline.task.handle import Job
from backline.testing.process import Process, current_process
from backline.testing.simulation.history import History, Note, What
from backline.testing.simulation.plan import (
    AFTER,
    BATCH,
    BATCHES,
    MANY,
    SHARED,
    SYNC,
    TOLD,
    Behaviour,
    How,
    key_of,
)

T = TypeVar("T")

_GATHERING: Final[Micros] = 2 * SECOND
_LOOK: Final[Micros] = SECOND // 4
"""How often a job of a batch looks whether it was cancelled."""
_AT_ONCE: Final = Behaviour()
"""What a job does of which the plan says nothing: one that follows another."""


class FatalError(Exception):
    """An error that no retry helps."""


class Tasks:
    """Makes the tasks. `crash` ends the process it is given, `block` pauses it for a while."""

    def __init__(
        self,
        behaviours: Mapping[JobId, Behaviour],
        history: History,
        crash: Callable[[Process], None],
        block: Callable[[Process, Micros], None],
    ) -> None:
        self._behaviours = behaviours
        self._history = history
        self._crash = crash
        self._block = block
        self._snoozed: Counter[JobId] = Counter()
        self._killed: Counter[JobId] = Counter()

    def registry(self, *names: str) -> Registry:
        """Tasks of these names, and what they are called by."""

        async def work(job: JobContext, own: str) -> str:
            behaviour = self._begin(job, own)
            try:
                await self._harm(job, behaviour)
                if behaviour.reports:
                    job.progress(0, 1)
                await self._work(job, behaviour)
            except asyncio.CancelledError:
                self._end(job, How.STOPPED)
                raise
            except SuspendRun as sleeps:
                awaits = None if sleeps.step is None else sleeps.step.awaits
                key = None if awaits is None else awaits.key
                self._end(job, How.SLEEP, sleeps.delay, key)
                raise
            return self._finish(job, behaviour)

        def quick(job: JobContext, own: str) -> str:
            return self._finish(job, self._begin(job, own))

        async def many(batch: Batch[str, str]) -> None:
            await asyncio.gather(*(self._one(item) for item in batch))

        def after(job: JobContext, ended: Outcome[str]) -> str:
            return self._finish(job, self._begin(job, job.id if ended.state in TERMINAL else ""))

        others: dict[str, Callable[..., Any]] = {SYNC: quick, MANY: many, AFTER: after}
        registry = Registry()
        producer = _NoProducer()
        for name in names:
            settings: dict[str, object] = {"name": name, "retry": Retry(not_on=FatalError)}
            if name == MANY:
                settings |= {"batch": BATCH, "wait": _GATHERING / SECOND, "queue": BATCHES}
            registry.add(make_task(others.get(name, work), settings, producer))
        return registry

    async def _one(self, item: BatchItem[str, str]) -> None:
        """What becomes of one job of a batch, beside the others."""
        job = item.job
        behaviour = self._begin(job, item.value)
        try:
            await self._harm(job, behaviour)
            if behaviour.reports:
                job.progress(0, 1)
            left = behaviour.takes
            while left > 0 and not job.cancelled:
                await asyncio.sleep(min(left, _LOOK) / SECOND)
                left -= _LOOK
        except asyncio.CancelledError:
            self._end(job, How.STOPPED)
            raise
        if left > 0:
            self._end(job, How.STOPPED)
            return
        try:
            result = self._finish(job, behaviour)
        except Exception as error:  # noqa: BLE001 - whatever is planned
            item.fail(error)
        else:
            item.succeed(result)

    def _begin(self, job: JobContext, own: str) -> Behaviour:
        self._history.record(What.RUN, _who(), job.id, job.attempt, own=own in {job.id, *SHARED})
        return self._behaviours.get(job.id, _AT_ONCE)

    async def _work(self, job: JobContext, behaviour: Behaviour) -> None:
        """Take the time it takes, in steps if there are any."""
        part = behaviour.takes / SECOND / (behaviour.steps + 1)

        async def effect(step: str) -> int:
            await asyncio.sleep(part)
            self._history.record(What.EFFECT, _who(), job.id, job.attempt, step=step)
            return job.attempt

        for number in range(behaviour.steps):
            name = f"step {number}"
            by = await job.step(name, effect, name)
            self._history.record(What.GOT, _who(), job.id, job.attempt, step=name, by=by)
            if number == 0 and behaviour.sleeps:
                await job.sleep(behaviour.wait / SECOND)
            if number == 0 and behaviour.waits:
                await self._wait(job, behaviour.waits)
        await asyncio.sleep(part)

    async def _wait(self, job: JobContext, most: Micros) -> None:
        """Wait for an event, and write down which it was."""
        key, heard = key_of(job.id), None
        try:
            event = await job.wait_for(TOLD, Event, key=key, timeout=most / SECOND)
        except WaitTimeout:
            pass
        else:
            heard = event.id
        self._history.record(What.HEARD, _who(), job.id, job.attempt, key=key, event=heard)

    async def _harm(self, job: JobContext, behaviour: Behaviour) -> None:
        """Be what no task should be."""
        process = current_process()
        assert process is not None, "a job runs in a process"
        if self._killed[job.id] < behaviour.kills:
            self._killed[job.id] += 1
            self._crash(process)
            await asyncio.get_running_loop().create_future()  # the dead do not go on
        if behaviour.blocks:
            self._block(process, behaviour.blocks)
            await asyncio.sleep(0)

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

    def _end(self, job: JobContext, how: How, wait: Micros = 0, awaits: str | None = None) -> None:
        note: Note = {"how": how.value, "wait": wait}
        if awaits is not None:
            note["awaits"] = awaits
        self._history.note(What.ENDED, _who(), note, job.id, job.attempt)


class _NoProducer:
    """A task's app in a simulation: the plan makes the jobs."""

    def new_id(self) -> JobId:
        raise NotImplementedError

    def headers_now(self) -> Mapping[str, str]:
        return {}

    def webhook(self, url: str) -> JobRequest:
        raise NotImplementedError

    def job(self, job_id: JobId) -> Job[Any]:
        raise NotImplementedError

    async def asend(self, request: JobRequest) -> Job[Any]:
        raise NotImplementedError

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        raise NotImplementedError


def _who() -> str:
    process = current_process()
    return "nobody" if process is None else process.name
