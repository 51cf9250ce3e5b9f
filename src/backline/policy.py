"""How runs end: pure rules, in one place for every store and every process.

`settle` turns how a run ended into the one write that records it. A worker calls it for
the jobs it ran, a supervisor for those of a process that died, a reaper for leases that
ran out; none of them needs the user's code, because all it takes is in the lease.

**Poison.** Nobody is charged on suspicion. The first loss of a job puts it back to ready
at once and costs nothing: most losses are a deploy, a kill, a neighbour's memory. The
second sends it to the cells of its queue, where it runs alone in its process. A loss there
is its own doing and a failure, unless nobody saw its process die and it is the first. A run
that ends by a snooze or a sleep forgets the losses and takes a suspect home: two deploys in the
weeks that a job sleeps through are no sign of poison.
"""

import random
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from msgspec import Raw

from backline.job import (
    SECOND,
    Ack,
    AttemptError,
    Backoff,
    Charge,
    JobId,
    Lane,
    Lease,
    Micros,
    Step,
    Terms,
)
from backline.states import State

LOSSES_TO_SUSPECT: Final = 2
FIRST_PUT_BACK: Final[Micros] = SECOND
LONGEST_PUT_BACK: Final[Micros] = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task returned; `result` is its return value as JSON, None if it returned None."""

    result: Raw | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The task raised, or ran past its time limit.

    `fatal`: no further attempt. `retry_in`: overrides the backoff.
    """

    error: AttemptError
    fatal: bool = False
    retry_in: Micros | None = None


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The task asked to be run again later."""

    delay: Micros


@dataclass(frozen=True, slots=True)
class Suspended:
    """The task sleeps for `delay`, or waits that long for an event; `step` is the record of that,
    None if there is one already."""

    delay: Micros
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was stopped because somebody, or the task itself, cancelled the job."""

    error: AttemptError | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The job was not run, or was stopped by a shutdown: it costs nothing."""


@dataclass(frozen=True, slots=True)
class TaskUnknown:
    """No code for the task here: another worker of a rolling deploy may have it."""


@dataclass(frozen=True, slots=True)
class Misplaced:
    """The task runs in cells, and this is none."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The process that ran the job is gone. `error` says how, as far as anybody saw.

    `witnessed`: somebody saw that process die. A lease that merely ran out may be a host that
    lost its power, with every job on it as innocent as the next.
    """

    error: AttemptError
    witnessed: bool = False


Outcome: TypeAlias = (
    Succeeded | Failed | Snoozed | Suspended | Cancelled | Released | TaskUnknown | Misplaced | Lost
)


def settle(lease: Lease, outcome: Outcome, rng: random.Random) -> Ack:
    """Turn how a run ended into the one write that records it. Pure but for the jitter."""
    match outcome:
        case Succeeded(result):
            return succeeded(lease, result)
        case Failed():
            return _failed(lease, outcome, rng)
        case Snoozed(delay):
            return _later(lease, delay)
        case Suspended(delay, step):
            return _later(lease, delay, asleep=True, steps=() if step is None else (step,))
        case Cancelled(error):
            keep = lease.terms.keep_for(State.CANCELLED)
            return Ack(lease.id, lease.attempt, State.CANCELLED, keep=keep, error=error)
        case Released():
            return released(lease)
        case TaskUnknown():
            return _put_back(lease)
        case Misplaced():
            return Ack(lease.id, lease.attempt, State.READY, keep=lease.terms.keep, lane=Lane.CELL)
        case Lost():
            return _lost(lease, outcome, rng)
        case _:
            assert_never(outcome)


def succeeded(lease: Lease, result: Raw | None) -> Ack:
    """What `settle` makes of a success; on its own because most runs end so."""
    return Ack(lease.id, lease.attempt, State.SUCCEEDED, keep=lease.terms.keep, result=result)


def released(lease: Lease) -> Ack:
    """What `settle` makes of a release: back to its place in the queue, at no cost."""
    return Ack(lease.id, lease.attempt, State.READY, keep=lease.terms.keep)


def malformed(job_id: JobId, attempt: int, terms: Terms, why: str) -> Ack:
    """What becomes of a job that its store cannot read: dead, so that the others run on.

    `terms` are the job's as far as they can be read.
    """
    error = AttemptError(attempt, "malformed", why)
    return Ack(job_id, attempt, State.DEAD, keep=terms.keep_for(State.DEAD), error=error)


def backoff(rule: Backoff, failures: int, rng: random.Random) -> Micros:
    """How long to wait after the `failures`-th failure (1 for the first); never negative.

    Full jitter after "Exponential Backoff And Jitter" (M. Brooker, 2015). A power beyond
    what a float can hold counts as the cap, so no number of failures is too many.
    """
    if rule.delays:
        return rule.delays[min(failures, len(rule.delays)) - 1]
    try:
        ceiling = min(float(rule.cap), rule.base * rule.factor ** (failures - 1))
    except OverflowError:
        ceiling = float(rule.cap if rule.base else 0)
    return round(rng.uniform(0.0, ceiling) if rule.jitter else ceiling)


def _failed(lease: Lease, failed: Failed, rng: random.Random) -> Ack:
    failures = lease.failures + 1
    if failed.fatal or failures >= lease.terms.max_attempts:
        return Ack(
            lease.id,
            lease.attempt,
            State.DEAD,
            keep=lease.terms.keep_for(State.DEAD),
            charge=Charge.FAILURE,
            error=failed.error,
        )
    wait = failed.retry_in
    return Ack(
        lease.id,
        lease.attempt,
        State.SCHEDULED,
        delay=backoff(lease.terms.backoff, failures, rng) if wait is None else wait,
        keep=lease.terms.keep,
        charge=Charge.FAILURE,
        error=failed.error,
    )


def _later(
    lease: Lease, delay: Micros, *, asleep: bool = False, steps: tuple[Step, ...] = ()
) -> Ack:
    """The run ended of its own will; a suspect came from the main lane, and goes back there."""
    suspect = lease.lane is Lane.CELL and lease.losses >= LOSSES_TO_SUSPECT
    return Ack(
        lease.id,
        lease.attempt,
        State.SCHEDULED,
        delay=delay,
        keep=lease.terms.keep,
        charge=Charge.CLEAN,
        lane=Lane.MAIN if suspect else None,
        asleep=asleep,
        steps=steps,
    )


def _put_back(lease: Lease) -> Ack:
    wait = min(LONGEST_PUT_BACK, FIRST_PUT_BACK << min(lease.releases, 16))
    return Ack(
        lease.id,
        lease.attempt,
        State.SCHEDULED,
        delay=wait,
        keep=lease.terms.keep,
        charge=Charge.RELEASE,
    )


def _lost(lease: Lease, lost: Lost, rng: random.Random) -> Ack:
    suspect = lease.losses + 1 >= LOSSES_TO_SUSPECT
    if lease.lane is Lane.CELL and (suspect or lost.witnessed):
        return _failed(lease, Failed(lost.error), rng)
    return Ack(
        lease.id,
        lease.attempt,
        State.READY,
        keep=lease.terms.keep,
        charge=Charge.LOSS,
        lane=Lane.CELL if suspect else None,
        error=lost.error,
    )
