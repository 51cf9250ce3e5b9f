"""Callbacks: what people say is to follow a job, and the follow-ups that come of it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeAlias

from msgspec.structs import replace

from backline.display import shown
from backline.errors import InvalidArguments
from backline.follow_up import Outcome
from backline.job import FollowUp, JobRequest
from backline.parents import whole_of
from backline.states import TERMINAL, State
from backline.task.headers import MadeHeaders
from backline.task.names import name_text

EVERY_END: Final = tuple(sorted(TERMINAL))
MAX_CALLBACKS: Final = 10
"""Of one job, on one kind of end."""


class CallbackTask(Protocol):
    """A task that can be called back: its handler takes an `Outcome`."""

    @property
    def name(self) -> str: ...

    def job(self, outcome: Outcome[Any], /) -> JobRequest: ...


Callback: TypeAlias = CallbackTask | JobRequest | str
"""A task that gets an `Outcome`, the name of one, or `task.job(...)` with its own arguments."""

_SAMPLE: Final = Outcome[Any](
    id="00000000-0000-7000-8000-000000000000",
    task="sample",
    queue="sample",
    state=State.DEAD,
    attempts=1,
    enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    finished_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def follow_ups(given: object, *on: State) -> tuple[FollowUp, ...]:
    """What follows the ends in `on`: nothing for None, else a callback or a list of them.

    Raises TypeError, ValueError.
    """
    if given is None:
        return ()
    callbacks: Sequence[object] = given if isinstance(given, list | tuple) else (given,)
    if len(callbacks) > MAX_CALLBACKS:
        raise ValueError(f"{len(callbacks)} are too many; at most {MAX_CALLBACKS} are called")
    return tuple(_follow_up(each, on) for each in callbacks)


def _follow_up(given: object, on: tuple[State, ...]) -> FollowUp:
    if isinstance(given, JobRequest):
        return FollowUp(on, as_template(given), outcome=False)
    if isinstance(given, str):
        return FollowUp(on, JobRequest(id="", task=name_text(given)))
    make: Callable[[Outcome[Any]], JobRequest] | None = getattr(given, "job", None)
    if make is None or not hasattr(given, "using"):
        raise TypeError(f"a task, its name or task.job(...) is wanted, not {shown(given)}")
    _check_key(given)
    try:
        request = make(_SAMPLE)
    except InvalidArguments as error:
        raise TypeError(
            f"it is called with one argument, an Outcome, and cannot take that: {error}; "
            "give task.job(...) to call it with arguments of its own"
        ) from None
    return FollowUp(on, replace(as_template(request), payload=JobRequest(id="", task="").payload))


def _check_key(task: object) -> None:
    options = getattr(task, "options", None)
    for name in ("unique_key", "idempotency_key", "concurrency_key", "rate_key", "fair_key"):
        if callable(getattr(options, name, None)):
            raise ValueError(  # noqa: TRY004 - a callable is a good key of other jobs
                f"the {name} of {shown(task)} is made of arguments, which are not known before "
                f"the end; give task.using({name}=None)"
            )


def as_template(request: JobRequest) -> JobRequest:
    """What `task.job(...)` made, to be enqueued later: without what told of its own moment."""
    headers = request.headers
    own = headers.own if isinstance(headers, MadeHeaders) else headers
    group = None if whole_of(request.id, request.group) != request.id else request.group
    return replace(request, id="", headers=own, follow_ups=(), group=group)
