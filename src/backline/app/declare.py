"""The types of `@app.task`: which task each kind of function becomes."""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from backline.context import JobContext
from backline.task import AsyncTask, SyncTask

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=JobContext)


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
