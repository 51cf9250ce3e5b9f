"""Ending what is pending on a virtual loop, without a word to anybody."""

import contextlib
import warnings
from collections.abc import Coroutine
from typing import Any

from backline.testing.process import AnyTask


def where(task: AnyTask) -> str:
    """The innermost line at which a pending task waits."""
    waiter: Any = task.get_coro()
    frame = None
    while (inner := getattr(waiter, "cr_frame", None)) is not None:
        frame, waiter = inner, waiter.cr_await
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "its end"


def unwind(task: AnyTask) -> None:
    """End a task that is pending on a closed loop, and let nobody hear of it.

    Left to the garbage collector, the same would happen at any time, with warnings.
    """
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001
    coroutine: Any = task.get_coro()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(100):  # a `finally` that awaits stops the unwinding each time
            try:
                coroutine.close()
            except BaseException:  # noqa: BLE001, S112 - it is over, whatever its code thinks
                continue
            return


def drive(ending: Coroutine[Any, Any, None]) -> None:
    """End a generator of a closed loop; as with a task, nobody hears of how."""
    with contextlib.suppress(BaseException):
        for _ in range(100):
            ending.send(None)
    with contextlib.suppress(BaseException):
        ending.close()
