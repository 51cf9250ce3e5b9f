"""What the service's page shows: the queue, the workers and the latest photographs."""

from collections import Counter
from typing import Any, Final, NamedTuple

from starlette.concurrency import run_in_threadpool

from backline.demo.library import Library, Photo
from backline.demo.thumbnails import SIZES
from backline.job import JobRecord
from backline.states import State
from backline.store import Filter, Store

SHOWN: Final = 48
_CARD_SIZE: Final = 256
_MOST_RUNNING: Final = 100


class Card(NamedTuple):
    """A photograph on the page."""

    id: str
    title: str
    owner: str
    state: str
    """The state of its job; `inline` if it never had one."""
    sizes: int
    """How many of its thumbnails are there."""
    of: int
    thumbnail: str | None
    largest: str | None
    reason: str
    """Why it has no thumbnails and will get none by itself."""


class Queue(NamedTuple):
    """How the queue stands."""

    depth: int
    running: int
    succeeded: int
    dead: int


class Staff(NamedTuple):
    """A worker, and how much it has in hand."""

    pid: int
    running: int


async def overview(store: Store, library: Library) -> dict[str, Any]:
    """What the templates need."""
    photos = await run_in_threadpool(library.latest, SHOWN)
    records = await store.get([photo.job for photo in photos if photo.job])
    jobs = {record.id: record for record in records if record}
    sizes = await run_in_threadpool(lambda: [library.made(photo.id) for photo in photos])
    cards = [
        _card(photo, jobs.get(photo.job or ""), made)
        for photo, made in zip(photos, sizes, strict=True)
    ]
    return {"queue": await _queue(store), "workers": await _staff(store), "cards": cards}


async def _queue(store: Store) -> Queue:
    for queue in await store.stats():
        if queue.queue == "photos":
            states = (State.RUNNING, State.SUCCEEDED, State.DEAD)
            return Queue(queue.depth, *(queue.counts.get(state, 0) for state in states))
    return Queue(0, 0, 0, 0)


async def _staff(store: Store) -> list[Staff]:
    running = Filter(queue="photos", states=frozenset({State.RUNNING}))
    jobs = (await store.find(running, limit=_MOST_RUNNING)).jobs
    held = Counter(job.worker for job in jobs)
    return [Staff(report.pid, held[report.worker]) for report in await store.workers()]


def _card(photo: Photo, job: JobRecord | None, made: frozenset[int]) -> Card:
    state = job.state if job else "inline"
    base = f"/thumbnails/{photo.id}"
    return Card(
        photo.id,
        photo.title,
        photo.owner,
        state,
        len(made),
        len(SIZES),
        thumbnail=f"{base}/{_CARD_SIZE}.jpg" if _CARD_SIZE in made else None,
        largest=f"{base}/{max(made)}.jpg" if made else None,
        reason=job.errors[-1].message if job and state is State.DEAD and job.errors else "",
    )
