"""Whose turn it is: formulas of fairness over figures of the store, pure, no I/O.

**Fairness** is start-time fair queueing: Goyal, Vin, Cheng, "Start-time Fair Queuing", SIGCOMM
1996 and IEEE/ACM Transactions on Networking 5 (1997). A level is what shares a queue, a lane and
a priority; a tenant is what shares a fair key. When a job becomes ready it gets a turn, its start
tag: the present turn of its level or the finish tag of its tenant, whichever is later; the finish
tag lies one stride after it from then on. The present turn is that of the first ready job. The
jobs of a level go in order of their turns, so tenants that always have jobs ready share what the
workers do by their weights, and one that comes anew starts where the others are: it has saved up
nothing, and owes nothing. A busy period of a level lasts until nobody is ready; then all are even.

A turn that was taken and not used (its job was cancelled, say) moves the finish tag back again. A
job that is put back has used its turn up and goes before all turns.

**Ageing** makes priorities a head start: of the first jobs of the levels the one goes that has
waited longest, where each priority counts as some time.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, Protocol, TypeVar

from backline.job import Micros


class Aged(Protocol):
    """A job."""

    @property
    def priority(self) -> int: ...
    @property
    def due(self) -> Micros: ...


J = TypeVar("J", bound=Aged)

FIRST: Final = 2**60
"""The first turn of a busy period. A job without a turn has its due time in the place of one, and
that is less: those that were there before a queue became fair go first."""
PUT_BACK: Final = FIRST - 1
"""In the place of the turn of a job that was put back."""
FARTHEST_TURN: Final = 2**62
STRIDE: Final = 2**16
"""From one turn to the next, at a weight of 1."""
MOST_AHEAD: Final = 2**50
"""No tenant has so many jobs ready that its finish tag is further ahead: that one is damage."""
LIGHTEST: Final = 0.001
HEAVIEST: Final = 1_000.0

NO_KEY: Final = ""
"""The tenant of all jobs without a key in a fair queue."""


def tenant_of(fair_key: str | None, *, fair: bool) -> str | None:
    """Whose a job is that comes to a queue; None: the queue is not fair."""
    if fair_key is None:
        return NO_KEY if fair else None
    return fair_key


def stride(weight: float) -> int:
    """How far the turns of a tenant's jobs lie apart; a weight that cannot be counts as the
    nearest that can."""
    return round(STRIDE / min(max(weight, LIGHTEST), HEAVIEST))


def turns(
    coming: Sequence[str],
    first: int | None,
    finishes: Mapping[str, int | None],
    weights: Mapping[str, float],
) -> tuple[list[int], dict[str, int]]:
    """The turns of jobs that become ready at one level, given by their tenants, in their order;
    and the finish tags of these tenants after that.

    `first` is the first turn of those that are ready; None: nobody is, and a busy period begins
    for which no finish tag of an earlier one counts. `finishes` are those before; None: none.
    """
    present = FIRST if first is None else first
    tags: dict[str, int] = {}
    given: list[int] = []
    for tenant in coming:
        before = tags.get(tenant, finishes.get(tenant) if first is not None else None)
        turn = present
        if before is not None and present < before <= present + MOST_AHEAD:
            turn = min(before, FARTHEST_TURN)
        given.append(turn)
        tags[tenant] = turn + stride(weights.get(tenant, 1.0))
    return given, tags


def worth(priority: int, due: Micros, ageing: Micros) -> Micros:
    """When a job of priority 0 would have become due that goes first at the same moment."""
    return due - priority * ageing


def by_age(jobs: Iterable[J], ageing: Micros) -> list[J]:
    """Jobs that come priority by priority, in the order of ageing: none passes one before it of
    its own priority."""
    held: dict[int, Micros] = {}
    keyed: list[tuple[Micros, int, int, J]] = []
    for place, job in enumerate(jobs):
        own = worth(job.priority, job.due, ageing)
        held[job.priority] = max(own, held.get(job.priority, own))
        keyed.append((held[job.priority], -job.priority, place, job))
    return [job for *_, job in sorted(keyed, key=itemgetter(0, 1, 2))]
