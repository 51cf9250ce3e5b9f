"""The table of moves says what the words beside it say."""

from itertools import product

import pytest

from backline.states import LIVE, MOVES, QUEUED, TERMINAL, Effect, State, move

EVERY = [(source, target) for source, targets in MOVES.items() for target in targets]


def test_every_state_has_a_row() -> None:
    assert set(MOVES) == set(State)
    assert set(State) == LIVE | TERMINAL
    assert not LIVE & TERMINAL
    assert QUEUED < LIVE


@pytest.mark.parametrize(("source", "target"), EVERY)
def test_the_depth_moves_exactly_when_a_job_enters_or_leaves_the_queue(
    source: State, target: State
) -> None:
    effect = move(source, target)
    entered = target in QUEUED and source not in QUEUED
    left = source in QUEUED and target not in QUEUED
    assert bool(effect & Effect.ENTERS) == entered
    assert bool(effect & Effect.LEAVES) == left


@pytest.mark.parametrize(("source", "target"), EVERY)
def test_a_job_ends_exactly_when_it_comes_to_rest(source: State, target: State) -> None:
    assert bool(move(source, target) & Effect.ENDS) == (target in TERMINAL)


@pytest.mark.parametrize(("source", "target"), EVERY)
def test_only_ready_jobs_start_and_only_redrive_wakes_the_ended(
    source: State, target: State
) -> None:
    if target is State.RUNNING:
        assert source is State.READY
    if source in TERMINAL:
        assert target in {State.READY, State.WAITING}


def test_success_is_final_and_comes_from_running_alone() -> None:
    assert MOVES[State.SUCCEEDED] == {}
    assert [source for source, target in EVERY if target is State.SUCCEEDED] == [State.RUNNING]
    assert [source for source, target in EVERY if target is State.DEAD] == [State.RUNNING]


def test_every_state_but_success_leads_to_an_end() -> None:
    """From wherever a job is, it can come to rest: no state is a trap."""
    resting = set(TERMINAL)
    while True:
        more = {source for source, target in EVERY if target in resting} - resting
        if not more:
            break
        resting |= more
    assert resting == set(State)


def test_a_move_that_is_not_in_the_table_is_a_bug() -> None:
    for source, target in product(State, State):
        if (source, target) not in EVERY:
            with pytest.raises(ValueError, match=f"a {source} job cannot become {target}"):
                move(source, target)
