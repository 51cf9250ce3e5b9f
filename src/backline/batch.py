"""What the handler of a task with `batch=` is called with: jobs, each with an end of its own."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, overload

from backline.context import JobContext
from backline.display import shown
from backline.errors import BacklineError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    A = TypeVar("A")
    R = TypeVar("R", default=None)
else:
    from typing import TypeVar

    A = TypeVar("A")
    R = TypeVar("R")


class BatchItem(Generic[A, R]):
    """One job of a batch: what it was enqueued with, and how it ends.

    The first of `succeed` and `fail` counts, and is recorded without waiting for the rest of
    the batch; later ones do nothing. Both are safe to call from any thread.
    """

    __slots__ = ("_job", "_noted", "ended", "error", "result", "value")

    def __init__(
        self,
        value: A,
        job: JobContext | None = None,
        noted: "Callable[[BatchItem[Any, Any]], None] | None" = None,
    ) -> None:
        self.value = value
        """The argument it was enqueued with."""
        self.ended = False
        """`succeed` or `fail` was called."""
        self.result: R | None = None
        """What `succeed` was given."""
        self.error: Exception | None = None
        """What `fail` was given."""
        self._job = job
        self._noted = noted

    @property
    def job(self) -> JobContext:
        """The job: its id, its attempt, its progress. Raises BacklineError if there is none,
        for a handler that was called without jobs."""
        if self._job is None:
            raise BacklineError("this item is no job: the handler was called without one")
        return self._job

    @overload
    def succeed(self: "BatchItem[A, None]", result: None = None) -> None: ...
    @overload
    def succeed(self, result: R) -> None: ...
    def succeed(self, result: R | None = None) -> None:
        """End this job as a success. A result that cannot be kept makes it fail for good."""
        self._end(result, None)

    def fail(self, error: Exception) -> None:
        """End this job as if it had raised this, alone: the task's `retry` decides what is next.

        `Snooze`, `RetryLater` and `Cancel` do what they do when a task raises them. Raises
        TypeError for what is no exception.
        """
        if not isinstance(error, Exception):
            raise TypeError(f"an item fails with an exception, not {shown(error)}")
        self._end(None, error)

    def _end(self, result: R | None, error: Exception | None) -> None:
        if self.ended:
            return
        self.result, self.error = result, error
        self.ended = True  # last: whoever sees it reads the others
        if self._noted is not None:
            self._noted(self)

    def __repr__(self) -> str:
        return f"<BatchItem {shown(self.value)}>"


class Batch(Sequence[BatchItem[A, R]], Generic[A, R]):
    """The jobs of one call of a handler, in the order of their queue.

    `A` is what each is enqueued with, `R` what each one's result is: None if not given.
    """

    def __init__(
        self, items: Sequence[BatchItem[A, R]], told: Callable[[], bool] | None = None
    ) -> None:
        self._items = tuple(items)
        self._told = told

    @property
    def values(self) -> list[A]:
        """What each was enqueued with, in order."""
        return [item.value for item in self._items]

    @property
    def cancelled(self) -> bool:
        """The call as a whole is to stop: a time limit is reached, or the worker ends.

        For a `def`; an `async def` is cancelled. Who saw True and returns has done no more
        than it has said: items that have not ended count as stopped, not as successes.
        """
        return self._told is not None and self._told()

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> BatchItem[A, R]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BatchItem[A, R]]: ...
    def __getitem__(self, index: int | slice) -> BatchItem[A, R] | Sequence[BatchItem[A, R]]:
        return self._items[index]

    def __repr__(self) -> str:
        return f"<Batch of {len(self)}>"

    if not TYPE_CHECKING:  # before Python 3.13 a type variable has no default

        def __class_getitem__(cls, given: Any) -> Any:
            return super().__class_getitem__(given if isinstance(given, tuple) else (given, None))
