"""What an app declares: the types of `@app.task`, and the settings of `app.queue`."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, overload

from msgspec import UNSET, UnsetType

from backline.context import JobContext
from backline.display import shown
from backline.errors import ConfigError
from backline.queue import OnFull
from backline.store import QueueSettings
from backline.task import AsyncTask, SyncTask, name_text

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=JobContext)

MAX_DEPTH: Final = 10**12
"""A limit beyond this is none; it would not fit in a store's integers for ever."""


class Declare(Protocol):
    """Makes a task of a function. A first parameter that is a `JobContext` is not enqueued.

    A type checker cannot tell a first parameter annotated `Any` (or, to pyright, `object`)
    from a `JobContext`; at run time the annotation alone decides.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[C, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...


def queue_settings(name: str, max_depth: int | UnsetType | None, on_full: str) -> QueueSettings:
    """What the store is told of a declared queue. Raises ConfigError."""
    try:
        name = name_text(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"queue {shown(name)}: {error}") from None
    if not (max_depth is UNSET or max_depth is None or _is_depth(max_depth)):
        raise ConfigError(f"max_depth of queue {name!r} is an int from 1, not {shown(max_depth)}")
    if on_full not in list(OnFull):
        choices = ", ".join(OnFull)
        raise ConfigError(f"on_full of queue {name!r} is one of {choices}, not {shown(on_full)}")
    return QueueSettings(queue=name, max_depth=max_depth)


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_DEPTH
