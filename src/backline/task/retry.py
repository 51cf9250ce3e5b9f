"""Which failures are worth another attempt, and how long to wait before it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, Never, TypeAlias

from backline.duration import Duration, micros, text
from backline.errors import ConfigError
from backline.job import Backoff, Micros
from backline.task.dialects import OF_RETRY, unknown_option

Exceptions: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

_OPTIONS: Final = ("backoff", "base", "cap", "jitter", "on", "not_on", "delays")
_FACTORS: Final = {"exponential": 2.0, "constant": 1.0}


class Retry:
    """How a task is retried; `max_attempts=` says how often.

    The n-th failure waits `delays[n - 1]`, the last one for ever after; without `delays`
    min(cap, base * 2 ** (n - 1)), or `base` each time if `backoff` is "constant". With
    `jitter` the wait is drawn uniformly from 0 to that, so that jobs that failed together do
    not come back together; it is on unless `backoff` is "constant" or `delays` are given.

    `on` and `not_on` are exception classes: a failure is final, whatever attempts are left,
    unless it is an instance of one in `on` and of none in `not_on`. They decide in the worker
    alone; a lost worker or a passed time limit is always worth another attempt.
    """

    __slots__ = ("_not_on", "_on", "_rule")

    def __init__(
        self,
        *,
        backoff: Literal["exponential", "constant"] = "exponential",
        base: Duration = "1s",
        cap: Duration = "1h",
        jitter: bool | None = None,
        on: Exceptions = BaseException,
        not_on: Exceptions = (),
        delays: Sequence[Duration] | None = None,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            raise unknown_option(name, _OPTIONS, "Retry", OF_RETRY)
        if backoff not in _FACTORS:
            raise ConfigError(f'Retry: backoff is "exponential" or "constant", not {backoff!r}')
        if not (delays is None or (isinstance(delays, list | tuple) and delays)):
            raise ConfigError(
                f"Retry: delays is a list of one duration or more, not {delays!r}; to retry "
                "nothing, give the task max_attempts=1"
            )
        drawn = backoff == "exponential" and delays is None if jitter is None else jitter
        self._rule = Backoff(
            base=_wait("base", base),
            cap=_wait("cap", cap),
            factor=_FACTORS[backoff],
            jitter=drawn,
            delays=tuple(_wait("delays", delay) for delay in delays or ()),
        )
        self._on = _classes("on", on)
        self._not_on = _classes("not_on", not_on)

    def allows(self, error: BaseException) -> bool:
        """Whether this failure is worth another attempt."""
        return isinstance(error, self._on) and not isinstance(error, self._not_on)

    def rule(self) -> Backoff:
        """The waits, as plain data for the job's record."""
        return self._rule

    if not TYPE_CHECKING:  # a type checker knows that it is no function

        def __call__(self, *args: object, **kwargs: object) -> None:
            raise TypeError(
                "task.retry is the task's Retry, not a function: to have this run repeated, "
                'raise RetryLater("60s") in the task'
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Retry):
            return NotImplemented
        return (self._rule, self._on, self._not_on) == (other._rule, other._on, other._not_on)

    def __hash__(self) -> int:
        return hash((self._rule, self._on, self._not_on))

    def __repr__(self) -> str:
        rule = self._rule
        if rule.delays:
            return f"<Retry after {', '.join(map(text, rule.delays))}>"
        return f"<Retry after {text(rule.base)}, x{rule.factor:g}, at most {text(rule.cap)}>"


def _wait(name: str, given: Duration) -> Micros:
    try:
        return micros(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"Retry: {name}: {error}") from None


def _classes(name: str, given: Exceptions) -> tuple[type[BaseException], ...]:
    classes: tuple[object, ...] = given if isinstance(given, tuple) else (given,)
    found: list[type[BaseException]] = []
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise ConfigError(f"Retry: {name} takes exception classes, not {one!r}")
        found.append(one)
    return tuple(found)
