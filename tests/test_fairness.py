"""The formulas of fairness, and what tenants get of an overloaded queue on virtual time."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from msgspec import UNSET

from backline import App, fairness
from backline.app.declare import queue_settings
from backline.errors import ConfigError, InvalidArguments, UnknownOption
from backline.job import MINUTE, SECOND

ROOT: Final = Path(__file__).parents[1]


def test_turns_of_one_tenant_lie_a_stride_apart() -> None:
    [first, second], tags = fairness.turns(["a", "a"], None, {}, {})
    assert (first, second - first) == (fairness.FIRST, fairness.STRIDE)
    assert tags == {"a": second + fairness.STRIDE}


def test_a_new_tenant_starts_at_the_present_turn() -> None:
    now = fairness.FIRST + 77 * fairness.STRIDE
    for finish in (None, now - 5 * fairness.STRIDE, now):
        assert fairness.turns(["new"], now, {"new": finish}, {})[0] == [now]


def test_a_tenant_with_nothing_ready_goes_on_where_its_last_turn_ended() -> None:
    now = fairness.FIRST + 77 * fairness.STRIDE
    [turn], tags = fairness.turns(["light"], now, {}, {"light": 0.1})
    assert turn == now
    later = now + fairness.STRIDE
    assert fairness.turns(["light"], later, tags, {})[0] == [now + 10 * fairness.STRIDE]


def test_all_are_even_when_a_busy_period_begins() -> None:
    finish = fairness.FIRST + 77 * fairness.STRIDE
    assert fairness.turns(["a"], None, {"a": finish}, {})[0] == [fairness.FIRST]


def test_a_weight_divides_the_stride() -> None:
    assert fairness.stride(2.0) * 2 == fairness.STRIDE
    assert fairness.stride(0.25) == 4 * fairness.STRIDE
    strange = [float("inf"), float("-inf"), 0.0, -3.0, 1e300]
    assert all(0 < fairness.stride(weight) < 2**26 for weight in strange)


def test_turns_stay_within_what_a_store_can_hold() -> None:
    farthest = fairness.FARTHEST_TURN
    turns, tags = fairness.turns(["a", "a"], farthest, {"a": farthest + 5}, {})
    assert turns == [farthest, farthest]
    assert tags["a"] < 2**63


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


def test_a_task_says_whose_its_jobs_are() -> None:
    app = App("memory://")

    @app.task(name="render", fair_key=lambda customer: customer or None)
    def render(customer: str) -> None: ...

    assert render.job("alice").fair_key == "alice"
    assert render.job("").fair_key is None
    assert render.using(fair_key="bob").job("alice").fair_key == "bob"
    assert render.using(fair_key=None).job("alice").fair_key is None
    with pytest.raises(InvalidArguments, match="the fair_key of render: 1 to 200 printable"):
        render.job(" ")
    with pytest.raises(UnknownOption, match="fair_key="):
        render.using(tenant_id="alice")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"weights": 3},
        {"weights": {"alice": "much"}},
        {"weights": {"alice": 0}},
        {"weights": {"alice": 1_001}},
        {"weights": {7: 1}},
        {"weights": {"": 1}},
        {"weights": {"alice": True}},
        {"weights": {"alice": float("nan")}},
        {"ageing": 0},
        {"ageing": "2d"},
        {"ageing": "soon"},
        {"ageing": [1]},
    ],
)
def test_what_a_queue_cannot_be_told(options: dict[str, Any]) -> None:
    app = App("memory://")
    with pytest.raises(ConfigError, match="of queue 'films'"):
        app.queue("films", **options)


def test_a_queue_is_told_what_it_takes() -> None:
    said = queue_settings("films", {"weights": {"alice": 3}, "ageing": "1m"})
    assert (said.weights, said.ageing) == ({"alice": 3.0}, MINUTE)
    assert queue_settings("films", {"ageing": None}).ageing is None
    assert queue_settings("films", {}).weights is UNSET
