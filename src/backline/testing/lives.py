"""What the random lives of a store are drawn from."""

from typing import Any, Final

from hypothesis import strategies as st
from msgspec import Raw

from backline.job import (
    DAY,
    EMPTY_ARGS,
    SECOND,
    Awaited,
    Charge,
    FollowUp,
    JobRequest,
    Lane,
    LeasedJob,
    Limits,
    OnConflict,
    OnPoison,
    Pacing,
    Step,
    Terms,
)
from backline.parents import On
from backline.states import TERMINAL, State
from backline.store import Edit
from backline.testing.clock import START

QUEUES: Final = ("a", "b")
FAIR: Final = "b"
"""The queue whose jobs have fair keys."""
PACING: Final = Pacing(10 * SECOND, 2)
LIMITS: Final = (
    Limits("p"),
    Limits("b", on_poison=OnPoison.BLOCK),
    Limits("q", 2),
    Limits("s", 3),
    Limits(rate_key="r", pacing=PACING),
    Limits(rate_key="r", pacing=PACING, weight=2),
    Limits("q", 2, rate_key="r", pacing=PACING),
)
"""One limit a key: when a store forgets an older one of an idle key is its affair."""
TERMS: Final = Terms(keep=20 * SECOND, keep_dead=40 * SECOND)

_requests = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "lane": st.sampled_from([Lane.MAIN, Lane.MAIN, Lane.CELL]),
        "priority": st.integers(-1, 1),
        "delay": st.sampled_from([0, 0, 0, 0, SECOND, 30 * SECOND]),
        "expires_in": st.sampled_from([None, None, None, 2 * SECOND, 60 * SECOND]),
        "unique_key": st.sampled_from([None, None, "k", "l"]),
        "unique_for": st.sampled_from([0, 0, 25 * SECOND, 3 * DAY]),
        "on_conflict": st.sampled_from(OnConflict),
        "max_wait": st.sampled_from([None, 3 * SECOND]),
        "idempotency_key": st.sampled_from([None, None, None, "m", "n", "o"]),
        "payload": st.sampled_from([EMPTY_ARGS, EMPTY_ARGS, Raw(b"[[1],{}]")]),
        "terms": st.just(TERMS),
        "limits": st.sampled_from([None, None, None, *LIMITS]),
        "after": st.one_of(
            st.just([]),
            st.lists(st.tuples(st.integers(0, 8), st.sampled_from(On)), max_size=2),
        ),
        "group": st.sampled_from([None, None, "g", "h"]),
        "fair_key": st.sampled_from([None, None, "x", "x", "y", "z"]),
    }
).map(lambda job: job if job["queue"] == FAIR else {**job, "fair_key": None})
FOLLOW_UPS: Final = st.lists(
    st.builds(
        FollowUp,
        st.sets(st.sampled_from(sorted(TERMINAL)), min_size=1).map(lambda on: tuple(sorted(on))),
        st.builds(
            lambda fields: JobRequest(id="", task="after", **fields | {"after": (), "group": None}),
            _requests,
        ),
        st.booleans(),
    ),
    max_size=2,
).map(tuple)
_jobs = st.builds(
    lambda job, after: {**job, "follow_ups": after}, _requests, st.just(()) | FOLLOW_UPS
)
BATCHES: Final = st.lists(st.lists(_jobs, min_size=1, max_size=4), min_size=1, max_size=3)
"""Calls of jobs, each the fields of its request but for the id."""
LINES: Final = tuple((queue, lane) for queue in QUEUES for lane in Lane)
DEMANDS: Final = st.one_of(
    st.just(dict.fromkeys(LINES, 1)),
    st.just(dict.fromkeys(LINES, 3)),
    st.dictionaries(st.sampled_from(LINES), st.integers(0, 3), max_size=3),
)
ENDINGS: Final = st.fixed_dictionaries(
    {
        "state": st.sampled_from(
            [State.SUCCEEDED, State.DEAD, State.CANCELLED, State.READY, State.SCHEDULED]
        ),
        "delay": st.sampled_from([0, SECOND, 30 * SECOND]),
        "keep": st.sampled_from([0, 20 * SECOND]),
        "charge": st.sampled_from(Charge),
        "lane": st.sampled_from([None, None, Lane.CELL]),
        "if_overdue": st.sampled_from([False, False, False, True]),
        "asleep": st.booleans(),
    }
)
EDITS: Final = st.one_of(
    st.builds(Edit, queue=st.sampled_from((*QUEUES, "c")), priority=st.integers(-1, 1)),
    st.builds(Edit, run_at=st.sampled_from((0, START + SECOND, START + 60 * SECOND))),
    st.builds(Edit, queue=st.sampled_from(QUEUES), delay=st.sampled_from((-SECOND, 0, SECOND))),
)
AWAITED: Final = (Awaited("a", "k"), Awaited("a", "l"), Awaited("a.b", "k"))
STEPS: Final = st.fixed_dictionaries(
    {
        "value": st.just(Raw(b"1")),
        "wake_in": st.sampled_from([None, 0, SECOND]),
        "awaits": st.sampled_from([None, *AWAITED]),
        "over": st.sampled_from([False, False, True]),
    }
)
"""What is recorded while a job runs: a step, a sleep or a wait."""
PICKS: Final = st.lists(st.integers(0, 5) | st.integers(0, 200), min_size=1, max_size=4)


def drawn(endings: st.DataObject, lease: LeasedJob) -> dict[str, Any]:
    """How a run of a job ends; before it sleeps it records that, or what it waits for."""
    ending: dict[str, Any] = dict(endings.draw(ENDINGS))
    awaits = endings.draw(st.sampled_from([None, *AWAITED]))
    name = "nap" if awaits is None else f"{awaits.name} {awaits.key}"
    rest = Step(lease.id, lease.attempt, name, wake_in=ending["delay"], awaits=awaits)
    return {**ending, "steps": (rest,) * ending["asleep"]}
