"""The jobs of an event: the same ones, whichever store makes them, and however often."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from msgspec import Raw, json
from msgspec.structs import replace

from backline.clock import drawn_id
from backline.fanout.event import Event
from backline.fanout.pattern import matches
from backline.fanout.stored import Publication, SubscriptionRecord, SubscriptionSpec
from backline.job import JobId, JobRequest, Micros, as_datetime

MAX_EVENT_ID: Final = 200
_UUIDV7: Final = 7

_encode: Final = json.Encoder().encode


def jobs_of(
    event: Publication, subscriptions: Iterable[SubscriptionRecord], now: Micros
) -> dict[str, JobRequest]:
    """The job of each subscription that the event matches, by the subscription's name and in
    the order of the names: jobs that share a limit come in the same one in every store.

    One that cannot be read gets none. `now` is when it was published, unless the event knows.
    """
    at = now if event.at is None else event.at
    plain = Raw(b"[[" + bytes(event.payload) + b"],{}]")
    whole: Raw | None = None
    found: dict[str, JobRequest] = {}
    for each in sorted(subscriptions, key=_name):
        spec = each.spec
        if spec is None or not any(matches(pattern, event.name) for pattern in spec.patterns):
            continue
        if spec.whole and whole is None:
            whole = _whole(event, at)
        payload = whole if spec.whole and whole is not None else plain
        found[each.name] = _job(event, each.name, spec, payload, at)
    return found


def job_id(event_id: str, subscription: str, at: Micros) -> JobId:
    """The id of a subscription's job: a UUIDv7, drawn from the event's id and the name.

    Its time is that of the event's id, if that is a UUIDv7 too, else `at`.
    """
    text = hashlib.sha256(_encode([event_id, subscription])).digest()
    return drawn_id(_millis(event_id, at), text)


def _name(subscription: SubscriptionRecord) -> str:
    return subscription.name


def _millis(event_id: str, at: Micros) -> int:
    try:
        known = UUID(event_id)
    except ValueError:
        return at // 1_000
    return known.int >> 80 if known.version == _UUIDV7 else at // 1_000


def _job(
    event: Publication, name: str, spec: SubscriptionSpec, payload: Raw, at: Micros
) -> JobRequest:
    job = spec.job
    times: dict[str, Any] = {}
    if job.delay:
        times |= {"delay": 0, "run_at": at + job.delay}
    if job.expires_in is not None:
        times |= {"expires_in": None, "expires_at": at + job.expires_in}
    headers = {**event.headers, **job.headers}
    return replace(job, id=job_id(event.id, name, at), payload=payload, headers=headers, **times)


def _whole(event: Publication, at: Micros) -> Raw:
    told = Event(
        id=event.id, name=event.name, payload=event.payload, published_at=as_datetime(at),
        key=event.key,
    )  # fmt: skip
    return Raw(_encode([[told], {}]))
