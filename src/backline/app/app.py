"""The app: tasks are declared on it, jobs are enqueued through it."""

import atexit
import inspect
import os
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from types import TracebackType
from typing import (
    Any,
    Concatenate,
    Final,
    Literal,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)
from weakref import WeakSet

from backline.app.app_store import AppStore
from backline.app.declare import C, Declare, DeclareBatch, QueueOptions, queue_settings
from backline.app.draining import Draining
from backline.app.home import always
from backline.app.producing import HeadersHook
from backline.app.working import a_length, opened, weights
from backline.clock import SYSTEM_CLOCK, Clock
from backline.display import shown, without_secrets
from backline.duration import Duration
from backline.errors import ConfigError
from backline.job import DEFAULT_QUEUE, JobRequest
from backline.outbox import Outbox
from backline.queue import OnFull
from backline.store import Store
from backline.stores import check_url, open_store
from backline.task import (
    SCHEDULE_OPTIONS,
    AnyTask,
    AsyncTask,
    BatchSettings,
    SyncTask,
    TaskSettings,
    make_task,
    schedule_of,
    unknown_option,
)
from backline.task.dialects import OF_APP
from backline.worker import (
    Board,
    EmbeddedWorker,
    Lifespan,
    Middleware,
    Observer,
    Worker,
    WorkerSettings,
)
from backline.worker.queue_names import warn_of_strange_queues
from backline.worker.settings import DEFAULT_CONCURRENCY, DEFAULT_PREFETCH

R = TypeVar("R")
T = TypeVar("T")
P = ParamSpec("P")

DEFAULT_URL: Final = "sqlite:///backline.db"


class App(Draining):
    """Where a service declares its tasks, and through which it enqueues their jobs.

    `url` names the store; without it BACKLINE_URL does, else it is sqlite:///backline.db.
    Nothing is opened before it is needed. Async methods work on any event loop, sync ones in
    any thread without one, also after a fork. There a store in memory begins empty, and one
    that was given as `store=` raises StoreRefused.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        store: Store | None = None,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            raise unknown_option(name, ("url", "clock", "store"), "App", OF_APP)
        if url is not None and store is not None:
            raise ConfigError("an app has a url or a store, not both")
        self.url = _url(url) if store is None else store.url
        """The store's URL."""
        self._given = None if store is None else always(store)
        super().__init__(clock, self._open_store)
        self.store: Store = AppStore(lambda: self._home, self.url)
        """The store, for code on any event loop; opened when it is first used."""
        _APPS.add(self)

    # Declaring.

    @overload
    def task(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, fn: Callable[Concatenate[C, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[Concatenate[C, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, **settings: Unpack[BatchSettings]) -> DeclareBatch: ...
    @overload
    def task(self, **settings: Unpack[TaskSettings]) -> Declare: ...
    def task(self, *fns: Callable[..., Any], **settings: Any) -> Any:
        """Declare a task: `@app.task`, or `@app.task(queue="mail", ...)`.

        Settings are the defaults of its jobs; `.using(...)` changes them for some. Raises
        ConfigError if the task cannot work as it stands, UnknownOption.
        """

        def declare(fn: Callable[..., Any]) -> AnyTask:
            task: AnyTask = make_task(fn, settings, self, self._transacting)
            self._add(task)
            return task

        if len(fns) > 1 or (fns and settings):
            raise ConfigError("write @app.task, or @app.task(queue=..., ...) with names")
        return declare(*fns) if fns else declare

    def queue(self, name: str, **options: Unpack[QueueOptions]) -> None:
        """Declare settings of a queue; jobs need no declared queue.

        At most `max_depth` jobs are scheduled, waiting or ready (None: no limit). `on_full`
        says what an enqueue does beyond that: "raise" QueueFull, "wait" for room, or "shed":
        drop the call, count it in `shed_counts`, and return handles that say
        `accepted == False`. On all workers together, at most `concurrency` of its jobs run at
        a time, and they start no more often than `rate` ("100/m") with its `burst` says (None:
        no limit). `weights` are the shares of fair keys beside each other, 1 unless said here.
        With `ageing` ("1m") a job may pass one of a higher priority once it has waited so much
        longer for each step between them (None: never). An operator's later edit of a setting
        stands until that part of this declaration changes. Raises ConfigError, UnknownOption.
        """
        settings = queue_settings(name, options)
        if settings.queue in self._queues:
            raise ConfigError(f"the queue {settings.queue!r} is declared already")
        self._on_full[settings.queue] = OnFull(options.get("on_full", OnFull.RAISE))
        self._queues[settings.queue] = settings
        self._home.redeclare()

    def schedule(
        self,
        name: str,
        job: JobRequest,
        *,
        cron: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        missed: Literal["skip", "once", "all"] = "skip",
        **unknown: Never,
    ) -> None:
        """Declare a schedule that enqueues such a job, `task.job("sales")`, by itself.

        As `@app.task(cron=...)`, for jobs with arguments, and for any number of schedules of a
        task. An operator's later edit of its job, times or `missed` stands until that part of
        this declaration changes. Raises ConfigError.
        """
        for option in unknown:
            raise unknown_option(option, SCHEDULE_OPTIONS, "app.schedule", {})
        timing = {"cron": cron, "tz": tz, "every": every}
        self.registry.add_schedule(name, schedule_of(name, job, timing, missed))
        self._home.redeclare()

    def outbox(self, url: str) -> Outbox:
        """Declare a database of yours that takes jobs and completions in your transactions.

        `url` names a SQLite file, `sqlite:///business.db`; for connections to it there is
        `within=`. `backline migrate --outbox URL` makes its tables. Workers relay what is
        committed there to the store. Raises ConfigError for a URL that names no such file, or
        the store's own.
        """
        return self._transacting.declare(url, self.url)

    @property
    def outboxes(self) -> tuple[Outbox, ...]:
        """The databases declared by `outbox`."""
        return tuple(self._transacting.outboxes)

    def lifespan(
        self, fn: Callable[[], AsyncIterator[object] | AbstractAsyncContextManager[object]]
    ) -> Callable[[], AbstractAsyncContextManager[object]]:
        """Declare what surrounds each worker: opens pools before its first job, and closes
        them after its last.

        An async function that yields once, or one that returns an async context manager. An
        app has one. Raises ConfigError.
        """
        if self._parts.lifespan is not None:
            raise ConfigError("the app has a lifespan already; it has one")
        if inspect.isasyncgenfunction(fn):
            surround: Lifespan = asynccontextmanager(fn)
        else:
            surround = cast("Lifespan", fn)
        self._parts.lifespan = surround
        return surround

    def middleware(self, layer: Middleware) -> Middleware:
        """Declare `async def layer(job, call_next)` around every run of a job.

        It awaits `call_next()` and returns what that returned; the first declared is the
        outermost. Raises ConfigError.
        """
        if not inspect.iscoroutinefunction(layer):
            raise ConfigError(f"a middleware is an async def, not {layer!r}")
        self._parts.middleware.append(layer)
        return layer

    def headers(self, hook: HeadersHook) -> HeadersHook:
        """Declare a function that gives headers for each job, such as `traceparent`.

        It is called where the job is enqueued, in the caller's context. A later hook's header
        wins over an earlier one's, and a task's own `headers=` over both.
        """
        self._headers.append(hook)
        return hook

    # Working.

    @asynccontextmanager
    async def worker(
        self,
        queues: str | Iterable[str] | Mapping[str, int] | None = None,
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        max_prefetch: int = DEFAULT_PREFETCH,
        lease: Duration = "30s",
        grace: Duration = "30s",
    ) -> AsyncIterator[EmbeddedWorker]:
        """Run a worker in this process while inside; on leaving, running jobs get `grace`.

        `queues` is "mail,default=3" (with weights), names, or names with weights; by default
        every queue of the app's tasks. Tasks with `executor="process"` run here, in no process
        of their own, only if no other process could run them (a store in memory). Raises
        ConfigError.
        """
        settings = WorkerSettings(
            name=self.clock.new_id(),
            queues=weights(queues, self.queues()),
            concurrency=concurrency,
            max_prefetch=max_prefetch,
            lease=a_length("lease", lease),
            grace=a_length("grace", grace),
        )
        async with self._home.borrowed() as here:
            around = opened(self._home.another()) if here is None else nullcontext(here)
            async with around as store:
                await warn_of_strange_queues(store, settings.queues, self.queues())
                shared = self.clock is SYSTEM_CLOCK and store.capabilities.between_processes
                second = self._open_store if shared and self._given is None else None
                async with (
                    self._transacting.relaying(store),
                    self._declaring.running(store, settings.name),
                    self._parts.serve(store, settings, second) as embedded,
                ):
                    yield embedded

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Relay what is committed in the outboxes to the store, while inside.

        Workers do it by themselves; this is for a process that does nothing else.
        """
        async with self._home.borrowed() as here:
            around = opened(self._home.another()) if here is None else nullcontext(here)
            async with around as store, self._transacting.relaying(store):
                yield

    async def arelay(self) -> int:
        """Relay what is committed in the outboxes now; returns how many rows that were.

        Raises StoreError.
        """
        if not self.outboxes:
            return 0
        return await self._home.run(lambda queue: self._transacting.relay_all(queue.store))

    def relay(self) -> int:
        """Relay what is committed in the outboxes now; returns how many rows that were.

        Raises StoreError.
        """
        return self.wait(self.arelay, "app.arelay")

    def make_worker(
        self,
        store: Store,
        settings: WorkerSettings,
        board: Board,
        *,
        observer: Observer | None = None,
    ) -> Worker:
        """A worker with this app's tasks, lifespan and middleware, on a store that is open."""
        return self._parts.make_worker(store, settings, board, observer=observer)

    # Living.

    async def aopen(self) -> None:
        """Open the store now, on the running event loop if it is not open elsewhere.

        Not needed; it shows at start what the first enqueue would run into.
        """
        await self.store.open()

    def open(self) -> None:
        """Open the store now; not needed, as `aopen`."""
        self.wait(self.aopen, "app.aopen")

    async def aclose(self) -> None:
        """Finish what is being enqueued and close the store; a later use opens it again."""
        await self._home.close()
        self._home.stop_background()

    def close(self) -> None:
        """Finish what is being enqueued and close the store; a later use opens it again.

        Done at exit too. On a running event loop use `aclose`.
        """
        self._home.close_from_thread()

    async def __aenter__(self) -> Self:
        await self.aopen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Within.

    def queues(self) -> set[str]:
        """The queues a worker of this app serves unless told otherwise: the default one, those
        of its tasks, and those declared by `queue`."""
        return {DEFAULT_QUEUE, *self._queues, *(task.options.queue for task in self.registry)}

    def _open_store(self) -> Store:
        if self._given is not None:
            return self._given()
        return open_store(self.url, clock=self.clock)

    def __repr__(self) -> str:
        return f"<App {without_secrets(self.url)}, {len(self.registry)} tasks>"


def _url(given: str | None) -> str:
    """The URL of an app's store. Raises ConfigError if it names none."""
    if given is not None:
        if not isinstance(given, str):
            raise ConfigError(f"the url of an app is a str, not {shown(given)}")
        check_url(given)
        return given
    named = os.environ.get("BACKLINE_URL")
    if not named:
        return DEFAULT_URL
    try:
        check_url(named)
    except ConfigError as error:
        raise ConfigError(f"BACKLINE_URL: {error}") from None
    return named


_APPS: Final[WeakSet[App]] = WeakSet()


@atexit.register
def _close_all() -> None:
    for app in list(_APPS):
        with suppress(Exception):  # there is nobody left to tell
            app.close()
