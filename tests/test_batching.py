"""Natural batching: joining, order, keys, errors, cancellation; on virtual time."""

import asyncio
from collections.abc import Collection, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backline.batching import Batcher
from backline.testing.loop import run

T = TypeVar("T")


class Away(Exception):
    """The store is away."""


class Sink:
    """A flush that takes a second, remembers its batches and fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.bad: set[str] = set()
        self.away = False
        self.under_way = 0

    async def flush(self, items: Sequence[str]) -> list[str]:
        assert self.under_way == 0, "one flush at a time"
        self.under_way += 1
        try:
            self.batches.append(list(items))
            await asyncio.sleep(1)
            if self.away:
                raise Away
            if self.bad.intersection(items):
                raise ValueError(f"cannot take {sorted(items)}")
            return [item.upper() for item in items]
        finally:
            self.under_way -= 1


def keys_of(item: str) -> Collection[Hashable]:
    return item[0] if item[0].isdigit() else ()


def batcher(sink: Sink, most: int = 100) -> Batcher[str, str]:
    return Batcher(sink.flush, most=most, weight=len, keys=keys_of, shared=(Away,))


async def settled(*calls: Coroutine[Any, Any, T]) -> list[T | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def started(*calls: Coroutine[Any, Any, T]) -> list[asyncio.Task[T]]:
    """Tasks that have each come to their first wait."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0.1)
    return tasks


def test_the_first_flushes_at_once_and_who_comes_meanwhile_joins_the_next() -> None:
    async def main() -> float:
        batches = batcher(sink)
        [first] = await started(batches.submit("a"))
        rest = await started(*(batches.submit(item) for item in "bcd"))
        assert await asyncio.gather(first, *rest) == ["A", "B", "C", "D"]
        return asyncio.get_running_loop().time()

    sink = Sink()
    began = run(time_now())
    ended = run(main())

    assert sorted(map(sorted, sink.batches)) == [["a"], ["b", "c", "d"]]
    assert ended - began == pytest.approx(2.0, abs=0.01)


async def time_now() -> float:
    return asyncio.get_running_loop().time()


def test_callers_of_one_moment_share_the_first_flush() -> None:
    async def main() -> None:
        batches = batcher(sink)
        await asyncio.gather(*(batches.submit(item) for item in "abc"))
        await batches.submit("d")

    sink = Sink()
    run(main())

    assert [sorted(batch) for batch in sink.batches] == [["a", "b", "c"], ["d"]]


def test_a_batch_is_bounded_by_weight_and_a_heavy_item_goes_alone() -> None:
    async def main() -> None:
        batches = batcher(sink, most=4)
        for item in ("aa", "bb", "c", "dddddd", "e"):
            tasks.extend(await started(batches.submit(item)))
        await asyncio.gather(*tasks)

    sink = Sink()
    tasks: list[asyncio.Task[str]] = []
    run(main())

    assert sink.batches == [["aa"], ["bb", "c"], ["dddddd"], ["e"]]


def test_items_with_a_key_in_common_never_share_a_batch_nor_overtake() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        for item in ("x", "1a", "1b", "2a", "1c", "y"):
            tasks.extend(await started(batches.submit(item)))
        return await asyncio.gather(*tasks)

    sink = Sink()
    tasks: list[asyncio.Task[str]] = []
    answers = run(main())

    assert sink.batches == [["x"], ["1a", "2a", "y"], ["1b"], ["1c"]]
    assert answers == ["X", "1A", "1B", "2A", "1C", "Y"]


def test_what_was_put_off_comes_before_what_did_not_fit() -> None:
    async def main() -> None:
        batches = batcher(sink, most=4)
        for item in ("x", "1a", "1b", "yy", "1c"):
            tasks.extend(await started(batches.submit(item)))
        await asyncio.gather(*tasks)

    sink = Sink()
    tasks: list[asyncio.Task[str]] = []
    run(main())

    assert sink.batches == [["x"], ["1a", "yy"], ["1b"], ["1c"]]


def test_an_error_of_one_item_is_its_own() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        return await settled(*(batches.submit(item) for item in "abcdefgh"))

    sink = Sink()
    sink.bad = {"f"}
    answers = run(main())

    assert [a for a in answers if isinstance(a, str)] == list("ABCDEGH")
    [error] = [a for a in answers if isinstance(a, BaseException)]
    assert str(error) == "cannot take ['f']"
    assert answers.index(error) == 5
    assert len(sink.batches) <= 1 + 2 * 3  # halved, not tried one by one


def test_an_outage_is_everybodys_and_is_not_repeated() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        answers = await settled(*(batches.submit(item) for item in "abc"))
        sink.away = False
        return [*answers, await batches.submit("d")]

    sink = Sink()
    sink.away = True
    *lost, fine = run(main())

    assert [type(error) for error in lost] == [Away] * 3
    assert fine == "D"
    assert len(sink.batches) == 2


def test_a_cancelled_caller_harms_nobody() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        tasks = await started(batches.submit("a"), batches.submit("b"))
        tasks += await started(batches.submit("c"), batches.submit("d"))
        tasks[0].cancel()  # in the flush under way
        tasks[2].cancel()  # in the line
        return await asyncio.gather(*tasks, return_exceptions=True)

    sink = Sink()
    a, b, c, d = run(main())

    assert isinstance(a, asyncio.CancelledError)
    assert isinstance(c, asyncio.CancelledError)
    assert (b, d) == ("B", "D")
    assert sorted(map(sorted, sink.batches)) == [["a", "b"], ["d"]]


def test_nobody_waits_for_ever_when_the_flush_is_cancelled() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        tasks = await started(*(batches.submit(item) for item in "ab"))
        tasks += await started(batches.submit("c"))
        [flush] = [t for t in asyncio.all_tasks() if t.get_name() == "backline batch"]
        flush.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    sink = Sink()

    assert [type(error) for error in run(main())] == [asyncio.CancelledError] * 3


def test_nobody_waits_for_ever_when_the_flush_is_cancelled_before_it_begins() -> None:
    async def main() -> list[str | BaseException]:
        batches = batcher(sink)
        first = asyncio.ensure_future(batches.submit("a"))
        asyncio.get_running_loop().call_soon(cancel_the_flush)  # before its first step
        [lost] = await asyncio.gather(first, return_exceptions=True)
        await batches.idle()
        return [lost, await batches.submit("b")]

    def cancel_the_flush() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "backline batch":
                task.cancel()

    sink = Sink()
    lost, fine = run(main())

    assert isinstance(lost, asyncio.CancelledError)
    assert fine == "B"
    assert sink.batches == [["b"]]


@pytest.mark.parametrize("wrong", ["weight", "keys", "unhashable key"])
def test_an_item_that_cannot_be_weighed_or_keyed_harms_only_its_caller(wrong: str) -> None:
    def weight(item: str) -> int:
        if item == "bad" and wrong == "weight":
            raise AttributeError(item)
        return 1

    def keys(item: str) -> Collection[Hashable]:
        if item == "bad" and wrong == "keys":
            raise AttributeError(item)
        return [[]] if item == "bad" else ()  # type: ignore[list-item]

    async def main() -> list[str | BaseException]:
        batches: Batcher[str, str] = Batcher(sink.flush, most=9, weight=weight, keys=keys)
        async with asyncio.timeout(60):
            return await settled(*(batches.submit(item) for item in ("a", "bad", "b")))

    sink = Sink()
    first, bad, last = run(main())

    assert (first, last) == ("A", "B")
    assert isinstance(bad, TypeError if wrong == "unhashable key" else AttributeError)


class Broken(BaseException):
    """What no flush should raise."""


def test_everybody_gets_what_broke_the_flush() -> None:
    async def flush(items: Sequence[str]) -> list[str]:
        await asyncio.sleep(1)
        if "a" in items:
            raise Broken
        return list(items)

    async def main() -> list[str | BaseException]:
        batches: Batcher[str, str] = Batcher(flush, most=9, weight=len, keys=keys_of)
        tasks = await started(batches.submit("a"), batches.submit("b"))
        tasks += await started(batches.submit("c"))
        async with asyncio.timeout(60):
            lost = await asyncio.gather(*tasks, return_exceptions=True)
            return [*lost, await batches.submit("d")]

    *lost, fine = run(main())

    assert [type(error) for error in lost] == [Broken] * 3
    assert fine == "d"


def test_a_flush_that_answers_too_few_is_a_bug_that_shows() -> None:
    async def short(items: Sequence[str]) -> list[str]:
        return list(items)[1:]

    async def main() -> list[str | BaseException]:
        batches: Batcher[str, str] = Batcher(short, most=9, weight=len, keys=keys_of)
        return await settled(*(batches.submit(item) for item in "ab"))

    assert [type(error) for error in run(main())] == [ValueError, ValueError]


def test_idle_waits_for_the_last_flush() -> None:
    async def main() -> None:
        batches = batcher(sink)
        await batches.idle()
        tasks = await started(batches.submit("a"))
        tasks += await started(batches.submit("b"))
        await batches.idle()
        assert all(task.done() for task in tasks) or sink.under_way == 0

    sink = Sink()
    run(main())

    assert sink.batches == [["a"], ["b"]]


@given(
    items=st.lists(st.text("123abc", min_size=1, max_size=3), max_size=30),
    bad=st.sets(st.text("123abc", min_size=1, max_size=3), max_size=3),
    most=st.integers(1, 10),
    gaps=st.lists(st.sampled_from([0.0, 0.3, 1.7]), min_size=30, max_size=30),
    seed=st.integers(0, 1000),
)
def test_every_caller_gets_its_own_answer_whatever_happens(
    items: list[str], bad: set[str], most: int, gaps: list[float], seed: int
) -> None:
    async def call(batches: Batcher[str, str], delay: float, item: str) -> str:
        await asyncio.sleep(delay)
        submitted.append(item)
        return await batches.submit(item)

    async def main() -> list[str | BaseException]:
        batches = batcher(sink, most)
        delays = [sum(gaps[: n + 1]) for n in range(len(items))]
        return await settled(*(call(batches, *pair) for pair in zip(delays, items, strict=False)))

    sink = Sink()
    sink.bad = bad
    submitted: list[str] = []
    answers = run(main(), seed=seed)

    for item, answer in zip(items, answers, strict=True):
        if item in bad:
            assert isinstance(answer, ValueError)
        else:
            assert answer == item.upper()
    for batch in sink.batches:
        keys = [key for item in batch for key in keys_of(item)]
        assert len(keys) == len(set(keys))
        assert len(batch) == 1 or sum(map(len, batch)) <= most
    if not bad:
        flushed = [item for batch in sink.batches for item in batch]
        assert in_order_of_key(flushed) == in_order_of_key(submitted)


def in_order_of_key(items: list[str]) -> dict[str, list[str]]:
    return {key: [item for item in items if item[0] == key] for key in "123"}
