"""Subscriptions in a store: declared from code, listed and dropped."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from backline.app.arranging import BITE
from backline.app.say import Say
from backline.fanout import SubscriptionChange, SubscriptionRecord, SubscriptionSpec
from backline.store import Store
from backline.task import Registry

WhoHasTheSay: TypeAlias = Callable[[], Awaitable[Say]]


async def declare_subscriptions(store: Store, registry: Registry, say: WhoHasTheSay) -> None:
    """Let the store have the subscriptions that stand in code, as far as we have the say.

    That of a task that stays without one is dropped; one that is gone with its task stays. One
    read if nothing is new. Raises StoreError, and ConfigError for one that cannot be stored.
    """
    specs: dict[str, SubscriptionSpec | None] = dict.fromkeys(registry.names())
    specs.update(registry.subscriptions)
    names = list(specs)
    for at in range(0, len(names), BITE):
        left = {name: specs[name] for name in names[at : at + BITE]}
        while left:
            changes = await _news(store, left)
            if changes:
                ours = await say()
                changes = [change for change in changes if ours.is_ours(change.name)]
            answers = await store.subscribe(changes) if changes else []
            pairs = zip(changes, answers, strict=True)
            left = {change.name: change.spec for change, done in pairs if not done}


async def _news(
    store: Store, specs: Mapping[str, SubscriptionSpec | None]
) -> list[SubscriptionChange]:
    """What would make the store's those of the code."""
    page = await store.subscriptions(limit=len(specs), names=list(specs))
    found = {each.name: each for each in page.subscriptions}
    changes: list[SubscriptionChange] = []
    for name, spec in specs.items():
        stored = found.get(name)
        if stored is None and spec is not None:
            changes.append(SubscriptionChange(name, 0, spec))
        elif stored is not None and (spec is None or stored.spec != spec):
            changes.append(SubscriptionChange(name, stored.version, spec))
    return changes


async def drop_subscription(store: Store, name: str) -> bool:
    """Drop a subscription. False: there was none."""
    while True:
        page = await store.subscriptions(limit=1, names=[name])
        if not page.subscriptions:
            return False
        [found] = page.subscriptions
        [done] = await store.subscribe([SubscriptionChange(name, found.version, None)])
        if done:
            return True


async def every_subscription(store: Store) -> list[SubscriptionRecord]:
    """All subscriptions of a store, by name."""
    found: list[SubscriptionRecord] = []
    after: str | None = None
    while True:
        page = await store.subscriptions(limit=BITE, after=after)
        found += page.subscriptions
        after = page.after
        if after is None:
            return sorted(found, key=lambda each: each.name)
