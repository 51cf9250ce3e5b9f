"""What a type checker sees of tasks; checked by mypy and pyright, never run.

Each line that must be an error carries an ignore with its code, and unused ignores are errors
too: so both directions are checked.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import backline
from backline import App, Batch, Event, Job, JobContext, Outcome, PublishedEvent, Retry, Task
from backline.job import JobRequest
from backline.task import AsyncTask, SyncTask

app = App("memory://")


@app.task
async def bare(user_id: int, *, greeting: str = "hi") -> str:
    return greeting * user_id


@app.task(queue="mail", max_attempts=3)
async def called(user_id: int) -> list[str]:
    return [str(user_id)]


@app.task
def sync(name: str, size: float = 1.0) -> bytes:
    return name.encode()


@app.task(executor="process")
def sync_called(name: str) -> None: ...


@app.task
async def with_context(job: JobContext, size: int) -> int:
    return job.attempt + size


@app.task(priority=3)
def sync_with_context(job: JobContext, size: int) -> str:
    return job.id * size


@app.task(batch=10, wait="2s")
async def batched(batch: Batch[int]) -> None:
    assert_type(batch.values, list[int])
    for item in batch:
        assert_type(item.value, int)
        item.succeed()
        item.succeed(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


@app.task(batch=10, queue="prices")
def sync_batched(batch: Batch[tuple[str, int], float]) -> None:
    for item in batch:
        assert_type(item.value, tuple[str, int])
        item.succeed(3.0)
        item.fail(ValueError("none"))


async def check_batches() -> None:
    assert_type(batched.enqueue(1), Job[None])
    assert_type(await sync_batched.aenqueue(("a", 1)), Job[float])
    assert_type(await sync_batched.handle("an id").aresult(), float)
    assert_type(await batched(1, 2), list[None])
    assert_type(sync_batched(("a", 1)), list[float])
    assert_type(sync_batched.using(delay="5m").enqueue(("a", 1)).result(), float)
    batched.enqueue("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync_batched.enqueue("a", 1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]


@app.task(batch=10)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
async def no_batch(number: int) -> None: ...


@app.on("user.*", queue="mail")
async def heard(event: Event[int]) -> str:
    return event.name * event.payload


@app.on("user.gone")
@app.task(priority=3)
def heard_too(job: JobContext, payload: dict[str, int]) -> None: ...


@app.task
def receipt(outcome: Outcome[int]) -> None:
    assert_type(outcome.result, int | None)


@app.task(on_success=receipt, on_dead=["app.alarm", receipt, receipt.job], callback_url="https://a")  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
def followed() -> int:
    return 1


async def check() -> None:
    assert_type(heard.handle("an id"), Job[str])
    assert_type(heard_too.enqueue({"a": 1}), Job[None])
    assert_type(await app.apublish("user.gone", {"a": 1}, id="x"), PublishedEvent)
    assert_type(app.publish("user.gone").jobs["t"], Job[Any])
    followed.using(on_success=[receipt, sync.job("a")], on_dead="app.alarm")
    followed.using(on_dead=sync)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    followed.using(on_dead=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await bare.aenqueue(1), Job[str])
    assert_type(bare.enqueue(1, greeting="yo"), Job[str])
    assert_type(bare.handle("an id"), Job[str])
    assert_type(await sync.handle("an id").aresult(), bytes)
    assert_type(bare.delay(1).result(timeout=5), str)
    assert_type(await called.using(delay="5m").enqueue(1).aresult(), list[str])
    assert_type(sync.enqueue("a", 2.0).return_value, bytes | None)
    assert_type(sync_called.enqueue("a"), Job[None])
    assert_type(with_context.enqueue(1), Job[int])
    assert_type(sync_with_context.enqueue(1), Job[str])
    assert_type(with_context.job(3), JobRequest)

    assert_type(await bare(1), str)
    assert_type(sync("a"), bytes)

    bare.enqueue("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await bare.aenqueue(1, greting="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with_context.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync.using(countdown=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync.using(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def steps(job: JobContext) -> None:
    async def charge(order: int, amount: float) -> str:
        return f"{order} {amount}"

    def ship(order: int, fast: bool = False) -> bytes:
        return b"%d %d" % (order, fast)

    assert_type(await job.step("charge", charge, 1, 2.0), str)
    assert_type(await job.step("ship", ship, 1, True), bytes)
    assert_type(await job.step("ship", ship, 1, True, within=object()), bytes)
    assert_type(await job.step("ship", lambda: ship(1)), bytes)
    await job.sleep("3d", name="cooling-off")
    assert_type(await job.wait_for("paid", int, key="7", timeout="3d"), int)
    assert_type(await job.wait_for("paid", Event[int], key="7", timeout="3d"), Event[int])
    assert_type(await job.wait_for("paid", key="7", timeout=9, name="once"), Any)
    job.wait_for("paid", key="7")  # type: ignore[call-overload]  # pyright: ignore


def takes(task: Task[[int], list[str]]) -> None:
    assert_type(task.enqueue(1), Job[list[str]])


takes(called)
takes(bare)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
kinds: tuple[AsyncTask[..., str], SyncTask[..., bytes]] = (bare, sync)


@app.task(within=app)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue]
def wrong_place() -> None: ...


App(broker="redis://x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(max=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
app.queue("q", maxsize=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
sync.apply_async("a")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
app.job("x").get()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@app.task(countdown=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue]
def wrong() -> None: ...


@app.map(called)
def mapped(after: int | None, name: str, *, least: int = 0) -> Iterator[int]:
    yield least


@app.task
def chunked(user_ids: list[int], *, dry: bool = False) -> None: ...


@app.map(chunked, chunk=100, queue="bulk")
async def mapped_in_chunks(after: int | None) -> AsyncIterator[int]:
    yield 1


@app.map(chunked, chunk=100)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def of_another_type(after: str | None) -> Iterator[str]:
    yield ""


def strangers() -> None:
    app.send_task("a")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    backline.Celery()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def maps() -> None:
    assert_type(mapped.enqueue("a", least=2), Job[int])
    mapped.job("a")
    mapped.job(3, "a")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    mapped_in_chunks.job()
    mapped_in_chunks.job(None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    app.map(chunked, chunk="7")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
