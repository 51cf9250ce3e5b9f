"""Rates as a user reads them: at most so much in every window, and hardly less when it may be."""

from pathlib import Path
from typing import Final

import pytest
from tests.rates import Case, Start, cases, excess, in_file, in_memory, race

from backline import limits
from backline.job import SECOND, Micros, Pacing

LEAST: Final = 0.95

CASES: Final = [
    Case(starts=5, seconds=40),
    Case(starts=7, burst=3, seconds=100, troubles=5),
    Case(starts=20, burst=15, weights=(3, 1, 10), seconds=100, troubles=5),
    Case(starts=100, per=60 * SECOND, burst=2, seconds=240, troubles=5),
    Case(starts=10, burst=3, scope="queue", seconds=100, troubles=5),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rate_is_never_exceeded_and_nearly_reached(case: Case) -> None:
    found = race(case, in_memory)
    assert found.excess <= 0
    assert found.share >= LEAST


@pytest.mark.parametrize("scope", ["key", "queue"])
def test_the_same_on_a_file(scope: str, tmp_path: Path) -> None:
    case = Case(starts=10, burst=3, scope=scope, seconds=40, troubles=4)
    found = race(case, in_file(tmp_path / "jobs.db"))
    assert found.excess <= 0
    assert found.share >= LEAST


@pytest.mark.chaos
@pytest.mark.parametrize("case", [*cases()], ids=str)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_whole_campaign(case: Case, store: str, tmp_path: Path) -> None:
    found = race(case, in_memory if store == "memory" else in_file(tmp_path / "jobs.db"))
    assert found.excess <= 0
    assert found.share >= LEAST


def test_every_window_is_looked_at() -> None:
    case = Case(starts=2, burst=3)
    steady = [Start(number * SECOND // 2, 1) for number in range(20)]
    assert excess(case, steady) == -2
    assert excess(case, [*steady, Start(steady[-1].tick, 2)]) == 0
    assert excess(case, [*steady, Start(steady[-1].tick + 1, 3)]) == pytest.approx(1, abs=1e-5)
    assert excess(case, [Start(0, 4)]) == 1


def test_a_rate_that_saves_up_while_it_rests_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(pacing: Pacing, arrival: Micros, tick: Micros, count: int) -> Micros:
        return arrival + count * pacing.interval

    monkeypatch.setattr(limits, "started", started)
    assert race(Case(starts=5, seconds=40, troubles=2), in_memory).excess > 0


def test_a_rate_of_which_half_is_wasted_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(pacing: Pacing, arrival: Micros, tick: Micros, count: int) -> Micros:
        return max(arrival, tick) + 2 * count * pacing.interval

    monkeypatch.setattr(limits, "started", started)
    assert race(Case(starts=5, seconds=40), in_memory).share < LEAST
