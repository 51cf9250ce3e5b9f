"""Who has the say about what stands in the code of a task, of all the versions that live.

Nobody can tell which of two versions is the newer one. So of the workers that live and know a
task, the one that started last has the say, and looks every minute whether what it declared
still stands. During a rolling deploy that is one of the new ones; once these are gone, after a
rollback say, it is one of the others. A process without workers declares only what no living
worker knows: a command or a web service that starts late undoes nothing.
"""

from collections.abc import Mapping, Sequence

from backline.job import Lane, WorkerName
from backline.store import WorkerReport


class Say:
    """Who has the say about a task, by what is reported of workers."""

    def __init__(self, reports: Sequence[WorkerReport], ours: Mapping[WorkerName, float]) -> None:
        started = {report.worker: report.started_at for report in reports}
        self._ours = max(((started.get(name, at), name) for name, at in ours.items()), default=None)
        self._others: dict[str, tuple[float, WorkerName]] = {}
        for report in reports:
            if report.worker not in ours and report.lane is Lane.MAIN:
                other = (report.started_at, report.worker)
                for task in report.tasks:
                    self._others[task] = max(other, self._others.get(task, other))

    def is_ours(self, task: str) -> bool:
        """Whether no worker of another process that knows the task started later than ours."""
        other = self._others.get(task)
        return other is None or (self._ours is not None and self._ours > other)
