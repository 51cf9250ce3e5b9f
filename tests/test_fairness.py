"""The formulas of fairness, and what tenants get of an overloaded queue on virtual time."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from backline import fairness
from backline.job import MINUTE, SECOND

ROOT: Final = Path(__file__).parents[1]


def test_turns_of_one_tenant_lie_a_stride_apart() -> None:
    first, second = fairness.turns([("a", None), ("a", None)], None, {}, {})
    assert (first, second - first) == (fairness.FIRST, fairness.STRIDE)


def test_a_new_tenant_starts_at_the_present_turn() -> None:
    now = fairness.FIRST + 77 * fairness.STRIDE
    assert fairness.turns([("new", None)], now, {"new": None}, {}) == [now]
    earlier = {"new": now - 5 * fairness.STRIDE}
    assert fairness.turns([("new", None)], now, earlier, {}) == [now]


def test_a_weight_divides_the_stride() -> None:
    assert fairness.stride(2.0) * 2 == fairness.STRIDE
    assert fairness.stride(0.25) == 4 * fairness.STRIDE
    strange = [float("inf"), float("-inf"), 0.0, -3.0, 1e300]
    assert all(0 < fairness.stride(weight) < 2**26 for weight in strange)


def test_what_is_put_back_goes_first_and_its_tenant_goes_on_behind_it() -> None:
    head = fairness.FIRST + 5
    turns = fairness.turns([("a", head + 9), ("a", None)], head, {"a": None}, {})
    assert turns == [head, head + fairness.STRIDE]


def test_turns_stay_within_what_a_store_can_hold() -> None:
    last = {"a": fairness.FARTHEST_TURN}
    assert fairness.turns([("a", None)], last["a"], last, {}) == [fairness.FARTHEST_TURN]


def test_ageing_passes_nobody_of_the_same_priority() -> None:
    def job(priority: int, due: int) -> Any:
        return SimpleNamespace(priority=priority, due=due)

    high, young, old = job(1, 0), job(0, MINUTE), job(0, -9 * MINUTE)
    assert fairness.by_age([high, young, old], MINUTE) == [high, young, old]
    assert fairness.by_age([high, old, young], MINUTE) == [old, high, young]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))  # bench is no part of the package
    return importlib.import_module("bench.fairness")


async def test_i16_the_shares_of_a_skewed_load_are_as_they_should_be(bench: Any) -> None:
    load = bench.skewed(100, 25)
    wanted, quiet = bench.ideal(load), range(50, 100)
    (_, plain), (_, fair) = await bench.compare(load, bench.NAMES[:2])
    assert bench.off(fair, wanted) < 0.05
    assert bench.off(plain, wanted) > 1
    assert sum(fair.shares(100)) >= 25 * bench.SLOTS * SECOND // bench.LASTS - 2 * bench.SLOTS
    assert fair.wait_of(quiet, 0.99) < 0.2
    assert plain.wait_of(quiet, 0.99) > 5


async def test_i16_ten_jobs_behind_a_hundred_thousand_wait_for_their_share(bench: Any) -> None:
    load = bench.hoarded(100_000)._replace(until=12 * SECOND)
    [(_, fair)] = await bench.compare(load, bench.NAMES[1:2])
    assert len(fair.waits[1]) == 10
    assert fair.wait_of([1], 1.0) < 0.2


async def test_the_picture_is_the_same_every_time(bench: Any) -> None:
    load = bench.skewed(20, 2)
    first, second = [bench.picture(await bench.compare(load), bench.ideal(load)) for _ in range(2)]
    assert first == second
    assert first.startswith("<svg")
