"""The checker sees what it is there to see: each violation is planted once."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.chaos.checker import (
    MORE_FILES,
    MORE_THREADS,
    MOST_LOG,
    MOST_MEMORY,
    Ledgers,
    Story,
    Usage,
    cancel_delays,
    check,
    recoveries,
)
from tests.chaos.history import Event, History
from tests.chaos.intake import Cancel, Intake, Snapshot
from tests.chaos.processes import Footprint

from backline.job import EMPTY_ARGS, SECOND, AttemptError, Backoff, JobRecord, Lane, Terms
from backline.states import State
from backline.store import Cancelling, QueueStats

FOOTPRINT = Footprint(memory=40 << 20, files=12, threads=4)
LOST = AttemptError(attempt=1, kind="lost", message="", at=5 * SECOND)


def record(**fields: object) -> JobRecord:
    base = JobRecord(
        id="a", task="t", queue="q", lane=Lane.MAIN, state=State.SUCCEEDED, priority=0,
        payload=EMPTY_ARGS, due=0, enqueued_at=0, attempt=2, losses=1, errors=(LOST,),
        result=Raw(b'"a 2"'),
    )  # fmt: skip
    return replace(base, **fields)


def event(what: str, second: float, attempt: int = 0, **fields: object) -> Event:
    at = round(second * SECOND)
    base = Event(what=what, pid=attempt, mono=at, wall=at, job="a" if attempt else "")
    return replace(base, attempt=attempt, **fields)


KILL = replace(event("kill", 4), pid=1)
EVENTS = [event("start", 3, 1), KILL, event("start", 5.5, 2), event("end", 6, 2, how="ok")]


def story(
    folder: Path,
    *,
    events: list[Event] = EVENTS,
    job: JobRecord | None = None,
    fenced: int = 2,
    acknowledged: tuple[str, ...] = ("a",),
    counted: int = 1,
    log_bytes: int = 0,
    after: Footprint = FOOTPRINT,
    other: tuple[Event, ...] = (),
    purged: int = 0,
    **asked: Any,
) -> Story:
    """One job that was cut off once, and then succeeded."""
    job = job or record()
    history = History(folder)
    history.events = list(events)
    counts = {state: counted * (state is job.state) for state in State}
    queue = QueueStats(
        queue="q", paused=False, max_depth=None, counts=counts, purged=purged, cells=0,
        oldest_ready=None, drain_rate=0,
    )  # fmt: skip
    ledgers = Ledgers({"a": fenced} if fenced else {}, Counter("a"))
    offered = ["a", "b"] if other else [*acknowledged]
    intake = Intake(offered=offered, acknowledged=[*acknowledged], **asked)
    history.events += other
    usage = [Usage(7, FOOTPRINT, after)]
    return Story(intake, {"a": job}, [queue], history, ledgers, usage, log_bytes)


def test_a_job_that_was_cut_off_and_ran_again_is_as_it_should_be(tmp_path: Path) -> None:
    told = story(tmp_path)
    assert check(told) == []
    [healed] = recoveries(told)
    assert (healed.settled, healed.running, healed.alone) == (SECOND, 1.5 * SECOND, False)


AGAIN = [event("start", 7, 3), event("end", 8, 3, how="ok")]
TWICE = event("start", 9, 2, pid=7)
UNDISTURBED = {"events": [*EVENTS, *AGAIN], "job": record(attempt=3), "fenced": 3}
RAISED = [event("start", 3, 1), event("end", 3.2, 1, how="ValueError"), *EVENTS[2:]]
HURRIED = {
    "events": RAISED,
    "job": record(
        losses=0,
        failures=1,
        errors=(replace(LOST, kind="ValueError"),),
        terms=Terms(backoff=Backoff(delays=(3 * SECOND,))),
    ),
}
KEYS = {"keys": {"a": "k", "b": "k"}}
REPLACED: dict[str, Any] = {
    "acknowledged": ("b", "a"), "keys": {"b": "k", "a": "k"}, "replacing": {"a"}, "purged": 1
}  # fmt: skip
NEIGHBOUR = (event("start", 5.8, 1, job="b", pid=9), event("end", 6.5, 1, job="b", pid=9, how="ok"))
FAT = {"after": FOOTPRINT._replace(memory=MOST_MEMORY + (1 << 20))}
LEAKING = {"after": FOOTPRINT._replace(files=13 + MORE_FILES)}
CROWDED = {"after": FOOTPRINT._replace(threads=5 + MORE_THREADS)}
OUTAGE = (event("outage", 2), event("restored", 2.5))


def cancelled(answer: Cancelling, second: float) -> dict[str, object]:
    at = round(second * SECOND)
    return {"cancels": [Cancel("a", answer, at, at)]}


TOO_EARLY = [event("start", 3, 1), event("end", 3.2, 1, how="ok"), KILL, *EVENTS[2:]]


@pytest.mark.parametrize(
    ("says", "planted"),
    [
        ("c1_no_loss: b is lost", {"acknowledged": ("a", "b")}),
        ("c1_no_loss: b is lost", {**REPLACED, "replacing": set()}),
        ("c1_no_loss: b is lost", {**REPLACED, "keys": {"b": "k", "a": "other"}}),
        ("c1_no_loss: b is lost", {**REPLACED, "keys": {"a": "k", "b": "k"}}),
        ("c1_no_loss: b is lost", {**REPLACED, "other": NEIGHBOUR}),
        ("c11_sums: 0 jobs were purged, and 1", {**REPLACED, "purged": 0}),
        ("c11_sums: 2 jobs were purged, and 1", {**REPLACED, "purged": 2}),
        ("c1_no_loss: a is still ready", {"job": record(state=State.READY)}),
        ("c1_no_loss: a has succeeded, and no run", {"events": EVENTS[:3]}),
        ("c2_no_invention: b was never", {"events": [*EVENTS, event("start", 1, 9, job="b")]}),
        ("c3_one_effect: a succeeded in attempt 2", {"fenced": 1}),
        ("c3_one_effect: a has succeeded without", {"fenced": 0}),
        ("c4_fencing: a succeeded in attempt 2", {"job": record(result=Raw(b'"a 1"'))}),
        ("c5_attempts: a ran as the attempts [1, 2, 2]", {"events": [*EVENTS, TWICE]}),
        ("c5_attempts: a ran as attempt 3 of 2", {"events": [*EVENTS, *AGAIN]}),
        ("c5_attempts: a holds 0 failures and 0 losses", {"job": record(losses=0)}),
        ("c5_attempts: a holds 1 failures and 1 losses", {"job": record(failures=1)}),
        ("c5_attempts: a is dead after 0", {"job": record(state=State.DEAD)}),
        ("c11_sums: q counts", {"counted": 2}),
        ("c8_unique: b ran under 'k' while a", {**KEYS, "other": NEIGHBOUR}),
        ("c11_sums: 3 jobs were counted", {"snapshots": [Snapshot(3, 0, 1, 2)]}),
        ("c11_sums: 0 jobs were counted", {"snapshots": [Snapshot(0, 0, 1, 2)]}),
        ("c11_sums: a count was -1", {"snapshots": [Snapshot(1, -1, 1, 2)]}),
        ("c13_not_early: a started 0.500 s", {"not_before": {"a": round(3.5 * SECOND)}}),
        ("c13_not_early: a ran as attempt 2 before", HURRIED),
        ("c15_explained: a ran as attempt 3", UNDISTURBED),
        ("c16_bounds: process 7 takes 201", FAT),
        ("c16_bounds: process 7 has 21 files", LEAKING),
        ("c16_bounds: process 7 has 25 th", CROWDED),
        ("c16_bounds: the write-ahead log", {"log_bytes": MOST_LOG + 1}),
        ("c17_cancel: a started after", cancelled(Cancelling.CANCELLED, 2)),
        ("c17_cancel: a was cancelled, and is succ", cancelled(Cancelling.CANCELLED, 2)),
        ("c17_cancel: a was tried again", cancelled(Cancelling.REQUESTED, 3.5)),
        ("c18_refused: a is there", {"refused": ["a"]}),
        ("c15_explained: a ran as attempt 2", {"events": [e for e in EVENTS if e is not KILL]}),
    ],
)  # fmt: skip
def test_a_planted_violation_is_seen(tmp_path: Path, says: str, planted: dict[str, object]) -> None:
    assert any(says in found for found in check(story(tmp_path, **planted)))


def test_a_kill_explains_what_had_ended_just_before_but_nothing_older(tmp_path: Path) -> None:
    told = story(tmp_path, events=TOO_EARLY, job=record(losses=0, errors=()))
    assert check(told) == []
    early = [replace(e, mono=e.mono - 5 * SECOND) if e.attempt == 1 else e for e in TOO_EARLY]
    told = story(tmp_path, events=early, job=record(losses=0, errors=()))
    assert any("was not disturbed" in found for found in check(told))


def test_what_is_within_its_bounds_is_not_complained_of(tmp_path: Path) -> None:
    """The same, by a hair on the right side."""
    fine: list[dict[str, Any]] = [
        {"snapshots": [Snapshot(1, 0, 1, 1)]},
        REPLACED,
        {"not_before": {"a": 3 * SECOND}},
        {**HURRIED, "job": replace(HURRIED["job"], terms=Terms(backoff=Backoff(delays=(SECOND,))))},
        {"after": Footprint(MOST_MEMORY, 12 + MORE_FILES, 4 + MORE_THREADS)},
        {**HURRIED, "job": replace(HURRIED["job"], errors=(LOST,))},  # nobody heard that it failed
        {"log_bytes": MOST_LOG},
        cancelled(Cancelling.REQUESTED, 5.7),
        cancelled(Cancelling.ENDED, 7),
        cancelled(Cancelling.REQUESTED, 2.9),
    ]
    for number, planted in enumerate(fine[:-1]):
        assert check(story(tmp_path, **planted)) == [], number
    [found] = check(story(tmp_path, **fine[-1]))  # once it may start, not twice
    assert "tried again" in found


def test_an_outage_explains_what_ran_into_it(tmp_path: Path) -> None:
    events = [*EVENTS[:1], event("end", 3.1, 1, how="CancelledError"), *EVENTS[2:]]
    released = record(losses=0, errors=())
    assert check(story(tmp_path, events=events, job=released)) != []
    assert check(story(tmp_path, events=[*OUTAGE, *events], job=released)) == []


def test_how_long_a_cancel_took_is_known(tmp_path: Path) -> None:
    told = story(tmp_path, **cancelled(Cancelling.REQUESTED, 5.7))
    assert cancel_delays(told) == [round(0.3 * SECOND)]
    assert cancel_delays(story(tmp_path, **cancelled(Cancelling.ENDED, 5.7))) == []
