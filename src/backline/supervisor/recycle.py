"""Replacing workers by fresh ones, which run the code as it is now."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from backline.job import SECOND, Micros
from backline.supervisor.crew import WorkerSlot
from backline.supervisor.processes import Child

log = logging.getLogger("backline.supervisor")

_READY_WITHIN: Final[Micros] = 60 * SECOND
"""How long a fresh worker may take to say hello."""

Works: TypeAlias = Callable[[Child], bool]
"""Whether a worker has said hello, and as one that can work here."""


async def renew_all(places: Sequence[WorkerSlot], works: Works) -> bool:
    """Replace every worker, one after the other.

    Each goes on until a fresh one works beside it. False: one could not be replaced, and it
    and those after it go on as they are.
    """
    for place in places:
        if not await _renew(place, works):
            return False
    return True


async def _renew(place: WorkerSlot, works: Works) -> bool:
    old = place.child
    if old is None or not old.alive:  # it waits for its next start, which runs the new code
        place.hurry()
        return True
    try:
        fresh = place.start()
    except OSError as error:
        log.error("cannot start a worker: %s; %s goes on", error, old.name)  # noqa: TRY400
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READY_WITHIN / SECOND):
            await fresh.spoke.wait()
    if not works(fresh):
        if fresh.hello is None:
            fresh.kill()  # it runs nothing
        log.error("the new worker cannot work: %s goes on with the code it has", old.name)
        return False
    place.hand_over(fresh)
    await asyncio.wait([old.ended])
    log.info("worker %s stopped", old.name)
    return True
