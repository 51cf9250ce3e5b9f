"""Maps: tasks that enqueue a job of another task for each item of a source, bite by bite.

A map's job is the planner. Each bite is one commit of jobs whose ids are made of the planner's id
and their number, and then a step of the planner, which says after which item the next one
begins. So a crash between the two repeats the bite, and adds nothing twice.
"""

import asyncio
import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import copy_context
from functools import partial, update_wrapper
from hashlib import sha256
from typing import Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from backline.clock import Clock, Pool, drawn_id
from backline.codec import ResultCodec, hints_of
from backline.context import JobContext
from backline.display import safe, shown
from backline.errors import (
    BacklineError,
    ConfigError,
    InvalidResult,
    JobNotFound,
    Snooze,
    StoreFull,
    StoreUnavailable,
)
from backline.faults import fault
from backline.job import Enqueued, JobId, JobRecord, JobRequest, Micros, Refused, StepRecord
from backline.limits import retry_after
from backline.parents import map_group
from backline.task import AnyTask, AsyncTask, Producer, Task, Transactions, make_task

P = ParamSpec("P")
T = TypeVar("T")
A_contra = TypeVar("A_contra", contravariant=True)

BITE: Final = 1_000
"""Jobs of one commit, at most."""
ITEMS_A_BITE: Final = 10_000
BYTES_A_BITE: Final = 8 * 1024 * 1024
MAX_CHUNK: Final = 10_000
MOST_BITES: Final = 10_000
_LOOK_S: Final = 1.0
"""When a full queue is tried again from which nothing has gone lately."""
_LONGEST_LOOK_S: Final = 60.0
_AWAY_S: Final = 5.0


class Mappable(Protocol[A_contra]):
    """A task that takes one argument."""

    def job(self, argument: A_contra, /) -> JobRequest: ...


class Feeding(Producer, Protocol):
    """What a map needs of the app it belongs to."""

    clock: Clock

    async def afetch(self, job_id: JobId) -> JobRecord | None:
        """The job as the store sees it now, None if unknown or purged."""
        ...

    async def asteps(self, job_id: JobId) -> list[StepRecord]:
        """The steps that are recorded of a job, in their order."""
        ...

    async def aoffer(self, call: Sequence[JobRequest]) -> list[Enqueued] | Refused:
        """Enqueue jobs, unless a queue is full, whatever it does to others then."""
        ...


class MapTask(AsyncTask[P, int]):
    """A task whose job enqueues jobs of another task. Its result is how many items there were.

    In a flow, what comes after it waits for all these jobs as well.
    """

    most_steps = MOST_BITES

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JobRequest:
        request = super()._request(args, kwargs)
        return msgspec.structs.replace(request, group=map_group(request.id))


class _Mark(msgspec.Struct, frozen=True):
    """Where a bite ended: what is on record of it."""

    jobs: int = 0
    """How many were enqueued until then."""
    items: int = 0
    after: str = "null"
    """The last item, as JSON."""
    more: bool = True


_BITE: Final = "bite "
"""What the steps of a planner are named; its source may have others."""
_mark: Final = msgspec.json.Decoder(_Mark)


class _Source:
    """A function that gives the items after one."""

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        parameters = list(inspect.signature(fn).parameters.values())
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if not parameters or parameters[0].kind not in positional:
            raise ConfigError(
                f"{name} maps over the items it yields, so its first parameter is the item to go "
                f"on after, None at first: def {fn.__name__}(after: int | None, ...)"
            )
        if inspect.iscoroutinefunction(fn):
            raise ConfigError(f"{name} returns; a map's function yields its items")
        hints = hints_of(fn, name)
        self.fn = fn
        self.name = name
        self.parameters = parameters[1:]
        self.hints = {one.name: hints[one.name] for one in self.parameters if one.name in hints}
        kind = hints.get(parameters[0].name, Any)
        try:
            self._items = ResultCodec(kind, f"an item of {name}")
        except Exception as error:
            raise ConfigError(f"argument {parameters[0].name!r} of {name}: {error}") from error

    def encode(self, item: object) -> str:
        """An item as the next bite gets it. Raises InvalidResult."""
        return bytes(self._items.encode(item) or b"null").decode()

    def decode(self, item: str) -> Any:
        """The item again. Raises InvalidResult."""
        return self._items.decode(item.encode())

    async def read(self, items: Callable[[], Any], take: Callable[[Any], bool], pool: Pool) -> bool:
        """Give `take` the items that `items()` yields until it has enough; whether it had.

        `items` is a call of the function; what may block runs in the one thread of `pool`.
        """
        if inspect.isasyncgenfunction(self.fn):
            return await _read_async(items(), take)
        loop, context = asyncio.get_running_loop(), copy_context()
        found = await loop.run_in_executor(pool, partial(context.run, items))
        if isinstance(found, AsyncIterable):
            return await _read_async(found, take)
        if not isinstance(found, Iterable):
            raise BacklineError(f"{self.name} gave {shown(found)}, and is to yield items")
        return await loop.run_in_executor(pool, partial(context.run, partial(_read, found, take)))


def _read(found: Iterable[Any], take: Callable[[Any], bool]) -> bool:
    try:
        return any(take(item) for item in found)
    finally:
        if (close := getattr(found, "close", None)) is not None:
            close()


async def _read_async(found: AsyncIterable[Any], take: Callable[[Any], bool]) -> bool:
    try:
        async for item in found:
            if take(item):
                return True
        return False
    finally:
        if (close := getattr(found, "aclose", None)) is not None:
            await close()


class _Gathering:
    """The jobs of a bite, made as their items come."""

    def __init__(self, plan: "_Plan") -> None:
        self.jobs: list[JobRequest] = []
        self.lasts: list[str] = []
        """Of each job its last item, as JSON."""
        self.first = ""
        """The first item of all, as JSON."""
        self.counts: list[int] = []
        """Of each job how many items it has."""
        self._plan = plan
        self._chunk = plan.chunk
        self._items: list[Any] = []
        self._bytes = 0

    def take(self, item: object) -> bool:
        """Take an item; whether that is enough."""
        if item is None:
            raise BacklineError(
                "a map's function yielded None, which says where to begin: yield items"
            )
        self._items.append(item)
        if len(self._items) < (self._chunk or 1):
            return False
        self.end()
        most = min(BITE, max(1, ITEMS_A_BITE // (self._chunk or 1)))
        return len(self.jobs) >= most or self._bytes >= BYTES_A_BITE

    def end(self) -> None:
        """Make a job of the items that are left."""
        if not self._items:
            return
        argument = self._items if self._chunk else self._items[0]
        job = self._plan.task._request((argument,), {})  # noqa: SLF001 - a part of the task
        if not self.jobs:
            self.first = self._plan.source.encode(self._items[0])
        self.jobs.append(job)
        self.lasts.append(self._plan.source.encode(self._items[-1]))
        self.counts.append(len(self._items))
        self._bytes += len(bytes(job.payload))
        self._items = []

    def check(self, after: str) -> None:
        """Raises InvalidResult if the function does not go on after that item.

        A map that ignores it comes to the ends of its first bite again, wherever that was cut; one
        that includes it begins with it.
        """
        if after in (self.first, *self.lasts):
            raise InvalidResult(
                f"{self._plan.source.name} yields the same item again after "
                f"{safe(after, most=80)}, so the map would never end: "
                "begin behind `after`, as in `where id > after`"
            )


class _Planning:
    """One run of a planner."""

    def __init__(
        self,
        plan: "_Plan",
        job: JobContext,
        record: JobRecord,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._plan = plan
        self._job = job
        self._record = record
        self._args = args
        self._kwargs = kwargs

    async def run(self, bites: int, last: _Mark) -> int:
        """Go on after so many bites, the last of which ended there; how many items in all.

        Raises Snooze after a bite: the next one comes behind what this one has enqueued.
        """
        if last.more:
            last = await self._job.step(f"{_BITE}{bites + 1}", self._feed, last)
            self._job.progress(last.items)
        if last.more:
            raise Snooze(0)
        return last.items

    async def _feed(self, last: _Mark) -> _Mark:
        """Enqueue the next jobs. Raises Snooze."""
        plan, after = self._plan, self._plan.source.decode(last.after)
        found = _Gathering(plan)
        pool = plan.app.clock.executor("backline map")
        try:
            items = partial(plan.source.fn, after, *self._args, **self._kwargs)
            more = await plan.source.read(items, found.take, pool)
        finally:
            pool.shutdown(wait=False)
        if not more:
            found.end()
        found.check(last.after)
        call = [self._named(job, last.jobs + n) for n, job in enumerate(found.jobs)]
        fault("map.before_enqueue")
        sent = await self._send(call) if call else 0
        fault("map.after_enqueue")
        return _Mark(
            last.jobs + sent,
            last.items + sum(found.counts[:sent]),
            found.lasts[sent - 1] if sent else last.after,
            more or sent < len(call),
        )

    async def _send(self, call: Sequence[JobRequest]) -> int:
        """Enqueue as many as there is room for; how many. Raises Snooze if that is too few."""
        while True:
            answer = await _patiently(self._plan.app.aoffer(call))
            if not isinstance(answer, Refused):
                return len(call)
            room = answer.max_depth - answer.depth
            least = max(1, min(len(call), answer.max_depth) // 2)
            if not least <= room < len(call):
                rate = answer.drain_rate
                wait = retry_after(answer.depth, answer.max_depth, least, rate) or _LOOK_S
                raise Snooze(min(wait, _LONGEST_LOOK_S))
            call = call[:room]

    def _named(self, job: JobRequest, number: int) -> JobRequest:
        record = self._record
        job_id = id_of(record.id, number, record.enqueued_at)
        return msgspec.structs.replace(job, id=job_id, flow=record.flow, group=record.group)


class _Plan(NamedTuple):
    """What a map does."""

    app: Feeding
    task: AnyTask
    source: _Source
    chunk: int | None

    async def run(self, job: JobContext, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
        """Run its planner."""
        record = await _patiently(self.app.afetch(job.id))
        if record is None:
            raise JobNotFound(job.id)
        steps = await _patiently(self.app.asteps(job.id)) if record.steps else []
        done = [step for step in steps if step.name.startswith(_BITE)]
        last = _mark.decode(done[-1].value or b"") if done else _Mark()
        return await _Planning(self, job, record, args, kwargs).run(len(done), last)


async def _patiently(asking: Awaitable[T]) -> T:
    """Raises Snooze if the store is away, or full: that is no failure of the planner."""
    try:
        return await asking
    except (StoreUnavailable, StoreFull) as error:
        raise Snooze(_AWAY_S) from error


def id_of(planner: JobId, number: int, at: Micros) -> JobId:
    """The id of a job of a map: the same whoever makes it. Those of one map sort by number."""
    drawn = (number & 0xFFFFFFFF).to_bytes(4) + sha256(planner.encode()).digest()[:6]
    return drawn_id(at // 1_000, drawn)


def make_map(
    app: Feeding,
    transactions: Transactions,
    task: object,
    fn: Callable[..., Any],
    settings: Mapping[str, Any],
) -> MapTask[...]:
    """The task that `@app.map(task, **settings)` makes of `fn`. Raises ConfigError."""
    options = dict(settings)
    chunk = options.pop("chunk", None)
    if not inspect.isfunction(fn):
        raise ConfigError(f"a map is made of a function that yields items, not {fn!r}")
    mapped = _mappable(task, chunk, fn.__qualname__)
    for option in ("executor", "batch", "wait"):
        if option in options:
            raise ConfigError(
                f"{option}= of {fn.__qualname__}: a map plans on the loop, and reads the items "
                "of a def in a thread; the task it maps has options of its own"
            )
    source = _Source(fn, fn.__qualname__)
    what = _Plan(app, mapped, source, chunk)

    async def plan(_planner: JobContext, *args: Any, **kwargs: Any) -> int:
        return await what.run(_planner, args, kwargs)

    update_wrapper(plan, fn)
    first = inspect.Parameter("_planner", inspect.Parameter.POSITIONAL_ONLY)
    plan.__annotations__ = {"_planner": JobContext, **source.hints, "return": int}
    plan.__signature__ = inspect.Signature([first, *source.parameters])  # type: ignore[attr-defined]
    options = {"queue": mapped.options.queue, "priority": mapped.options.priority, **options}
    made = make_task(plan, options, app, transactions, kind=MapTask)
    assert isinstance(made, MapTask)
    return made


def _mappable(task: object, chunk: object, name: str) -> AnyTask:
    """The task that is mapped. Raises ConfigError."""
    if not isinstance(task, Task):
        raise ConfigError(f"{name} maps a task of the app, not {shown(task)}")
    if task.batch is not None:
        raise ConfigError(f"{name} maps {task.name}, which has batch=: use chunk= instead")
    if task.options.within is not None:
        raise ConfigError(f"{name} maps {task.name} with within=: its jobs are no caller's")
    if not task.codec.takes(1):
        raise ConfigError(f"{name} maps {task.name}, which cannot be called with one argument")
    whole = chunk if isinstance(chunk, int) and not isinstance(chunk, bool) else 0
    if chunk is not None and not 1 <= whole <= MAX_CHUNK:
        raise ConfigError(f"chunk= of {name} is an int from 1 to {MAX_CHUNK:,}, not {shown(chunk)}")
    return task
