"""How far ahead a worker leases: the pace it measures, on numbers alone."""

from backline.job import SECOND, Micros
from backline.worker.prefetch import Pace

MS: Micros = SECOND // 1_000


def paced(pace: Pace, *, exchanges: int, jobs: int, each: Micros, since: Micros = 0) -> Micros:
    """So many exchanges of 10 ms, in each of which `jobs` jobs of `each` ended; the time then."""
    for _ in range(exchanges):
        since += 10 * MS
        pace.measured(since, 10 * MS, jobs, jobs * each)
    return since


def test_nothing_is_leased_ahead_before_a_job_has_ended() -> None:
    pace = Pace(concurrency=100, most=3_072)
    assert pace.ahead() == 0
    paced(pace, exchanges=10, jobs=0, each=0)
    assert pace.ahead() == 0


def test_short_jobs_are_leased_ahead_and_more_with_every_round() -> None:
    pace = Pace(concurrency=100, most=3_072)
    now = paced(pace, exchanges=8, jobs=100, each=10)
    few = pace.ahead()
    assert 100 < few <= 300
    paced(pace, exchanges=8, jobs=few, each=10, since=now)
    assert few < pace.ahead() <= 3 * few


def test_no_more_than_the_most() -> None:
    pace = Pace(concurrency=100, most=500)
    paced(pace, exchanges=20, jobs=5_000, each=1)
    assert pace.ahead() == 500


def test_long_jobs_are_not_leased_ahead() -> None:
    pace = Pace(concurrency=10, most=3_072)
    paced(pace, exchanges=20, jobs=10, each=SECOND)
    assert pace.ahead() == 0


def test_one_small_exchange_does_not_forget_the_pace() -> None:
    """Else a worker that hands in a few outcomes early would lease in fits and starts."""
    pace = Pace(concurrency=100, most=3_072)
    now = paced(pace, exchanges=20, jobs=1_000, each=5)
    before = pace.ahead()
    paced(pace, exchanges=1, jobs=10, each=5, since=now)
    assert pace.ahead() > before / 2


def test_what_did_not_start_stops_it_until_jobs_end_again() -> None:
    pace = Pace(concurrency=100, most=3_072)
    now = paced(pace, exchanges=20, jobs=100, each=10)
    pace.stalled()
    assert pace.ahead() == 0
    paced(pace, exchanges=1, jobs=100, each=10, since=now)
    assert pace.ahead() > 0
