"""Hundreds of simulated systems, each under its own faults, hold every invariant."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import pytest
from msgspec import Struct, json

from backline.testing.simulation import RARE, What, rarities, simulate
from backline.testing.simulation.run import in_sqlite

SEEDS = 500
CHUNK = 25


class Outcome(Struct):
    """What is kept of a seed's report."""

    bad: str
    """What to read if an invariant did not hold, and how to see it again."""
    happened: set[str]


Outcomes: TypeAlias = Callable[[int], Outcome]


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of a seed's one run in this session: several tests look at it, in several processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "outcomes"
    folder.mkdir(exist_ok=True)

    @cache
    def of(seed: int) -> Outcome:
        kept = folder / f"{seed}.json"
        with contextlib.suppress(FileNotFoundError):
            return json.decode(kept.read_bytes(), type=Outcome)
        report = simulate(seed)
        found = Outcome(str(report) if report.violations else "", set(rarities(report)))
        new = folder / f"{seed}.{os.getpid()}"
        new.write_bytes(json.encode(found))
        new.rename(kept)
        return found

    return of


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds_hold_every_invariant(outcome: Outcomes, first: int) -> None:
    bad = [outcome(seed).bad for seed in range(first, first + CHUNK)]
    assert not any(bad), "\n".join(filter(None, bad))


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_seeds_hold_on_a_sqlite_file(first: int) -> None:
    reports = [simulate(seed, open_store=in_sqlite) for seed in range(first, first + 8)]
    bad = [str(report) for report in reports if report.violations]
    assert not bad, "\n".join(bad)
    assert simulate(first, open_store=in_sqlite).digest == reports[0].digest


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_has_the_same_history(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first.digest == second.digest
    assert simulate(seed + 1).digest != first.digest


@pytest.mark.processes
def test_the_same_seed_has_the_same_history_in_another_process() -> None:
    """Where the hashes of strings, and so the orders of sets, differ."""

    def tell(hash_seed: str) -> str:
        command = [sys.executable, "-m", "backline.testing.simulation", "--seed", "11"]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    assert tell("1") == tell("2")
    assert "all invariants hold" in tell("3")


def test_everything_that_is_rare_happened_in_some_seed(outcome: Outcomes) -> None:
    """A simulation in which nothing goes wrong proves nothing."""
    never = set(RARE)
    for seed in range(SEEDS):
        never -= outcome(seed).happened
        if not never:
            return
    assert not never, f"{SEEDS} seeds, and never: {never}"


def test_every_kind_of_event_is_rare_or_more() -> None:
    assert {what.value for what in What} - set(RARE) == {"differs", "unforeseen"}
