"""What edits make of a schedule, and what a scheduler writes about its slots."""

from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from backline.errors import ConfigError
from backline.job import HOUR, MINUTE, SECOND, JobRequest, Micros
from backline.schedule import (
    Cron,
    Every,
    Missed,
    ScheduleRecord,
    ScheduleSpec,
    Tick,
    change,
    firing,
    job_of,
    slot_id,
)

NOON: Micros = 1_767_268_800 * SECOND  # 2026-01-01 12:00 UTC


def a_spec(interval: Micros = HOUR, missed: Missed = Missed.SKIP, **fields: Any) -> ScheduleSpec:
    job = JobRequest(id="", task="t", **fields)
    return ScheduleSpec(rule=Every(interval), job=job, missed=missed)


def made(spec: ScheduleSpec | None = None, at: Micros = NOON) -> ScheduleRecord:
    return change.created("s", spec or a_spec(), at)


def tick_for(found: ScheduleRecord, now: Micros, **limit: int) -> Tick | None:
    """What a scheduler would write."""
    due = firing(found, now, **limit)
    return None if due is None else due.tick


def test_a_schedule_counts_from_when_it_was_made() -> None:
    found = made(at=NOON + 1)
    assert (found.last, found.next, found.ran) == (NOON + 1, NOON + HOUR, None)
    assert tick_for(found, NOON + HOUR - 1) is None


def test_another_rule_counts_from_the_edit() -> None:
    """Else "every day at 11:00", given at noon, would be an hour late at once."""
    spec = replace(a_spec(), rule=Cron("0 11 * * *"), missed=Missed.ONCE)
    found = change.edited(made(at=NOON - 20 * HOUR), spec, NOON)
    assert (found.last, found.next) == (NOON, NOON + 23 * HOUR)
    assert tick_for(found, NOON) is None


def test_another_job_leaves_the_next_slot_as_it_is() -> None:
    before = made(at=NOON - 2 * HOUR)
    found = change.edited(before, a_spec(priority=9), NOON)
    assert (found.last, found.next) == (before.last, before.next)


def test_an_edit_under_a_clock_that_was_put_back_goes_on_from_now() -> None:
    """It may have shown the year 2075 once. The ids of slots keep those of a day from doubling."""
    now = NOON - 5 * HOUR
    found = change.edited(made(), a_spec(MINUTE), now)
    assert (found.last, found.next) == (now, now + MINUTE)
    found = change.edited(made(), a_spec(priority=9), now)
    assert (found.last, found.next) == (now, now + HOUR), "also with the rule as it was"


def test_a_resume_under_a_clock_that_was_put_back_goes_on_from_now() -> None:
    now = NOON - 5 * HOUR
    for found in (made(), change.paused(made())):
        after = change.resumed(found, now)
        assert (after.paused, after.last, after.next) == (False, now, now + HOUR)
    found = made()
    assert change.resumed(found, NOON) is found


def test_a_declaration_under_a_clock_that_was_put_back_repeats_no_slot() -> None:
    """No person looked at the clock: it may be the one of now that is wrong."""
    before = change.declared(None, "s", a_spec(), NOON)
    found = change.declared(before, "s", a_spec(MINUTE), NOON - 5 * HOUR)
    assert (found.last, found.next) == (NOON, NOON + MINUTE)


def test_a_pause_is_never_made_up_for() -> None:
    held = change.paused(made(a_spec(missed=Missed.ALL)))
    assert (held.paused, held.next) == (True, None)
    assert tick_for(held, NOON + 9 * HOUR) is None
    assert change.edited(held, a_spec(MINUTE), NOON).next is None, "an edit does not resume it"
    found = change.resumed(held, NOON + 9 * HOUR)
    assert (found.paused, found.last, found.next) == (False, NOON + 9 * HOUR, NOON + 10 * HOUR)
    assert change.resumed(found, NOON + 20 * HOUR) is found


def test_a_declaration_applies_when_it_differs_from_the_last() -> None:
    first = a_spec()
    found = change.declared(None, "s", first, NOON)
    assert (found.spec, found.declared) == (first, first)
    assert change.declared(found, "s", first, NOON + HOUR) is found
    theirs = change.edited(found, replace(first, rule=Every(MINUTE)), NOON)
    assert change.declared(theirs, "s", first, NOON) is theirs, "an operator's edit stays"
    second = a_spec(2 * HOUR)
    assert change.declared(theirs, "s", second, NOON).spec == second


def test_a_declaration_changes_only_what_it_says_anew() -> None:
    first = a_spec()
    found = change.declared(None, "s", first, NOON)
    theirs = change.edited(found, replace(first, rule=Every(MINUTE)), NOON)
    second = replace(a_spec(priority=5), missed=Missed.ALL)
    after = change.declared(change.paused(theirs), "s", second, NOON)
    assert after.spec == replace(second, rule=Every(MINUTE))
    assert after.declared == second
    assert after.paused, "a pause is the operator's too"


def test_a_declaration_takes_over_what_was_made_at_run_time_and_mends_what_is_damaged() -> None:
    assert change.declared(made(a_spec(MINUTE)), "s", a_spec(), NOON).spec == a_spec()
    damaged = replace(made(), spec=None, declared=a_spec())
    assert change.declared(damaged, "s", a_spec(), NOON).spec == a_spec()


def test_the_use_of_slots_names_what_was_read() -> None:
    found = replace(made(a_spec(missed=Missed.ALL, delay=MINUTE)), version=7)
    tick = tick_for(found, NOON + 3 * HOUR, limit=2)
    assert tick is not None
    assert (tick.schedule, tick.version, tick.last) == ("s", 7, NOON)
    assert (tick.until, tick.next, tick.ran) == tuple(NOON + n * HOUR for n in (2, 3, 2))
    slots = [NOON + HOUR, NOON + 2 * HOUR]
    assert [job.id for job in tick.jobs] == [slot_id("s", slot) for slot in slots]
    assert [job.run_at for job in tick.jobs] == [slot + MINUTE for slot in slots]
    assert {job.delay for job in tick.jobs} == {0}


def test_what_is_skipped_moves_the_schedule_on() -> None:
    tick = tick_for(made(), NOON + 90 * MINUTE)
    assert tick is not None
    assert (tick.jobs, tick.ran) == ((), None)
    assert (tick.until, tick.next) == (NOON + 90 * MINUTE, NOON + 2 * HOUR)


def test_a_next_slot_that_other_zone_files_gave_is_set_right() -> None:
    """It has come, by what is stored, and by our files it has not: else it is due for ever."""
    found = replace(made(), next=NOON + MINUTE)
    tick = tick_for(found, NOON + 2 * MINUTE)
    assert tick is not None
    assert (tick.jobs, tick.until, tick.next) == ((), NOON, NOON + HOUR)


def test_a_damaged_rule_is_an_error_and_a_damaged_spec_is_nothing() -> None:
    wrong = replace(a_spec(), rule=Cron("0 3 * * *", "Mars/Olympus"))
    with pytest.raises(ConfigError):
        tick_for(replace(made(), spec=wrong), NOON + HOUR)
    assert tick_for(replace(made(), spec=None), NOON + HOUR) is None


def test_the_id_of_a_slot_is_a_uuid_of_its_time() -> None:
    one = UUID(slot_id("s", NOON))
    assert (one.version, one.variant) == (7, UUID(int=2 << 62).variant)
    assert one.int >> 80 == NOON // 1_000
    others = {slot_id(name, NOON + n) for name in ("s", "1 s", "é") for n in range(100)}
    assert len(others) == 300
    assert slot_id("s", NOON) == str(one) == job_of("s", a_spec(), NOON).id
