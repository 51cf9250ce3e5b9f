"""Every slot of a cron rule, and none besides, where clocks change: engine against oracle."""

from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from tests.schedule_oracle import AROUND, EXPRESSIONS, ZONES, changes, disagreements, moments

_UNLIKE: Final = """
    Africa/Casablanca America/Havana America/New_York America/Sao_Paulo America/St_Johns
    Antarctica/Casey Antarctica/Troll Asia/Beirut Australia/Lord_Howe Europe/Paris
    Pacific/Apia Pacific/Chatham
"""
UNLIKE: Final = _UNLIKE.split()
"""Zones whose changes differ: at midnight or a minute past, by half an hour, two hours, three,
a day; and twice more for a month of fasting."""


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


@pytest.mark.chaos
@pytest.mark.parametrize("name", ZONES)
def test_no_slot_is_lost_or_doubled_from_2000_to_2037(name: str) -> None:
    compare(name, 2000, 2037, stride=11)
