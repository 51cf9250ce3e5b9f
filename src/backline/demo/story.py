"""The story: the same work in the request and through the queue, a kill, a corrupt photograph.

Each act runs on the stage, measures, and returns its figures; nothing here decides how they
look, or whether they are good.
"""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from backline.clock import SYSTEM_CLOCK
from backline.demo.album import Album, half
from backline.demo.figures import Interrupted, Kill, Repair, Uploads
from backline.demo.library import USERS, Photo
from backline.demo.load import Browser, Form, Plan
from backline.demo.stage import SELDOM_S, Stage, StageError, eventually
from backline.job import JobRecord, Micros
from backline.states import LIVE, TERMINAL, State
from backline.store import Filter

PATIENCE_S: Final = 10.0
"""How long a user waits for an answer."""
_DONE_WITHIN_S: Final = 300.0
_MOST_KILLS: Final = 5

T = TypeVar("T")


class Story:
    """Three acts on one stage. Each raises StageError if it cannot be played to its end."""

    def __init__(self, stage: Stage, album: Album) -> None:
        self._stage = stage
        self._album = album

    async def in_the_request(self, users: int, uploads_each: int) -> Uploads:
        """Act 1, first half: each request makes its thumbnails before it answers."""
        before = self._stage.library.count()
        plan = self._plan("/inline/photos", users, uploads_each)
        outcome = await self._stage.crowd(plan)
        photos = await self._rest(before)
        return Uploads(
            way="in the request",
            users=users,
            answers=outcome.uploads,
            look_ups=outcome.look_ups,
            finished=self._made(photos, outcome.began_at),
        )

    async def through_the_queue(self, users: int, uploads_each: int) -> Uploads:
        """Act 1, second half: each request enqueues a job and answers."""
        before = self._stage.library.count()
        outcome = await self._stage.crowd(self._plan("/photos", users, uploads_each))
        photos = await self._rest(before)
        await self._ended(photos)
        return Uploads(
            way="through the queue",
            users=users,
            answers=outcome.uploads,
            look_ups=outcome.look_ups,
            finished=self._made(photos, outcome.began_at),
        )

    async def kill_a_worker(self, users: int, uploads_each: int) -> Kill:
        """Act 2: `kill -9` to a worker that is running a job, a quarter of the way through."""
        stage, before = self._stage, self._stage.library.count()
        plan = self._plan("/photos", users, uploads_each)
        crowd = asyncio.create_task(stage.crowd(plan))
        try:
            await self._quarter_done(users * uploads_each)
            pid, killed_at = await self._kill()
            outcome = await crowd
        finally:
            crowd.cancel()
        photos = await self._rest(before)
        jobs = await self._ended(photos)
        return Kill(
            jobs=len(jobs),
            succeeded=sum(job.state is State.SUCCEEDED for job in jobs),
            leases=sum(job.attempt for job in jobs),
            thumbnails=sum(len(stage.library.made(photo.id)) for photo in photos),
            pid=pid,
            killed_at=[moment - outcome.began_at for moment in killed_at],
            interrupted=[
                Interrupted(
                    job=job.id,
                    running_again=(job.started_at or 0) - killed_at[-1],
                    succeeded=job.state is State.SUCCEEDED,
                )
                for job in jobs
                if job.losses
            ],
            finished=_ends(jobs, outcome.began_at),
        )

    async def repair_a_photograph(self) -> Repair:
        """Act 3: half a photograph is uploaded, fails for good, is replaced and redriven."""
        stage, whole = self._stage, self._album.photos[0]
        form = Form(whole.name, half(whole), USERS[0])
        head = f"POST /photos HTTP/1.1\r\ncontent-type: {form.content_type}"
        began_at = SYSTEM_CLOCK.now()
        async with Browser(stage.port) as browser:
            status = await browser.request(head, form.body)
        if status != HTTPStatus.ACCEPTED:
            raise StageError(f"the corrupt photograph was answered with {status}")
        [photo] = stage.library.latest(1)
        attempts: dict[int, Micros] = {}

        async def ended() -> JobRecord | None:
            job = await self._job(photo)
            if job.attempt and job.started_at is not None:
                attempts[job.attempt] = job.started_at - began_at
            return job if job.state in TERMINAL else None

        dead = await eventually("the corrupt photograph to fail", ended, within_s=_DONE_WITHIN_S)
        started, redriven_at = list(attempts.values()), None
        if dead.state is State.DEAD:
            stage.library.keep(photo.id, whole.read_bytes())
            redriven_at = SYSTEM_CLOCK.now() - began_at
            await stage.store.redrive([dead.id])
        job = await eventually("the redriven job to end", ended, within_s=_DONE_WITHIN_S)
        return Repair(
            job=job.id,
            reason=_reason(dead),
            failures=dead.failures,
            started=started,
            dead_at=_since(began_at, dead) if dead.state is State.DEAD else None,
            redriven_at=redriven_at,
            succeeded_at=_since(began_at, job) if job.state is State.SUCCEEDED else None,
            thumbnails=len(stage.library.made(photo.id)),
        )

    def _plan(self, path: str, users: int, uploads_each: int) -> Plan:
        return Plan(
            port=self._stage.port,
            path=path,
            photos=[str(photo) for photo in self._album.photos],
            users=list(USERS[:users]),
            uploads_each=uploads_each,
            patience_s=PATIENCE_S,
        )

    async def _rest(self, before: int) -> list[Photo]:
        """Wait until the service has nothing in hand, and return what it took since `before`.

        A user who gave up leaves a request behind that is still being worked on.
        """
        library = self._stage.library

        async def idle() -> bool | None:
            return library.saved() == library.count() or None

        await _in_the_end("the service to finish its requests", idle)
        return library.latest(library.count() - before)

    def _made(self, photos: Sequence[Photo], began_at: Micros) -> list[Micros]:
        """When each of these photographs had all its thumbnails; by the files themselves."""
        times = [self._stage.library.made_at(photo.id) for photo in photos]
        return sorted(time - began_at for time in times if time is not None)

    async def _ended(self, photos: Sequence[Photo]) -> list[JobRecord]:
        """Wait until no job is left to do, and return those of these photographs."""

        async def drained() -> bool | None:
            counts = await self._counts()
            return not any(counts[state] for state in LIVE) or None

        await _in_the_end("all thumbnails", drained)
        records = await self._stage.store.get([photo.job for photo in photos if photo.job])
        jobs = [job for job in records if job]
        if len(jobs) < len(photos):
            raise StageError(f"the store knows {len(jobs)} jobs of {len(photos)} photographs")
        return jobs

    async def _quarter_done(self, jobs: int) -> None:
        start = (await self._counts())[State.SUCCEEDED]

        async def reached() -> bool | None:
            return (await self._counts())[State.SUCCEEDED] - start >= jobs // 4 or None

        await eventually("a quarter of the jobs", reached, within_s=_DONE_WITHIN_S, every_s=0.02)

    async def _counts(self) -> Counter[State]:
        """Jobs by state, of all queues."""
        counts: Counter[State] = Counter()
        for queue in await self._stage.store.stats():
            counts.update(queue.counts)
        return counts

    async def _kill(self) -> tuple[int, list[Micros]]:
        """Kill a worker in the middle of a job: its process id, and when (wall time).

        A job may end in the instant between the look and the kill; then there is another.
        """
        moments: list[Micros] = []
        while len(moments) < _MOST_KILLS:
            job, pid = await eventually("a worker at work", self._at_work, within_s=PATIENCE_S)
            moments.append(SYSTEM_CLOCK.now())
            os.kill(pid, signal.SIGKILL)
            fate = partial(self._fate, job)
            if await eventually("its job to be settled", fate, within_s=PATIENCE_S):
                return pid, moments
        raise StageError(f"{_MOST_KILLS} kills met no job that was running")

    async def _at_work(self) -> tuple[JobRecord, int] | None:
        store = self._stage.store
        pids = {report.worker: report.pid for report in await store.workers()}
        page = await store.find(Filter(states=frozenset({State.RUNNING})), limit=10)
        return next(((job, pids[job.worker]) for job in page.jobs if job.worker in pids), None)

    async def _fate(self, job: JobRecord) -> bool | None:
        """Whether the kill interrupted the job; None: not known yet."""
        [now] = await self._stage.store.get([job.id])
        assert now is not None, "a job of this minute is not purged"
        known = now.losses > job.losses or now.attempt > job.attempt or now.state in TERMINAL
        return now.losses > job.losses if known else None

    async def _job(self, photo: Photo) -> JobRecord:
        [job] = await self._stage.store.get([photo.job or ""])
        if job is None:
            raise StageError(f"the store does not know job {photo.job}")
        return job


async def _in_the_end(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    return await eventually(what, look, within_s=_DONE_WITHIN_S, every_s=SELDOM_S)


def _since(began_at: Micros, job: JobRecord) -> Micros:
    return (job.finished_at or began_at) - began_at


def _ends(jobs: Sequence[JobRecord], began_at: Micros) -> list[Micros]:
    return sorted(_since(began_at, job) for job in jobs if job.state is State.SUCCEEDED)


def _reason(job: JobRecord) -> str:
    return f"{job.errors[-1].kind}: {job.errors[-1].message}" if job.errors else ""
