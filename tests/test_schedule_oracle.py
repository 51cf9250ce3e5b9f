"""Every slot of a cron rule, and none besides, where clocks change: engine against oracle."""

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from tests import schedule_storm
from tests.schedule_oracle import (
    AROUND,
    EXPRESSIONS,
    ZONES,
    changes,
    disagreements,
    moments,
    pattern,
)
from tests.schedule_race import LONGEST_STEP, race
from tests.schedule_storm import in_memory, storm, whole

from backline.job import SECOND, JobRequest
from backline.schedule import Cron, Tick
from backline.testing.wrapper import StoreWrapper

_UNLIKE: Final = """
    Africa/Casablanca America/Havana America/New_York America/Sao_Paulo America/St_Johns
    Antarctica/Casey Antarctica/Troll Asia/Beirut Australia/Lord_Howe Europe/Paris
    Pacific/Apia Pacific/Chatham
"""
UNLIKE: Final = _UNLIKE.split()
"""Zones whose changes differ: at midnight or a minute past, by half an hour, two hours, three,
a day; and twice more for a month of fasting."""
RACED: Final = ["*/5 * * * *", "0 */2 * * *", "30 2 * * *", "0,30 0-4 * * *"]


def compare(name: str, first_year: int, last_year: int, stride: int) -> int:
    """How many changes were looked at; fails where engine and oracle differ at one."""
    zone = ZoneInfo(name)
    found = changes(zone, first_year, last_year)
    for change in found:
        around = list(moments(zone, change - AROUND, change + AROUND))
        wrong = [
            line
            for expression in EXPRESSIONS
            for line in disagreements(name, expression, around, stride)
        ]
        assert not wrong, "\n".join(islice(wrong, 20))
    return len(found)


@pytest.mark.parametrize("name", UNLIKE)
def test_no_slot_is_lost_or_doubled_at_a_change_of_the_clocks(name: str) -> None:
    assert compare(name, 2011, 2011, stride=29)


def let_five_schedulers_run(name: str, first_year: int, last_year: int) -> int:
    """How many slots they used around the changes; fails if those are not the oracle's."""
    zone, rng, count = ZoneInfo(name), random.Random(name), 0
    beyond = AROUND + LONGEST_STEP // SECOND + 60
    for change in changes(zone, first_year, last_year):
        expression = rng.choice(RACED)
        start, end = (change - AROUND) * SECOND, (change + AROUND) * SECOND
        used, until = race(Cron(expression, name), start, end, rng, steps=True)
        meant = pattern(expression)
        around = moments(zone, change - AROUND, change + beyond)
        due = [moment.second * SECOND for moment in around if meant.due(moment)]
        assert used == [slot for slot in due if start < slot <= until], f"{expression}, {change}"
        count += len(used)
    return count


@pytest.mark.parametrize("name", ["America/St_Johns", "Australia/Lord_Howe", "Europe/Paris"])
def test_five_schedulers_use_the_slots_of_the_oracle_once(name: str) -> None:
    assert let_five_schedulers_run(name, 2009, 2011)


def first_change(name: str) -> int:
    return changes(ZoneInfo(name), 2011, 2011)[0]


@pytest.mark.parametrize("name", UNLIKE)
def test_in_a_storm_of_real_schedulers_too(name: str) -> None:
    found = storm(name, first_change(name), in_memory)
    assert (found.doubled, found.missed, found.extra) == (0, 0, 0)
    assert min(found.slots, found.kills, found.steps) > 0


@pytest.mark.parametrize("name", ["America/Havana", "Australia/Lord_Howe", "Europe/Paris"])
def test_in_a_storm_on_a_file_too(name: str, tmp_path: Path) -> None:
    found = storm(name, first_change(name), schedule_storm.in_file(tmp_path / "jobs.db"))
    assert (found.doubled, found.missed, found.extra) == (0, 0, 0)


class TimeFirst(StoreWrapper):
    """A slot is used in one commit, and makes its job in the next."""

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        answers = await self._store.tick([replace(tick, jobs=()) for tick in ticks])
        jobs = [job for tick, done in zip(ticks, answers, strict=True) if done for job in tick.jobs]
        await self._store.enqueue([jobs])
        return answers


class TwoFirsts(StoreWrapper):
    """Who comes second makes a job too, and its id is its own."""

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        answers = await self._store.tick(ticks)
        for tick, done in zip(ticks, answers, strict=True):
            if not done:
                await self._store.enqueue([[_again(job) for job in tick.jobs]])
        return answers


def _again(job: JobRequest) -> JobRequest:
    return replace(job, id=f"{job.id[:-4]}beef")


@pytest.mark.parametrize(("bug", "wrong"), [(TimeFirst, "missed"), (TwoFirsts, "doubled")])
def test_a_planted_bug_is_caught(bug: type[StoreWrapper], wrong: str) -> None:
    found = storm("Europe/Paris", first_change("Europe/Paris"), in_memory, bug)
    assert getattr(found, wrong) > 0


def test_a_rule_that_takes_no_notice_of_its_zone_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schedule_storm, "Cron", lambda cron, _: Cron(cron))
    found = storm("Europe/Paris", first_change("Europe/Paris"), in_memory)
    assert min(found.missed, found.extra) > 0


@pytest.mark.chaos
@pytest.mark.parametrize("name", ZONES)
def test_in_storms_from_2000_to_2037(name: str) -> None:
    assert whole(name, 2000, 2037).wrong == 0


@pytest.mark.chaos
@pytest.mark.parametrize("name", ZONES)
def test_five_schedulers_use_the_slots_of_the_oracle_once_from_2000_to_2037(name: str) -> None:
    let_five_schedulers_run(name, 2000, 2037)


@pytest.mark.chaos
@pytest.mark.parametrize("name", ZONES)
def test_no_slot_is_lost_or_doubled_from_2000_to_2037(name: str) -> None:
    compare(name, 2000, 2037, stride=11)
