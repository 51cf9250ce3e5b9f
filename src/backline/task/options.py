"""The options of a task, checked and turned into what a job carries."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Required, TypedDict, TypeVar

import msgspec

from backline.display import shown
from backline.duration import Duration, micros
from backline.errors import ConfigError
from backline.job import (
    DEFAULT_QUEUE,
    EPOCH,
    HOUR,
    MAX_PRIORITY,
    MIN_PRIORITY,
    MOST_AT_ONCE,
    FollowUp,
    JobId,
    Lane,
    Micros,
    OnConflict,
    OnPoison,
    Terms,
)
from backline.parents import On
from backline.states import State
from backline.task.callbacks import Callback, follow_ups
from backline.task.dialects import unknown_option
from backline.task.following import Named, parents, parents_on
from backline.task.keys import UniqueKey, check_unique, key_option
from backline.task.limiting import LIMIT_OPTIONS, check_limits, interval_of, lifted
from backline.task.names import name_text
from backline.task.retry import Retry

MAX_TAGS: Final = 20
MAX_HEADERS: Final = 8 * 1024
"""Characters of all headers of a job."""

E = TypeVar("E", bound=StrEnum)


class Executor(StrEnum):
    """Where a task runs."""

    ASYNC = "async"
    """On the worker's event loop: the default of `async def`."""
    THREAD = "thread"
    """In one of the worker's threads: the default of `def`."""
    PROCESS = "process"
    """Alone in a process that is killed when the job runs past its time limit."""


class CommonOptions(TypedDict, total=False):
    """What `.using` takes, and `@app.task` as defaults."""

    queue: str
    priority: int
    """-100 to 100; higher runs sooner. Default 0."""
    delay: Duration
    """Not before this long from now."""
    run_at: datetime
    """Not before this (aware) time."""
    expires: Duration | datetime
    """Not any more after this long, or this (aware) time, unless it has started."""
    timeout: Duration
    """How long one attempt may run. Default 1 h."""
    max_attempts: int
    """Runs in all, the first one included; 1 means no retry. Default 5."""
    retry: Retry
    unique_key: UniqueKey | None
    """While a job of the task with this key lives, no second one is added. A callable gets
    the task's arguments and returns the key, or None for no key."""
    unique_for: Duration
    """The key stays taken this long from the enqueue, even if the job ends sooner."""
    on_conflict: Literal["skip", "replace", "raise"]
    max_wait: Duration
    """With on_conflict="replace": no matter how often the job is replaced, it is due this long
    after the first."""
    idempotency_key: UniqueKey | None
    """For 24 h a second enqueue of the task with this key answers the job of the first, and
    with other arguments raises IdempotencyConflict. A callable as for `unique_key`."""
    concurrency_key: UniqueKey | None
    """At most `concurrency` jobs with this key run at a time, in their order; the others wait.
    A callable gets the task's arguments, and None means no limit. Default: the task's own."""
    concurrency: int | None
    """How many jobs of the key may run at a time, on all workers. Default 1; None: any number,
    whatever the task says."""
    on_poison: Literal["skip", "block"]
    """With concurrency=1: whether a dead job lets the next one of its key go on."""
    rate: str | None
    """How often jobs of the `rate_key` may start, on all workers: "100/m", "5/s", "1/10m". None:
    at once, whatever the task says."""
    burst: int
    """How many of them may start at once after a rest."""
    rate_key: UniqueKey | None
    """Whom the rate is for. A callable as for `concurrency_key`. Default: the task's own."""
    weight: int
    """As how many starts a start of the job counts. Default 1."""
    fair_key: UniqueKey | None
    """Whose job it is: the keys of a queue share it, whoever has how many jobs there. A
    callable as for `concurrency_key`; None: one of those without."""
    headers: Mapping[str, str]
    tags: tuple[str, ...] | list[str]
    keep: Duration
    """How long the job stays readable once it has ended. Default 7 d."""
    keep_dead: Duration
    """How long it stays in the dead-letter queue. Default 30 d."""
    on_success: Callback | Sequence[Callback] | None
    """Enqueued in the commit that records its success: a task that takes an `Outcome`, the name
    of one, or `task.job(...)`; several are a list."""
    on_dead: Callback | Sequence[Callback] | None
    """The same, when it dies."""
    callback_url: str | None
    """Where its outcome is posted when it has ended, however it did; see `app.webhooks`."""


class Options(CommonOptions, total=False):
    """What `.using` takes."""

    within: Any
    """A connection (or session) of yours, to the database of an `app.outbox`: the job is
    enqueued when its transaction commits."""
    after: "Sequence[Named | JobId]"
    """Run once these have ended: jobs made by `task.job`, handles, or ids."""
    if_parent_fails: Literal["stop", "continue"]
    """What becomes of the job if one of them does not succeed: "stop", the default, cancels
    it."""


class TaskSettings(CommonOptions, total=False):
    """What `@app.task` takes."""

    name: str
    """Default: the module's name and the function's qualified name."""
    executor: Literal["async", "thread", "process"]
    cron: str
    """Enqueue a job by itself at these times: "0 3 * * *" is every night at three."""
    tz: str
    """The time zone of `cron`. Default "UTC"."""
    every: Duration
    """Enqueue a job by itself so often, counted from 1970: "30s"."""
    missed: Literal["skip", "once", "all"]
    """What becomes of times at which nothing was there to do it. Default "skip"."""


class BatchSettings(TaskSettings, total=False):
    """What `@app.task` takes for a task whose handler gets a `Batch`."""

    batch: Required[int]
    """Call it with up to so many jobs at once."""
    wait: Duration
    """How long the first job of a batch waits for others in the worker. Default 1 s."""


DECLARED_ONLY: Final = frozenset(
    {"name", "executor", "cron", "tz", "every", "missed", "batch", "wait"}
)
OPTIONS: Final = frozenset(Options.__annotations__) - DECLARED_ONLY


class BatchRule(NamedTuple):
    """When the jobs of a task are enough for a call."""

    size: int
    """So many go at once, and no more."""
    wait: Micros
    """How long the first of them waits for others in the worker."""


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a task, checked. Times are `Micros`, as in `job`."""

    queue: str = DEFAULT_QUEUE
    priority: int = 0
    delay: Micros = 0
    run_at: Micros | None = None
    expires_in: Micros | None = None
    expires_at: Micros | None = None
    timeout: Micros = HOUR
    max_attempts: int = 5
    retry: Retry = Retry()
    unique_key: UniqueKey | None = None
    unique_for: Micros = 0
    on_conflict: OnConflict = OnConflict.SKIP
    max_wait: Micros | None = None
    idempotency_key: UniqueKey | None = None
    concurrency_key: UniqueKey | None = None
    concurrency: int | None = None
    on_poison: OnPoison = OnPoison.SKIP
    rate: Micros | None = None
    """The time between two starts."""
    burst: int | None = None
    rate_key: UniqueKey | None = None
    weight: int = 1
    fair_key: UniqueKey | None = None
    headers: Mapping[str, str] = {}
    tags: tuple[str, ...] = ()
    keep: Micros = Terms().keep
    keep_dead: Micros = Terms().keep_dead
    on_success: tuple[FollowUp, ...] = ()
    on_dead: tuple[FollowUp, ...] = ()
    callback_url: str | None = None
    within: Any = None
    after: tuple[JobId, ...] = ()
    parents_on: On = On.SUCCESS

    @property
    def terms(self) -> Terms:
        """All that is needed to settle a run of the job without the user's code."""
        return Terms(self.max_attempts, self.timeout, self.retry.rule(), self.keep, self.keep_dead)

    @property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        """The callbacks, but for that of `callback_url`."""
        return self.on_success + self.on_dead


def with_options(
    base: TaskOptions,
    given: Mapping[str, object],
    where: str,
    known: Collection[str] = OPTIONS,
) -> TaskOptions:
    """`base` with some options changed; `where` names the task, for errors, and `known` what
    may be given there.

    Raises UnknownOption for one that does not exist, ConfigError for a value that cannot be.
    """
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in DECLARED_ONLY:
            raise ConfigError(f"{name}= of {where} is set where the task is declared")
        if name not in OPTIONS:
            raise unknown_option(name, known, where)
        try:
            changes |= _CHECKS[name](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"{name}= of {where}: {error}") from None
    if "delay" in given and "run_at" in given:
        raise ConfigError(f"{where} has both delay= and run_at=; give one")
    if "headers" in changes:
        changes["headers"] = {**base.headers, **changes["headers"]}
    merged = msgspec.structs.replace(base, **changes, **lifted(given))
    check_unique(merged, given, where)
    if not given.keys().isdisjoint(LIMIT_OPTIONS):
        check_limits(merged, where)
    return merged


def instant(value: object) -> Micros:
    """An aware time in microseconds since 1970. Raises ValueError for a naive one."""
    if not isinstance(value, datetime):
        raise TypeError(f"a datetime with a time zone is wanted, not {shown(value)}")
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{value.isoformat()} has no time zone; give an aware datetime")
    return (value - EPOCH) // timedelta(microseconds=1)


def length(value: object) -> Micros:
    """A duration that people give. Raises TypeError, ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta | str):
        raise TypeError(
            f'seconds, a timedelta or a text such as "5m" is wanted, not {shown(value)}'
        )
    return micros(value)


def _some_length(value: object) -> Micros:
    found = length(value)
    if found < 1_000:
        raise ValueError(f"at least a millisecond is wanted, not {shown(value)}")
    return found


def _whole(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"an int is wanted, not {shown(value)}")
    if not least <= value <= most:
        raise ValueError(f"{least} to {most:,} is possible, not {shown(value)}")
    return int(value)


def _expiry(value: object) -> dict[str, Any]:
    if isinstance(value, datetime):
        return {"expires_in": None, "expires_at": instant(value)}
    return {"expires_in": _some_length(value), "expires_at": None}


def _one_of(choices: type[E], value: object) -> E:
    if not isinstance(value, str) or value not in list(choices):
        raise ValueError(f"one of {', '.join(choices)} is wanted, not {shown(value)}")
    return choices(value)


def _retry(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise TypeError(f"a Retry is wanted, not {shown(value)}; max_attempts= says how often")
    return value


def _text_headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a mapping of str to str is wanted, not {shown(value)}")
    size = 0
    plain: dict[str, str] = {}
    for name, text in value.items():
        if not (isinstance(name, str) and isinstance(text, str)):
            raise TypeError(f"a mapping of str to str is wanted; {shown(name)} is {shown(text)}")
        plain[_unicode(name)] = _unicode(text)
        size += len(name) + len(text)
    if size > MAX_HEADERS:
        raise ValueError(f"{size:,} characters are too many; at most {MAX_HEADERS:,} are kept")
    return plain


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{shown(text)} has a lone surrogate, which is no Unicode") from None
    return str.__str__(text)


def check_headers(value: object, source: str) -> dict[str, str]:
    """Headers as they travel. Raises ConfigError, naming their source, for what cannot."""
    try:
        return _text_headers(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"headers of {source}: {error}") from None


def _url(value: object) -> str | None:
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"a URL is wanted, not {shown(value)}")
    return value


def _tag_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"a list of str is wanted, not {shown(value)}")
    if len(value) > MAX_TAGS:
        raise ValueError(f"{len(value)} are too many; a job has at most {MAX_TAGS}")
    return tuple(name_text(tag) for tag in value)


_CHECKS: Final[Mapping[str, Callable[[object], dict[str, Any]]]] = {
    "queue": lambda v: {"queue": name_text(v)},
    "priority": lambda v: {"priority": _whole(v, MIN_PRIORITY, MAX_PRIORITY)},
    "delay": lambda v: {"delay": length(v), "run_at": None},
    "run_at": lambda v: {"run_at": instant(v), "delay": 0},
    "expires": _expiry,
    "timeout": lambda v: {"timeout": _some_length(v)},
    "max_attempts": lambda v: {"max_attempts": _whole(v, 1, 1_000_000)},
    "retry": lambda v: {"retry": _retry(v)},
    "unique_key": lambda v: {"unique_key": key_option(v)},
    "unique_for": lambda v: {"unique_for": length(v)},
    "on_conflict": lambda v: {"on_conflict": _one_of(OnConflict, v)},
    "max_wait": lambda v: {"max_wait": _some_length(v)},
    "idempotency_key": lambda v: {"idempotency_key": key_option(v)},
    "concurrency_key": lambda v: {"concurrency_key": key_option(v)},
    "concurrency": lambda v: {"concurrency": None if v is None else _whole(v, 1, MOST_AT_ONCE)},
    "on_poison": lambda v: {"on_poison": _one_of(OnPoison, v)},
    "rate": lambda v: {"rate": None if v is None else interval_of(v)},
    "burst": lambda v: {"burst": _whole(v, 1, MOST_AT_ONCE)},
    "rate_key": lambda v: {"rate_key": key_option(v)},
    "weight": lambda v: {"weight": _whole(v, 1, MOST_AT_ONCE)},
    "fair_key": lambda v: {"fair_key": key_option(v)},
    "headers": lambda v: {"headers": _text_headers(v)},
    "tags": lambda v: {"tags": _tag_names(v)},
    "keep": lambda v: {"keep": length(v)},
    "keep_dead": lambda v: {"keep_dead": length(v)},
    "on_success": lambda v: {"on_success": follow_ups(v, State.SUCCEEDED)},
    "on_dead": lambda v: {"on_dead": follow_ups(v, State.DEAD)},
    "callback_url": lambda v: {"callback_url": _url(v)},
    "within": lambda v: {"within": v},
    "after": lambda v: {"after": parents(v)},
    "if_parent_fails": lambda v: {"parents_on": parents_on(v)},
}


def lane_of(executor: Executor) -> Lane:
    """Which workers may lease the jobs of a task."""
    return Lane.CELL if executor is Executor.PROCESS else Lane.MAIN
