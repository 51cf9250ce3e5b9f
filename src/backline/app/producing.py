"""Enqueueing, and what tasks and handles ask of their app."""

from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Never, TypeAlias, TypeVar, Unpack

from backline.app.declare import queue_settings
from backline.app.declaring import Declaring
from backline.app.home import Home
from backline.app.immediate import Immediate
from backline.app.requests import requests_of
from backline.app.schedules import Schedules
from backline.app.transacting import Transacting
from backline.app.working import Parts, opened
from backline.clock import Clock
from backline.context import JobContext
from backline.display import shown
from backline.duration import Duration
from backline.errors import BacklineError, ConfigError
from backline.faults import fault
from backline.follow_up import Outcome
from backline.job import Enqueued, JobId, JobRecord, JobRequest, WorkerName
from backline.queue import PATIENCE, OnFull, Queue
from backline.store import Cancelling, QueueSettings, Store
from backline.task import (
    AnyTask,
    Job,
    Options,
    Registry,
    Retry,
    SyncTask,
    check_headers,
    make_task,
    remote_task,
    unknown_option,
)
from backline.task.dialects import ON_APP, stranger
from backline.webhooks import TASK, Webhooks, WebhookSettings
from backline.webhooks.reply import WebhookRefused
from backline.webhooks.settings import (
    OPTIONS,
    PORTS,
    QUEUE,
    SECRET_ENV,
    networks,
    patience,
    port_numbers,
)

T = TypeVar("T")

HeadersHook: TypeAlias = Callable[[], Mapping[str, str]]

_NO_HEADERS: Final[Mapping[str, str]] = {}


class Producing:
    """The half of an app that a service uses: it enqueues, and looks after what it enqueued.

    Implements `task.Producer` and `task.JobClient`.
    """

    def __init__(self, clock: Clock, make_store: Callable[[], Store]) -> None:
        self.clock = clock
        self._parts = Parts(clock)
        self._declaring = Declaring(self._parts.registry, clock)
        self._make_store = make_store
        self._headers: list[HeadersHook] = []
        self._queues: dict[str, QueueSettings] = {}
        self._on_full: dict[str, OnFull] = {}
        self._shed: Counter[str] = Counter()
        self._home = self._make_home(make_store)
        self._immediate: Immediate | None = None
        self._transacting = Transacting(clock, self)
        self._webhooks: Webhooks | None = None
        self.schedules = Schedules(self, lambda: self._home)
        """The schedules in the store, to look at and to change at run time."""

    @property
    def registry(self) -> Registry:
        """The tasks declared on this app."""
        return self._parts.registry

    def remote(self, name: str, **options: Unpack[Options]) -> SyncTask[..., Any]:
        """A task whose code is not in this process, to enqueue its jobs by its name.

        Its arguments are checked by the worker that has the code. Raises ConfigError.
        """
        return remote_task(name, self, self._transacting).using(**options)

    def webhooks(
        self,
        *,
        secret_env: str = SECRET_ENV,
        queue: str = QUEUE,
        timeout: Duration = "20s",
        ports: Sequence[int] = PORTS,
        allow_http: bool = False,
        allow_networks: Sequence[str] = (),
        **unknown: Never,
    ) -> None:
        """Declare that outcomes may be posted to the `callback_url=` of a job.

        The environment variable named by `secret_env` holds what they are signed with: one
        secret, `whsec_...`, or several with spaces between them while they are rotated; it is
        read where a worker delivers, and stored nowhere. Posted is to public addresses and to
        `ports` alone, over https; `allow_networks` and `allow_http` open more. `timeout` is
        that of one attempt. Workers need the extra `backline[webhooks]`. Raises ConfigError.
        """
        for option in unknown:
            raise unknown_option(option, OPTIONS, "app.webhooks", {})
        if self._webhooks is not None:
            raise ConfigError("the app has webhooks already")
        settings = WebhookSettings(
            secret_env=secret_env,
            queue=queue_settings(queue, {}).queue,
            timeout=patience(timeout),
            ports=port_numbers(ports),
            allow_http=allow_http,
            allow_networks=networks(allow_networks),
        )
        self._webhooks = webhooks = Webhooks(settings, self.clock)

        async def deliver(job: JobContext, outcome: Outcome[Any], *, url: str) -> int:
            return await webhooks.deliver(job, outcome, url)

        options = {"name": TASK, "queue": queue, "retry": Retry(not_on=WebhookRefused)}
        self._add(make_task(deliver, options, self, self._transacting))

    def enqueue(self, task: str, *args: Any, **kwargs: Any) -> Job[Any]:
        """Enqueue a job of the task of this name, declared here or not.

        The same as `enqueue` of the task; one that is not declared here has the default
        options (`remote` takes others).
        """
        return self._named(task).enqueue(*args, **kwargs)

    async def aenqueue(self, task: str, *args: Any, **kwargs: Any) -> Job[Any]:
        """Enqueue a job of the task of this name, declared here or not.

        The same as `aenqueue` of the task; one that is not declared here has the default
        options (`remote` takes others).
        """
        return await self._named(task).aenqueue(*args, **kwargs)

    def enqueue_many(self, jobs: Iterable[JobRequest], *, within: object = None) -> list[Job[Any]]:
        """Enqueue many jobs, made by `task.job(...)`, in one commit: all of them or none.

        Returns their handles in the same order. Raises TypeError for what `task.job(...)` did not
        make, EnqueueError for a job whose fields were changed to what cannot be stored, both before
        anything is sent; QueueFull, StoreError; UniqueConflict and IdempotencyConflict come after
        the commit of all the others, but for those between two jobs of the call: nothing is sent
        then. Repeating a call with the same jobs adds nothing twice. On a running event loop use
        `aenqueue_many`. With `within`, a connection or session on the database of an `outbox`, they
        are enqueued when its transaction commits.
        """
        requests = requests_of(jobs)
        fault("enqueue.before_send")
        if within is not None:
            handles = self._transacting.write(requests, within)
        else:
            handles = self.wait(lambda: self._send_many(requests), "app.aenqueue_many")
        fault("enqueue.after_send")
        return handles

    async def aenqueue_many(
        self, jobs: Iterable[JobRequest], *, within: object = None
    ) -> list[Job[Any]]:
        """Enqueue many jobs, made by `task.job(...)`, in one commit: all of them or none.

        Returns their handles in the same order. Raises TypeError for what `task.job(...)` did not
        make, EnqueueError for a job whose fields were changed to what cannot be stored, both before
        anything is sent; QueueFull, StoreError; UniqueConflict and IdempotencyConflict come after
        the commit of all the others, but for those between two jobs of the call: nothing is sent
        then. Repeating a call with the same jobs adds nothing twice. With `within`, a
        connection or session on the database of an `outbox`, they are enqueued when its transaction
        commits.
        """
        requests = requests_of(jobs)
        fault("enqueue.before_send")
        if within is not None:
            handles = await self._transacting.awrite(requests, within)
        else:
            handles = await self._send_many(requests)
        fault("enqueue.after_send")
        return handles

    async def _send_many(self, requests: Sequence[JobRequest]) -> list[Job[Any]]:
        answers = await self._home.run(
            lambda queue: self._enqueue(queue, requests), patience=PATIENCE
        )
        if answers is None:
            return [self._dropped(request) for request in requests]
        pairs = zip(requests, answers, strict=True)
        return [Job(answer.id, request.task, self, added=answer.added) for request, answer in pairs]

    def job(self, job_id: JobId) -> Job[Any]:
        """The handle of a job that was enqueued earlier, or elsewhere.

        Raises TypeError for an id that is no str: a UUID, say, is asked for as `str(uuid)`.
        """
        if not isinstance(job_id, str):
            told = f"a job's id is a str, not {shown(job_id)}"
            raise TypeError(
                f"{told}; a task's decorator is @app.task" if callable(job_id) else told
            )
        return Job(str.__str__(job_id), "", self)

    @property
    def shed_counts(self) -> Mapping[str, int]:
        """How many jobs this process dropped because of `on_full="shed"`, by queue."""
        return dict(self._shed)

    # What tasks and handles ask of their app.

    def new_id(self) -> JobId:
        """A fresh id for a job."""
        return self.clock.new_id()

    def headers_now(self) -> Mapping[str, str]:
        """What the headers hooks say in the context of the caller."""
        if not self._headers:
            return _NO_HEADERS
        found: dict[str, str] = {}
        for hook in self._headers:
            found |= check_headers(hook(), f"the hook {getattr(hook, '__name__', hook)}")
        return found

    def webhook(self, url: str) -> JobRequest:
        """What posts the outcome of a job to this URL. Raises ConfigError if nothing may."""
        if self._webhooks is None:
            raise ConfigError(
                "callback_url= needs app.webhooks() before it, which says how outcomes are signed "
                "and where they may be posted"
            )
        return self._webhooks.job(url)

    async def asend(self, request: JobRequest) -> Job[Any]:
        """Enqueue one job; returns after the commit."""
        answers = await self._home.run(
            lambda queue: self._enqueue(queue, (request,)), patience=PATIENCE
        )
        if answers is None:
            return self._dropped(request)
        return Job(answers[0].id, request.task, self, added=answers[0].added)

    async def afetch(self, job_id: JobId) -> JobRecord | None:
        """The job as the store sees it now, None if unknown or purged."""
        return await self._look(lambda queue: queue.fetch(job_id))

    def fetch(self, job_id: JobId) -> JobRecord | None:
        """The job as the store sees it now, None if unknown or purged."""
        return self.wait(lambda: self.afetch(job_id), "app.afetch")

    async def aended(self, job_id: JobId, timeout: float | None) -> JobRecord:
        """Wait until the job has ended. Raises ResultTimeout, JobNotFound."""
        return await self._look(lambda queue: queue.ended(job_id, timeout))

    def decode(self, record: JobRecord) -> Any:
        """What the job returned, typed by its task's annotation. Raises InvalidResult."""
        return self._named(record.task).codec.decode_result(record.result)

    async def acancel(self, job_id: JobId) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        return await self._look(lambda queue: queue.cancel(job_id))

    def cancel(self, job_id: JobId) -> Cancelling:
        """Cancel the job: at once before it starts, else by a request to its worker."""
        return self.wait(lambda: self.acancel(job_id), "app.acancel")

    async def aredrive(self, job_id: JobId) -> bool:
        """Make a dead, cancelled or expired job ready again. True: this call did it."""
        return await self._look(lambda queue: queue.redrive(job_id))

    def redrive(self, job_id: JobId) -> bool:
        """Make a dead, cancelled or expired job ready again. True: this call did it."""
        return self.wait(lambda: self.aredrive(job_id), "app.aredrive")

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from sync code. Raises BacklineError, naming `twin`, on a running loop."""
        try:
            return self._home.wait(work, twin)
        except BacklineError as error:
            if self._immediate is not None:
                raise  # it may be a task's own
            raise error.with_traceback(None) from error.__cause__  # what led here is ours

    async def _enqueue(self, queue: Queue, requests: Sequence[JobRequest]) -> list[Enqueued] | None:
        await self._catch_up(queue)
        answers = await queue.enqueue(requests)
        if self._immediate is not None and answers is not None:
            await self._immediate.after(queue.store, [answer.id for answer in answers])
            await self._catch_up(queue)
        return answers

    async def _look(self, work: Callable[[Queue], Awaitable[T]]) -> T:
        async def look(queue: Queue) -> T:
            await self._catch_up(queue)
            return await work(queue)

        return await self._home.run(look if self._transacting.is_isolated else work)

    async def _catch_up(self, queue: Queue) -> None:
        """In tests, take up what was committed within callers' transactions; else relays do."""
        if not self._transacting.is_isolated:
            return
        while await self._transacting.relay_all(queue.store) and self._immediate is not None:
            await self._immediate.after(queue.store, ())

    def _named(self, name: object) -> AnyTask:
        known = self.registry.get(name) if isinstance(name, str) else None
        return known or remote_task(name, self, self._transacting)

    if not TYPE_CHECKING:  # a type checker knows that there is no other attribute

        def __getattr__(self, name: str) -> Any:
            raise stranger(self, name, ON_APP)

    def _dropped(self, request: JobRequest) -> Job[Any]:
        return Job(request.id, request.task, self, accepted=False, added=False)

    def _add(self, task: AnyTask) -> None:
        self.registry.add(task)
        self._home.redeclare()

    @asynccontextmanager
    async def declaring(self, worker: WorkerName) -> AsyncIterator[None]:
        """Declare schedules again and again for this worker of the app, while inside."""
        async with self._home.borrowed() as here:
            around = opened(self._home.another()) if here is None else nullcontext(here)
            async with around as store, self._declaring.running(store, worker):
                yield

    async def _declare(self, store: Store) -> None:
        """Tell the store what stands in code."""
        if self._queues:
            await store.configure(list(self._queues.values()), declared=True)
        await self._declaring.declare(store)

    def _make_home(self, make_store: Callable[[], Store]) -> Home:
        return Home(
            make_store,
            self.clock,
            lambda queue: self._on_full.get(queue, OnFull.RAISE),
            self._declare,
            self._shed,
        )
