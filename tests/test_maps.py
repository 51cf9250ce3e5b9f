"""Maps as a producer makes them: sources, chunks, what follows them, what goes wrong."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backline import (
    App,
    BacklineError,
    Batch,
    ConfigError,
    FlowRun,
    FlowStatus,
    State,
    UnknownOption,
    UnknownParent,
    chain,
    group,
    previous,
    result_of,
    undoable,
    workflow,
)
from backline.flow import mapping
from backline.job import SECOND, Enqueued, Refused
from backline.store import Call, Filter
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.idempotence import assert_idempotent
from backline.testing.loop import run
from backline.testing.wrapper import StoreWrapper

app = App("memory://")
app.queue("narrow", max_depth=5)
app.queue("drops", max_depth=5, on_full="shed")
ran: list[Any] = []


@app.task
def one(number: int) -> int:
    ran.append(number)
    return number


@app.task(max_attempts=1)
def many(numbers: list[int]) -> None:
    ran.append(numbers)
    if 13 in numbers and len(ran) < 100:
        raise ValueError("unlucky")


@app.task
def last(count: int = -1) -> int:
    ran.append("last")
    return count


def numbers_after(after: int | None, most: int) -> range:
    return range(0 if after is None else after + 1, most)


@app.task
def text(word: str) -> None:
    ran.append(word)


@app.map(one)
def each(after: int | None, most: int) -> Iterator[int]:
    yield from numbers_after(after, most)


@app.map(many, chunk=4)
async def chunks(after: int | None, most: int) -> AsyncIterator[int]:
    for number in numbers_after(after, most):
        yield number


@app.map(one.using(queue="narrow"), name="narrow")
def narrow(after: int | None, most: int) -> range:
    return numbers_after(after, most)


@app.map(one.using(queue="drops"), name="drops", queue="default")
def drops(after: int | None, most: int) -> range:
    return numbers_after(after, most)


flows: list[FlowRun] = []


@app.task
async def cancels(number: int) -> None:
    ran.append(number)
    if number == 20:
        await flows.pop().acancel()


@app.map(cancels)
async def until_20(after: int | None, most: int) -> AsyncIterator[int]:
    for number in numbers_after(after, most):
        yield number


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ran.clear()
    monkeypatch.setattr(mapping, "BITE", 3)
    with app.isolated():
        yield


def test_each_item_gets_a_job_and_what_follows_runs_after_all_of_them() -> None:
    flow = app.enqueue_flow(chain(each.job(10), last.job(previous)))
    assert flow.progress().added == 2
    app.drain()
    assert (sorted(ran[:-1]), ran[-1]) == ([*range(10)], "last")
    assert (flow.result(), flow.status()) == (10, FlowStatus.SUCCEEDED)
    assert (flow.progress().ended, flow.progress().added) == (12, 12)


def test_a_chunk_is_a_list_and_the_last_one_is_shorter() -> None:
    flow = app.enqueue_flow(chain(chunks.job(10)))
    app.drain()
    with pytest.raises(BacklineError, match="ends with a group or a map"):
        flow.result()
    assert sorted(ran) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("items", [0, 1, 3, 4, 12])
def test_bites_and_chunks_lose_nothing_where_they_end(items: int) -> None:
    flow = app.enqueue_flow(chain(each.job(items), chunks.job(items), last.job(previous)))
    app.drain()
    assert sorted(n for n in ran if isinstance(n, int)) == [*range(items)]
    assert sorted(n for chunk in ran if isinstance(chunk, list) for n in chunk) == [*range(items)]
    assert (flow.result(), ran[-1]) == (items, "last")


@pytest.mark.parametrize("source", [narrow, drops])
def test_a_queue_is_not_filled_beyond_its_depth_whatever_it_does_then(source: Any) -> None:
    clock = VirtualClock()

    async def scenario() -> None:
        with app.isolated(clock=clock):
            flow = await app.aenqueue_flow(chain(source.job(40), last.job()))
            for _ in range(60):
                for queue in await app.store.stats():
                    assert queue.max_depth is None or queue.depth <= queue.max_depth + 1
                await app.adrain()
                clock.advance("1s")
            assert await flow.astatus() is FlowStatus.SUCCEEDED

    run(scenario(), clock=clock)
    assert (sorted(ran[:-1]), ran[-1]) == ([*range(40)], "last")


def test_what_follows_need_not_be_a_chain() -> None:
    first, second = each.job(4), chunks.job(4)
    after_both = last.using(after=[first, second]).job(result_of(first))
    flow = app.enqueue_flow(workflow(first, second, after_both))
    app.drain()
    assert (flow.result(), ran[-1], len(ran)) == (4, "last", 6)
    ran.clear()
    app.enqueue_flow(group([each.job(4), each.job(3), one.job(9)]).then(last.job()))
    app.drain()
    assert (sorted(ran[:-1]), ran[-1]) == ([0, 0, 1, 1, 2, 2, 3, 9], "last")
    ran.clear()
    alone = each.enqueue(4)
    app.drain()
    assert (alone.result(), sorted(ran)) == (4, [0, 1, 2, 3])
    assert app.flow(f"m-{alone.id}").progress().added == 5


def test_a_map_is_undone_if_the_chain_fails_later() -> None:
    app.enqueue_flow(chain(undoable(each.job(2), undo=last.job(previous)), many.job([13])))
    app.drain()
    assert (sorted(ran[:2]), ran[2:]) == ([0, 1], [[13], "last"])


def test_an_item_that_fails_stops_what_follows_and_not_the_others() -> None:
    flow = app.enqueue_flow(chain(chunks.job(40), last.job()))
    app.drain()
    assert (len(ran), flow.status()) == (10, FlowStatus.FAILED)
    [dead] = _find(State.DEAD)
    ran.extend([0] * 100)
    assert app.redrive(dead)
    app.drain()
    assert (ran[-1], flow.status()) == ("last", FlowStatus.SUCCEEDED)


def test_cancel_ends_the_planning_too() -> None:
    flow = app.enqueue_flow(chain(until_20.job(1_000), last.job()))
    flows.append(flow)
    app.drain()
    assert flow.status() is FlowStatus.CANCELLED
    assert set(range(20)) <= set(ran) < set(range(40))
    assert flow.progress().added < 50


def test_a_planner_may_be_run_again_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_idempotent(chunks, 14, state=lambda: None)


def test_new_ids_for_a_repeated_bite_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(range(10**6))
    monkeypatch.setattr(mapping, "id_of", lambda *_: f"job {next(made)}")
    with pytest.raises(AssertionError, match="enqueue"):
        assert_idempotent(chunks, 14, state=lambda: None)


def test_items_that_cannot_be_mapped_end_the_planner() -> None:
    @app.map(one, name="wrong", max_attempts=1)
    def wrong(after: int | None, item: Any) -> Iterator[Any]:
        yield 1
        yield item

    @app.map(text, name="mistyped")
    def mistyped(after: int | None, item: Any) -> Iterator[Any]:
        yield item

    bad = ((wrong, "two", "argument 'number' of"), (wrong, None, "yielded None"))
    for source, item, complaint in (*bad, (mistyped, "two", "an item of")):
        ran.clear()
        flow = app.enqueue_flow(chain(source.job(item), last.job()))
        app.drain()
        assert (ran, flow.status()) == ([], FlowStatus.FAILED)
        [dead] = _find(State.DEAD)
        assert complaint in app.job(dead).refresh().errors[-1].message
        app.cancel(dead)
        _purge(dead)


@pytest.mark.parametrize("queue", ["default", "narrow"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_a_function_that_ignores_where_to_go_on_ends_the_planner(
    queue: str, chunk: int | None
) -> None:
    def again(after: int | None) -> range:
        return range(1, 3_000)

    def inclusive(after: int | None) -> range:
        return range(after or 0, 3_000)

    for source in (again, inclusive):
        ran.clear()
        with app.isolated():
            name = f"{source.__name__} {queue} {chunk}"
            if chunk is None:
                planner = app.map(one.using(queue=queue), name=name)(source)
            else:
                planner = app.map(many.using(queue=queue), chunk=chunk, name=name)(source)
            flow = app.enqueue_flow(chain(planner.job(), last.job()))
            app.drain()
            assert flow.status() is FlowStatus.FAILED
            [dead] = _find(State.DEAD)
            [error] = app.job(dead).refresh().errors
            assert "again after" in error.message
            assert "begin behind `after`" in error.message
            assert len(ran) == 3


def test_a_map_that_another_job_or_a_schedule_starts_is_part_of_no_flow() -> None:
    app.schedule("nightly", each.job(3), every="1h")
    app.schedules.run("nightly")
    app.drain()
    assert sorted(ran) == [0, 1, 2]
    one.using(on_success=each.job(3)).enqueue(7)
    app.drain()
    assert sorted(ran) == [0, 0, 1, 1, 2, 2, 7]


def test_what_cannot_be_mapped_is_refused_where_it_stands() -> None:
    def items(after: int | None) -> Iterator[int]:
        yield 1

    async def returns(after: int | None) -> list[int]:
        return [1]

    def without() -> Iterator[int]:
        yield 1

    @app.task(batch=2, name="batched")
    def batched(batch: Batch[int]) -> None: ...

    @app.task(name="needs two")
    def two(a: int, b: int) -> None: ...

    for task, settings, fn, complaint in (
        (items, {}, items, "maps a task of the app"),
        (batched, {}, items, "has batch=: use chunk="),
        (two, {}, items, "cannot be called with one argument"),
        (one, {}, returns, "yields its items"),
        (one, {}, without, "its first parameter is the item"),
        (one, {}, 7, "a function that yields items"),
        (one, {"chunk": 0}, items, "chunk= of .* is an int from 1"),
        (one, {"executor": "thread"}, items, "executor= of"),
        (one, {"batch": 3}, items, "batch= of"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            app.map(task, name="wrong", **settings)(fn)  # type: ignore[call-overload]
    with pytest.raises(UnknownOption):
        app.map(one, name="wrong", bite=3)(items)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="nor after a group with a map in it"):
        group([each.job(4), one.job(9)]).then(last.job(previous))
    planner = each.job(1)
    after_it = last.using(after=[planner]).job()
    with pytest.raises(UnknownParent):  # it has become a part of a group
        app.enqueue_flow(workflow(*chain(group([planner])).jobs, after_it))


class Counting(StoreWrapper):
    """A store that is swept as fast as its jobs end, and counts its rows."""

    most = 0

    async def enqueue(self, calls: Sequence[Call]) -> list[list[Enqueued] | Refused]:
        answers = await self._store.enqueue(calls)
        rows = [sum(queue.counts.values()) for queue in await self._store.stats()]
        self.most = max(self.most, *rows)
        return answers

    async def exchange(self, *args: Any) -> Any:
        reply = await self._store.exchange(*args)
        await self._store.sweep(10_000)
        return reply


def test_100_000_items_never_take_more_rows_than_the_depth_limit_and_a_bite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    clock = VirtualClock()
    store = Counting(MemoryStore(clock=clock))
    big = App(store=store, clock=clock)
    big.queue("default", max_depth=1_000)
    done = 0

    @big.task(keep=0, name="work")
    async def work(number: int) -> None:
        nonlocal done
        done += 1

    @big.map(work, keep=0, name="all")
    async def everything(after: int | None) -> AsyncIterator[int]:
        for number in numbers_after(after, 100_000):
            yield number

    async def scenario() -> None:
        flow = await big.aenqueue_flow(chain(everything.job()))
        while await flow.astatus() is FlowStatus.RUNNING:
            await big.adrain()
            clock.advance(SECOND // 10)
        assert await flow.astatus() is FlowStatus.SUCCEEDED

    run(scenario(), clock=clock)
    assert done == 100_000
    assert store.most <= 1_000 + mapping.BITE


def test_without_a_limit_a_map_waits_for_its_jobs_to_begin() -> None:
    store = Counting(MemoryStore())
    quick = App(store=store)

    @quick.task(keep=0, name="work")
    async def work(number: int) -> None: ...

    @quick.map(work, name="all")
    async def everything(after: int | None) -> AsyncIterator[int]:
        for number in numbers_after(after, 300):
            yield number

    everything.enqueue()
    quick.drain()
    assert store.most < 50  # of bites of 3


def test_a_map_in_a_file(tmp_path: Path) -> None:
    filed = App(f"sqlite:///{tmp_path / 'jobs.db'}")
    done: list[list[str]] = []

    class Row(msgspec.Struct, frozen=True):
        number: int
        text: str

    @filed.task(name="work")
    def work(rows: list[Row]) -> None:
        done.append([row.text for row in rows])

    @filed.map(work, chunk=2, name="rows")
    def rows(after: Row | None, most: int) -> Iterator[Row]:
        first = 0 if after is None else after.number + 1
        yield from (Row(number, f"row {number}") for number in range(first, most))

    @filed.task(name="last")
    def after_all(count: int) -> tuple[int, int]:
        return count, len(done)

    flow = filed.enqueue_flow(chain(rows.job(15), after_all.job(previous)))
    filed.drain()
    assert flow.result() == (15, 8)
    assert sorted(text for texts in done for text in texts) == sorted(
        f"row {number}" for number in range(15)
    )
    filed.close()


def _find(state: State) -> list[str]:
    async def found() -> list[str]:
        page = await app.store.find(Filter(states=frozenset({state})), limit=99)
        return [job.id for job in page.jobs]

    return app.wait(found, "app.store.find")


def _purge(job_id: str) -> None:
    app.wait(lambda: app.store.purge([job_id]), "app.store.purge")
