"""The checker sees what it is there to see: each violation is planted once."""

from collections import Counter
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.chaos.checker import Ledgers, Story, check, recoveries
from tests.chaos.history import Event, History

from backline.job import EMPTY_ARGS, SECOND, AttemptError, JobRecord, Lane
from backline.states import State
from backline.store import QueueStats

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
) -> Story:
    """One job that was cut off once, and then succeeded."""
    job = job or record()
    history = History(folder)
    history.events = list(events)
    counts = {state: counted * (state is job.state) for state in State}
    queue = QueueStats(
        queue="q", paused=False, max_depth=None, counts=counts, purged=0, cells=0,
        oldest_ready=None, drain_rate=0,
    )  # fmt: skip
    ledgers = Ledgers({"a": fenced} if fenced else {}, Counter("a"))
    return Story(("a",), acknowledged, {"a": job}, [queue], history, ledgers)


def test_a_job_that_was_cut_off_and_ran_again_is_as_it_should_be(tmp_path: Path) -> None:
    told = story(tmp_path)
    assert check(told) == []
    [healed] = recoveries(told)
    assert (healed.settled, healed.running, healed.alone) == (SECOND, 1.5 * SECOND, False)


AGAIN = [event("start", 7, 3), event("end", 8, 3, how="ok")]
TWICE = event("start", 9, 2, pid=7)
UNDISTURBED = {"events": [*EVENTS, *AGAIN], "job": record(attempt=3), "fenced": 3}
TOO_EARLY = [event("start", 3, 1), event("end", 3.2, 1, how="ok"), KILL, *EVENTS[2:]]


@pytest.mark.parametrize(
    ("says", "planted"),
    [
        ("c1_no_loss: b is lost", {"acknowledged": ("a", "b")}),
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
        ("c15_explained: a ran as attempt 3", UNDISTURBED),
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
