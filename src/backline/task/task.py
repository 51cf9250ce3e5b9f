"""A task: a function with a name and a policy."""

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
)

import msgspec

from backline.codec import MARK, TaskCodec, results_in
from backline.context import JobContext, current_job
from backline.errors import ConfigError, InvalidArguments
from backline.faults import fault
from backline.job import MAX_STEPS, FollowUp, JobId, JobRequest
from backline.parents import After
from backline.schedule import ScheduleSpec
from backline.task.callbacks import EVERY_END
from backline.task.dialects import OF_TASK, misplaced_option, stranger
from backline.task.handle import Job
from backline.task.headers import MadeHeaders
from backline.task.keys import UniqueKey, key_of
from backline.task.limiting import fair_key_of, limits_of
from backline.task.options import (
    OPTIONS,
    BatchRule,
    Executor,
    Options,
    TaskOptions,
    lane_of,
    with_options,
)
from backline.task.retry import Retry
from backline.task.transactions import Transactions

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Producer(Protocol):
    """What a task needs of the app it belongs to."""

    def new_id(self) -> JobId:
        """A fresh id for a job."""
        ...

    def headers_now(self) -> Mapping[str, str]:
        """What the app's header hooks say in the context of the caller."""
        ...

    def webhook(self, url: str) -> JobRequest:
        """What posts the outcome of a job to this URL. Raises ConfigError if nothing may."""
        ...

    def job(self, job_id: JobId) -> Job[Any]:
        """The handle of a job that was enqueued earlier, or elsewhere."""
        ...

    async def asend(self, request: JobRequest) -> Job[Any]:
        """Enqueue one job; returns after the commit."""
        ...

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        """Do `work` from sync code. Raises BacklineError, naming `twin`, on a running loop."""
        ...


class Task(Generic[P, R]):
    """A function that can be enqueued. `P` are the arguments to enqueue it with, `R` is what
    its job's result is; a `JobContext` that the worker hands over is no part of `P`.

    Made by `@app.task`; immutable.
    """

    most_steps: ClassVar[int] = MAX_STEPS
    """How many steps a job of it may record."""

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str,
        executor: Executor,
        producer: Producer,
        transactions: Transactions | None = None,
        batch: BatchRule | None = None,
    ) -> None:
        self.fn = fn
        """The function itself."""
        self.name = name
        self.executor = executor
        self.is_async = inspect.iscoroutinefunction(fn)
        self.codec = self._make_codec()
        self.takes_context = self.codec.takes_context
        """Its first parameter is a `JobContext`."""
        self.batch = batch
        """How many of its jobs one call takes; None: one."""
        self.declared_schedule: ScheduleSpec | None = None
        """When its jobs are enqueued by themselves, as code declares it."""
        self._producer = producer
        self._transactions = transactions
        # In a queue of its own: what a worker asks it for, is for batches.
        self._set_options(TaskOptions() if batch is None else TaskOptions(queue=name))
        self.__wrapped__ = fn
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__doc__ = fn.__doc__

    def _make_codec(self) -> TaskCodec:
        return TaskCodec(self.fn, self.name, context=JobContext)

    @property
    def retry(self) -> Retry:
        """Which failures are worth another attempt."""
        return self.options.retry

    @property
    def transactions(self) -> Transactions:
        """The way into callers' transactions. Raises ConfigError if the app has none."""
        if self._transactions is None:
            raise ConfigError(f"the app of {self.name} takes part in no transactions")
        return self._transactions

    @property
    def template(self) -> JobRequest:
        """What all its jobs have in common, without id and arguments."""
        return msgspec.structs.replace(self._template, follow_ups=self._follow_ups())

    def using(self, **options: Unpack[Options]) -> Self:
        """The same task with other options; this one stays as it is.

        Raises UnknownOption, ConfigError.
        """
        return self._with(with_options(self.options, options, self.name))

    def job(self, *args: P.args, **kwargs: P.kwargs) -> JobRequest:
        """A job of this task, for `app.enqueue_many` or a schedule; nothing is enqueued yet.

        Raises InvalidArguments, PayloadTooLarge.
        """
        if self.options.within is not None:
            raise ConfigError("give within= to enqueue_many: a job alone knows no transaction")
        request, own = self._request(args, kwargs), self.options.headers
        if request.headers is own:
            return request
        return msgspec.structs.replace(request, headers=MadeHeaders(request.headers, own))

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobRequest:
        hooks, own = self._producer.headers_now(), self.options.headers
        headers = {**hooks, **own} if hooks else own
        return self._filled(args, kwargs, id=self._producer.new_id(), headers=headers)

    def _filled(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], **fields: object
    ) -> JobRequest:
        try:
            payload = self.codec.encode(args, kwargs)
        except InvalidArguments as error:
            hint = misplaced_option(self.codec.strangers(kwargs), OPTIONS)
            if hint is None:
                raise
            raise InvalidArguments(f"{error}; {hint}") from None
        if self._varies:
            fields |= self._fields_of(args, kwargs)
        request = msgspec.structs.replace(self._template, payload=payload, **fields)
        return self._linked(request, args, kwargs) if MARK in bytes(payload) else request

    def _fields_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, object]:
        """What the options make of the arguments of one job."""
        options = self.options
        fields: dict[str, object] = {"follow_ups": self._follow_ups()}
        if callable(options.unique_key):
            fields["unique_key"] = self._called("unique_key", options.unique_key, args, kwargs)
        if callable(options.idempotency_key):
            once = self._called("idempotency_key", options.idempotency_key, args, kwargs)
            fields["idempotency_key"] = once
        if callable(options.concurrency_key) or callable(options.rate_key):
            fields["limits"] = limits_of(options, self.name, args, kwargs)
        if callable(options.fair_key):
            fields["fair_key"] = fair_key_of(options, self.name, args, kwargs)
        return fields

    def _follow_ups(self) -> tuple[FollowUp, ...]:
        url, after = self.options.callback_url, self.options.follow_ups
        return after if url is None else (*after, FollowUp(EVERY_END, self._producer.webhook(url)))

    def _called(
        self, option: str, key: UniqueKey, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> str | None:
        assert callable(key)
        found = key_of(key, option, self.name, args, kwargs)
        return None if found is None else _scoped(self.name, found)

    def _linked(
        self, request: JobRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> JobRequest:
        """The job, after those whose results are among its arguments."""
        wanted = results_in([*args, *kwargs.values()])
        others = tuple(after for after in request.after if after.parent not in wanted)
        on = self.options.parents_on
        results = tuple(After(job_id, on, result=True) for job_id in wanted)
        return msgspec.structs.replace(request, after=(*others, *results))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a job with these arguments; returns after the commit.

        Raises InvalidArguments, PayloadTooLarge, QueueFull, UniqueConflict,
        IdempotencyConflict, StoreError. After StoreUnavailable the job may or may not be
        enqueued; enqueueing it again is safe under an `idempotency_key`. On a running event
        loop use `aenqueue`. With `using(within=...)` it returns at once, and the job is
        enqueued when the caller commits.
        """
        request = self._request(args, kwargs)
        fault("enqueue.before_send")
        if self.options.within is not None:
            job = self.transactions.write([request], self.options.within)[0]
        else:
            job = self._producer.wait(lambda: self._send(request), f"{self.__name__}.aenqueue")
        fault("enqueue.after_send")
        return job

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue a job with these arguments; returns after the commit.

        Raises InvalidArguments, PayloadTooLarge, QueueFull, UniqueConflict,
        IdempotencyConflict, StoreError. After StoreUnavailable the job may or may not be
        enqueued; enqueueing it again is safe under an `idempotency_key`. With
        `using(within=...)` it returns at once, and the job is enqueued when the caller commits.
        """
        request = self._request(args, kwargs)
        fault("enqueue.before_send")
        if self.options.within is not None:
            job = (await self.transactions.awrite([request], self.options.within))[0]
        else:
            job = await self._send(request)
        fault("enqueue.after_send")
        return job

    def handle(self, job_id: JobId) -> Job[R]:
        """The handle of a job of this task that was enqueued earlier, or elsewhere.

        As `app.job(job_id)`, typed. Raises TypeError for an id that is no str.
        """
        return self._producer.job(job_id)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """The same as `enqueue`."""
        return self.enqueue(*args, **kwargs)

    async def _send(self, request: JobRequest) -> Job[R]:
        return await self._producer.asend(request)

    def _with(self, options: TaskOptions) -> Self:
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._set_options(options)
        return copy

    def _set_options(self, options: TaskOptions) -> None:
        self.options = options
        self._template = self._make_template()
        keys = (
            options.unique_key, options.idempotency_key, options.concurrency_key,
            options.rate_key, options.fair_key,
        )  # fmt: skip
        self._varies = options.callback_url is not None or any(map(callable, keys))
        """Some fields of its jobs are not known before they are made."""

    def _make_template(self) -> JobRequest:
        options = self.options
        key, once = options.unique_key, options.idempotency_key
        called = callable(options.concurrency_key) or callable(options.rate_key)
        return JobRequest(
            id="",
            task=self.name,
            queue=options.queue,
            lane=lane_of(self.executor),
            priority=options.priority,
            delay=options.delay,
            run_at=options.run_at,
            expires_in=options.expires_in,
            expires_at=options.expires_at,
            terms=options.terms,
            unique_key=_scoped(self.name, key) if isinstance(key, str) else None,
            unique_for=options.unique_for,
            on_conflict=options.on_conflict,
            headers=options.headers,
            tags=options.tags,
            max_wait=options.max_wait,
            idempotency_key=_scoped(self.name, once) if isinstance(once, str) else None,
            limits=None if called else limits_of(options, self.name, (), {}),
            follow_ups=options.follow_ups,
            after=tuple(After(parent, options.parents_on) for parent in options.after),
            fair_key=options.fair_key if isinstance(options.fair_key, str) else None,
        )

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.takes_context:
            return self.fn(current_job(), *args, **kwargs)
        return self.fn(*args, **kwargs)

    if not TYPE_CHECKING:  # a type checker knows that there is no other attribute

        def __getattr__(self, name: str) -> Any:
            raise stranger(self, name, OF_TASK)

    def __repr__(self) -> str:
        return f"<Task {self.name} on {self.options.queue}>"


class SyncTask(Task[P, R]):
    """A task that is a `def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, without a job of its own."""
        result: R = self._inline(args, kwargs)
        return result


class AsyncTask(Task[P, R]):
    """A task that is an `async def`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here and now, without a job of its own."""
        coroutine: Coroutine[Any, Any, R] = self._inline(args, kwargs)
        return coroutine


AnyTask: TypeAlias = Task[..., Any]


def _scoped(task: str, key: str) -> str:
    """A key as the store knows it: equal keys of two tasks are two keys."""
    return f"{task}:{key}"
