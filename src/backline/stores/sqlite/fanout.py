"""Subscriptions in their table, and the events that were published."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from backline.fanout import (
    KeptEvent,
    Publication,
    Published,
    SubscriptionChange,
    SubscriptionRecord,
    SubscriptionSpec,
    is_exact,
    jobs_of,
    matches,
)
from backline.job import JobId, JobRequest, Micros
from backline.store import Subscriptions
from backline.stores.sqlite import enqueue, rows, waits
from backline.stores.sqlite.driver import Connection, Row
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction, dumps

_SUBSCRIPTIONS: Final = statement("subscriptions")
_NAMED: Final = statement("subscriptions_named")
_VERSIONS: Final = statement("new_subscription_versions")
_ADD: Final = statement("add_subscription")
_CHANGE: Final = statement("change_subscription")
_DROP: Final = statement("drop_subscription")
_DROP_TOPICS: Final = statement("drop_topics")
_ADD_TOPICS: Final = statement("add_topics")
_WILD: Final = statement("wild_topics")
_LISTENING: Final = statement("listening")
_PUBLISHED: Final = statement("published")
_FORGET: Final = statement("forget_same_events")
_PUBLISH: Final = statement("publish")
_KEPT: Final = statement("kept_events")

_spec: Final = msgspec.json.Decoder(SubscriptionSpec)
_jobs: Final = msgspec.json.Decoder(dict[str, JobId])


def page(
    db: Connection, limit: int, after: str | None, names: Collection[str] | None
) -> Subscriptions:
    """See `backline.store.Store`, as for everything here."""
    limit = max(limit, 0)
    params: dict[str, object] = {"after": int(after or 0), "limit": limit + 1}
    if names is None:
        found = db.rows(_SUBSCRIPTIONS, params)
    else:
        found = db.rows(_NAMED, params | {"names": dumps(rows.ids(list(names)))})
    more = len(found) > limit > 0
    return Subscriptions(_read(found[:limit]), str(found[limit - 1][0]) if more else None)


def subscribe(tx: Transaction, changes: Sequence[SubscriptionChange]) -> list[bool]:
    """Apply each change to the version it was made for."""
    version = tx.db.value(_VERSIONS, {"count": len(changes)}) - len(changes)
    return [_apply(tx.db, change, version + n) for n, change in enumerate(changes, 1)]


def publish(tx: Transaction, events: Sequence[Publication]) -> list[Published]:
    """Remember the events that are new, and add their jobs."""
    ids = dumps([event.id for event in events])
    answers = {
        rows.text(event_id): Published(jobs=_jobs_of(jobs), added=False)
        for event_id, jobs in tx.db.rows(_PUBLISHED, {"ids": ids, "now": tx.now})
    }
    first: dict[str, Publication] = {}
    for event in events:
        if event.id not in answers:
            first.setdefault(event.id, event)
    new = list(first.values())
    jobs = _jobs_for(tx, new)
    if jobs:
        _remember(tx, new, jobs)
        enqueue.add_unrefused(tx, [job for each in jobs.values() for job in each.values()])
        waits.publish(tx, new)
    result: list[Published] = []
    for event in events:
        known = answers.get(event.id)
        result.append(known or Published(jobs=_ids(jobs[event.id])))
        answers[event.id] = Published(jobs=result[-1].jobs, added=False)
    return result


def kept(db: Connection, keys: Sequence[tuple[str, str]], now: Micros) -> list[KeptEvent | None]:
    """The first events of these names and keys."""
    wanted = dumps([pair for pair in keys if all(rows.ids(pair))])
    found: dict[tuple[str, str], KeptEvent] = {}
    for event_id, name, key, payload, at, until in db.rows(_KEPT, {"keys": wanted, "now": now}):
        found[rows.text(name), rows.text(key)] = KeptEvent(
            id=rows.text(event_id), name=rows.text(name), key=rows.text(key),
            payload=rows.raw(payload), at=at, until=until,
        )  # fmt: skip
    return [found.get((name, key)) for name, key in keys]


def _apply(db: Connection, change: SubscriptionChange, new_version: int) -> bool:
    asked: dict[str, object] = {"name": change.name, "version": change.version}
    spec = change.spec
    if spec is None:
        found = db.rows(_DROP, asked)
    else:
        asked |= {"new_version": new_version, "spec": dumps(spec)}
        found = db.rows(_CHANGE if change.version else _ADD, asked)
    for (subscription,) in found:
        db.run(_DROP_TOPICS, {"subscription": subscription})
        if spec is not None:
            topics = dumps([(pattern, is_exact(pattern)) for pattern in spec.patterns])
            db.run(_ADD_TOPICS, {"subscription": subscription, "topics": topics})
    return bool(found)


def _jobs_for(tx: Transaction, events: Sequence[Publication]) -> dict[str, dict[str, JobRequest]]:
    """The jobs of each event, by its id, and by their subscription."""
    if not events:
        return {}
    names = {event.name for event in events}
    wild = {
        subscription
        for pattern, subscription in tx.db.rows(_WILD)
        if any(matches(rows.text(pattern), name) for name in names)
    }
    params = {"names": dumps(sorted(names)), "wild": dumps(sorted(wild))}
    listening = _read(tx.db.rows(_LISTENING, params))
    return {event.id: jobs_of(event, listening, tx.now) for event in events}


def _remember(
    tx: Transaction, events: Sequence[Publication], jobs: Mapping[str, Mapping[str, JobRequest]]
) -> None:
    first: dict[tuple[str, str], str] = {}
    for event in events:
        if event.key is not None:
            first.setdefault((event.name, event.key), event.id)
    told = []
    for event in events:
        holds = event.key is not None and first[event.name, event.key] == event.id
        told.append(
            (
                event.id, event.name, event.key if holds else None,
                bytes(event.payload).decode() if holds else None,
                tx.now if event.at is None else event.at, tx.now + event.event_ttl,
                dumps(_ids(jobs[event.id])),
            )
        )  # fmt: skip
    ids = dumps([event.id for event in events])
    tx.db.run(_FORGET, {"ids": ids, "keys": dumps(list(first)), "now": tx.now})
    tx.db.run(_PUBLISH, {"events": dumps(told)})


def _ids(jobs: Mapping[str, JobRequest]) -> dict[str, JobId]:
    return {name: job.id for name, job in jobs.items()}


def _jobs_of(cell: bytes) -> dict[str, JobId]:
    try:
        return _jobs.decode(cell)
    except rows.UNREADABLE:
        return {}


def _read(found: Sequence[Row]) -> list[SubscriptionRecord]:
    """Subscriptions as far as they can be read; none whose name cannot be."""
    records: list[SubscriptionRecord] = []
    for _, name, version, spec in found:
        try:
            named = bytes(name).decode()
        except UnicodeDecodeError:
            continue
        records.append(SubscriptionRecord(name=named, spec=_spec_of(spec), version=version))
    return records


def _spec_of(cell: bytes) -> SubscriptionSpec | None:
    try:
        return _spec.decode(cell)
    except rows.UNREADABLE:
        return None
