"""Hundreds of simulated systems, each under its own faults, hold every invariant."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from backline.testing.simulation import Report, What, simulate
from backline.testing.simulation.run import in_sqlite

SEEDS = 500
CHUNK = 25


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds_hold_every_invariant(first: int) -> None:
    bad = [
        str(report) for report in map(simulate, range(first, first + CHUNK)) if report.violations
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_seeds_hold_on_a_sqlite_file(first: int) -> None:
    reports = [simulate(seed, open_store=in_sqlite) for seed in range(first, first + 8)]
    bad = [f"--sqlite {report}" for report in reports if report.violations]
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


def test_the_seeds_reach_what_they_are_for() -> None:
    """A simulation in which nothing goes wrong proves nothing."""
    wanted = {
        *(what.value for what in What),
        *(f"acked applied {state}" for state in ("succeeded", "dead", "cancelled", "ready")),
        *(f"acked {answer} succeeded" for answer in ("already", "lost")),
        *(f"charged {charge}" for charge in ("none", "failure", "loss", "release")),
        *(f"leased {lane}" for lane in ("main", "cell")),
        *(f"ended {how}" for how in ("ok", "error", "fatal", "later", "snooze", "cancel")),
        "ended stopped",
        *(f"cancel {answer}" for answer in ("cancelled", "requested", "ended", "unknown")),
        *(f"final {state}" for state in ("succeeded", "dead", "cancelled", "expired")),
    }
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        seen.update(_what_happened(simulate(seed)))
        if not wanted - seen.keys():
            return
    pytest.fail(f"{SEEDS} seeds, and never: {sorted(wanted - seen.keys())}")


def _what_happened(report: Report) -> Iterator[str]:
    for event in report.history.events:
        yield event.what.value
        if event.what is What.ACKED:
            yield f"acked {event.note['answer']} {event.note['state']}"
            yield f"charged {event.note['charge']}"
        elif event.what is What.LEASED:
            yield f"leased {event.note['lane']}"
        elif event.what is What.ENDED:
            yield f"ended {event.note['how']}"
        elif event.what is What.CANCEL:
            yield f"cancel {event.note['answer']}"
    yield from (f"final {job.state}" for job in report.trace.final.values())
