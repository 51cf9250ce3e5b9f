"""Simulated systems whose supervisors grow and shrink hold every invariant all the same."""

from functools import partial
from typing import Any

import pytest

from backline import autoscale
from backline.job import SECOND
from backline.supervisor.places import Places
from backline.testing.simulation import host, simulate

CHUNK = 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Every supervisor scales, and sees in seconds that fewer are enough; counts the moves."""
    monkeypatch.setattr(
        host, "SupervisorSettings", partial(host.SupervisorSettings, processes=0, max_processes=3)
    )
    for name, value in {"WINDOW": 2 * SECOND, "STEP": SECOND, "_LATELY": SECOND}.items():
        monkeypatch.setattr(autoscale, name, value)
    moves = {"up": 0, "down": 0}
    resize = Places.resize

    def counted(self: Any, wanted: int) -> None:
        before = len(self.kept)
        resize(self, wanted)
        moves["up"] += max(0, len(self.kept) - before)
        moves["down"] += max(0, before - len(self.kept))

    monkeypatch.setattr(Places, "resize", counted)
    return moves


@pytest.mark.parametrize("first", range(0, 60, CHUNK))
def test_seeds_hold_every_invariant_while_crews_grow_and_shrink(
    first: int, impatient: dict[str, int]
) -> None:
    reports = [simulate(seed) for seed in range(first, first + CHUNK)]
    bad = [str(report) for report in reports if report.violations]
    assert not bad, "\n".join(bad)
    assert impatient["up"] > CHUNK
    assert impatient["down"] > CHUNK
