"""What this process knows by name: its tasks, and the schedules that stand in its code."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from backline.errors import ConfigError
from backline.schedule import ScheduleSpec
from backline.task.task import AnyTask


class Registry:
    """Tasks and declared schedules by name. A name means one task, and one schedule."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}
        self._schedules: dict[str, ScheduleSpec] = {}

    def add(self, task: AnyTask) -> None:
        """Register a task, and its schedule if it has one.

        Raises ConfigError if another one has its name, or its queue if one of the two has
        batch=.
        """
        known = self._tasks.get(task.name)
        if known is not None:
            raise ConfigError(
                f"two tasks are named {task.name!r}: {_place(known)} and {_place(task)}; "
                "give one of them a name="
            )
        self._check_queue(task)
        if task.declared_schedule is not None:
            self.add_schedule(task.name, task.declared_schedule)
        self._tasks[task.name] = task

    def add_schedule(self, name: str, spec: ScheduleSpec) -> None:
        """Register a schedule. Raises ConfigError if another one has its name."""
        if name in self._schedules:
            raise ConfigError(
                f"two schedules are named {name!r}; that of a task has the task's name"
            )
        self._schedules[name] = spec

    @property
    def schedules(self) -> Mapping[str, ScheduleSpec]:
        """The schedules that stand in code, those of tasks among them, by name."""
        return MappingProxyType(self._schedules)

    def get(self, name: str) -> AnyTask | None:
        """The task of this name, or None."""
        return self._tasks.get(name)

    def names(self) -> tuple[str, ...]:
        """The names of all tasks, sorted."""
        return tuple(sorted(self._tasks))

    def _check_queue(self, task: AnyTask) -> None:
        """What a worker asks the queue of a batch task for, is for its batches."""
        queue = task.options.queue
        for other in self._tasks.values():
            if other.options.queue == queue and (task.batch or other.batch):
                batched = task if task.batch else other
                raise ConfigError(
                    f"{task.name} and {other.name} share the queue {queue!r}, and "
                    f"{batched.name} has batch=, which takes a queue of its own; leave its queue= "
                    "out, or name another"
                )

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def _place(task: AnyTask) -> str:
    code = getattr(task.fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(task.fn)
