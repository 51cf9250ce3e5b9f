"""When a worker is started again: the pure rule."""

from hypothesis import given
from hypothesis import strategies as st

from backline.job import MINUTE, SECOND, Micros
from backline.supervisor.restart import LONGEST_WAIT, RestartHistory, after_death


def die_at_once(times: int, start: Micros = 0) -> tuple[RestartHistory, list[Micros]]:
    history, at, waits = RestartHistory(), start, []
    for _ in range(times):
        history, wait = after_death(history, at=at, lived=SECOND // 10, finished=0)
        waits.append(wait)
        at += wait + SECOND // 10
    return history, waits


def test_the_first_restart_is_at_once_then_it_backs_off_to_half_a_minute_and_never_ends() -> None:
    _, waits = die_at_once(12)
    seconds = [wait / SECOND for wait in waits]
    assert seconds == [0, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30]


def test_a_worker_that_finished_a_job_is_replaced_at_once() -> None:
    history, _ = die_at_once(7)
    history, wait = after_death(history, at=10**9, lived=SECOND, finished=1)
    assert (wait, history.row, history.healthy, history.restarts) == (0, 0, True, 8)


def test_a_worker_that_lived_for_a_minute_is_no_barren_death() -> None:
    history, _ = die_at_once(3)
    _, wait = after_death(history, at=10**9, lived=MINUTE, finished=0)
    assert wait == 0


def test_five_barren_deaths_in_a_minute_are_unhealthy_until_a_good_worker() -> None:
    history, _ = die_at_once(4)
    assert history.healthy
    history, _ = die_at_once(5)
    assert not history.healthy
    for later in range(1, 20):  # they come every half minute by now, and it stays so
        at = later * MINUTE
        history, _ = after_death(history, at=at, lived=0, finished=0)
        assert not history.healthy
    history, _ = after_death(history, at=30 * MINUTE, lived=SECOND, finished=3)
    assert history.healthy


def test_deaths_far_apart_are_healthy() -> None:
    history = RestartHistory()
    for n in range(50):
        history, _ = after_death(history, at=n * 20 * SECOND, lived=SECOND, finished=0)
        assert history.healthy


@given(st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(0, 3)), max_size=60))
def test_the_wait_is_bounded_and_the_restarts_are_counted(lives: list[tuple[Micros, int]]) -> None:
    history, at = RestartHistory(), 0
    for n, (lived, finished) in enumerate(lives, 1):
        at += lived
        history, wait = after_death(history, at=at, lived=lived, finished=finished)
        assert 0 <= wait <= LONGEST_WAIT
        assert history.restarts == n
        assert len(history.barren) <= 5
        if finished:
            assert wait == 0
        at += wait
