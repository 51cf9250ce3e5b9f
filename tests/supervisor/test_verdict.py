"""When a worker is killed or replaced: the pure rules."""

from backline.job import SECOND
from backline.supervisor.crew import cells_wanted
from backline.supervisor.verdict import (
    CELL_PATIENCE,
    PATIENCE,
    SPARED,
    Verdict,
    judge_cell,
    judge_worker,
    worn_out,
)
from backline.worker.board import Entry, Phase

LIMIT = 1_000 * SECOND
A, B = ("a", 1), ("b", 3)


def running(token: tuple[str, int] = A, deadline: int = LIMIT) -> Entry:
    return Entry(0, token[0], token[1], Phase.STARTED, deadline, None)


def test_a_cell_is_killed_within_a_second_of_the_limit() -> None:
    assert CELL_PATIENCE < SECOND
    assert judge_cell([running()], {}, {}, LIMIT + CELL_PATIENCE - 1) == SPARED
    verdict = judge_cell([running()], {}, {}, LIMIT + CELL_PATIENCE)
    assert verdict == Verdict(timed_out=frozenset({A}))
    assert verdict


def test_a_job_without_a_deadline_or_finished_is_left_alone() -> None:
    finished = Entry(0, "a", 1, Phase.FINISHED, 1, None)
    assert not judge_cell([running(deadline=0), finished], {}, {}, LIMIT * 2)
    assert not judge_worker([running(deadline=0), finished], 0, LIMIT * 2)


def test_a_cell_that_does_not_stop_when_cancelled_or_lost_is_killed() -> None:
    told = 5 * SECOND
    assert not judge_cell([running()], {A: told}, {A: told}, told + CELL_PATIENCE - 1)
    verdict = judge_cell([running()], {A: told, B: told}, {}, told + CELL_PATIENCE)
    assert verdict == Verdict(cancelled=frozenset({A}))
    assert judge_cell([running()], {}, {A: told}, told + CELL_PATIENCE) == Verdict(lost=True)


def test_a_worker_is_killed_only_when_it_is_late_and_its_loop_stands_still() -> None:
    late = LIMIT + PATIENCE
    entries = [running(), running(B, LIMIT + 3 * SECOND)]
    assert judge_worker(entries, late - PATIENCE, late) == Verdict(timed_out=frozenset({A}))
    assert not judge_worker(entries, late - PATIENCE + 1, late)  # it beats: its own business
    assert not judge_worker(entries, 0, late - 1)


def test_a_worker_is_worn_out_by_jobs_or_by_memory() -> None:
    none = {"max_jobs": None, "max_memory": None}
    assert worn_out(10**9, 10**12, **none) is None
    assert worn_out(99, 0, max_jobs=100, max_memory=None) is None
    assert worn_out(100, 0, max_jobs=100, max_memory=None) == "it finished 100 jobs"
    assert worn_out(0, 1 << 30, max_jobs=None, max_memory=1 << 30) is None
    assert worn_out(0, (1 << 30) + 1, max_jobs=None, max_memory=1 << 30) == "it takes 1024 MiB"


def test_a_cell_is_started_for_each_job_that_no_idle_one_takes() -> None:
    assert cells_wanted(0, idle=0, alive=0, limit=4) == 0
    assert cells_wanted(3, idle=1, alive=1, limit=4) == 2
    assert cells_wanted(99, idle=0, alive=3, limit=4) == 1
    assert cells_wanted(99, idle=0, alive=4, limit=4) == 0
    assert cells_wanted(1, idle=2, alive=2, limit=4) == 0
    assert cells_wanted(5, idle=0, alive=2, limit=0) == 0
