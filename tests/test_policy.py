"""How runs end: the table of outcomes, the backoff, the suspects."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from backline.job import (
    HOUR,
    SECOND,
    Ack,
    AttemptError,
    Backoff,
    Charge,
    Lane,
    Lease,
    Step,
    Terms,
)
from backline.policy import (
    LONGEST_PUT_BACK,
    Cancelled,
    Failed,
    Lost,
    Misplaced,
    Outcome,
    Released,
    Snoozed,
    Succeeded,
    Suspended,
    TaskUnknown,
    backoff,
    malformed,
    released,
    settle,
    succeeded,
)
from backline.states import MOVES, TERMINAL, State

TERMS = Terms(
    max_attempts=3, backoff=Backoff(base=SECOND, jitter=False), keep=HOUR, keep_dead=2 * HOUR
)
ERROR = AttemptError(4, "OSError", "no route")
RNG = random.Random(0)
NAP = Step("id", 4, "nap", wake_in=9)


def a_lease(
    *, lane: Lane = Lane.MAIN, failures: int = 0, losses: int = 0, releases: int = 0
) -> Lease:
    return Lease("id", 4, "task", "mail", lane, failures, losses, releases, TERMS)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Succeeded(Raw(b"1")), Ack("id", 4, State.SUCCEEDED, keep=HOUR, result=Raw(b"1"))),
        (Succeeded(), Ack("id", 4, State.SUCCEEDED, keep=HOUR)),
        (
            Failed(ERROR),
            Ack(
                "id",
                4,
                State.SCHEDULED,
                delay=SECOND,
                keep=HOUR,
                charge=Charge.FAILURE,
                error=ERROR,
            ),
        ),
        (
            Failed(ERROR, retry_in=7),
            Ack("id", 4, State.SCHEDULED, 7, HOUR, Charge.FAILURE, error=ERROR),
        ),
        (
            Failed(ERROR, fatal=True),
            Ack("id", 4, State.DEAD, 0, 2 * HOUR, Charge.FAILURE, error=ERROR),
        ),
        (Snoozed(9), Ack("id", 4, State.SCHEDULED, 9, HOUR, Charge.CLEAN)),
        (Suspended(9), Ack("id", 4, State.SCHEDULED, 9, HOUR, Charge.CLEAN, asleep=True)),
        (
            Suspended(9, NAP),
            Ack("id", 4, State.SCHEDULED, 9, HOUR, Charge.CLEAN, asleep=True, steps=(NAP,)),
        ),
        (Cancelled(), Ack("id", 4, State.CANCELLED, keep=HOUR)),
        (Cancelled(ERROR), Ack("id", 4, State.CANCELLED, keep=HOUR, error=ERROR)),
        (Released(), Ack("id", 4, State.READY, keep=HOUR)),
        (TaskUnknown(), Ack("id", 4, State.SCHEDULED, SECOND, HOUR, Charge.RELEASE)),
        (Misplaced(), Ack("id", 4, State.READY, keep=HOUR, lane=Lane.CELL)),
        (Lost(ERROR), Ack("id", 4, State.READY, keep=HOUR, charge=Charge.LOSS, error=ERROR)),
    ],
)
def test_each_outcome_has_its_ack(outcome: Outcome, expected: Ack) -> None:
    assert settle(a_lease(), outcome, RNG) == expected


@pytest.mark.parametrize("outcome", [Snoozed(9), Suspended(9)])
def test_a_suspect_that_ends_its_run_well_goes_home(outcome: Outcome) -> None:
    """Two deploys in the weeks that a job sleeps through are no sign of poison."""
    assert settle(a_lease(lane=Lane.CELL, losses=2), outcome, RNG).lane is Lane.MAIN
    assert settle(a_lease(lane=Lane.CELL, losses=1), outcome, RNG).lane is None
    assert settle(a_lease(lane=Lane.MAIN, losses=1), outcome, RNG).lane is None


def test_the_shortcuts_say_what_settle_says() -> None:
    lease = a_lease()
    assert succeeded(lease, Raw(b"1")) == settle(lease, Succeeded(Raw(b"1")), RNG)
    assert released(lease) == settle(lease, Released(), RNG)


@pytest.mark.parametrize(
    ("failures", "state"), [(0, State.SCHEDULED), (1, State.SCHEDULED), (2, State.DEAD)]
)
def test_the_last_attempt_that_fails_is_dead(failures: int, state: State) -> None:
    ack = settle(a_lease(failures=failures), Failed(ERROR, retry_in=1), RNG)
    assert ack.state is state
    assert ack.keep == (2 * HOUR if state is State.DEAD else HOUR)


def test_a_task_nobody_knows_waits_ever_longer_up_to_a_minute() -> None:
    waits = [settle(a_lease(releases=n), TaskUnknown(), RNG).delay for n in (0, 1, 2, 5, 6, 10**6)]
    assert waits == [SECOND, 2 * SECOND, 4 * SECOND, 32 * SECOND, LONGEST_PUT_BACK, 60 * SECOND]


def test_the_second_loss_makes_a_suspect_and_the_cell_convicts_it() -> None:
    first = settle(a_lease(), Lost(ERROR), RNG)
    assert (first.state, first.lane, first.charge) == (State.READY, None, Charge.LOSS)
    second = settle(a_lease(losses=1), Lost(ERROR), RNG)
    assert (second.state, second.lane, second.charge) == (State.READY, Lane.CELL, Charge.LOSS)
    third = settle(a_lease(lane=Lane.CELL, losses=2), Lost(ERROR, witnessed=True), RNG)
    assert (third.state, third.charge) == (State.SCHEDULED, Charge.FAILURE)
    last = settle(a_lease(lane=Lane.CELL, losses=2, failures=2), Lost(ERROR), RNG)
    assert last.state is State.DEAD


def test_a_cell_that_nobody_saw_die_is_not_the_jobs_fault_the_first_time() -> None:
    ack = settle(a_lease(lane=Lane.CELL), Lost(ERROR), RNG)
    assert (ack.state, ack.charge) == (State.READY, Charge.LOSS)
    seen = settle(a_lease(lane=Lane.CELL), Lost(ERROR, witnessed=True), RNG)
    assert seen.charge is Charge.FAILURE
    again = settle(a_lease(lane=Lane.CELL, losses=1), Lost(ERROR), RNG)
    assert again.charge is Charge.FAILURE


OUTCOMES = st.one_of(
    st.just(Succeeded()),
    st.builds(Failed, st.just(ERROR), st.booleans(), st.none() | st.integers(0, HOUR)),
    st.builds(Snoozed, st.integers(0, HOUR)),
    st.builds(Cancelled, st.none() | st.just(ERROR)),
    st.just(Released()),
    st.just(TaskUnknown()),
    st.just(Misplaced()),
    st.builds(Lost, st.just(ERROR), st.booleans()),
)


@given(
    OUTCOMES,
    st.sampled_from(Lane),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_whatever_happens_the_ack_is_one_a_store_can_apply(
    outcome: Outcome, lane: Lane, failures: int, losses: int, releases: int
) -> None:
    lease = a_lease(lane=lane, failures=failures, losses=losses, releases=releases)
    ack = settle(lease, outcome, RNG)
    assert (ack.id, ack.attempt) == (lease.id, lease.attempt)
    assert ack.state in MOVES[State.RUNNING]
    assert ack.delay >= 0
    assert ack.keep > 0
    assert not ack.if_overdue
    if ack.state in TERMINAL:
        assert ack.delay == 0
    if ack.charge is Charge.FAILURE and ack.state is not State.DEAD:
        assert failures + 1 < TERMS.max_attempts


BACKOFFS = st.builds(
    Backoff,
    base=st.integers(0, HOUR),
    cap=st.integers(0, 24 * HOUR),
    factor=st.floats(1.0, 100.0),
    jitter=st.booleans(),
)


@given(BACKOFFS, st.integers(1, 10**6), st.randoms(use_true_random=False))
def test_a_backoff_is_between_nothing_and_its_cap(
    rule: Backoff, failures: int, rng: random.Random
) -> None:
    assert 0 <= backoff(rule, failures, rng) <= rule.cap


@given(st.integers(0, HOUR), st.integers(0, 24 * HOUR), st.integers(1, 10**6))
@example(0, HOUR, 10**6)
@example(HOUR, 0, 10**6)
def test_without_jitter_it_is_the_formula(base: int, cap: int, failures: int) -> None:
    rule = Backoff(base=base, cap=cap, factor=2.0, jitter=False)
    exact = min(Fraction(cap), Fraction(base) * 2 ** min(failures - 1, 100))
    assert math.isclose(backoff(rule, failures, RNG), exact, rel_tol=1e-9, abs_tol=1)


@given(st.integers(1, 200))
def test_jitter_is_spread_over_the_whole_wait(seed: int) -> None:
    rule = Backoff(base=SECOND, cap=HOUR)
    rng = random.Random(seed)
    waits = [backoff(rule, 4, rng) for _ in range(400)]
    assert min(waits) < 1 * SECOND
    assert max(waits) > 7 * SECOND
    assert 3 * SECOND < sum(waits) / len(waits) < 5 * SECOND


@pytest.mark.parametrize(("failures", "wait"), [(1, 5), (2, 6), (3, 7), (4, 7), (10**6, 7)])
def test_delays_are_taken_in_turn_and_the_last_for_ever(failures: int, wait: int) -> None:
    assert backoff(Backoff(delays=(5, 6, 7), cap=1), failures, RNG) == wait


def test_what_cannot_be_read_goes_dead_and_is_kept_as_the_dead_are() -> None:
    error = AttemptError(4, "malformed", "no JSON")
    assert malformed("id", 4, TERMS, "no JSON") == Ack(
        "id", 4, State.DEAD, keep=2 * HOUR, error=error
    )


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_only_the_dead_are_kept_as_long_as_the_dead(state: State) -> None:
    assert TERMS.keep_for(state) == (2 * HOUR if state is State.DEAD else HOUR)
