"""The subscriptions of a memory store, and the events that it remembers."""

from collections import defaultdict
from collections.abc import Collection
from heapq import heappop, heappush

from msgspec.structs import replace

from backline.fanout import (
    KeptEvent,
    Publication,
    Published,
    SubscriptionChange,
    SubscriptionRecord,
    is_exact,
    jobs_of,
)
from backline.job import Micros
from backline.store import Subscriptions
from backline.stores.memory.firsts import Firsts
from backline.stores.memory.table import Table


class Fanout:
    """Subscriptions by name and by what they listen to; events by id."""

    def __init__(self, firsts: Firsts) -> None:
        self._firsts = firsts
        self._rows: dict[str, SubscriptionRecord] = {}
        self._exact: defaultdict[str, set[str]] = defaultdict(set)
        """Subscriptions by each name of events that they spell out."""
        self._wild: set[str] = set()
        """Those that have a pattern besides."""
        self._versions = 0
        """The last version given to any of them."""
        self._published: dict[str, tuple[Micros, Published]] = {}
        """By the event's id: until when it is remembered, and what became of it."""
        self._forgetting: list[tuple[Micros, str, tuple[str, str]]] = []

    def page(self, limit: int, after: str | None, names: Collection[str] | None) -> Subscriptions:
        """A page of all, or of those of these names."""
        wanted = self._rows if names is None else self._rows.keys() & set(names)
        following = sorted(name for name in wanted if after is None or name > after)
        page = following[: max(limit, 0)]
        more = len(following) > len(page) > 0
        return Subscriptions([self._rows[name] for name in page], page[-1] if more else None)

    def change(self, change: SubscriptionChange) -> bool:
        """Apply a change to the version it was made for."""
        row = self._rows.get(change.name)
        if change.version != (0 if row is None else row.version):
            return False
        if row is None and change.spec is None:
            return False
        self._unlisten(change.name)
        if change.spec is None:
            del self._rows[change.name]
            return True
        self._versions += 1
        self._rows[change.name] = SubscriptionRecord(
            name=change.name, spec=change.spec, version=self._versions
        )
        for pattern in change.spec.patterns:
            (self._exact[pattern] if is_exact(pattern) else self._wild).add(change.name)
        return True

    def publish(self, event: Publication, table: Table, now: Micros, tick: Micros) -> Published:
        """Remember an event, if it is new, and add its jobs."""
        until, known = self._published.get(event.id, (0, None))
        if known is not None and until > now:
            return replace(known, added=False)
        listening = self._exact.get(event.name, set()) | self._wild
        found = [row for name in listening if (row := self._rows.get(name)) is not None]
        jobs = jobs_of(event, found, now)
        answer = Published(jobs={name: job.id for name, job in jobs.items()})
        self._remember(event, answer, now)
        table.add_call([*jobs.values()], now, tick)
        return answer

    def forget(self, limit: int, now: Micros) -> int:
        """Forget events whose time is over, at most `limit`; how many."""
        count = 0
        while count < limit and self._forgetting and self._forgetting[0][0] <= now:
            count += 1
            _, event_id, place = heappop(self._forgetting)
            if event_id in self._published and self._published[event_id][0] <= now:
                del self._published[event_id]
            self._firsts.forget(place, now)
        return count

    def _remember(self, event: Publication, answer: Published, now: Micros) -> None:
        until = now + event.event_ttl
        self._published[event.id] = until, answer
        if event.key is not None:
            kept = KeptEvent(
                id=event.id, name=event.name, key=event.key, payload=event.payload,
                at=now if event.at is None else event.at, until=until,
            )  # fmt: skip
            self._firsts.publish(kept, now)
        heappush(self._forgetting, (until, event.id, (event.name, event.key or "")))

    def _unlisten(self, name: str) -> None:
        row = self._rows.get(name)
        self._wild.discard(name)
        for pattern in () if row is None or row.spec is None else row.spec.patterns:
            self._exact[pattern].discard(name)
            if not self._exact[pattern]:
                del self._exact[pattern]
