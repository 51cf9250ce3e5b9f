"""One run of one job in this worker, from its lease to its recorded outcome."""

from asyncio import Task as LoopTask
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeAlias

from backline.context import JobContext
from backline.job import Ack, LeasedJob, Micros, Progress
from backline.task import AnyTask


class Stop(Enum):
    """Why a run was told to stop."""

    TIMEOUT = auto()
    CANCEL = auto()
    LOST = auto()
    """Its lease ended, or may end before anybody can renew it."""
    SHUTDOWN = auto()


Report: TypeAlias = Callable[[Progress], None]


class Run:
    """A leased job on its way through this worker. Implements `context.RunControl`."""

    __slots__ = (
        "_task",
        "ack",
        "busy",
        "context",
        "deadline",
        "lease",
        "leased_at",
        "loop_task",
        "send",
        "slot",
        "started_at",
        "stop",
        "stopped_at",
        "until",
    )

    def __init__(
        self, lease: LeasedJob, task: AnyTask | None, until: Micros, leased_at: Micros, send: Report
    ) -> None:
        self.lease = lease
        self._task = task
        self.until = until
        """The lease is ours until this tick, unless it was renewed."""
        self.leased_at = leased_at
        self.send = send
        self.slot = -1
        self.started_at: Micros = 0
        self.busy: Micros = 0
        """How long it ran."""
        self.deadline: Micros = 0
        self.stop: Stop | None = None
        self.stopped_at: Micros = 0
        self.loop_task: LoopTask[None] | None = None
        """The runner it is on, while it may be cancelled there."""
        self.context: JobContext | None = None
        self.ack: Ack | None = None
        """Set once: whoever comes later with another outcome is too late."""

    @property
    def task(self) -> AnyTask:
        """The task's code; a run whose task is unknown here never gets as far as this."""
        assert self._task is not None
        return self._task

    @property
    def ended(self) -> bool:
        """Its outcome is known."""
        return self.ack is not None

    def begin(self, now: Micros) -> JobContext:
        """Note that it starts now; returns what the task sees of it."""
        self.started_at = now
        self.deadline = now + self.lease.terms.timeout
        self.context = JobContext(self.lease, self, self.deadline)
        return self.context

    def tell(self, reason: Stop, now: Micros) -> None:
        """Ask the run to stop: cancels a coroutine, raises the flag that threads look at."""
        if self.stop is not None:
            return
        self.stop, self.stopped_at = reason, now
        if self.loop_task is not None:
            self.loop_task.cancel()

    def cancelled(self) -> bool:
        return self.stop is not None

    def report(self, progress: Progress) -> None:
        self.send(progress)
