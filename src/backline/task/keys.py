"""Keys of jobs: a text, or a function of the task's arguments; and what goes with a unique one."""

import re
from collections.abc import Callable, Mapping
from inspect import Signature
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from backline.display import shown
from backline.errors import ConfigError, InvalidArguments
from backline.job import OnConflict
from backline.task.fitting import fits, in_words, signature_of
from backline.task.names import name_text

if TYPE_CHECKING:
    from backline.task.options import TaskOptions

UniqueKey: TypeAlias = str | Callable[..., str | None]

WITHOUT_UNIQUE_KEY: Final[Mapping[str, Any]] = {
    "unique_for": 0,
    "on_conflict": OnConflict.SKIP,
    "max_wait": None,
}
"""What says more of a unique key, and what it is where there is no key."""
_KEYS: Final = ("unique_key", "idempotency_key", "concurrency_key", "rate_key", "fair_key")
_FIELD: Final = re.compile(r"\{[^\W\d][\w.]*\}")


def key_option(value: object) -> UniqueKey | None:
    """A key as people give it. Raises TypeError, ValueError."""
    if value is None:
        return None
    if callable(value):
        return cast("Callable[..., str | None]", value)
    return name_text(value)


def check_texts(options: "TaskOptions", task: str) -> None:
    """Raises ConfigError for a key of a declaration that is a format: all jobs would share it.

    The text of one call may be any: it may be made of data.
    """
    for name in _KEYS:
        text = getattr(options, name)
        if isinstance(text, str) and (field := _FIELD.search(text)):
            given = field[0][1:-1].partition(".")[0]
            raise ConfigError(
                f"{name}= of {task}: {shown(text)} is the same text for every job; give a "
                f"function of the arguments: lambda {given}: f{shown(text)}"
            )


def check_functions(options: "TaskOptions", task: str, takes: Signature) -> None:
    """Raises ConfigError for a key of a declaration that fits no call of the task."""
    for name in _KEYS:
        key = getattr(options, name)
        wants = signature_of(key) if callable(key) else None
        if wants is not None and not fits(wants, takes):
            raise ConfigError(
                f"{name}= of {task} takes {in_words(wants)}, the task {in_words(takes)}: it is "
                "called with the arguments of the job, as the task is"
            )


def key_of(
    key: Callable[..., str | None],
    option: str,
    task: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> str | None:
    """The key of a job with these arguments. Raises InvalidArguments for one that cannot be."""
    try:
        found: object = key(*args, **kwargs)
    except TypeError:
        _check_takes(key, option, task, args, kwargs)
        raise
    if found is None:
        return None
    try:
        return name_text(found)
    except (TypeError, ValueError) as error:
        raise InvalidArguments(f"the {option} of {task}: {error}") from None


def _check_takes(
    key: Callable[..., object],
    option: str,
    task: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    signature = signature_of(key)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(
            f"the {option} of {task} is called with the arguments of the job, as the task is, and "
            f"cannot be: {error}"
        ) from None


def check_unique(options: "TaskOptions", given: Mapping[str, object], where: str) -> None:
    """Raises ConfigError for what says more of a unique key that is not there."""
    keyed = options.unique_key is not None
    if options.unique_for and not keyed:
        raise ConfigError(f"unique_for= of {where} needs a unique_key=")
    replaces = keyed and options.on_conflict is OnConflict.REPLACE
    if options.max_wait is not None and not replaces:
        raise ConfigError(f'max_wait= of {where} needs a unique_key= and on_conflict="replace"')
    if options.on_conflict is not OnConflict.SKIP and not keyed:
        raise ConfigError(f'on_conflict="{options.on_conflict}" of {where} needs a unique_key=')
    waits = options.delay or options.run_at is not None
    if "max_wait" in given and options.max_wait is not None and not waits:
        raise ConfigError(f"max_wait= of {where} needs a delay=, which it bounds")
