"""Riding out a store that is away."""

import logging

import pytest

from backline.errors import StoreUnavailable
from backline.job import SECOND, Backoff
from backline.outage import Outage
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

AWAY = StoreUnavailable("the disk is gone")


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


def test_a_long_outage_says_so_once_and_says_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "backline.outage")
    outage = Outage("keeping the leases", VirtualClock())
    for _ in range(1_000):
        outage.failed(AWAY)
    outage.over()
    outage.over()
    assert levels(caplog) == ["WARNING", "INFO"]
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith("keeping the leases: the disk is gone")
    assert "after 1000 failures" in last
    assert caplog.records[0].exc_info is None


def test_what_the_system_refuses_is_an_outage_too(caplog: pytest.LogCaptureFixture) -> None:
    Outage("adopting", VirtualClock()).failed(OSError(24, "Too many open files", "/run/x"))
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "Too many open files: '/run/x'; it is tried again" in record.getMessage()


def test_an_error_that_is_no_outage_shows_where_it_came_from(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage("asking for jobs", VirtualClock())
    outage.failed(KeyError())
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert "KeyError" in record.getMessage()
    assert record.exc_info is not None


def test_an_outage_that_ended_is_said_anew_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "backline.outage")
    outage = Outage("asking for jobs", VirtualClock())
    outage.failed(AWAY)
    outage.over()
    outage.failed(AWAY)
    assert levels(caplog) == ["WARNING", "INFO", "WARNING"]


def test_waits_grow_to_the_cap_and_pass_on_the_loop() -> None:
    clock = VirtualClock()
    outage = Outage("asking for jobs", clock, Backoff(base=1, cap=8, jitter=False))
    assert [outage.failed(AWAY) for _ in range(6)] == [1, 2, 4, 8, 8, 8]

    async def wait() -> None:
        await Outage("", clock, Backoff(base=SECOND, cap=SECOND, jitter=False)).wait(AWAY)

    before = clock.tick()
    run(wait(), clock=clock)
    assert clock.tick() - before == SECOND
