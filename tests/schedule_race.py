"""Five schedulers without a leader, on virtual time, over one row that is compared and set."""

import random
from dataclasses import dataclass, field
from typing import Final

from backline.job import HOUR, SECOND, Micros
from backline.schedule import Due, Missed, Rule, due_slots

LONGEST_STEP: Final[Micros] = 2 * HOUR
"""How far a scheduler's clock is put wrong, either way."""
MOST: Final = 100_000
"""More slots than that leaves behind: none may be left out here."""


@dataclass
class Row:
    """A schedule as a store keeps it; every write compares and sets `version`."""

    last: Micros
    version: int = 0
    used: list[Micros] = field(default_factory=list)

    def write(self, version: int, due: Due) -> bool:
        """The compare-and-set that a store makes atomic; False if another was first."""
        if version != self.version:
            return False
        self.version += 1
        self.last = due.last
        self.used += due.slots
        return True


def race(
    rule: Rule, start: Micros, end: Micros, rng: random.Random, *, steps: bool
) -> tuple[list[Micros], Micros]:
    """The slots that were used, in order, and the latest time that any scheduler went by.

    Each of the five has a clock of its own, seconds apart from the others and with `steps`
    put to and fro by hours. A look may be slow, so that another writes first, or its
    scheduler is killed before it writes. At the end one catches up.
    """
    row = Row(start)
    skews = [rng.randrange(-2 * SECOND, 2 * SECOND) for _ in range(5)]
    looks: list[tuple[int, Micros, Due]] = []
    real = latest = start
    while real < end:
        real += rng.randrange(1, 40 * SECOND)
        scheduler = rng.randrange(5)
        if steps and rng.random() < 0.02:
            skews[scheduler] = rng.randrange(-LONGEST_STEP, LONGEST_STEP)
        now = real + skews[scheduler]
        due = due_slots(rule, row.last, now, Missed.ALL, limit=rng.choice([1, 3, 100]), most=MOST)
        looks.append((row.version, now, due))
        if rng.random() < 0.2:  # slow; or killed, and then it never writes
            continue
        version, now, due = looks.pop(rng.randrange(max(0, len(looks) - 3), len(looks)))
        if row.write(version, due):
            latest = max(latest, now)
    while (due := due_slots(rule, row.last, latest, Missed.ALL, most=MOST)).slots:
        row.write(row.version, due)
    return row.used, max(latest, row.last)
