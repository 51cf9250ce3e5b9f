"""A store, some tasks and workers over them, for the tests of the worker."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn

from msgspec import Raw

from backline.clock import Clock
from backline.job import JobRecord, JobRequest
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.task import Registry, make_task
from backline.worker import Board, Worker, WorkerSettings, most_held


class Bench:
    """A store, some tasks and workers over them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.store: Store = MemoryStore(clock=clock)
        self.registry = Registry()
        self.workers = 0

    def new_id(self) -> str:
        return self.clock.new_id()

    def webhook(self, url: str) -> JobRequest:
        raise NotImplementedError

    def headers_now(self) -> Mapping[str, str]:
        return {}

    async def send(self, request: JobRequest, decode: Callable[[Raw | None], Any]) -> NoReturn:
        raise AssertionError("these tests enqueue through the store")

    def wait(self, work: Callable[[], Coroutine[Any, Any, Any]], twin: str) -> NoReturn:
        raise AssertionError("these tests enqueue through the store")

    def task(self, fn: Callable[..., Any], **options: Any) -> Callable[..., JobRequest]:
        task = make_task(fn, {"name": fn.__name__, **options}, self)
        self.registry.add(task)
        return task.job

    def worker(self, **options: Any) -> Worker:
        self.workers += 1
        parts = {k: options.pop(k) for k in ("middleware", "lifespan", "observer") if k in options}
        own = {task.options.queue: 1 for task in self.registry}
        options.setdefault("queues", {"default": 1} | own)
        settings = WorkerSettings(name=f"worker-{self.workers}", **options)
        board = Board.private(most_held(settings, self.registry), settings.name)
        return Worker(self.store, self.registry, settings, clock=self.clock, board=board, **parts)

    async def enqueue(self, *jobs: JobRequest) -> list[str]:
        await self.store.enqueue([jobs])
        return [job.id for job in jobs]

    async def record(self, job_id: str) -> JobRecord:
        [job] = await self.store.get([job_id])
        assert job is not None
        return job

    async def drain(self, *jobs: JobRequest, **options: Any) -> list[JobRecord]:
        """Enqueue, work until nothing is ready, and say what became of the jobs."""
        ids = await self.enqueue(*jobs)
        await self.worker(drain=True, **options).run()
        return [await self.record(job_id) for job_id in ids]
