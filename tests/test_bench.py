"""What the benchmarks rest on: the bare loop does the store's work, and a bar can be missed.

How fast anything is, is no test's business.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from backline import App, group
from backline.job import JobRequest

ROOT: Final = Path(__file__).parents[1]
JOBS: Final = 30

app = App("memory://")


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Any:
    return _module("raw", monkeypatch)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    return _module("report", monkeypatch)


def _module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))  # bench is no part of the package
    return importlib.import_module(f"bench.{name}")


def _requests() -> list[JobRequest]:
    task = App("memory://").remote("noop")
    return [task.job(number) for number in range(JOBS)]


@pytest.mark.parametrize("only", [True, False])
def test_the_bare_loop_adds_and_finishes_every_job(raw: Any, tmp_path: Path, only: bool) -> None:
    tape = raw.record(tmp_path / "tape.db", _requests(), a_call=10, leased=7)
    assert (tape.jobs, len(tape.enqueues)) == (JOBS - 1, 3)

    rates = raw.replay(tmp_path / "replay.db", tape, only=only)
    assert rates.inserts > 0
    assert rates.exchanges > 0
    db = raw.opened(tmp_path / "replay.db")
    assert db.value("select count(*) from job where state = 'succeeded'") == JOBS
    db.close()


def test_only_the_work_itself_is_less_than_everything(raw: Any, tmp_path: Path) -> None:
    tape = raw.record(tmp_path / "tape.db", _requests(), a_call=10, leased=7)
    for commit, wanted in (
        (tape.enqueues[1], raw.INSERT),
        (tape.exchanges[1], raw.LEASE_AND_FINISH),
    ):
        [kept] = raw._kept([commit], wanted)
        assert [sql for sql, _ in kept[1:-1]] == [sql for sql, _ in commit if sql in wanted]
        assert {sql for sql, _ in kept[1:-1]} == set(wanted)
        assert len(kept) < len(commit)


def test_a_loop_that_left_work_undone_is_no_limit(raw: Any, tmp_path: Path) -> None:
    tape = raw.record(tmp_path / "tape.db", _requests(), a_call=10, leased=7)
    tape.exchanges[1] = [step for step in tape.exchanges[1] if step[0] != raw.LEASE_AND_FINISH[2]]
    with pytest.raises(AssertionError, match="left 23 of 30 jobs"):
        raw.replay(tmp_path / "replay.db", tape, only=False)


@app.task(concurrency_key=lambda number: f"customer {number % 10}", concurrency=99, unique_key=str)
def keyed(number: int) -> None: ...


@app.task(rate="100000/s", burst=10_000, rate_key="one", weight=2)
def paced(number: int) -> None: ...


@app.task
def plain(number: int) -> None: ...


def _group(jobs: int) -> Sequence[JobRequest]:
    *members, last = map(plain.job, range(jobs))
    return group(members).then(last).jobs


KINDS: Final[dict[str, Callable[[int], Sequence[JobRequest]]]] = {
    "plain": lambda jobs: [plain.job(number) for number in range(jobs)],
    "group": _group,
    "keyed": lambda jobs: [keyed.job(number) for number in range(jobs)],
    "paced": lambda jobs: [paced.job(number) for number in range(jobs)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_has_no_statement_a_job(raw: Any, tmp_path: Path, kind: str) -> None:
    """However many jobs a commit has, it has as many statements; none more in a group of many."""
    few, many = (
        raw.record(
            tmp_path / f"{jobs}.db", KINDS[kind](jobs + 1), a_call=jobs // 2, leased=jobs // 2
        )
        for jobs in (20, 200)
    )
    assert few.jobs * 10 == many.jobs
    for of_few, of_many in ((few.enqueues, many.enqueues), (few.exchanges, many.exchanges)):
        assert [len(commit) for commit in of_few] == [len(commit) for commit in of_many]


@pytest.mark.parametrize(
    ("value", "at_most", "mark"),
    [(2.0, False, "pass"), (1.9, False, "FAIL"), (2.0, True, "pass"), (2.1, True, "FAIL")],
)
def test_a_bar_is_reached_or_missed(report: Any, value: float, at_most: bool, mark: str) -> None:
    found = report.absolute("it", value, report.Bar(2.0, "ms", at_most=at_most))
    assert found.mark == mark
    assert found.failed == (mark == "FAIL")
    assert mark in report.text([found])


def test_a_ratio_is_of_the_medians(report: Any) -> None:
    ours, theirs = report.Samples(), report.Samples()
    for mine, other in ((30.0, 1.0), (50.0, 10.0), (1_000.0, 11.0)):
        ours.add(mine)
        theirs.add(other)
    assert report.rated("it", ours, "peer", theirs, report.Bar(6, "x")).value == pytest.approx(5.0)
    assert report.rated("it", ours, "peer", theirs, report.Bar(6, "x")).failed
    assert report.rated("it", ours, "peer", theirs).value == pytest.approx(500.0)
