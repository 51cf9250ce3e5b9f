"""Runs the simulation of one seed and checks it."""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from backline.clock import Clock
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.stores.sqlite import SqliteStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import VirtualLoop
from backline.testing.process import current_process
from backline.testing.simulation.checker import check
from backline.testing.simulation.history import History, What
from backline.testing.simulation.plan import LARGE, SMALL, Plan, Size
from backline.testing.simulation.planner import make_plan
from backline.testing.simulation.trace import Trace
from backline.testing.simulation.world import World

_PREFIX: Final = "backline-simulation-"
_OUTAGES: Final = "backline.outage"

OpenStore: TypeAlias = Callable[[Clock, Path], Store]
"""Makes the store of a simulation, on its clock; files go to the folder."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a seed."""

    seed: int
    violations: list[str]
    history: History
    trace: Trace
    digest: str
    """Of the history: equal for two runs that went the same way."""
    seconds: float
    """Virtual ones."""
    plan: Plan
    options: str
    """Of the command that runs it again."""
    reached: Counter[str]
    """How often each fault point was reached."""
    struck: Counter[str]
    """How often each fault of the ways to the store struck."""

    @property
    def counts(self) -> Counter[What]:
        """How many events of each kind there were."""
        return Counter(event.what for event in self.history.events)

    def __str__(self) -> str:
        head = f"seed {self.seed}: {len(self.history.events)} events in {self.seconds:.0f} s"
        again = f"python -m backline.testing.simulation --seed {self.seed}{self.options}"
        if not self.violations:
            return f"{head}, {self.digest[:12]}: all invariants hold"
        lines = "\n  ".join(self.violations)
        return f"{head}, {self.digest[:12]}: {len(self.violations)} violations\n  {lines}\n{again}"


def in_memory(clock: Clock, folder: Path) -> Store:
    """The memory store."""
    return MemoryStore(clock=clock)


def in_sqlite(clock: Clock, folder: Path) -> Store:
    """The SQLite store, on a real file."""
    return SqliteStore(folder / "jobs.db", clock=clock, durability="normal")


def as_drawn(plan: Plan) -> Plan:
    """The plan as the seed drew it."""
    return plan


def simulate(
    seed: int,
    size: Size = SMALL,
    open_store: OpenStore = in_memory,
    shape: Callable[[Plan], Plan] = as_drawn,
) -> Report:
    """Run the simulation of `seed` to its end, and check it. `shape` may change its plan.

    Raises what makes it impossible to go on: `Deadlock`, `Livelock`, an error that nothing
    handled.
    """
    clock = VirtualClock(seed)
    plan = shape(make_plan(seed, clock.new_id, size))
    loop = VirtualLoop(clock, seed)
    with _listening() as listener, tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        try:
            folder = Path(name)
            world = World(plan, clock, loop, open_store(clock, folder), folder)
            listener.history = world.history
            try:
                ending = loop.run(world.run())
            finally:
                world.close()
        finally:
            loop.close()
    trace = Trace(
        requests=plan.requests | world.follow_ups,
        events=world.history.events,
        final=ending.jobs,
        queues=ending.queues,
        lease=plan.lease,
        calm=plan.calm,
        stopped=ending.stopped,
        slowest=2 * plan.faults.longest_delay if plan.faults.delayed else 0,
    )
    digest = world.history.digest()
    return Report(
        seed=seed,
        violations=check(trace),
        history=world.history,
        trace=trace,
        digest=digest,
        seconds=loop.time(),
        plan=plan,
        options=" --large" * (size == LARGE) + " --sqlite" * (open_store is in_sqlite),
        reached=world.nemesis.reached,
        struck=world.struck(),
    )


class _Listener(logging.Handler):
    """Takes every word of the system, and notes the errors that nobody has foreseen."""

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.history is not None and record.name == _OUTAGES and record.exc_info:
            process = current_process()
            who = "nobody" if process is None else process.name
            error = repr(record.exc_info[1])
            self.history.record(What.UNFORESEEN, who, error=error)


@contextmanager
def _listening() -> Iterator[_Listener]:
    """What goes wrong is all on purpose: nothing of it is worth a line in the log."""
    logger, listener = logging.getLogger("backline"), _Listener()
    disabled, propagates = logging.root.manager.disable, logger.propagate
    logging.disable(logging.WARNING)
    logger.propagate = False
    logger.addHandler(listener)
    try:
        yield listener
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
        logging.disable(disabled)
