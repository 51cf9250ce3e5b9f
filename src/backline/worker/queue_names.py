"""Queues that nobody knows: who serves one waits for ever, and nothing says why."""

import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from backline.display import safe
from backline.errors import StoreError
from backline.store import Store

log = logging.getLogger("backline.worker")

_MOST: Final = 9
"""So many names are told."""


async def strange_queues(store: Store, served: Iterable[str], named: AbstractSet[str]) -> str:
    """What to say of served queues that neither the code has `named` nor the store ever had.

    "" if there are none; what the code names is not looked up. Raises StoreError.
    """
    strange = set(served) - named
    if not strange:
        return ""
    there = named | {each.queue for each in await store.stats()}
    strange -= there
    if not strange:
        return ""
    plural = len(strange) > 1
    return (
        f"no task here uses the queue{'s' if plural else ''} {_list(strange)}, and the store has "
        f"never had {'them' if plural else 'it'}: {'are they' if plural else 'is it'} misspelt? "
        f"The queues are {_list(there)}"
    )


async def warn_of_strange_queues(
    store: Store, served: Iterable[str], named: AbstractSet[str]
) -> None:
    """Log what `strange_queues` says; of a store that is away others will tell."""
    try:
        told = await strange_queues(store, served, named)
    except StoreError:
        return
    if told:
        log.warning("%s", told)


def _list(names: AbstractSet[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _MOST
    told = [safe(name) for name in ordered[:_MOST]]
    return ", ".join([*told, f"... {more:,} more"] if more > 0 else told)
