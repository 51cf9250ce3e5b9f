"""The long campaign: thousands of seeds, larger systems, and the SQLite file."""

from collections import Counter

import pytest

from backline.testing.simulation import LARGE, RARE, SMALL, Size, rarities, simulate
from backline.testing.simulation.run import OpenStore, in_memory, in_sqlite

pytestmark = pytest.mark.chaos

CHUNK = 250


def run(seeds: range, size: Size, open_store: OpenStore) -> Counter[str]:
    """Fails with every seed that broke an invariant; returns what happened, by seeds."""
    happened: Counter[str] = Counter()
    bad: list[str] = []
    for seed in seeds:
        report = simulate(seed, size, open_store)
        happened.update(set(rarities(report)))
        if report.violations:
            bad.append(str(report))
    assert not bad, "\n".join(bad)
    return happened


@pytest.mark.parametrize("first", range(500, 5_500, CHUNK))
def test_seeds_hold_every_invariant(first: int) -> None:
    run(range(first, first + CHUNK), SMALL, in_memory)


@pytest.mark.parametrize("first", range(24, 1_024, CHUNK))
def test_seeds_hold_on_a_sqlite_file(first: int) -> None:
    run(range(first, first + CHUNK), SMALL, in_sqlite)


@pytest.mark.parametrize("first", range(0, 100, 25))
def test_large_systems_hold_every_invariant(first: int) -> None:
    run(range(first, first + 25), LARGE, in_memory)


def test_large_systems_on_a_sqlite_file_see_all_that_is_rare() -> None:
    happened = run(range(100, 120), LARGE, in_sqlite)
    assert not [name for name in RARE if not happened[name]]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_the_same_seed_has_the_same_history(first: int) -> None:
    for seed in range(first, first + 50):
        assert simulate(seed).digest == simulate(seed).digest, seed
