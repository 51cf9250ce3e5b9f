"""Events in the random lives of a store: the rules, and what a model knows of them.

The model holds what was answered and what is kept; which jobs an event makes it says again, in
words of its own: the union over its subscriptions' patterns, as regular expressions.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec import Raw

from backline.fanout import (
    Publication,
    Published,
    SubscriptionChange,
    SubscriptionRecord,
    SubscriptionSpec,
    job_id,
)
from backline.job import DAY, SECOND, Awaited, Enqueued, JobId, JobRequest, Micros
from backline.store import Store
from backline.testing.lives import AWAITED, FOLLOW_UPS, LIMITS, QUEUES, TERMS

NAMES: Final = ("s1", "s2", "s3")
EVENTS: Final = ("a", "a.b", "a.b.c", "d.b")
PATTERNS: Final = (*EVENTS, "a.*", "*.b", "a.#", "#", "#.c", "*")
_specs: Final = st.builds(
    SubscriptionSpec,
    patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(tuple),
    job=st.builds(
        JobRequest,
        id=st.just(""),
        task=st.just("t"),
        queue=st.sampled_from(QUEUES),
        delay=st.sampled_from([0, 0, SECOND]),
        terms=st.just(TERMS),
        limits=st.sampled_from([None, None, *LIMITS]),
        follow_ups=st.just(()) | FOLLOW_UPS,
    ),
)
_events: Final = st.fixed_dictionaries(
    {
        "name": st.sampled_from(EVENTS),
        "key": st.sampled_from([None, "k", "l"]),
        "event_ttl": st.sampled_from([SECOND, 40 * SECOND, 3 * DAY]),
    }
)


class JobModel(Protocol):
    """What is asked of the model of the jobs."""

    now: Micros

    def add(self, request: JobRequest) -> Enqueued:
        """Add a job whatever the depth of its queue."""
        ...


@dataclass
class EventModel:
    """Subscriptions and events without a store."""

    subscriptions: dict[str, SubscriptionSpec] = field(default_factory=dict)
    published: dict[str, tuple[Micros, dict[str, JobId]]] = field(default_factory=dict)

    def publish(self, event: Publication, jobs: JobModel) -> Published:
        """What becomes of an event; its jobs go to `jobs`."""
        until, known = self.published.get(event.id, (0, {}))
        if until > jobs.now:
            return Published(jobs=known, added=False)
        made: dict[str, JobId] = {}
        for name, spec in sorted(self.subscriptions.items()):
            if any(_expression(pattern).fullmatch(f".{event.name}") for pattern in spec.patterns):
                made[name] = job_id(event.id, name, jobs.now)
                due = jobs.now + spec.job.delay
                jobs.add(_request(spec, made[name], due))
        self.published[event.id] = jobs.now + event.event_ttl, made
        return Published(jobs=made)


class FanoutRules:
    """Rules of a machine that has a store, a clock and a model of its jobs."""

    store: Store
    model: Any
    clock: Any
    run: Any

    def __init__(self) -> None:
        super().__init__()
        self.events = EventModel()
        self.sent: list[Publication] = []

    @rule(name=st.sampled_from(NAMES), spec=st.one_of(_specs, _specs, st.none()))
    def subscribe(self, name: str, spec: SubscriptionSpec | None) -> None:
        """A subscription is made, changed or dropped."""
        found = self._subscriptions().get(name)
        version = 0 if found is None else found.version
        done = self.run(self.store.subscribe([SubscriptionChange(name, version, spec)]))
        assert done == [found is not None or spec is not None]
        if spec is None:
            self.events.subscriptions.pop(name, None)
        else:
            self.events.subscriptions[name] = spec

    @rule(batch=st.lists(_events, min_size=1, max_size=3), again=st.booleans())
    def publish(self, batch: list[dict[str, Any]], again: bool) -> None:
        """New events, perhaps with a repeat of the last ones in the same call."""
        new = [Publication(id=self.clock.new_id(), payload=Raw(b"1"), **each) for each in batch]
        self._publish([*(self.sent[-2:] if again else ()), *new])
        self.sent += new

    @rule(picks=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def publish_again(self, picks: list[int]) -> None:
        """Some of the last: their replies were lost (I5)."""
        self._publish([self.sent[-1 - n % len(self.sent)] for n in picks if self.sent])

    @rule(awaited=st.sampled_from(AWAITED))
    def tell(self, awaited: Awaited) -> None:
        """What some jobs may wait for."""
        fields = {"name": awaited.name, "key": awaited.key, "event_ttl": SECOND}
        self.publish([fields], again=False)

    @invariant()
    def same_events(self) -> None:
        """Every subscription, and every event that is kept."""
        found = {name: each.spec for name, each in self._subscriptions().items()}
        assert found == self.events.subscriptions
        keys = [(name, key) for name in EVENTS for key in ("k", "l")]
        kept = self.run(self.store.events(keys))
        assert kept == [self.model.waits.kept(*key, self.model.now) for key in keys]

    def _publish(self, events: list[Publication]) -> None:
        recent = [each for each in events if self._is_recent(each)]
        ours = self.run(self.store.publish(recent))
        assert ours == [self.events.publish(each, self.model) for each in recent]
        self.model.hear(each for each, answer in zip(recent, ours, strict=True) if answer.added)
        self.model.shares.settle()

    def _is_recent(self, event: Publication) -> bool:
        """Ids of jobs are known for ever to the model: none is sent again a day after."""
        until, _ = self.events.published.get(event.id, (0, {}))
        return until == 0 or self.model.now < until - event.event_ttl + DAY // 2

    def _subscriptions(self) -> dict[str, SubscriptionRecord]:
        page = self.run(self.store.subscriptions(limit=9))
        return {each.name: each for each in page.subscriptions}


def _expression(pattern: str) -> re.Pattern[str]:
    """The pattern for names with a dot before every word."""
    words = [r"(\.\w+)*" if w == "#" else r"\.\w+" if w == "*" else rf"\.{w}"
             for w in pattern.split(".")]  # fmt: skip
    return re.compile("".join(words))


def _request(spec: SubscriptionSpec, new_id: JobId, due: Micros) -> JobRequest:
    job = spec.job
    return JobRequest(
        id=new_id,
        task=job.task,
        queue=job.queue,
        terms=job.terms,
        run_at=due,
        limits=job.limits,
        follow_ups=job.follow_ups,
    )
