"""Publishing events, and declaring who subscribes to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Never, Unpack, cast

from backline import duration
from backline.app.declare import Declare
from backline.app.flowing import Flowing
from backline.codec import encode_alone
from backline.display import shown
from backline.duration import Duration
from backline.errors import ConfigError
from backline.fanout import Publication, Published, check_name
from backline.faults import fault
from backline.job import Micros
from backline.outage import ride_out
from backline.queue import PATIENCE, Queue
from backline.task import AnyTask, Job, Task, TaskSettings, make_task, name_text, unknown_option

EVENT_TTL: Final = "7d"
_OPTIONS: Final = ("id", "key", "event_ttl", "within")


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event that was published."""

    id: str
    jobs: Mapping[str, Job[Any]] = field(default_factory=dict)
    """Its jobs by the names of their tasks; none yet if it was published `within` a transaction."""
    added: bool = True
    """False: it was published before, and these are the jobs it got then."""


class Publishing(Flowing):
    """The part of an app that publishes events."""

    def on(self, *patterns: str, **settings: Unpack[TaskSettings]) -> Declare:
        """Subscribe a task to events: `@app.on("user.registered")`, or `"user.*"`.

        Of a function it makes a task, with settings as `@app.task` has; a task that is
        declared already keeps its own. Each event whose name matches one of the patterns
        makes one job, with its payload, or an `Event` if the parameter is annotated so. In a
        pattern `*` stands for one word of a name and `#` for any number of them. Raises
        ConfigError, UnknownOption.
        """

        def declare(fn: Callable[..., Any]) -> AnyTask:
            if isinstance(fn, Task):
                task: AnyTask = fn
                if settings:
                    raise ConfigError(f"{fn.name} is a task already: give it options by .using()")
                self.registry.subscribe(task, patterns)
            else:
                task = make_task(fn, settings, self, self._transacting)
                self.registry.add(task, patterns)
            self._home.redeclare()
            return task

        if len(patterns) == 1 and not isinstance(patterns[0], str) and callable(patterns[0]):
            raise ConfigError('write @app.on("user.registered"), with the name of an event')
        return cast("Declare", declare)

    async def apublish(
        self,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002 - what everybody calls it
        key: str | None = None,
        event_ttl: Duration = EVENT_TTL,
        within: object = None,
        **unknown: Never,
    ) -> PublishedEvent:
        """Publish an event: a job for each subscription, in one commit; returns after it.

        As `publish`.
        """
        event = self._event(name, payload, id, key, event_ttl, unknown)
        fault("publish.before_send")
        if within is not None:
            await self._transacting.apublish(event, within)
            published = PublishedEvent(event.id)
        else:
            published = await self._publish(event)
        fault("publish.after_send")
        return published

    def publish(
        self,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002 - what everybody calls it
        key: str | None = None,
        event_ttl: Duration = EVENT_TTL,
        within: object = None,
        **unknown: Never,
    ) -> PublishedEvent:
        """Publish an event: a job for each subscription, in one commit; returns after it.

        Who subscribes is in the store. No queue is too full for the jobs. With an `id` it is
        safe to publish again, for `event_ttl` (7 d): the answer is that of the first time, and
        nothing is added. For as long the first event of a name and `key` is kept. With
        `within`, a connection or session on the database of an `outbox`, it is published when
        its transaction commits. Raises InvalidArguments, PayloadTooLarge, ConfigError,
        StoreError; on a running event loop use `apublish`.
        """
        event = self._event(name, payload, id, key, event_ttl, unknown)
        fault("publish.before_send")
        if within is not None:
            self._transacting.publish(event, within)
            published = PublishedEvent(event.id)
        else:
            published = self.wait(lambda: self._publish(event), "app.apublish")
        fault("publish.after_send")
        return published

    def _event(
        self,
        name: str,
        payload: object,
        event_id: str | None,
        key: str | None,
        event_ttl: Duration,
        unknown: Mapping[str, object],
    ) -> Publication:
        for option in unknown:
            raise unknown_option(option, _OPTIONS, "app.publish", {})
        checked = check_name(name)
        return Publication(
            id=self.clock.new_id() if event_id is None else _text("id", event_id),
            name=checked,
            payload=encode_alone(payload, f"event {checked}"),
            key=None if key is None else _text("key", key),
            event_ttl=_ttl(event_ttl),
            headers=self.headers_now(),
        )

    async def _publish(self, event: Publication) -> PublishedEvent:
        async def work(queue: Queue) -> Published:
            await self._catch_up(queue)
            [answer] = await ride_out(
                f"publishing {event.name}",
                self.clock,
                PATIENCE,
                lambda: queue.store.publish([event]),
            )
            if self._immediate is not None:
                await self._immediate.after(queue.store, answer.jobs.values())
                await self._catch_up(queue)
            return answer

        answer = await self._home.run(work, patience=PATIENCE)
        jobs = {
            task: Job[Any](job_id, task, self, added=answer.added)
            for task, job_id in answer.jobs.items()
        }
        return PublishedEvent(event.id, jobs, answer.added)


def _text(option: str, given: object) -> str:
    try:
        return name_text(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{option}= of an event: {error}") from None


def _ttl(given: Duration) -> Micros:
    try:
        found = duration.micros(given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"event_ttl= of an event: {error}") from None
    if found <= 0:
        raise ConfigError(f"event_ttl= of an event is some time, not {shown(given)}")
    return found
