"""The checker itself: a story in which all is well, and what each invariant says of a bad one."""

from collections.abc import Callable
from typing import Final, cast

import pytest
from msgspec.structs import replace

from backline.job import (
    SECOND,
    FollowUp,
    JobRecord,
    JobRequest,
    Lane,
    Limits,
    Micros,
    OnConflict,
    Pacing,
    Terms,
)
from backline.parents import After
from backline.states import State
from backline.testing.clock import VirtualClock
from backline.testing.simulation import INVARIANTS, Event, History, Trace, What, check
from backline.testing.simulation.history import Note

LEASE: Final = 3 * SECOND


class Story:
    """A history told by hand; one second passes before each event."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.history = History(self.clock)
        self.requests: dict[str, JobRequest] = {}
        self.final: dict[str, JobRecord] = {}
        self.calm = False
        self.tell(What.STARTED, "w", host=0, lane="main")
        self.tell(What.STARTED, "v", host=1, lane="main")

    def tell(
        self, what: What, who: str = "store", job: str = "", attempt: int = 0, **note: object
    ) -> None:
        self.clock.advance(1)
        self.history.note(what, who, cast("Note", note), job, attempt)

    def enqueue(self, job: str, **options: object) -> None:
        request = JobRequest(id=job, task="t", terms=Terms(max_attempts=2), **options)  # type: ignore[arg-type]
        self.requests[job] = request
        self.tell(What.ASKED, "producer", job)
        self.tell(What.ADDED, "store", job)
        self.tell(What.ENQUEUED, "producer", job, holder=None)

    def lease(self, job: str, attempt: int = 1, worker: str = "w", ttl: Micros = LEASE) -> None:
        until = self.clock.tick() + SECOND + ttl
        self.tell(What.LEASED, worker, job, attempt, until=until, lane="main")

    def run(self, job: str, attempt: int = 1, worker: str = "w", how: str = "ok") -> None:
        self.tell(What.RUN, worker, job, attempt, own=True)
        self.tell(What.ENDED, worker, job, attempt, how=how, wait=0)

    def ack(self, job: str, attempt: int = 1, who: str = "w", **changes: object) -> None:
        note: dict[str, object] = {
            "answer": "applied",
            "state": "succeeded",
            "delay": 0,
            "charge": "none",
            "kind": None,
            "if_overdue": False,
        }
        self.tell(What.ACKED, who, job, attempt, **{**note, **changes})

    def end(self, job: str, state: State = State.SUCCEEDED, **fields: object) -> None:
        request = self.requests[job]
        record = JobRecord(
            id=job,
            task="t",
            queue=request.queue,
            lane=Lane.MAIN,
            state=state,
            priority=0,
            payload=request.payload,
            due=0,
            enqueued_at=0,
            attempt=1,
        )
        self.final[job] = replace(record, **fields)

    def well(self, job: str, **options: object) -> None:
        """A job that goes as it should."""
        self.enqueue(job, **options)
        self.lease(job)
        self.run(job)
        self.ack(job)
        self.end(job)

    def broken(self) -> set[str]:
        """The invariants that do not hold."""
        trace = Trace(
            requests=self.requests,
            events=self.history.events,
            final=self.final,
            queues=[],
            lease=LEASE,
            calm=self.calm,
        )
        return {violation.partition(":")[0] for violation in check(trace)}


def lost(story: Story) -> None:
    story.enqueue("a")


def invented(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.run("a", worker="v")
    story.ack("a")
    story.end("a")


def succeeded_without_a_run(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.ack("a")
    story.end("a")


def acked_by_an_old_token(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.run("a")
    story.ack("a", state="ready")
    story.lease("a", 2)
    story.ack("a", 1)
    story.end("a", attempt=2)


def skipped_an_attempt(story: Story) -> None:
    story.enqueue("a")
    story.lease("a", 2)
    story.run("a", 2)
    story.ack("a", 2)
    story.end("a", attempt=1)


def killed_and_not_charged(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.RUN, "w", "a", 1, own=True)
    story.tell(What.KILLED, "w")
    story.ack("a", who="s", state="ready")
    story.lease("a", 2, "v")
    story.run("a", 2, "v")
    story.ack("a", 2, "v")
    story.end("a", attempt=2)


def taken_from_the_living(story: Story) -> None:
    story.enqueue("a")
    story.lease("a", ttl=60 * SECOND)
    story.tell(What.CUT, "nemesis", host=0)
    story.ack("a", who="reaper", state="dead", charge="failure", kind="lost")
    story.end("a", State.DEAD, failures=1)


def shared_a_key(story: Story) -> None:
    story.enqueue("a", unique_key="k")
    story.well("b", unique_key="k")
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def ran_beside_its_predecessor(story: Story) -> None:
    story.enqueue("a", unique_key="k")
    story.lease("a", ttl=60 * SECOND)
    story.well("b", unique_key="k", on_conflict=OnConflict.REPLACE)
    story.run("a")
    story.ack("a")
    story.end("a")


def counted_wrong(story: Story) -> None:
    story.well("a")
    counts = dict.fromkeys(map(str, State), 0)
    story.tell(What.COUNTS, queue="default", depth=0, max_depth=None, purged=0, **counts)


def began_early(story: Story) -> None:
    story.well("a", delay=60 * SECOND)


def settled_late(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.KILLED, "w")
    story.clock.advance(60)
    story.ack("a", who="reaper", state="ready", charge="loss", kind="lost", if_overdue=True)
    story.lease("a", 2, "v")
    story.run("a", 2, "v")
    story.ack("a", 2, "v")
    story.end("a", attempt=2, losses=1)


def lost_for_no_reason(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.clock.advance(3)
    story.ack("a", who="reaper", state="ready", charge="loss", kind="lost", if_overdue=True)
    story.lease("a", 2, "v")
    story.run("a", 2, "v")
    story.ack("a", 2, "v")
    story.end("a", attempt=2, losses=1)


def ran_though_cancelled(story: Story) -> None:
    story.enqueue("a")
    story.tell(What.CANCEL, "store", "a", answer="cancelled")
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def began_before_its_parent_had_ended(story: Story) -> None:
    story.enqueue("a")
    story.well("b", after=(After("a"),))
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def was_refused_and_ran(story: Story) -> None:
    story.well("a")
    story.tell(What.REFUSED, "producer", "a")


def told_of_a_job_that_is_not_there(story: Story) -> None:
    story.requests["a"] = JobRequest(id="a", task="t")
    story.tell(What.ENQUEUED, "producer", "a", holder=None)
    story.tell(What.ADDED, "store", "a")
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def purged_while_it_ran(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.PURGED, "store", "a", by="sweep")
    story.run("a")
    story.ack("a")


def within_the_window(story: Story) -> None:
    story.well("a", unique_key="k", unique_for=60 * SECOND)
    story.well("b", unique_key="k")


def asked_by_nobody(story: Story) -> None:
    story.requests["a"] = JobRequest(id="a", task="t")
    story.tell(What.ADDED, "store", "a")
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def answered_otherwise_than_the_model(story: Story) -> None:
    story.tell(What.DIFFERS, "store", call="promote", answer="1", expected="0")


def survived_a_bug(story: Story) -> None:
    story.well("a")
    story.tell(What.UNFORESEEN, "s", error="KeyError('a')")


def leased_from_a_paused_queue(story: Story) -> None:
    story.tell(What.SET, "store", queue="default", paused=True)
    story.well("a")


def never_answered(story: Story) -> None:
    story.well("a")
    story.tell(What.ASKED, "producer", "a")


def killed_as_an_orphan(story: Story) -> None:
    story.well("a")
    story.tell(What.KILLED, "v", adopted=True)


def ran_past_its_expiry(story: Story) -> None:
    story.enqueue("a", expires_in=SECOND)
    story.clock.advance(60)
    story.lease("a")
    story.run("a")
    story.ack("a")
    story.end("a")


def swept_too_soon(story: Story) -> None:
    story.well("a")
    story.final.pop("a")
    story.tell(What.PURGED, "store", "a", by="sweep")


def stopped_and_kept(story: Story) -> None:
    story.enqueue("a")
    story.lease("a", ttl=60 * SECOND)
    story.tell(What.STOPPED, "w")
    story.ack("a", who="s", state="dead", charge="failure", kind="lost")
    story.end("a", State.DEAD, failures=1)


def ran_too_long(story: Story) -> None:
    story.enqueue("a")
    story.requests["a"] = replace(story.requests["a"], terms=Terms(timeout=SECOND))
    story.lease("a", ttl=60 * SECOND)
    story.tell(What.RUN, "w", "a", 1, own=True)
    story.clock.advance(30)
    story.tell(What.ENDED, "w", "a", 1, how="ok", wait=0)
    story.ack("a")
    story.end("a")


def added_twice_under_one_idempotency_key(story: Story) -> None:
    story.well("a", idempotency_key="i")
    story.well("b", idempotency_key="i")


def two_at_once(story: Story) -> None:
    for job, worker in (("a", "w"), ("b", "v")):
        story.enqueue(job, limits=Limits("k"))
        story.lease(job, worker=worker)
    for job, worker in (("a", "w"), ("b", "v")):
        story.run(job, worker=worker)
        story.ack(job, who=worker)
        story.end(job)


def too_soon_after(story: Story) -> None:
    for job in ("a", "b"):
        story.well(job, limits=Limits(rate_key="k", pacing=Pacing(60 * SECOND)))


def did_a_recorded_step_again(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.EFFECT, "w", "a", 1, step="charge")
    story.tell(What.RECORDED, "store", "a", 1, step="charge", ok=True)
    story.run("a", how="error")
    story.ack("a", state="scheduled", charge="failure")
    story.lease("a", 2)
    story.tell(What.EFFECT, "w", "a", 2, step="charge")


def went_on_without_its_lease(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.EFFECT, "w", "a", 1, step="charge")
    story.tell(What.RECORDED, "store", "a", 1, step="charge", ok=False)
    story.tell(What.EFFECT, "w", "a", 1, step="ship")


def got_what_nobody_had_recorded(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.EFFECT, "w", "a", 1, step="charge")
    story.tell(What.GOT, "w", "a", 1, step="charge", by=1)


def succeeded_without_a_step(story: Story) -> None:
    story.enqueue("a")
    story.lease("a")
    story.tell(What.EFFECT, "w", "a", 1, step="charge")
    story.run("a")


def waits(story: Story, timeout: Micros = 60 * SECOND) -> None:
    """A job waits for an event about `k`."""
    story.enqueue("a")
    story.lease("a")
    story.tell(What.RUN, "w", "a", 1, own=True)
    story.tell(What.ENDED, "w", "a", 1, how="sleep", wait=timeout, awaits="k")
    story.ack("a", state="scheduled", charge="clean", delay=timeout)


def heard_of_the_second(story: Story) -> None:
    waits(story)
    story.tell(What.TOLD, key="k", event="first", added=True)
    story.tell(What.TOLD, key="k", event="second", added=True)
    story.lease("a", 2)
    story.tell(What.HEARD, "w", "a", 2, key="k", event="second")


def heard_of_what_nobody_told(story: Story) -> None:
    waits(story)
    story.clock.advance(60)
    story.lease("a", 2)
    story.tell(What.HEARD, "w", "a", 2, key="k", event="first")


def heard_of_it_once(story: Story) -> None:
    waits(story)
    story.tell(What.TOLD, key="k", event="first", added=True)
    story.lease("a", 2)
    story.tell(What.HEARD, "w", "a", 2, key="k", event="first")
    story.tell(What.HEARD, "w", "a", 2, key="k", event=None)


def did_not_hear_what_came_in_time(story: Story) -> None:
    waits(story)
    story.tell(What.TOLD, key="k", event="first", added=True)
    story.clock.advance(60)
    story.lease("a", 2)
    story.tell(What.HEARD, "w", "a", 2, key="k", event=None)


def calls_nobody_back(story: Story) -> None:
    after = FollowUp((State.SUCCEEDED,), JobRequest(id="", task="sim.after"))
    story.well("a", follow_ups=(after,))


def calls_back_unasked(story: Story) -> None:
    story.well("a")
    story.requests["b"] = JobRequest(id="b", task="sim.after")
    story.tell(What.ADDED, "store", "b", after="a", told="succeeded")
    story.end("b")


BAD: Final[tuple[tuple[Callable[[Story], None], str], ...]] = (
    (lost, "c1_no_loss"),
    (invented, "c2_no_invention"),
    (succeeded_without_a_run, "c3_one_outcome"),
    (acked_by_an_old_token, "c4_fencing"),
    (taken_from_the_living, "no_theft"),
    (skipped_an_attempt, "c5_attempts"),
    (killed_and_not_charged, "c5_attempts"),
    (shared_a_key, "c8_unique"),
    (ran_beside_its_predecessor, "c8_unique"),
    (added_twice_under_one_idempotency_key, "c8_idempotent"),
    (survived_a_bug, "nothing_unforeseen"),
    (never_answered, "every_call_ends"),
    (began_before_its_parent_had_ended, "i9_after_its_parents"),
    (killed_as_an_orphan, "no_theft"),
    (ran_past_its_expiry, "time_to_live"),
    (swept_too_soon, "time_to_live"),
    (purged_while_it_ran, "c1_no_loss"),
    (asked_by_nobody, "c2_no_invention"),
    (within_the_window, "c8_unique"),
    (told_of_a_job_that_is_not_there, "answers_true"),
    (answered_otherwise_than_the_model, "as_the_model"),
    (leased_from_a_paused_queue, "pauses_hold"),
    (two_at_once, "limits_hold"),
    (too_soon_after, "limits_hold"),
    (counted_wrong, "c11_sums"),
    (calls_nobody_back, "follow_ups"),
    (calls_back_unasked, "follow_ups"),
    (began_early, "c13_not_early"),
    (settled_late, "c14_recovery"),
    (lost_for_no_reason, "c15_explained"),
    (ran_though_cancelled, "c17_cancel"),
    (was_refused_and_ran, "c18_backpressure"),
    (stopped_and_kept, "clean_stop"),
    (ran_too_long, "time_limit"),
    (did_a_recorded_step_again, "once_recorded_never_again"),
    (went_on_without_its_lease, "once_recorded_never_again"),
    (got_what_nobody_had_recorded, "steps_return_what_was_recorded"),
    (succeeded_without_a_step, "steps_return_what_was_recorded"),
    (heard_of_the_second, "i17_waits_end_once"),
    (heard_of_what_nobody_told, "i17_waits_end_once"),
    (heard_of_it_once, "i17_waits_end_once"),
    (did_not_hear_what_came_in_time, "i17_waits_end_once"),
)


def test_a_story_in_which_all_is_well() -> None:
    story = Story()
    for job in ("a", "b", "c"):
        story.well(job)
    assert story.broken() == set()


@pytest.mark.parametrize(
    ("bad", "invariant"), BAD, ids=lambda given: getattr(given, "__name__", "")
)
def test_a_bad_story_breaks_its_invariant(bad: Callable[[Story], None], invariant: str) -> None:
    story = Story()
    story.well("z")
    bad(story)
    assert invariant in story.broken()


def test_every_invariant_has_its_bad_story() -> None:
    assert {invariant for _, invariant in BAD} == {each.__name__ for each in INVARIANTS}


def test_a_history_that_differs_in_one_event_has_another_digest() -> None:
    first, second = Story(), Story()
    first.well("a")
    second.well("a")
    assert first.history.digest() == second.history.digest()
    second.tell(What.QUIET)
    assert first.history.digest() != second.history.digest()
    assert isinstance(first.history.events[0], Event)
