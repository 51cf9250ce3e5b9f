"""The tasks this process knows, by name."""

from collections.abc import Iterator

from backline.errors import ConfigError
from backline.task.task import AnyTask


class Registry:
    """Tasks by name. A name means one task."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}

    def add(self, task: AnyTask) -> None:
        """Register a task. Raises ConfigError if another one has its name."""
        known = self._tasks.get(task.name)
        if known is not None:
            raise ConfigError(
                f"two tasks are named {task.name!r}: {_place(known)} and {_place(task)}; "
                "give one of them a name="
            )
        self._tasks[task.name] = task

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
