"""What this process knows by name: its tasks, their subscriptions, and schedules."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from backline.errors import ConfigError
from backline.fanout import SubscriptionSpec
from backline.schedule import ScheduleSpec
from backline.task.subscribing import subscription_of
from backline.task.task import AnyTask


class Registry:
    """Tasks and declared schedules by name. A name means one task, and one schedule."""

    def __init__(self) -> None:
        self._tasks: dict[str, AnyTask] = {}
        self._schedules: dict[str, ScheduleSpec] = {}
        self._subscriptions: dict[str, SubscriptionSpec] = {}

    def add(self, task: AnyTask, patterns: Sequence[object] | None = None) -> None:
        """Register a task, its schedule if it has one, and what it subscribes to.

        Raises ConfigError if another one has its name, or its queue if one of the two has
        batch=; and as `subscription_of`.
        """
        spec = None if patterns is None else subscription_of(task, patterns)
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
        if spec is not None:
            self._subscriptions[task.name] = spec

    def subscribe(self, task: AnyTask, patterns: Sequence[object]) -> None:
        """Let a task that is registered subscribe, with the options it has here.

        Raises ConfigError if it does already, and as `subscription_of`.
        """
        if task.name not in self._tasks:
            raise ConfigError(f"{task.name} is a task of another app")
        if task.name in self._subscriptions:
            raise ConfigError(
                f"{task.name} subscribes already: give one @app.on all of its patterns"
            )
        self._subscriptions[task.name] = subscription_of(task, patterns)

    @property
    def subscriptions(self) -> Mapping[str, SubscriptionSpec]:
        """What tasks subscribe to, by the name of the task."""
        return MappingProxyType(self._subscriptions)

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
