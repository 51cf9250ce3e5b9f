"""The app end to end: declare, enqueue, work, from any loop, thread and process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backline import (
    App,
    BacklineError,
    Cancel,
    ConfigError,
    IdempotencyConflict,
    InvalidResult,
    JobCancelled,
    JobContext,
    JobFailed,
    JobNotFound,
    QueueFull,
    ResultTimeout,
    Snooze,
    State,
    StoreFull,
    StoreUnavailable,
    UniqueConflict,
    current_job,
)
from backline.duration import Duration
from backline.job import Enqueued, JobId, JobRecord, Refused
from backline.store import Call, Cancelling
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run


@pytest.fixture
def app() -> Iterator[App]:
    app = App("memory://")
    yield app
    app.close()


@pytest.fixture
def file_app(tmp_path: Path) -> Iterator[App]:
    app = App(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield app
    app.close()


async def add(a: int, b: int = 1) -> int:
    return a + b


def shout(text: str) -> str:
    return text.upper()


def fail(text: str) -> None:
    raise ValueError(text)


# Sync callers.


def test_a_script_enqueues_drains_and_reads_the_result(app: App) -> None:
    task = app.task(add)

    job = task.enqueue(1, b=2)

    assert (job.accepted, job.added, job.task) == (True, True, f"{__name__}.add")
    assert job.status() is State.READY
    assert (job.return_value, job.attempts, job.errors, job.progress) == (None, 0, (), None)
    assert app.drain() == 1
    assert job.result(timeout=5) == 3
    assert (job.return_value, job.attempts, job.status()) == (3, 1, State.SUCCEEDED)
    assert app.drain() == 0


def test_results_are_typed_by_the_return_annotation(app: App) -> None:
    @app.task(name="pair")
    def pair(path: Path) -> tuple[Path, int]:
        return path, 1

    job = pair.enqueue(Path("x"))
    app.drain()

    assert job.result() == (Path("x"), 1)
    assert app.job(job.id).result() == (Path("x"), 1)


def test_a_failed_job_says_why(app: App) -> None:
    job = app.task(max_attempts=1)(fail).enqueue("boom")
    app.drain()

    with pytest.raises(JobFailed, match="is dead after 1 attempt: ValueError: boom") as caught:
        job.result()

    assert caught.value.kind == "ValueError"
    assert "in fail" in caught.value.traceback
    assert [error.message for error in job.errors] == ["boom"]
    assert job.retry() is True
    assert job.retry() is False
    assert job.status() is State.READY


def test_a_cancelled_job_and_an_unknown_one(app: App) -> None:
    job = app.task(add).enqueue(1)

    assert job.cancel() is Cancelling.CANCELLED
    assert job.cancel() is Cancelling.ENDED
    with pytest.raises(JobCancelled):
        job.result()
    with pytest.raises(JobNotFound):
        app.job("01a201f3-8738-75db-b508-d5fb7258be75").result()
    with pytest.raises(JobNotFound):
        app.job("nonsense").status()


def test_waiting_for_a_result_ends(app: App) -> None:
    job = app.task(add).enqueue(1)

    with pytest.raises(ResultTimeout, match=r"is still ready after 0\.01 s") as caught:
        job.result(timeout=0.01)

    for told in ("no worker has taken it", "`backline doctor`", "`backline worker module:app`"):
        assert told in str(caught.value)
    assert "worker" not in str(ResultTimeout("id", timeout=1, state="running"))


@pytest.mark.parametrize("timeout", [0.01, "10ms", timedelta(milliseconds=10)])
def test_a_timeout_is_a_duration_like_any_other(app: App, timeout: Duration) -> None:
    job = app.task(add).enqueue(1)

    with pytest.raises(ResultTimeout, match=r"is still ready after 0\.01 s") as caught:
        job.result(timeout)
    with pytest.raises(ResultTimeout):
        asyncio.run(job.aresult(timeout))
    assert caught.value.timeout == 0.01


@pytest.mark.parametrize("timeout", ["soon", -1, True, [1]])
def test_a_timeout_that_is_no_duration_is_refused(app: App, timeout: Any) -> None:
    job = app.task(add).enqueue(1)

    with pytest.raises(ConfigError, match="timeout= of result"):
        job.result(timeout=timeout)


def test_a_result_that_does_not_fit_its_annotation_is_a_failure_that_says_so(app: App) -> None:
    @app.task(name="liar")
    def liar() -> int:
        return "three"  # type: ignore[return-value]

    job = liar.enqueue()
    app.drain()

    with pytest.raises(JobFailed, match="the result of liar: expected int, got str"):
        job.result()
    assert job.errors[0].kind == f"{InvalidResult.__module__}.InvalidResult"


def test_many_jobs_in_one_call(app: App) -> None:
    task = app.task(add)
    requests = [task.job(n) for n in range(100)]

    jobs = app.enqueue_many(requests)
    again = app.enqueue_many(requests)

    assert [job.id for job in jobs] == [request.id for request in requests]
    assert [job.id for job in again] == [job.id for job in jobs]
    assert app.drain() == 100
    assert [job.result() for job in jobs] == [n + 1 for n in range(100)]
    assert app.enqueue_many([]) == []


@pytest.mark.parametrize("what", ["task", "handle", "arguments"])
def test_many_takes_jobs_and_says_so(app: App, what: str) -> None:
    task = app.task(add)
    wrong: Any = {"task": task, "handle": task.enqueue(1), "arguments": (1, 2)}[what]

    with pytest.raises(TypeError, match=r"task\.job\(\.\.\.\)"):
        app.enqueue_many([task.job(2), wrong])
    with pytest.raises(TypeError, match=r"task\.job\(\.\.\.\)"):
        asyncio.run(app.aenqueue_many([task.job(2), wrong]))
    with pytest.raises(TypeError, match=r"task\.job\(\.\.\.\)"):
        app.enqueue_many(task.job(2))  # type: ignore[arg-type]

    app.close()


def test_enqueueing_by_name(app: App) -> None:
    task = app.task(name="known")(add)

    assert app.enqueue("known", 1).task == task.name
    with pytest.raises(TypeError, match="argument 'a' of known"):
        app.enqueue("known", "1")
    elsewhere = app.remote("elsewhere.task", queue="far").enqueue(1, x=[2])
    assert (elsewhere.refresh().queue, bytes(elsewhere.refresh().payload)) == (
        "far",
        b'[[1],{"x":[2]}]',
    )
    assert app.enqueue("elsewhere.task").refresh().queue == "default"


def test_unique_keys(app: App) -> None:
    task = app.task(add).using(unique_key="k")
    first = task.enqueue(1)

    second = task.enqueue(2)

    assert (second.id, second.added, second.accepted) == (first.id, False, True)
    third = task.using(on_conflict="replace").enqueue(3)
    assert third.added
    assert first.status() is State.CANCELLED
    with pytest.raises(UniqueConflict, match="under the key 'k'") as caught:
        task.using(on_conflict="raise").enqueue(4)
    assert caught.value.holder == third.id


def test_idempotency_keys(app: App) -> None:
    task = app.task(add).using(idempotency_key="k")
    first = task.enqueue(1)

    again = task.enqueue(1)

    assert (again.id, again.added, again.accepted) == (first.id, False, True)
    with pytest.raises(IdempotencyConflict, match="under the idempotency key 'k' with") as caught:
        task.enqueue(2)
    error = caught.value
    assert (error.task, error.idempotency_key, error.holder) == (task.name, "k", first.id)
    assert app.task(name="other")(add).using(idempotency_key="k").enqueue(2).added
    by_argument = task.using(idempotency_key=lambda x, **_: f"{x}" if x else None)
    jobs = app.enqueue_many([by_argument.job(x) for x in (5, 5, 0, 0)])
    assert [job.added for job in jobs] == [True, False, True, True]
    assert by_argument.enqueue(5).id == jobs[0].id


def test_a_queue_that_is_full(app: App) -> None:
    app.queue("small", max_depth=1)
    app.queue("lossy", max_depth=1, on_full="shed")
    task = app.task(queue="small")(add)
    task.enqueue(1)

    with pytest.raises(QueueFull) as caught:
        task.enqueue(2)
    lossy = task.using(queue="lossy")
    kept, dropped = lossy.enqueue(1), lossy.enqueue(2)

    assert (caught.value.depth, caught.value.max_depth) == (1, 1)
    assert (kept.accepted, dropped.accepted, dropped.added) == (True, False, False)
    assert app.shed_counts == {"lossy": 1}
    with pytest.raises(JobNotFound):
        dropped.status()


def test_settings_declared_after_the_first_use_apply_too(app: App) -> None:
    task = app.task(queue="late")(add)
    task.enqueue(1)

    app.queue("late", max_depth=1)

    with pytest.raises(QueueFull):
        task.enqueue(2)


def test_sync_calls_on_a_running_loop_name_their_twins(app: App) -> None:
    task = app.task(add)

    async def main() -> None:
        job = await task.aenqueue(1)
        calls: dict[str, Callable[[], object]] = {
            "aenqueue": lambda: task.enqueue(1),
            "aenqueue_many": lambda: app.enqueue_many([]),
            "adrain": app.drain,
            "aclose": app.close,
            "aresult": job.result,
            "arefresh": job.refresh,
            "astatus": job.status,
            "acancel": job.cancel,
            "aretry": job.retry,
        }
        for twin, call in calls.items():
            with pytest.raises(BacklineError, match=rf"write `await (add|app|job)\.{twin}\("):
                call()
        with pytest.raises(TypeError, match=r"await job\.aresult"):
            await job  # type: ignore[misc]

    asyncio.run(main())


# Async callers, threads, and where the store lives.


async def test_a_service_enqueues_and_an_embedded_worker_works(app: App) -> None:
    task = app.task(add)
    loud = app.task(queue="loud")(shout)

    async with app.worker(concurrency=3) as embedded:
        first = await task.aenqueue(4)
        second = await loud.aenqueue("a")
        assert await first.aresult(5) == 5
        assert await second.aresult(5) == "A"
        assert set(embedded.worker.settings.queues) == {"default", "loud"}
    assert (await task.aenqueue(1)).added


async def test_a_single_loop_pays_no_thread(app: App) -> None:
    task = app.task(add)
    before = set(threading.enumerate())

    await asyncio.gather(*(task.aenqueue(n) for n in range(50)))

    assert set(threading.enumerate()) <= before
    assert (await app.store.stats())[0].counts[State.READY] == 50


async def test_threads_of_a_service_send_their_jobs_to_its_loop(app: App) -> None:
    task = app.task(add)
    await task.aenqueue(0)
    before = {thread.name for thread in threading.enumerate()}

    handles = await asyncio.gather(*(asyncio.to_thread(task.enqueue, n) for n in range(20)))

    assert all(handle.added for handle in handles)
    new = {thread.name for thread in threading.enumerate()} - before
    assert not any(name.startswith("backline") for name in new)
    assert await app.adrain() == 21


def test_threads_without_any_loop(app: App) -> None:
    task = app.task(add)
    added: list[JobId] = []

    def produce() -> None:
        added.extend(task.enqueue(n).id for n in range(20))

    threads = [threading.Thread(target=produce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(added)) == 160
    assert app.drain() == 160


@pytest.mark.parametrize("url", ["memory", "file"])
def test_one_loop_after_the_other(url: str, request: pytest.FixtureRequest) -> None:
    app: App = request.getfixturevalue("app" if url == "memory" else "file_app")
    task = app.task(add)

    async def one() -> None:
        await task.aenqueue(1)

    task.enqueue(0)  # on the background loop
    for _ in range(3):
        asyncio.run(one())  # each takes over, and is gone
    task.enqueue(2)

    assert app.drain() == 5


@pytest.mark.parametrize("url", ["memory", "file"])
def test_two_loops_at_once(url: str, request: pytest.FixtureRequest) -> None:
    app: App = request.getfixturevalue("app" if url == "memory" else "file_app")
    task = app.task(add)
    meet = threading.Barrier(2, timeout=30)
    sums: list[int] = []

    def service() -> None:
        async def main() -> None:
            await task.aenqueue(0)
            await asyncio.to_thread(meet.wait)
            jobs = await asyncio.gather(*(task.aenqueue(n) for n in range(20)))
            await asyncio.to_thread(meet.wait)
            async with app.worker():
                results = await asyncio.gather(*(job.aresult(30) for job in jobs))
                await asyncio.to_thread(meet.wait)
            sums.append(sum(results))

        asyncio.run(main())

    threads = [threading.Thread(target=service) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sums == [210, 210]


class HoldsOne(MemoryStore):
    """Its second enqueue never comes to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.held = asyncio.Event()
        self.calls = 0

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        self.calls += 1
        if self.calls == 2:
            self.held.set()
            await asyncio.get_running_loop().create_future()
        return await super().enqueue(calls)


def test_a_call_whose_loop_ends_meanwhile_is_begun_anew() -> None:
    store = HoldsOne()
    app = App(store=store)
    task = app.task(add)
    at_home = threading.Event()

    async def main() -> None:
        await task.aenqueue(0)
        at_home.set()
        await store.held.wait()

    service = threading.Thread(target=lambda: asyncio.run(main()))
    service.start()
    assert at_home.wait(30)
    job = task.enqueue(7)  # goes to the service's loop, which ends with the call in its hands
    service.join(30)

    assert (job.added, store.calls) == (True, 3)
    assert app.drain() == 2
    app.close()


class LooksOnce(MemoryStore):
    """Its first look at a job never comes to an end."""

    def __init__(self) -> None:
        super().__init__()
        self.looking = threading.Event()

    async def get(self, ids: Sequence[JobId]) -> list[JobRecord | None]:
        if not self.looking.is_set():
            self.looking.set()
            await asyncio.get_running_loop().create_future()
        return await super().get(ids)


def test_closing_ends_though_another_thread_still_waits_for_a_call() -> None:
    store = LooksOnce()
    app = App(store=store)
    job = app.task(add).enqueue(1)
    seen: list[State] = []
    asking = threading.Thread(target=lambda: seen.append(job.status()), daemon=True)
    asking.start()
    assert store.looking.wait(30)
    closing = threading.Thread(target=app.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    asking.join(10)  # its call was begun anew

    assert seen == [State.READY]
    app.close()


FORKING = """
import os, sys
from backline import App
app = App(sys.argv[1])
@app.task(name="t")
def t(n: int) -> int: return n
t.enqueue(0)
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for n in range(5):
            t.enqueue(n)
        app.close()
        os._exit(0)
    children.append(pid)
for n in range(5):
    t.enqueue(n)
codes = [os.waitpid(pid, 0)[1] for pid in children]
print(codes, app.drain())
"""


@pytest.mark.processes
def test_forked_children_enqueue_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, f"sqlite:///{tmp_path / 'f.db'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ran.stdout, ran.stderr) == ("[0, 0, 0] 21\n", "")


@pytest.mark.processes
def test_a_script_that_forgets_to_close_ends_cleanly(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom backline import App\napp = App(sys.argv[1])\n"
        "@app.task(name='t')\ndef t() -> None: ...\n"
        "print(t.enqueue().added)\n"
    )

    for url in ("memory://", f"sqlite:///{tmp_path / 'g.db'}"):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")


async def test_an_app_that_was_closed_opens_again(file_app: App) -> None:
    task = file_app.task(add)
    async with file_app:
        await task.aenqueue(1)
    await file_app.aclose()

    assert await file_app.adrain() == 1
    await file_app.aclose()


def test_the_url_comes_from_the_argument_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BACKLINE_URL", raising=False)
    assert App().url == "sqlite:///backline.db"
    monkeypatch.setenv("BACKLINE_URL", "memory://")
    assert (App().url, App("sqlite:///x.db").url) == ("memory://", "sqlite:///x.db")
    with pytest.raises(ConfigError, match="a url or a store"):
        App("memory://", store=MemoryStore())
    with pytest.raises(ConfigError, match="no store answers to"):
        App("amqp://localhost").remote("t").enqueue()


# On virtual time.


def test_an_app_on_virtual_time() -> None:
    clock = VirtualClock()
    app = App("memory://", clock=clock)
    task = app.task(name="t")(add)

    async def main() -> None:
        job = await task.using(delay="1h").aenqueue(1)
        assert await app.adrain() == 0
        assert await job.astatus() is State.SCHEDULED
        assert await app.adrain(scheduled=True) == 1
        assert await job.aresult() == 2
        await app.aclose()

    run(main(), clock=clock)

    assert clock.elapsed >= 3_600_000_000


# Around jobs.


async def test_lifespan_and_middleware_surround_jobs(app: App) -> None:
    seen: list[str] = []

    @app.lifespan
    async def pool() -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("close")

    @app.middleware
    async def outer(job: JobContext, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.append(f"outer {job.attempt}")
        result = await call_next()
        seen.append("outer end")
        return result

    @app.middleware
    async def inner(job: JobContext, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.append("inner")
        return await call_next() + 1

    job = await app.task(add).aenqueue(1)
    await app.adrain()

    assert seen == ["open", "outer 1", "inner", "outer end", "close"]
    assert await job.aresult() == 3
    with pytest.raises(ConfigError, match="has a lifespan already"):
        app.lifespan(pool)
    with pytest.raises(ConfigError, match="a middleware is an async def"):
        app.middleware(shout)  # type: ignore[arg-type]


async def test_a_lifespan_may_be_a_context_manager(app: App) -> None:
    seen: list[str] = []

    @app.lifespan
    @asynccontextmanager
    async def pool() -> AsyncIterator[None]:
        seen.append("open")
        yield

    await app.task(add).aenqueue(1)
    await app.adrain()

    assert seen == ["open"]


async def test_headers_come_from_the_callers_context(app: App) -> None:
    trace: ContextVar[str] = ContextVar("trace")

    @app.headers
    def tracing() -> dict[str, str]:
        return {"traceparent": trace.get()}

    @app.task(name="show")
    async def show() -> dict[str, str]:
        return dict(current_job().headers)

    trace.set("00-1-1-01")
    job = await show.using(headers={"own": "x"}).aenqueue()
    trace.set("00-2-2-01")
    request = show.job()
    await app.adrain()

    assert await job.aresult() == {"traceparent": "00-1-1-01", "own": "x"}
    assert request.headers == {"traceparent": "00-2-2-01"}
    app.headers(lambda: {"bad": 1})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="headers of the hook <lambda>"):
        show.job()


def test_declarations_that_cannot_work(app: App) -> None:
    app.queue("mail", max_depth=10)
    with pytest.raises(ConfigError, match="declared already"):
        app.queue("mail")
    with pytest.raises(ConfigError, match=r"max_depth of queue 'x' is an int from 1 to \S+, not 0"):
        app.queue("x", max_depth=0)
    with pytest.raises(
        ConfigError, match="on_full of queue 'y' is one of raise, wait, shed, not 'block'"
    ):
        app.queue("y", on_full="block")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="queue ''"):
        app.queue("")
    with pytest.raises(ConfigError, match=r"write @app\.task, or @app\.task\(queue="):
        app.task(add, queue="x")  # type: ignore[call-overload]
    app.task(add)
    with pytest.raises(ConfigError, match="two tasks are named"):
        app.task(add)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        (None, {"default": 1, "mail": 1}),
        ("mail,default=3", {"mail": 1, "default": 3}),
        (["a", "b"], {"a": 1, "b": 1}),
        ({"a": 2}, {"a": 2}),
    ],
)
async def test_the_queues_of_an_embedded_worker(app: App, queues: Any, expected: Any) -> None:
    app.task(queue="mail")(add)

    async with app.worker(queues) as embedded:
        assert embedded.worker.settings.queues == expected
    with pytest.raises(ConfigError, match="queues are written"):
        async with app.worker("mail=x"):
            pass


# At once.


async def test_immediate_runs_jobs_where_they_are_enqueued(app: App) -> None:
    task = app.task(add)
    loud = app.task(executor="process")(shout)

    with app.immediate():
        job = await task.aenqueue(1)
        assert (await job.astatus(), await job.aresult()) == (State.SUCCEEDED, 2)
        assert await (await loud.aenqueue("x")).aresult() == "X"
        jobs = await app.aenqueue_many([task.job(1), task.job(2)])
        assert [await job.aresult() for job in jobs] == [2, 3]
        later = await task.using(delay="1h").aenqueue(1)
        assert await later.astatus() is State.SCHEDULED

    assert await app.store.stats() == []
    assert await app.adrain() == 0


def test_immediate_in_a_script(app: App) -> None:
    task = app.task(add)

    with app.immediate():
        assert task.enqueue(1).status() is State.SUCCEEDED
    task.enqueue(1)

    assert app.drain() == 1


async def test_immediate_shows_errors(app: App) -> None:
    task = app.task(max_attempts=1)(fail)

    with app.immediate(), pytest.raises(ValueError, match="boom") as caught:
        await task.aenqueue("boom")
    assert caught.traceback[-1].name == "fail"
    with app.immediate(raising=False):
        job = await task.aenqueue("boom")
        assert await job.astatus() is State.DEAD
        assert job.errors[0].message == "boom"


async def test_immediate_keeps_to_the_rules_of_retries_and_signals(app: App) -> None:
    retried = app.task(name="retried")(fail)

    @app.task(name="steer")
    async def steer(how: str) -> None:
        raise Snooze("1h") if how == "snooze" else Cancel("enough")

    with app.immediate():
        with pytest.raises(ValueError, match="again"):
            await retried.aenqueue("again")
        [dead] = (await app.store.stats())[:1]
        assert dead.counts[State.SCHEDULED] == 1
        assert await (await steer.aenqueue("snooze")).astatus() is State.SCHEDULED
        assert await (await steer.aenqueue("cancel")).astatus() is State.CANCELLED


async def test_jobs_may_enqueue_jobs_in_immediate(app: App) -> None:
    task = app.task(add)

    @app.task(name="async parent")
    async def parent(n: int) -> int:
        return await (await task.aenqueue(n)).aresult(5)

    @app.task(name="sync parent")
    def sync_parent(n: int) -> JobId:
        return task.enqueue(n).id

    with app.immediate():
        assert await (await parent.aenqueue(1)).aresult() == 2
        child = await (await sync_parent.aenqueue(1)).aresult()
        assert await app.job(child).aresult(5) == 2


async def test_concurrent_enqueues_in_immediate_have_all_run_when_they_return(app: App) -> None:
    task = app.task(add)

    async def one(n: int) -> State:
        return await (await task.aenqueue(n)).astatus()

    with app.immediate():
        states = await asyncio.gather(*(one(n) for n in range(20)))

    assert set(states) == {State.SUCCEEDED}


def test_an_app_shows_itself(app: App) -> None:
    task = app.task(add)

    assert repr(app) == "<App memory://, 1 tasks>"
    assert repr(task) == f"<Task {__name__}.add on default>"
    assert repr(task.enqueue(1)).endswith(" enqueued>")


def test_a_queue_that_was_only_declared_is_served_too() -> None:
    app = App("memory://")
    app.queue("bulk", max_depth=10)

    @app.task(name="send", queue="mail")
    def send() -> None: ...

    assert app.queues() == {"default", "bulk", "mail"}


class AwayAtFirst(MemoryStore):
    """A store that cannot be opened the first few times."""

    def __init__(self, times: int, error: type[StoreUnavailable]) -> None:
        super().__init__()
        self.times = times
        self.error = error

    async def open(self) -> None:
        if self.times:
            self.times -= 1
            raise self.error("away")


@pytest.mark.parametrize("many", [False, True])
def test_an_enqueue_rides_out_a_store_that_cannot_be_opened_yet(many: bool) -> None:
    async def enqueue() -> float:
        app = App(store=AwayAtFirst(3, StoreUnavailable))
        task = app.task(add)
        began = asyncio.get_running_loop().time()
        if many:
            await app.aenqueue_many([task.job(1, 2)])
        else:
            await task.aenqueue(1, 2)
        await app.aclose()
        return asyncio.get_running_loop().time() - began

    assert 0 < run(enqueue()) < 1


@pytest.mark.parametrize(
    ("error", "least", "most"), [(StoreUnavailable, 3.0, 5.0), (StoreFull, 0.0, 0.0)]
)
def test_an_enqueue_gives_up_on_a_store_that_cannot_be_opened(
    error: type[StoreUnavailable], least: float, most: float
) -> None:
    async def enqueue() -> float:
        app = App(store=AwayAtFirst(1_000, error))
        began = asyncio.get_running_loop().time()
        with pytest.raises(error, match="away"):
            await app.task(add).aenqueue(1, 2)
        return asyncio.get_running_loop().time() - began

    assert least <= run(enqueue()) <= most


def test_who_only_looks_hears_at_once_that_the_store_cannot_be_opened() -> None:
    async def look() -> None:
        app = App(store=AwayAtFirst(1, StoreUnavailable))
        with pytest.raises(StoreUnavailable):
            await app.job("x").astatus()

    run(look())
