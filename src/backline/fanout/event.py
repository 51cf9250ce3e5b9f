"""An event as a subscriber sees it."""

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Event(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What was published, with what is known of it: a task that takes an `Event[T]` gets one.

    A task that takes anything else gets the payload alone.
    """

    id: str
    """The one that `publish` was given, or made. A retried job sees the same."""
    name: str
    payload: T
    published_at: datetime
    """By the store's clock, or by the publisher's if it was published within a transaction."""
    key: str | None = None
