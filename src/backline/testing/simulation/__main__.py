"""`python -m backline.testing.simulation --seed N`: run seeds and say what they broke."""

import argparse
import sys
from pathlib import Path

from backline.testing.simulation.plan import LARGE, SMALL
from backline.testing.simulation.run import in_memory, in_sqlite, simulate


def main() -> int:
    """Run the simulation of some seeds.

    Exit status: 0 all invariants hold, 1 some do not, 2 bad usage.
    """
    parser = argparse.ArgumentParser(prog="python -m backline.testing.simulation")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from the first on")
    parser.add_argument("--large", action="store_true", help="400 jobs and 60 faults a seed")
    parser.add_argument("--sqlite", action="store_true", help="on a SQLite file, not in memory")
    parser.add_argument("--history", type=Path, help="write the last history there")
    wanted = parser.parse_args()
    bad = 0
    for seed in range(wanted.seed, wanted.seed + wanted.seeds):
        report = simulate(
            seed, LARGE if wanted.large else SMALL, in_sqlite if wanted.sqlite else in_memory
        )
        if report.violations or wanted.seeds == 1:
            sys.stdout.write(f"{report}\n")
        bad += bool(report.violations)
        if wanted.history is not None:
            report.history.write(wanted.history)
    sys.stdout.write(f"{wanted.seeds - bad} of {wanted.seeds} seeds hold\n")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
