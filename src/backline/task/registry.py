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

        Raises ConfigError if another one has its name.
        """
        known = self._tasks.get(task.name)
        if known is not None:
            raise ConfigError(
                f"two tasks are named {task.name!r}: {_place(known)} and {_place(task)}; "
                "give one of them a name="
            )
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

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def _place(task: AnyTask) -> str:
    code = getattr(task.fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(task.fn)
