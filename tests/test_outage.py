"""Riding out a store that is away."""

import asyncio
import itertools
import logging
from collections.abc import Iterator

import pytest

from backline.errors import StoreFull, StoreUnavailable
from backline.job import SECOND, Backoff
from backline.outage import Outage, ride_out
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


class Store:
    """Is away for some calls, then answers."""

    def __init__(self, errors: Iterator[Exception]) -> None:
        self.errors = errors
        self.calls: list[float] = []

    async def call(self) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        for error in self.errors:
            raise error
        return "done"


def away(times: int) -> Iterator[Exception]:
    return (StoreUnavailable("away") for _ in range(times))


@pytest.mark.parametrize("seed", range(10))
def test_a_short_outage_is_ridden_out_in_waits_that_grow(seed: int) -> None:
    store = Store(away(8))
    clock = VirtualClock(seed)
    assert run(ride_out("asking", clock, 60 * SECOND, store.call), clock=clock) == "done"
    waits = [later - earlier for earlier, later in itertools.pairwise(store.calls)]
    assert [
        0 <= wait <= most
        for wait, most in zip(waits, [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1], strict=True)
    ] == [True] * 8
    assert len(set(waits)) == 8


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("patience", [0, SECOND, 5 * SECOND])
def test_a_long_outage_is_given_up_within_the_patience(patience: int, seed: int) -> None:
    store = Store(away(10_000))
    clock = VirtualClock(seed)

    async def ask() -> None:
        with pytest.raises(StoreUnavailable, match="away"):
            await ride_out("asking", clock, patience, store.call)

    run(ask(), clock=clock)
    assert clock.elapsed <= patience
    assert clock.elapsed >= patience - SECOND
    assert (len(store.calls) == 1) == (patience == 0)


@pytest.mark.parametrize("error", [StoreFull("no room"), ValueError("no outage")])
def test_what_no_waiting_mends_is_raised_at_once(error: Exception) -> None:
    store = Store(iter([error]))

    async def ask() -> None:
        with pytest.raises(type(error)):
            await ride_out("asking", VirtualClock(), SECOND, store.call)

    run(ask())
    assert len(store.calls) == 1
