"""The deterministic simulation: the real code on virtual time, under a seed, with faults.

Producers, three hosts with a supervisor's duties and workers each, and one store run in one
thread on a `VirtualLoop`. A seed draws the jobs, how they behave, and a random subset of
faults: kills, pauses, partitions, outages, lost and late replies, clock steps. What every
part does is written down and held against the invariants of `checker`. Two runs of one seed
have the same history.

    python -m backline.testing.simulation --seed 7
"""

from backline.testing.simulation.checker import INVARIANTS, check
from backline.testing.simulation.history import Event, History, What
from backline.testing.simulation.plan import LARGE, SMALL, Plan, Size
from backline.testing.simulation.run import Report, simulate
from backline.testing.simulation.trace import Trace

__all__ = [
    "INVARIANTS",
    "LARGE",
    "SMALL",
    "Event",
    "History",
    "Plan",
    "Report",
    "Size",
    "Trace",
    "What",
    "check",
    "simulate",
]
