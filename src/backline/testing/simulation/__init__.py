"""The deterministic simulation: the real code on virtual time, under a seed, with faults.

Producers with the real `Queue`, three hosts with the real supervisor and its workers, an
operator and one store run in one thread on a `VirtualLoop`; only the kernel is not real:
processes, signals and sockets. A seed draws the jobs, how they
behave, and a random subset of faults: kills, pauses, partitions, outages, lost and late
replies, clock steps, jobs that kill or block their process. What every part does is written
down and held against the invariants of `checker`, and every answer of the store against the
reference model. Two runs of one seed have the same history.

    python -m backline.testing.simulation --seed 7
"""

from backline.testing.simulation.checker import INVARIANTS, check
from backline.testing.simulation.history import Event, History, What
from backline.testing.simulation.plan import LARGE, SMALL, Plan, Size
from backline.testing.simulation.rarities import RARE, rarities
from backline.testing.simulation.run import Report, simulate
from backline.testing.simulation.trace import Trace

__all__ = [
    "INVARIANTS",
    "LARGE",
    "RARE",
    "SMALL",
    "Event",
    "History",
    "Plan",
    "Report",
    "Size",
    "Trace",
    "What",
    "check",
    "rarities",
    "simulate",
]
