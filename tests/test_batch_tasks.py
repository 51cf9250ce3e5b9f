"""What can be declared with `batch=`, and what a task that was is like."""

from typing import Any

import pytest

from backline import App, Batch, JobContext
from backline.errors import ConfigError, InvalidArguments, InvalidResult, UnknownOption
from backline.job import JobRequest


def app() -> App:
    return App("memory://")


def test_producers_enqueue_one_element() -> None:
    @app().task(batch=10, name="index")
    async def index(batch: Batch[int]) -> None: ...

    assert bytes(index.job(3).payload) == b"[[3],{}]"
    with pytest.raises(InvalidArguments, match="argument 'value' of index"):
        index.job("three")  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="too many"):
        index.job(1, 2)  # type: ignore[call-arg]


def test_it_has_a_queue_of_its_own() -> None:
    mine = app()

    @mine.task(batch=10, name="index")
    async def index(batch: Batch[int]) -> None: ...

    assert index.job(1).queue == "index"
    assert "index" in mine.queues()
    assert index.using(delay="5m", priority=3).job(1).queue == "index"
    with pytest.raises(ConfigError, match="set where the task is declared"):
        index.using(queue="mail")


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_queue_that_another_task_has_is_refused(batch_first: bool) -> None:
    mine = app()

    def batched(batch: Batch[int]) -> None: ...

    def plain(number: int) -> None: ...

    declare: list[Any] = [
        lambda: mine.task(batch=10, queue="mail", name="many")(batched),
        lambda: mine.task(queue="mail", name="one")(plain),
    ]
    if not batch_first:
        declare.reverse()
    declare[0]()
    with pytest.raises(ConfigError, match="share the queue 'mail', and many has batch="):
        declare[1]()


def test_two_batch_tasks_do_not_share_a_queue_either() -> None:
    mine = app()

    def batched(batch: Batch[int]) -> None: ...

    mine.task(batch=10, queue="q", name="a")(batched)
    with pytest.raises(ConfigError, match="b and a share the queue 'q'"):
        mine.task(batch=10, queue="q", name="b")(batched)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"batch": 0}, "an int from 1 to 1,000, not 0"),
        ({"batch": 1_001}, "from 1 to 1,000"),
        ({"batch": True}, "from 1 to 1,000"),
        ({"batch": "10"}, "from 1 to 1,000"),
        ({"batch": 10, "wait": "2h"}, "0 to 1 hour"),
        ({"batch": 10, "wait": -1}, "wait="),
        ({"batch": 10, "wait": "soon"}, "wait="),
        ({"wait": "2s"}, "needs a batch="),
        ({"batch": 10, "executor": "process"}, "runs one job"),
        ({"batch": 10, "every": "30s"}, "without arguments"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], complaint: str) -> None:
    def index(batch: Batch[int]) -> None: ...

    with pytest.raises(ConfigError, match=complaint):
        app().task(name="index", **settings)(index)


def test_signatures_that_take_no_batch_are_refused() -> None:
    def plain(number: int) -> None: ...

    def nothing() -> None: ...

    def two(batch: Batch[int], number: int) -> None: ...

    def with_job(job: JobContext, batch: Batch[int]) -> None: ...

    def rest(*batch: Batch[int]) -> None: ...

    for fn in (plain, nothing, two, with_job, rest):
        with pytest.raises(ConfigError, match=r"its only parameter is a batch"):
            app().task(batch=10, name="index")(fn)  # type: ignore[arg-type]

    def returns(batch: Batch[int]) -> list[int]:
        return batch.values

    with pytest.raises(ConfigError, match=r"item\.succeed\(result\)"):
        app().task(batch=10, name="index")(returns)  # type: ignore[arg-type]


def test_what_others_call_it_is_named() -> None:
    with pytest.raises(UnknownOption, match="use batch="):
        app().task(name="index", flush_every=100)(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(UnknownOption, match="use wait="):
        app().task(name="index", flush_interval=10)(lambda: None)  # type: ignore[call-overload]


def test_a_batch_without_parameters_takes_anything() -> None:
    @app().task(batch=10, name="index")
    def index(batch: Batch) -> None: ...  # type: ignore[type-arg]

    assert isinstance(index.job({"any": 1}), JobRequest)


async def test_called_without_jobs_it_gives_the_results_or_what_items_failed_with() -> None:
    @app().task(batch=10, name="index")
    async def double(batch: Batch[int, int]) -> None:
        for item in batch:
            if item.value < 0:
                item.fail(ValueError(item.value))
            else:
                item.succeed(2 * item.value)

    assert await double(1, 2) == [2, 4]
    with pytest.raises(ValueError, match="-1"):
        await double(1, -1)
    with pytest.raises(ExceptionGroup, match="2 of 3 items"):
        await double(1, -1, -2)

    @app().task(batch=10, name="index")
    def odd(batch: Batch[int]):  # type: ignore[no-untyped-def]
        return batch.values

    with pytest.raises(InvalidResult, match="batch has no result"):
        odd(1)


def test_immediate_runs_each_as_a_batch_of_what_is_there() -> None:
    mine = app()
    sizes: list[int] = []

    @mine.task(batch=10, wait="1h", name="index")
    async def index(batch: Batch[int, int]) -> None:
        sizes.append(len(batch))
        for item in batch:
            if item.value == 1:
                await later.aenqueue()
            if item.value == 2:
                raise ValueError("two")
            item.succeed(item.value)

    @mine.task(name="later")
    async def later() -> None:
        sizes.append(-1)

    with mine.immediate():
        assert index.enqueue(5).result() == 5
        assert index.enqueue(1).result() == 1
        with pytest.raises(ValueError, match="two"):
            index.enqueue(2)
    assert sizes == [1, 1, -1, 1]
