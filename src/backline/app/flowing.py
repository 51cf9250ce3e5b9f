"""Enqueueing workflows, and what their handles ask of their app."""

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, Unpack, overload

from backline.app.producing import Producing
from backline.errors import EnqueueError
from backline.faults import fault
from backline.flow import Flow, FlowRun, Mappable, MapTask, Step, flow_of, make_map
from backline.job import Enqueued, JobId, JobRequest, Refused, StepRecord
from backline.queue import PATIENCE
from backline.store import FlowStats
from backline.task import TaskSettings

P = ParamSpec("P")
T = TypeVar("T")

JOBS_A_COMMIT: Final = 5_000
"""A flow of more jobs goes in several commits."""
CANCEL_BITE: Final = 1_000
"""How many jobs of a flow are cancelled in one commit."""


class DeclareMap(Protocol[T]):
    """Makes a map of a function that yields items, after the one that it gets first."""

    def __call__(
        self, fn: Callable[Concatenate[T | None, P], Iterable[T] | AsyncIterable[T]], /
    ) -> MapTask[P]: ...


class Flowing(Producing):
    """The part of an app that enqueues workflows."""

    @overload
    def map(self, task: Mappable[T], /, **settings: Unpack[TaskSettings]) -> DeclareMap[T]: ...
    @overload
    def map(
        self, task: Mappable[list[T]], /, *, chunk: int, **settings: Unpack[TaskSettings]
    ) -> DeclareMap[T]: ...
    def map(self, task: Any, /, **settings: Any) -> Any:
        """Declare a task that enqueues a job of `task` for each item that a function yields.

        `@app.map(resize)` above `def photos(after: int | None, album: str)`: it yields the items
        after that one, from the beginning for None, always in the same order, and is enqueued
        as `photos.job("summer")`. With `chunk`, each job gets a list of so many items. Other
        settings are those of the task that plans; its queue is by default that of `task`. Jobs
        are enqueued up to 1,000 at a time, behind each other and never beyond the depth limit
        of their queue. Raises ConfigError, UnknownOption.
        """

        def declare(fn: Callable[..., Any]) -> MapTask[...]:
            made = make_map(self, self._transacting, task, fn, settings)
            self._add(made)
            return made

        return declare

    def enqueue_flow(self, flow: Flow | Step) -> FlowRun:
        """Enqueue a workflow, or a job or group as one, in one commit: all of it or nothing.

        One of more than `JOBS_A_COMMIT` jobs goes in several, its last step in the last of them;
        if one fails, those that went in are cancelled. Enqueueing the same flow again adds
        nothing twice. Raises what `enqueue_many` does, UnknownParent, and TypeError for no flow.
        """
        return self.wait(lambda: self.aenqueue_flow(flow), "app.aenqueue_flow")

    async def aenqueue_flow(self, flow: Flow | Step) -> FlowRun:
        """Enqueue a workflow, or a job or group as one, in one commit: all of it or nothing.

        One of more than `JOBS_A_COMMIT` jobs goes in several, its last step in the last of them;
        if one fails, those that went in are cancelled. Enqueueing the same flow again adds
        nothing twice. Raises what `enqueue_many` does, UnknownParent, and TypeError for no flow.
        """
        flow = flow_of(flow)
        fault("enqueue.before_send")
        accepted = True
        try:
            for start in range(0, len(flow.jobs), JOBS_A_COMMIT):
                sent = await self._send_many(flow.jobs[start : start + JOBS_A_COMMIT])
                accepted = accepted and all(job.accepted for job in sent)
                fault("flow.between_bites")
        except EnqueueError:
            if len(flow.jobs) > JOBS_A_COMMIT:
                await self.acancel_flow(flow.id)
            raise
        if not accepted:
            await self.acancel_flow(flow.id)
        fault("enqueue.after_send")
        return FlowRun(flow.id, self, flow.last, accepted=accepted)

    def flow(self, flow: JobId) -> FlowRun:
        """The handle of a flow that was enqueued earlier, or elsewhere."""
        return FlowRun(flow, self)

    async def aflow_stats(self, flow: JobId) -> FlowStats | None:
        """How far the flow is, None if it is not known."""
        return (await self._look(lambda queue: queue.store.flows([flow])))[0]

    async def asteps(self, job_id: JobId) -> list[StepRecord]:
        """The steps that are recorded of a job, in their order."""
        return (await self._look(lambda queue: queue.store.steps([job_id])))[0]

    async def aoffer(self, call: Sequence[JobRequest]) -> list[Enqueued] | Refused:
        """Enqueue jobs, unless a queue is full, whatever it does to others then."""
        return await self._home.run(lambda queue: queue.offer(call), patience=PATIENCE)

    async def acancel_flow(self, flow: JobId) -> int:
        """Cancel all that lives in the flow; how many jobs."""
        count = 0
        while True:
            [bite] = await self._look(lambda queue: queue.store.cancel_flows([flow], CANCEL_BITE))
            if not bite:
                return count
            count += bite
