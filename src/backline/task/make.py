"""Making tasks of functions, and of names."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from backline.display import shown
from backline.errors import ConfigError
from backline.task.batch import AsyncBatchTask, SyncBatchTask, batch_rule
from backline.task.keys import check_functions, check_texts
from backline.task.names import name_text, task_name
from backline.task.options import BatchSettings, Executor, with_options
from backline.task.scheduling import SCHEDULE_OPTIONS, declared_schedule
from backline.task.task import AnyTask, AsyncTask, Producer, SyncTask, Task
from backline.task.transactions import Transactions


def make_task(
    fn: Callable[..., Any],
    settings: Mapping[str, object],
    producer: Producer,
    transactions: Transactions | None = None,
    kind: type[AnyTask] | None = None,
) -> AnyTask:
    """The task that `@app.task(**settings)` makes of `fn`, of the class `kind` if given.

    Raises ConfigError for what is no plain function, has no name in other processes, has
    annotations that cannot work, or an executor or a schedule that does not fit; UnknownOption.
    """
    if isinstance(fn, Task):
        raise ConfigError(f"{fn.name} is a task already")
    if not inspect.isfunction(fn):
        raise ConfigError(f"a task is a function (def or async def), not {fn!r}")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise ConfigError(f"{fn.__qualname__} yields; a task returns one result")
    if _is_method(fn):
        raise ConfigError(
            f"{fn.__qualname__} is a method, and a job carries no object to call it on: make the "
            "task a function, whose arguments say which object to make or to look up"
        )
    options = dict(settings)
    if "within" in options:
        raise ConfigError("within= is for one transaction: task.using(within=...).enqueue(...)")
    if "after" in options:
        raise ConfigError("after= is for one job: task.using(after=[...]).enqueue(...)")
    name = _given_name(options.pop("name", None)) or task_name(fn)
    timing = {option: options.pop(option, None) for option in SCHEDULE_OPTIONS}
    is_async = inspect.iscoroutinefunction(fn)
    executor = _executor(options.pop("executor", None), name, is_async)
    rule = batch_rule(
        {option: options.pop(option, None) for option in ("batch", "wait")}, name, executor
    )
    if kind is None:
        kind = AsyncTask if is_async else SyncTask
    if rule is not None:
        kind = AsyncBatchTask if is_async else SyncBatchTask
    task = kind(fn, name, executor, producer, transactions, rule)
    known = frozenset(BatchSettings.__annotations__)
    task = task._with(with_options(task.options, options, name, known))  # noqa: SLF001 - made here
    check_texts(task.options, name)
    check_functions(task.options, name, task.codec.signature)
    task.declared_schedule = declared_schedule(timing, lambda: task._filled((), {}), name)  # noqa: SLF001
    return task


def remote_task(
    name: object, producer: Producer, transactions: Transactions | None = None
) -> SyncTask[..., Any]:
    """A task whose code is elsewhere: it takes any arguments that JSON itself can carry."""
    if callable(name):
        here = getattr(name, "__name__", "task")
        raise ConfigError(
            f"the name of a task is a str, not {shown(name)}; declare it by @app.task, then "
            f"{here}.enqueue(...)"
        )
    checked = _given_name(name)
    if checked is None:
        raise ConfigError("name= of a task: one whose code is elsewhere is known by its name")

    def elsewhere(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise ConfigError(f"the code of {checked} is not in this process")

    return SyncTask(elsewhere, checked, Executor.THREAD, producer, transactions)


def _is_method(fn: Callable[..., Any]) -> bool:
    in_a_class = "." in fn.__qualname__ and not fn.__qualname__.split(".")[-2].endswith(">")
    return in_a_class and next(iter(inspect.signature(fn).parameters), None) in {"self", "cls"}


def _given_name(name: object) -> str | None:
    try:
        return None if name is None else name_text(name)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"name= of a task: {error}") from None


def _executor(given: object, name: str, is_async: bool) -> Executor:
    if given is None:
        return Executor.ASYNC if is_async else Executor.THREAD
    try:
        executor = Executor(str(given))
    except ValueError:
        choices = ", ".join(map(str, Executor))
        raise ConfigError(f"executor= of {name} is one of {choices}, not {given!r}") from None
    if executor is (Executor.THREAD if is_async else Executor.ASYNC):
        kind = "an async def runs on the loop" if is_async else "a def does not run on the loop"
        raise ConfigError(f"executor={executor.value!r} does not fit {name}: {kind}")
    return executor
