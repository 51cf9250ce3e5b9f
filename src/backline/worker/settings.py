"""What can be set about a worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from backline.display import shown
from backline.errors import ConfigError
from backline.job import DEFAULT_QUEUE, SECOND, Lane, Micros

DEFAULT_CONCURRENCY: Final = 10
DEFAULT_PREFETCH: Final = 3072
DEFAULT_LEASE: Final[Micros] = 30 * SECOND
DEFAULT_GRACE: Final[Micros] = 30 * SECOND
SHORTEST_LEASE: Final[Micros] = SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """What can be set about a worker.

    Raises ConfigError for values that cannot work.
    """

    name: str
    """Unique for this start of this process."""
    queues: Mapping[str, int] = field(default_factory=lambda: {DEFAULT_QUEUE: 1})
    """The queues to serve, each with its weight: its share of the slots while all have work."""
    lane: Lane = Lane.MAIN
    concurrency: int = DEFAULT_CONCURRENCY
    """At most this many coroutines and this many threads run jobs at the same time."""
    max_prefetch: int = DEFAULT_PREFETCH
    """At most this many jobs are leased beyond those that can start at once; 0: none."""
    lease: Micros = DEFAULT_LEASE
    """A job whose worker stops renewing is free again after this long."""
    grace: Micros = DEFAULT_GRACE
    """How long running jobs may take to finish once the worker was told to stop."""
    refusal: Micros = 5 * SECOND
    """How long a job may ignore that it was stopped before it is given up and fenced."""
    poll: Micros = SECOND
    """How often to look for work when nothing hints at any."""
    drain: bool = False
    """Stop by itself once no job is ready and none is running here."""
    replaceable: bool = False
    """Somebody starts another process when this one ends: stop for good health's sake."""

    def __post_init__(self) -> None:
        _check_int("concurrency", self.concurrency, 1)
        _check_int("max_prefetch", self.max_prefetch, 0)
        if not self.queues or min(self.queues.values()) < 1:
            raise ConfigError(f"a worker serves at least one queue, weights from 1: {self.queues}")
        if self.lease < SHORTEST_LEASE:
            raise ConfigError(
                f"a lease of {self.lease / SECOND:g} s leaves no room for three missed "
                "heartbeats; the shortest is 1 s"
            )
        for name in ("grace", "refusal", "poll"):
            if (length := getattr(self, name)) < 0:
                raise ConfigError(f"{name} is no time before 0, not {length}")

    @property
    def stuck_limit(self) -> int:
        """How many jobs may ignore being stopped before the worker is worn out.

        So many threads are replaced. Of those beyond, each costs a slot.
        """
        return max(1, self.concurrency // 2)

    @property
    def most_held(self) -> int:
        """How many leases the worker may hold at once, outcomes not yet recorded included."""
        return 2 * self.concurrency + 3 * self.max_prefetch


def _check_int(name: str, given: object, least: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ConfigError(f"{name} is an int from {least}, not {shown(given)}")
