"""Schedules at run time, and the ones that stand in code."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from msgspec.structs import replace

from backline.app.arranging import Decide, arrange, delete, every_schedule
from backline.app.home import Home
from backline.display import shown
from backline.duration import Duration
from backline.errors import ConfigError, ScheduleNotFound
from backline.job import JobId, JobRequest, Micros, as_datetime
from backline.schedule import (
    ScheduleRecord,
    ScheduleSpec,
    change,
    in_words,
)
from backline.store import Store
from backline.task import Job, job_for, missed_of, rule_of, schedule_of

T = TypeVar("T")


class Producer(Protocol):
    """What schedules ask of their app."""

    def new_id(self) -> JobId:
        """A fresh id for a job."""
        ...

    def headers_now(self) -> Mapping[str, str]:
        """What the headers hooks say in the context of the caller."""
        ...

    async def asend(self, request: JobRequest) -> Job[Any]:
        """Enqueue one job; returns after the commit."""
        ...

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from sync code. Raises BacklineError, naming `twin`, on a running loop."""
        ...


class Schedule:
    """A schedule as it was when it was asked for; times are aware, in UTC."""

    __slots__ = ("record",)

    def __init__(self, record: ScheduleRecord) -> None:
        self.record = record
        """All that the store knows of it."""

    @property
    def name(self) -> str:
        """What it is called; of one that stands in code, the name of its task."""
        return self.record.name

    @property
    def when(self) -> str:
        """When it runs, in words: "every day at 03:00, Europe/Paris"."""
        spec = self.record.spec
        return "what is stored cannot be read" if spec is None else in_words(spec.rule)

    @property
    def task(self) -> str:
        """The task whose jobs it enqueues; empty if that cannot be read."""
        return "" if self.record.spec is None else self.record.spec.job.task

    @property
    def paused(self) -> bool:
        """Somebody paused it."""
        return self.record.paused

    @property
    def declared(self) -> bool:
        """It stands, or stood, in code."""
        return self.record.declared is not None

    @property
    def edited(self) -> bool:
        """It is not what code says, since somebody changed it at run time."""
        return self.record.edited

    @property
    def next_at(self) -> datetime | None:
        """When it enqueues its next job; None: it is paused, or never again."""
        return None if self.record.next is None else as_datetime(self.record.next)

    @property
    def last_at(self) -> datetime | None:
        """The newest of its times that was used; None: none yet.

        Also if a job that held the unique key was still there, and so none was enqueued.
        """
        return None if self.record.ran is None else as_datetime(self.record.ran)

    def __repr__(self) -> str:
        return f"<Schedule {self.name}: {self.when}{', paused' if self.paused else ''}>"


class Schedules:
    """The schedules in an app's store; `app.schedules`.

    Changes are atomic, and hold for every scheduler from their commit on. All methods raise
    StoreError, and may be repeated after StoreUnavailable; but a repeated `run` may enqueue
    a second job.
    """

    def __init__(self, producer: Producer, home: Callable[[], Home]) -> None:
        self._producer = producer
        self._home = home

    async def acreate(
        self,
        name: str,
        job: JobRequest,
        *,
        cron: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        missed: Literal["skip", "once", "all"] = "skip",
    ) -> Schedule:
        """Make a schedule that enqueues such a job, `task.job(...)`, from now on.

        Raises ConfigError for a rule that cannot be, and if there is another of that name; the
        same once more changes nothing, and one that is paused stays so.
        """
        spec = schedule_of(name, job, {"cron": cron, "tz": tz, "every": every}, missed)

        def make(found: ScheduleRecord | None, now: Micros) -> ScheduleRecord:
            if found is None:
                return change.created(name, spec, now)
            if found.spec == spec:
                return found  # by us, and the reply was lost, or when the service last started
            raise ConfigError(
                f"there is a schedule {shown(name)} already, and it is another: edit it, or "
                "delete it; one that code makes at each start is declared: app.schedule(...)"
            )

        return await self._change(name, make)

    def create(
        self,
        name: str,
        job: JobRequest,
        *,
        cron: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        missed: Literal["skip", "once", "all"] = "skip",
    ) -> Schedule:
        """Make a schedule that enqueues such a job, `task.job(...)`, from now on.

        Raises ConfigError for a rule that cannot be, and if there is another of that name; the
        same once more changes nothing, and one that is paused stays so.
        """
        return self._wait(
            lambda: self.acreate(name, job, cron=cron, tz=tz, every=every, missed=missed),
            "acreate",
        )

    async def aedit(
        self,
        name: str,
        *,
        job: JobRequest | None = None,
        cron: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        missed: Literal["skip", "once", "all"] | None = None,
    ) -> Schedule:
        """Change what is given of a schedule; a new rule counts from now.

        What is not given stays: a new `cron` keeps the time zone, a new `tz` the times. Of a
        schedule that stands in code this holds until that part of its declaration changes.
        Raises ScheduleNotFound, ConfigError.
        """
        timing = {"cron": cron, "tz": tz, "every": every}
        where = f"schedule {shown(name)}"
        given: dict[str, Any] = {}
        if job is not None:
            given["job"] = job_for(job, where)
        if missed is not None:
            given["missed"] = missed_of(missed, where)

        def edit(found: ScheduleRecord | None, now: Micros) -> ScheduleRecord:
            known = _known(found, name)
            rule = rule_of(timing, where, None if known.spec is None else known.spec.rule)
            news = given if rule is None else {**given, "rule": rule}
            if known.spec is not None:
                spec = replace(known.spec, **news)
            elif news.keys() >= {"rule", "job"}:
                spec = ScheduleSpec(**news)
            else:
                raise ConfigError(
                    f"what is stored of schedule {shown(name)} cannot be read: give job= and "
                    "its cron= or every=, or delete it"
                )
            return known if spec == known.spec else change.edited(known, spec, now)

        return await self._change(name, edit)

    def edit(
        self,
        name: str,
        *,
        job: JobRequest | None = None,
        cron: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        missed: Literal["skip", "once", "all"] | None = None,
    ) -> Schedule:
        """Change what is given of a schedule; a new rule counts from now.

        What is not given stays: a new `cron` keeps the time zone, a new `tz` the times. Of a
        schedule that stands in code this holds until that part of its declaration changes.
        Raises ScheduleNotFound, ConfigError.
        """
        return self._wait(
            lambda: self.aedit(name, job=job, cron=cron, tz=tz, every=every, missed=missed),
            "aedit",
        )

    async def apause(self, name: str) -> Schedule:
        """Let it enqueue nothing until `resume`. Raises ScheduleNotFound."""

        def pause(found: ScheduleRecord | None, now: Micros) -> ScheduleRecord:
            del now
            known = _known(found, name)
            return known if known.paused else change.paused(known)

        return await self._change(name, pause)

    def pause(self, name: str) -> Schedule:
        """Let it enqueue nothing until `resume`. Raises ScheduleNotFound."""
        return self._wait(lambda: self.apause(name), "apause")

    async def aresume(self, name: str) -> Schedule:
        """Let it go on from now; what a pause left out is not made up for.

        Raises ScheduleNotFound.
        """
        return await self._change(name, lambda found, now: change.resumed(_known(found, name), now))

    def resume(self, name: str) -> Schedule:
        """Let it go on from now; what a pause left out is not made up for.

        Raises ScheduleNotFound.
        """
        return self._wait(lambda: self.aresume(name), "aresume")

    async def adelete(self, name: str) -> bool:
        """Delete a schedule; jobs it has enqueued stay. False: there was none.

        One that stands in code is back within a minute, while its workers live: pause it instead.
        """
        return await self._home().run(lambda queue: delete(queue.store, name))

    def delete(self, name: str) -> bool:
        """Delete a schedule; jobs it has enqueued stay. False: there was none.

        One that stands in code is back within a minute, while its workers live: pause it instead.
        """
        return self._wait(lambda: self.adelete(name), "adelete")

    async def arun(self, name: str) -> Job[Any]:
        """Enqueue its job now, besides those of its times; also if it is paused.

        Raises ScheduleNotFound, ConfigError if it cannot be read, and as `enqueue` of a task:
        after StoreUnavailable the job may or may not be enqueued, and a repeat makes another,
        unless the task's `unique_key` and `unique_for` prevent it.
        """
        spec = (await self.aget(name)).record.spec
        if spec is None:
            raise ConfigError(f"what is stored of schedule {shown(name)} cannot be read")
        headers = {**self._producer.headers_now(), **spec.job.headers}
        request = replace(spec.job, id=self._producer.new_id(), headers=headers)
        return await self._producer.asend(request)

    def run(self, name: str) -> Job[Any]:
        """Enqueue its job now, besides those of its times; also if it is paused.

        Raises ScheduleNotFound, ConfigError if it cannot be read, and as `enqueue` of a task:
        after StoreUnavailable the job may or may not be enqueued, and a repeat makes another,
        unless the task's `unique_key` and `unique_for` prevent it.
        """
        return self._wait(lambda: self.arun(name), "arun")

    async def aget(self, name: str) -> Schedule:
        """The schedule as it is now. Raises ScheduleNotFound."""

        async def look(store: Store) -> ScheduleRecord:
            page = await store.schedules(limit=1, names=[name])
            return _known(next(iter(page.schedules), None), name)

        return Schedule(await self._home().run(lambda queue: look(queue.store)))

    def get(self, name: str) -> Schedule:
        """The schedule as it is now. Raises ScheduleNotFound."""
        return self._wait(lambda: self.aget(name), "aget")

    async def aall(self) -> list[Schedule]:
        """Every schedule, by name."""
        found = await self._home().run(lambda queue: every_schedule(queue.store))
        return [Schedule(record) for record in found]

    def all(self) -> list[Schedule]:
        """Every schedule, by name."""
        return self._wait(self.aall, "aall")

    async def _change(self, name: str, decide: Decide) -> Schedule:
        changed = await self._home().run(lambda queue: arrange(queue.store, name, decide))
        assert changed is not None
        return Schedule(changed)

    def _wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        return self._producer.wait(work, f"app.schedules.{twin}")


def _known(found: ScheduleRecord | None, name: str) -> ScheduleRecord:
    if found is None:
        raise ScheduleNotFound(name)
    return found
