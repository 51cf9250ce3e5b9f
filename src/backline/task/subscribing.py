"""Tasks as subscribers: what the store is told of them."""

from collections.abc import Sequence
from typing import get_origin

from msgspec.structs import replace

from backline.errors import ConfigError
from backline.fanout import Event, SubscriptionSpec, check_pattern
from backline.task.task import AnyTask


def subscription_of(task: AnyTask, patterns: Sequence[object]) -> SubscriptionSpec:
    """What a task gets for each event of these patterns.

    Raises ConfigError for what is no pattern, and for a task that cannot take an event: it
    takes one argument, the payload or an `Event`, and its options fit any event.
    """
    if not patterns:
        raise ConfigError('@app.on takes names or patterns of events: @app.on("user.registered")')
    checked = tuple(dict.fromkeys(check_pattern(pattern) for pattern in patterns))
    if not task.codec.takes(1):
        raise ConfigError(
            f"{task.name} cannot be called with a payload alone: a subscriber takes one "
            "argument, the payload or an Event, and has defaults for any others"
        )
    options = task.options
    for name in ("unique_key", "idempotency_key"):
        if getattr(options, name) is not None:
            raise ConfigError(
                f"{task.name} has {name}=, and each event makes a job of its own: enqueue another "
                "task from it, which has the key"
            )
    for name in ("concurrency_key", "rate_key", "fair_key"):
        if callable(getattr(options, name)):
            raise ConfigError(
                f"{name}= of {task.name} is made of arguments, which whoever publishes an event "
                "cannot do: give a text, or enqueue another task from it, which has the key"
            )
    for name, given in (("run_at", options.run_at), ("expires", options.expires_at)):
        if given is not None:
            raise ConfigError(f"{name}= of {task.name} is an instant, and events come at any time")
    first = task.codec.first_type
    whole = first is Event or get_origin(first) is Event
    return SubscriptionSpec(patterns=checked, job=replace(task.template, id=""), whole=whole)
