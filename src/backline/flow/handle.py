"""The handle a producer gets for a flow it enqueued."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from backline.duration import Duration
from backline.errors import BacklineError, FlowNotFound
from backline.job import JobId
from backline.store import FlowStats
from backline.task import Job

T = TypeVar("T")


class FlowStatus(StrEnum):
    """How a flow is."""

    RUNNING = "running"
    """Some of its jobs have not ended."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """All have ended, some of them dead, cancelled or expired."""
    CANCELLED = "cancelled"
    """It was cancelled, and all have ended."""


def status_of(stats: FlowStats) -> FlowStatus:
    """How a flow is that is so far."""
    if stats.ended < stats.added:
        return FlowStatus.RUNNING
    if stats.cancelled:
        return FlowStatus.CANCELLED
    return FlowStatus.FAILED if stats.failed else FlowStatus.SUCCEEDED


class FlowClient(Protocol):
    """What a handle asks of the app it came from. The coroutines run on any loop."""

    async def aflow_stats(self, flow: JobId) -> FlowStats | None:
        """How far the flow is, None if it is not known."""
        ...

    async def acancel_flow(self, flow: JobId) -> int:
        """Cancel all that lives in the flow; how many jobs."""
        ...

    def job(self, job_id: JobId) -> Job[Any]:
        """The handle of a job."""
        ...

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from sync code. Raises BacklineError, naming `twin`, on a running loop."""
        ...


class FlowRun:
    """A flow that was enqueued."""

    __slots__ = ("_client", "accepted", "id", "last")

    def __init__(
        self, flow: JobId, client: FlowClient, last: JobId | None = None, *, accepted: bool = True
    ) -> None:
        self.id = flow
        """The flow's id: `app.flow(id)` is this handle again, but for `last`."""
        self.last: Job[Any] | None = None if last is None else client.job(last)
        """The job whose result is the flow's; None: it ends with a group or a map."""
        self.accepted = accepted
        """False: a queue was full and sheds, so nothing of it runs."""
        self._client = client

    async def aprogress(self) -> FlowStats:
        """How many jobs it has, and how many have ended. Raises FlowNotFound."""
        stats = await self._client.aflow_stats(self.id)
        if stats is None:
            raise FlowNotFound(self.id)
        return stats

    def progress(self) -> FlowStats:
        """How many jobs it has, and how many have ended. Raises FlowNotFound."""
        return self._client.wait(self.aprogress, "flow.aprogress")

    async def astatus(self) -> FlowStatus:
        """How it is now. Raises FlowNotFound."""
        return status_of(await self.aprogress())

    def status(self) -> FlowStatus:
        """How it is now. Raises FlowNotFound."""
        return self._client.wait(self.astatus, "flow.astatus")

    async def aresult(self, timeout: Duration | None = None) -> Any:
        """Wait for the last job, and return what it returned: as `job.aresult`.

        Raises BacklineError for a flow that ends with a group or a map.
        """
        if self.last is None:
            raise BacklineError(
                f"flow {self.id} has no result: it ends with a group or a map, or was looked up by "
                "its id; add a last step with .then(...), or keep the id of its last job"
            )
        return await self.last.aresult(timeout)

    def result(self, timeout: Duration | None = None) -> Any:
        """Wait for the last job, and return what it returned: as `job.result`.

        Raises BacklineError for a flow that ends with a group or a map.
        """
        return self._client.wait(lambda: self.aresult(timeout), "flow.aresult")

    async def acancel(self) -> int:
        """Cancel every job of it that has not ended; how many were, or are asked to stop."""
        return await self._client.acancel_flow(self.id)

    def cancel(self) -> int:
        """Cancel every job of it that has not ended; how many were, or are asked to stop."""
        return self._client.wait(self.acancel, "flow.acancel")

    def __repr__(self) -> str:
        return f"<FlowRun {self.id}>"
