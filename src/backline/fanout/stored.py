"""Events and subscriptions as stores keep them: plain data."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from backline.job import DAY, JobId, JobRequest, Micros

EVENT_TTL: Final[Micros] = 7 * DAY
"""How long an event is remembered unless its publisher says otherwise."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be published: what `app.publish` builds and `Store.publish` takes."""

    id: str
    """Up to 200 characters; the same event has the same one."""
    name: str
    payload: Raw = Raw(b"null")
    key: str | None = None
    """What it is about. The first event of a (name, key) is kept, for those that wait for it."""
    event_ttl: Micros = EVENT_TTL
    """How long its id is remembered, and its payload if it has a key."""
    at: Micros | None = None
    """When it was published; None: when the store takes it."""
    headers: Mapping[str, str] = {}
    """For its jobs; those that a subscription has win."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one `Publication`."""

    jobs: Mapping[str, JobId] = {}
    """The job that each subscription got, by the subscription's name."""
    added: bool = True
    """False: an event of this id was published before, and these are its jobs."""


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The first event of a (name, key), as long as it is remembered."""

    id: str
    name: str
    key: str
    payload: Raw
    at: Micros
    until: Micros
    """Forgotten from then on, by the store's wall clock."""


class SubscriptionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What code says of a subscription."""

    patterns: tuple[str, ...]
    """An event that matches any of them adds one job."""
    job: JobRequest
    """What an event adds, but for id, payload and times, which come from the event."""
    whole: bool = False
    """The task takes an `Event`, not the payload alone."""


class SubscriptionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription at one moment."""

    name: str
    """That of its task."""
    spec: SubscriptionSpec | None
    """None: what is stored cannot be read; it gets nothing until it is declared again."""
    version: int = 0
    """Set by the store: another one with each change, and never one that it had before."""


class SubscriptionChange(msgspec.Struct, frozen=True):
    """A write that applies only to the version it was made for."""

    name: str
    version: int
    """That of the subscription as it was read; 0: there was none."""
    spec: SubscriptionSpec | None
    """What it is from now on; None: it is dropped."""
