"""Tasks that are called with many jobs at once."""

from collections.abc import Callable, Coroutine, Mapping
from inspect import Parameter, signature
from typing import Any, Final, Self, TypeVar, Unpack, get_args, get_origin

from backline.batch import Batch, BatchItem
from backline.codec import TaskCodec, hints_of
from backline.context import JobContext
from backline.display import shown
from backline.errors import ConfigError, InvalidResult
from backline.job import HOUR, SECOND, Micros
from backline.task.options import BatchRule, Executor, Options, length
from backline.task.task import Task

A = TypeVar("A")
R = TypeVar("R")

MAX_BATCH: Final = 1_000
LONGEST_WAIT: Final[Micros] = HOUR
DEFAULT_WAIT: Final[Micros] = SECOND


class BatchTask(Task[[A], R]):
    """A task whose jobs are enqueued one by one, and run many at a time."""

    def using(self, **options: Unpack[Options]) -> Self:
        """The same task with other options, but for its queue; this one stays as it is.

        Raises UnknownOption, ConfigError.
        """
        if "queue" in options:
            raise ConfigError(
                f"queue= of {self.name} is set where the task is declared: it has batch=, and so "
                "a queue of its own"
            )
        return super().using(**options)

    def _make_codec(self) -> TaskCodec:
        """The codec of one job: its argument, and its result."""
        argument, result = _of_annotation(self.fn, self.name)

        def element(value: object) -> object:
            return value

        element.__annotations__ = {"value": argument, "return": result}
        return TaskCodec(element, self.name, context=JobContext)

    def _batch_of(self, values: tuple[A, ...]) -> Batch[A, R]:
        return Batch([BatchItem(value) for value in values])

    def _results(self, batch: Batch[A, R], returned: object) -> list[R]:
        """What a call without jobs came to. Raises what items failed with."""
        check_returned(self.name, returned)
        errors = [item.error for item in batch if item.error is not None]
        if len(errors) > 1:
            raise ExceptionGroup(f"{len(errors)} of {len(batch)} items of {self.name}", errors)
        if errors:
            raise errors[0]
        return [item.result for item in batch]  # type: ignore[misc]  # None only if R has it


class SyncBatchTask(BatchTask[A, R]):
    """A batch task that is a `def`."""

    def __call__(self, *values: A) -> list[R]:
        """Run the function here and now on a batch of these, without jobs: their results.

        Raises what an item failed with; an ExceptionGroup if several did.
        """
        batch = self._batch_of(values)
        return self._results(batch, self.fn(batch))


class AsyncBatchTask(BatchTask[A, R]):
    """A batch task that is an `async def`."""

    def __call__(self, *values: A) -> Coroutine[Any, Any, list[R]]:
        """Run the function here and now on a batch of these, without jobs: their results.

        Raises what an item failed with; an ExceptionGroup if several did.
        """
        return self._inline_batch(self._batch_of(values))

    async def _inline_batch(self, batch: Batch[A, R]) -> list[R]:
        return self._results(batch, await self.fn(batch))


def check_returned(task: str, returned: object) -> None:
    """Raise InvalidResult for a handler that returned something: it would be lost."""
    if returned is not None:
        raise InvalidResult(
            f"{task} has batch= and returned {shown(returned)}; a batch has no result, each of "
            "its jobs has one: item.succeed(result)"
        )


def batch_rule(given: Mapping[str, Any], name: str, executor: Executor) -> BatchRule | None:
    """What `batch=` and `wait=` say; None: jobs run one by one. Raises ConfigError."""
    size, wait = given.get("batch"), given.get("wait")
    if size is None:
        if wait is not None:
            raise ConfigError(
                f"wait= of {name} needs a batch=, the most jobs of one call; between attempts "
                "waits what retry=Retry(...) says"
            )
        return None
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_BATCH:
        raise ConfigError(f"batch= of {name} is an int from 1 to {MAX_BATCH:,}, not {shown(size)}")
    if executor is Executor.PROCESS:
        raise ConfigError(
            f'{name} has batch= and executor="process": a process of its own runs one job; leave '
            "one of them out"
        )
    try:
        found = DEFAULT_WAIT if wait is None else length(wait)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"wait= of {name}: {error}") from None
    if not 0 <= found <= LONGEST_WAIT:
        raise ConfigError(f"wait= of {name} is 0 to 1 hour, not {shown(wait)}")
    return BatchRule(size, found)


def _of_annotation(fn: Callable[..., Any], name: str) -> tuple[Any, Any]:
    """What each job is enqueued with, and its result. Raises ConfigError."""
    hints = hints_of(fn, name)
    parameters = list(signature(fn).parameters.values())
    hint = hints.get(parameters[0].name) if len(parameters) == 1 else None
    by_position = {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}
    if not (hint is Batch or get_origin(hint) is Batch) or parameters[0].kind not in by_position:
        raise ConfigError(
            f"{name} has batch=, so its only parameter is a batch: def {fn.__name__}(batch: "
            "Batch[Item]). Of several arguments make one, a dataclass or a tuple; the job of each "
            "item is item.job"
        )
    if hints.get("return") not in {None, type(None), Any}:
        raise ConfigError(
            f"{name} has batch=, so it returns None, not {shown(hints['return'])}: annotate "
            "Batch[Item, Result], and give each job its own by item.succeed(result)"
        )
    argument, result = get_args(hint) or (Any, Any)
    return argument, result
