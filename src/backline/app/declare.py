"""What an app declares: the types of `@app.task`, and the settings of `app.queue`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import (
    Any,
    Concatenate,
    Final,
    Literal,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    overload,
)

from msgspec import UNSET, UnsetType

from backline.batch import Batch
from backline.context import JobContext
from backline.display import shown
from backline.duration import Duration, micros
from backline.errors import ConfigError
from backline.fairness import HEAVIEST, LIGHTEST
from backline.job import DAY, MOST_AT_ONCE, Micros, Pacing
from backline.queue import OnFull
from backline.store import QueueSettings
from backline.task import (
    AsyncBatchTask,
    AsyncTask,
    SyncBatchTask,
    SyncTask,
    interval_of,
    name_text,
    pacing_of,
    unknown_option,
)
from backline.task.dialects import OF_QUEUE

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
C = TypeVar("C", bound=JobContext)

MAX_DEPTH: Final = 10**12
"""A limit beyond this is none; it would not fit in a store's integers for ever."""
LONGEST_AGEING: Final[Micros] = DAY


class DeclareBatch(Protocol):
    """Makes a task of a function that takes a batch. `A` is what each job is enqueued with."""

    @overload
    def __call__(
        self, fn: Callable[[Batch[A, R]], Coroutine[Any, Any, None]], /
    ) -> AsyncBatchTask[A, R]: ...
    @overload
    def __call__(self, fn: Callable[[Batch[A, R]], None], /) -> SyncBatchTask[A, R]: ...


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


class QueueOptions(TypedDict, total=False):
    """What `app.queue` takes."""

    max_depth: int | None
    on_full: Literal["raise", "wait", "shed"]
    concurrency: int | None
    rate: str | None
    burst: int
    weights: Mapping[str, float]
    ageing: Duration | None


def queue_settings(name: str, options: Mapping[str, Any]) -> QueueSettings:
    """What the store is told of a declared queue. Raises ConfigError, UnknownOption."""
    try:
        name = name_text(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"queue {shown(name)}: {error}") from None
    known = tuple(QueueOptions.__annotations__)
    for option in options:
        if option not in known:
            raise unknown_option(option, known, "app.queue", OF_QUEUE)
    on_full = options.get("on_full", OnFull.RAISE)
    if on_full not in list(OnFull):
        choices = ", ".join(OnFull)
        raise ConfigError(f"on_full of queue {name!r} is one of {choices}, not {shown(on_full)}")
    return QueueSettings(
        queue=name,
        max_depth=_count(name, "max_depth", options, MAX_DEPTH),
        concurrency=_count(name, "concurrency", options, MAX_DEPTH),
        pacing=_pacing(name, options),
        weights=_weights(name, options),
        ageing=_ageing(name, options),
    )


def _count(
    queue: str, option: str, options: Mapping[str, Any], most: int
) -> int | UnsetType | None:
    value = options.get(option, UNSET)
    if value is UNSET or value is None:
        return None if value is None else UNSET
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most:
        return value
    bounds = f"an int from 1 to {most:,}"
    raise ConfigError(f"{option} of queue {queue!r} is {bounds}, not {shown(value)}")


def _weights(queue: str, options: Mapping[str, Any]) -> dict[str, float] | UnsetType:
    weights: object = options.get("weights", UNSET)
    if weights is UNSET:
        return UNSET
    if not isinstance(weights, Mapping):
        raise ConfigError(f"weights of queue {queue!r} map fair keys to numbers: {shown(weights)}")
    found: dict[str, float] = {}
    for key, weight in weights.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not (number and LIGHTEST <= weight <= HEAVIEST):
            raise ConfigError(
                f"weights of queue {queue!r} are numbers from {LIGHTEST:g} to {HEAVIEST:,g} by "
                f"fair key, not {shown(weight)} for {shown(key)}"
            )
        try:
            found[name_text(key)] = float(weight)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"a fair key in weights of queue {queue!r}: {error}") from None
    return found


def _ageing(queue: str, options: Mapping[str, Any]) -> Micros | UnsetType | None:
    ageing = options.get("ageing", UNSET)
    if ageing is UNSET or ageing is None:
        return None if ageing is None else UNSET
    try:
        found = micros(ageing)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"ageing of queue {queue!r}: {error}") from None
    if not 1_000 <= found <= LONGEST_AGEING:
        raise ConfigError(f"ageing of queue {queue!r} is 1 ms to 1 d, not {shown(ageing)}")
    return found


def _pacing(queue: str, options: Mapping[str, Any]) -> Pacing | UnsetType | None:
    rate, burst = options.get("rate", UNSET), options.get("burst")
    if rate is UNSET or rate is None:
        if burst is not None:
            raise ConfigError(f"burst of queue {queue!r} needs a rate")
        return None if rate is None else UNSET
    if burst is not None:
        _count(queue, "burst", options, MOST_AT_ONCE)
    try:
        return pacing_of(interval_of(rate), burst)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rate of queue {queue!r}: {error}") from None
