"""The part of a store that events fan out in; for what holds of every method see
`backline.store.contract`.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from backline.fanout import KeptEvent, Publication, Published, SubscriptionChange
from backline.store.values import Subscriptions


class FanoutStore(Protocol):
    """Who subscribes to what, and which events were published."""

    async def subscriptions(
        self, *, limit: int, after: str | None = None, names: Collection[str] | None = None
    ) -> Subscriptions:
        """A page of subscriptions, all or those of `names`, in an order of the store's own.

        What follows `after`, as for `schedules`. What cannot be read has no `spec`.
        """
        ...

    async def subscribe(self, changes: Sequence[SubscriptionChange]) -> list[bool]:
        """Make, change and drop subscriptions, in their order.

        True: done. False: it is not that version any more, and nothing was changed: read it
        again. A repeat answers False. What was published before makes no job of a new one.

        Raises ConfigError for a subscription that could not be read back as what it is, or
        whose jobs could not be: then nothing of the call was written.
        """
        ...

    async def publish(self, events: Sequence[Publication]) -> list[Published]:
        """Add a job for each event and subscription that it matches, all in one commit.

        Which ones these are says `fanout.jobs_of`. A full queue refuses none. An event whose
        id is remembered adds nothing, whatever the subscriptions are by now: it is answered as
        it was the first time (I5). So is the second of two of a call with one id. Ids are
        remembered for `event_ttl`, by the wall clock.

        The first event of a (name, key) is kept as long, for `events`. Every wait of a job for an
        event of this name and key is over by it, unless its time is; those of the jobs that are
        asleep are due now, and come to their queues after the jobs of all events of the call.

        Raises EnqueueError for an event that could not be read back as what it is: then
        nothing of the call was written.
        """
        ...

    async def events(self, keys: Sequence[tuple[str, str]]) -> list[KeptEvent | None]:
        """The event that is kept of each (name, key); None: none was published lately."""
        ...
