"""Events: one job a subscription, however often an event is published."""

import asyncio
from typing import Any

import pytest
from msgspec import Raw, json
from msgspec.structs import replace

from backline.errors import ConfigError, EnqueueError
from backline.fanout import (
    Event,
    Publication,
    Published,
    SubscriptionChange,
    SubscriptionRecord,
    SubscriptionSpec,
    job_id,
)
from backline.job import DAY, FARTHEST, HOUR, MINUTE, SECOND, JobRequest, as_datetime
from backline.parents import After
from backline.states import State
from backline.store import QueueSettings, Store
from backline.testing.clock import VirtualClock
from backline.testing.conformance.base import Harness
from backline.testing.conformance.jobs import QUEUE, add, find_all, make_job, stats_of
from backline.testing.raw import RawAccess

NAME = "user.registered"


def make_spec(*patterns: str, whole: bool = False, **fields: Any) -> SubscriptionSpec:
    """A job of the queue `mail` for each event of these patterns."""
    values: dict[str, Any] = {"id": "", "task": "app.send", "queue": QUEUE}
    job = JobRequest(**values | fields)
    return SubscriptionSpec(patterns=patterns or (NAME,), job=job, whole=whole)


async def subscribe(store: Store, **specs: SubscriptionSpec) -> None:
    """Subscriptions of those names, which there are none of yet."""
    changes = [SubscriptionChange(name, 0, spec) for name, spec in specs.items()]
    assert await store.subscribe(changes) == [True] * len(changes)


async def read(store: Store, name: str) -> SubscriptionRecord:
    """A subscription that exists."""
    [found] = (await store.subscriptions(limit=2, names=[name])).subscriptions
    return found


async def put(store: Store, found: SubscriptionRecord, spec: SubscriptionSpec | None) -> bool:
    """Put `spec` in the place of what was read."""
    [done] = await store.subscribe([SubscriptionChange(found.name, found.version, spec)])
    return done


def make_event(event_id: str = "e1", name: str = NAME, **fields: Any) -> Publication:
    """An event with a payload."""
    return Publication(**{"id": event_id, "name": name, "payload": Raw(b'{"user":42}')} | fields)


async def publish(store: Store, *events: Publication) -> list[Published]:
    """What became of events, all in one call."""
    return await store.publish(events or [make_event()])


async def publish_same(store: Store, name: str, count: int) -> list[Any]:
    """Publish `count` events, the same ones as everybody; says what became of each."""
    del name
    answers: list[Any] = []
    for n in range(count):
        event = Publication(id=f"event {n}", name="user.registered", key=f"user {n % 7}")
        [answer] = await store.publish([event])
        answers.append([answer.added, dict(answer.jobs)])
    return answers


async def getting(store: Store, name: str) -> list[str]:
    """Which subscriptions an event of that name makes jobs of."""
    [answer] = await publish(store, make_event(f"id of {name}", name))
    return sorted(answer.jobs)


class Fanning(Harness):
    """`subscriptions`, `subscribe`, `publish`, `events`."""

    async def test_a_subscription_is_read_back_as_it_was_written(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = make_job(
            clock, id="", headers={"a": "b"}, tags=("x",), priority=7, expires_in=HOUR, delay=1
        )
        spec = SubscriptionSpec(patterns=("user.*", "Übersicht.☂"), job=job, whole=True)
        await subscribe(store, **{"app.größe": spec})
        found = await read(store, "app.größe")
        assert found.spec == spec
        assert found.version > 0

    async def test_subscriptions_come_in_pages(self, store: Store) -> None:
        names = [f"s{n}" for n in range(7)]
        await subscribe(store, **dict.fromkeys(names, make_spec()))
        seen: list[str] = []
        after: str | None = None
        while True:
            page = await store.subscriptions(limit=3, after=after)
            assert len(page.subscriptions) <= 3
            seen += [found.name for found in page.subscriptions]
            after = page.after
            if after is None:
                break
        assert sorted(seen) == names
        some = await store.subscriptions(limit=9, names=["s3", "nobody", "s3", "\ud800"])
        assert [found.name for found in some.subscriptions] == ["s3"]
        assert (await store.subscriptions(limit=0)).subscriptions == []
        assert (await store.subscriptions(limit=9, names=[])).subscriptions == []

    async def test_a_subscription_changes_from_the_version_it_was_read_as(
        self, store: Store
    ) -> None:
        await subscribe(store, one=make_spec())
        found = await read(store, "one")
        assert not await put(store, replace(found, version=0), make_spec()), "there is one"
        assert await put(store, found, make_spec("user.*"))
        assert not await put(store, found, None), "it was changed meanwhile"
        later = await read(store, "one")
        assert later.version != found.version
        assert await put(store, later, None)
        assert not await put(store, later, None)
        assert not await put(store, later, make_spec())
        assert not await put(store, replace(later, version=0), None)
        await subscribe(store, one=make_spec())
        assert (await read(store, "one")).version not in {found.version, later.version}

    async def test_i6_changes_answer_in_their_order(self, store: Store) -> None:
        await subscribe(store, one=make_spec(), two=make_spec())
        two = await read(store, "two")
        changes = [
            SubscriptionChange("two", two.version, make_spec("a")),
            SubscriptionChange("three", 7, make_spec()),
            SubscriptionChange("two", two.version, None),
            SubscriptionChange("four", 0, make_spec("b")),
        ]
        assert await store.subscribe(changes) == [True, False, False, True]
        assert await store.subscribe([]) == []

    async def test_i13_an_event_makes_one_job_a_subscription(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await subscribe(
            store,
            mail=make_spec(priority=3, headers={"own": "1"}, tags=("t",)),
            crm=make_spec("user.*", NAME, "#", whole=True, task="app.crm"),
            later=make_spec("#.registered", delay=MINUTE, expires_in=HOUR),
            other=make_spec("user.gone", "order.#"),
        )
        event = make_event(key="42", headers={"own": "0", "trace": "x"})
        [answer] = await publish(store, event)
        assert answer.added
        assert sorted(answer.jobs) == ["crm", "later", "mail"]
        jobs = {job.id: job for job in await find_all(store)}
        mail, crm, later = (jobs.pop(answer.jobs[name]) for name in ("mail", "crm", "later"))
        assert not jobs
        assert bytes(mail.payload) == b'[[{"user":42}],{}]'
        assert (mail.task, mail.priority, mail.tags) == ("app.send", 3, ("t",))
        assert mail.headers == {"own": "1", "trace": "x"}
        assert mail.id == job_id("e1", "mail", clock.now())
        assert (crm.task, crm.headers) == ("app.crm", {"own": "0", "trace": "x"})
        [[told], _] = json.decode(crm.payload, type=tuple[tuple[Event[Any]], Any])
        assert told == Event(
            id="e1", name=NAME, payload={"user": 42}, published_at=as_datetime(clock.now()),
            key="42",
        )  # fmt: skip
        assert (later.state, later.due) == (State.SCHEDULED, clock.now() + MINUTE)
        assert later.expires_at == clock.now() + HOUR

    async def test_events_find_their_subscriptions(self, store: Store) -> None:
        await subscribe(
            store,
            exact=make_spec("user.registered", "user.gone"),
            one=make_spec("user.*"),
            any=make_spec("user.#"),
            all=make_spec("#"),
        )
        assert await getting(store, "user.registered") == ["all", "any", "exact", "one"]
        assert await getting(store, "user.gone") == ["all", "any", "exact", "one"]
        assert await getting(store, "user.other") == ["all", "any", "one"]
        assert await getting(store, "user.address.changed") == ["all", "any"]
        assert await getting(store, "user") == ["all", "any"]
        assert await getting(store, "order") == ["all"]
        assert await put(store, await read(store, "all"), make_spec("order"))
        assert await put(store, await read(store, "one"), None)
        assert await put(store, await read(store, "exact"), make_spec("user.*.*"))
        assert await getting(store, "user.registered!") == ["any"]
        assert await getting(store, "user.gone.now") == ["any", "exact"]
        assert await getting(store, "order.") == []

    async def test_i5_i13_a_repeat_answers_the_same_and_adds_nothing(
        self, store: Store, clock: VirtualClock
    ) -> None:
        """Whatever became of the jobs, and whoever subscribes by now."""
        await subscribe(store, mail=make_spec(), gone=make_spec())
        [first] = await publish(store)
        assert await publish(store) == [replace(first, added=False)]
        await subscribe(store, late=make_spec())
        assert await put(store, await read(store, "gone"), None)
        clock.advance("1h")
        assert await publish(store) == [replace(first, added=False)]
        assert {job.id for job in await find_all(store)} == set(first.jobs.values())
        await store.cancel(list(first.jobs.values()))
        await store.purge(list(first.jobs.values()))
        assert await publish(store) == [replace(first, added=False)]
        clock.advance("2d")
        await store.sweep(100)
        assert await publish(store, make_event(payload=Raw(b"1"))) == [replace(first, added=False)]
        assert await find_all(store) == []

    async def test_an_id_is_forgotten_after_its_ttl(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await subscribe(store, mail=make_spec())
        event = make_event(event_ttl=HOUR)
        [first] = await publish(store, event)
        clock.advance((HOUR - 1) / SECOND)
        [again] = await publish(store, event)
        assert not again.added
        clock.advance(1 / SECOND)
        [anew] = await publish(store, event)
        assert anew.added
        assert anew.jobs != first.jobs
        clock.advance("1h")
        await store.sweep(100)
        [once_more] = await publish(store, event)
        assert once_more.added
        assert len(await find_all(store)) == 3

    async def test_i13_an_id_with_a_time_makes_the_same_jobs_even_when_it_is_forgotten(
        self, store: Store, clock: VirtualClock
    ) -> None:
        """As after a backup was restored, or an outbox that was relayed late."""
        await subscribe(store, mail=make_spec())
        event = make_event(clock.new_id(), event_ttl=1)
        [first] = await publish(store, event)
        clock.advance("1h")
        await store.sweep(100)
        [again] = await publish(store, event)
        assert again == first
        assert len(await find_all(store)) == 1

    async def test_late_subscribers_get_nothing_old(self, store: Store) -> None:
        [answer] = await publish(store, make_event(key="42"))
        assert answer == Published()
        await subscribe(store, late=make_spec())
        assert await find_all(store) == []
        [again] = await publish(store, make_event(key="42"))
        assert again == Published(added=False)
        [another] = await publish(store, make_event("e2"))
        assert sorted(another.jobs) == ["late"]

    async def test_i6_i13_events_of_a_call_answer_in_their_order(self, store: Store) -> None:
        await subscribe(store, a=make_spec("a"), b=make_spec("b", "a"))
        events = [make_event("1", "b"), make_event("2", "a"), make_event("1", "b"),
                  make_event("3", "c")]  # fmt: skip
        answers = await publish(store, *events)
        assert [sorted(answer.jobs) for answer in answers] == [["b"], ["a", "b"], ["b"], []]
        assert [answer.added for answer in answers] == [True, True, False, True]
        assert answers[0].jobs == answers[2].jobs
        assert len(await find_all(store)) == 3
        assert await store.publish([]) == []

    async def test_i8_a_full_queue_refuses_no_event(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await store.configure([QueueSettings(queue=QUEUE, max_depth=1)])
        await add(store, make_job(clock))
        await subscribe(store, one=make_spec(), two=make_spec(), new=make_spec(queue="new"))
        [answer] = await publish(store)
        assert len(answer.jobs) == 3
        assert ((await stats_of(store)).depth, (await stats_of(store, "new")).depth) == (3, 1)

    async def test_the_first_event_of_a_key_is_kept(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await publish(
            store,
            make_event("1", key="k", event_ttl=HOUR, payload=Raw(b'"first"')),
            make_event("2", key="k", event_ttl=DAY),
            make_event("3", key="l", at=5),
            make_event("4"),
        )
        await publish(store, make_event("5", key="k", event_ttl=DAY))
        wanted = [(NAME, "l"), (NAME, "k"), ("user.gone", "k"), (NAME, "k\ud800"), (NAME, "l")]
        third, first, *others, again = await store.events(wanted)
        assert others == [None, None]
        assert third == again
        assert first is not None
        assert third is not None
        assert (first.id, first.name, first.key, bytes(first.payload)) == (
            "1", NAME, "k", b'"first"',
        )  # fmt: skip
        assert (first.at, first.until) == (clock.now(), clock.now() + HOUR)
        assert (third.id, third.at) == ("3", 5)
        assert await store.events([]) == []

    async def test_a_key_is_free_when_its_event_is_forgotten(
        self, store: Store, clock: VirtualClock
    ) -> None:
        await publish(store, make_event("1", key="k", event_ttl=HOUR))
        await publish(store, make_event("2", key="k", event_ttl=DAY))
        clock.advance("1h")
        assert await store.events([(NAME, "k")]) == [None], "the second was not the first"
        await publish(store, make_event("3", key="k", event_ttl=HOUR))
        [found] = await store.events([(NAME, "k")])
        assert found is not None
        assert found.id == "3"
        clock.advance("2d")
        await store.sweep(100)
        assert await store.events([(NAME, "k")]) == [None]

    async def test_events_that_cannot_be_read_back_are_not_stored(self, store: Store) -> None:
        await subscribe(store, good=make_spec())
        for spec in (
            make_spec(payload=Raw(b"[["), delay=FARTHEST),
            make_spec("half \ud800"),
            make_spec(unique_key="k"),
            make_spec(idempotency_key="k"),
            make_spec(after=(After("a"),)),
            make_spec(group="g"),
            make_spec(priority=2**80),
        ):
            changes = [
                SubscriptionChange("fine", 0, make_spec()),
                SubscriptionChange("bad", 0, spec),
            ]
            with pytest.raises(ConfigError, match="cannot be stored"):
                await store.subscribe(changes)
        for event in (
            make_event(payload=Raw(b"[[")),
            make_event(payload=Raw(b'"\xff"')),
            make_event("half \ud800"),
            make_event(event_ttl=2**80),
            make_event(event_ttl=0),
            make_event(key=7),
        ):
            with pytest.raises(EnqueueError, match="cannot be stored"):
                await publish(store, make_event("fine"), event)
        page = await store.subscriptions(limit=9)
        assert [found.name for found in page.subscriptions] == ["good"]
        assert await find_all(store) == []
        [answer] = await publish(store, make_event("fine"))
        assert answer.added

    async def test_i13_publishers_in_two_handles_add_an_event_once(
        self, store: Store, other: Store
    ) -> None:
        await subscribe(store, mail=make_spec(), crm=make_spec("user.#"))
        answers = await asyncio.gather(*(publish(handle) for handle in (store, other, store)))
        assert sorted(answer.added for [answer] in answers) == [False, False, True]
        assert len({tuple(sorted(answer.jobs.items())) for [answer] in answers}) == 1
        assert len(await find_all(other)) == 2

    @pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[]", b'{"patterns":1}', b"\xff"])
    async def test_a_subscription_that_cannot_be_read_stops_no_other(
        self, store: Store, raw: RawAccess, damage: bytes
    ) -> None:
        await subscribe(store, one=make_spec(), two=make_spec(), three=make_spec("user.#"))
        raw.corrupt_subscription("two", damage)
        assert await getting(store, NAME) == ["one", "three"]
        page = await store.subscriptions(limit=9)
        assert {found.name: found.spec is None for found in page.subscriptions} == {
            "one": False, "two": True, "three": False,
        }  # fmt: skip
        assert await put(store, await read(store, "two"), make_spec())
        [answer] = await publish(store, make_event("later"))
        assert sorted(answer.jobs) == ["one", "three", "two"]
