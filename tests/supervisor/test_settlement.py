"""What becomes of a dead worker's leases: the pure rules."""

import signal
from typing import Any

import pytest
from msgspec import Raw

from backline.job import SECOND, HeldLease, Lane, Terms
from backline.policy import Cancelled, Failed, Lost, Released, Succeeded
from backline.supervisor.settlement import Death, ProcessExit, outcomes
from backline.worker.board import Entry, Phase

CRASH = Death(ProcessExit(signal=signal.SIGSEGV, peak_kib=300 * 1024))


def held(job_id: str = "a", attempt: int = 1, lane: Lane = Lane.MAIN) -> HeldLease:
    return HeldLease(
        id=job_id,
        attempt=attempt,
        task="t",
        queue="default",
        lane=lane,
        failures=0,
        losses=0,
        releases=0,
        terms=Terms(timeout=90 * SECOND),
        worker="w-1",
        until=0,
        cancel=False,
    )


def entry(phase: Phase, job_id: str = "a", attempt: int = 1, result: bytes | None = None) -> Entry:
    return Entry(0, job_id, attempt, phase, 0, result)


def outcome(phase: Phase, death: Death = CRASH, **entry_fields: Any) -> object:
    [(_, found)] = outcomes([held()], [entry(phase, **entry_fields)], death)
    return found


def test_each_lease_ends_as_its_slot_says() -> None:
    leases = [held(job_id) for job_id in "abcde"]
    board = [
        entry(Phase.STARTED, "b"),
        entry(Phase.SUCCEEDED, "c", result=b'{"n":1}'),
        entry(Phase.SUCCEEDED, "d"),
        entry(Phase.FINISHED, "e"),
    ]
    found = outcomes(leases, board, CRASH)
    assert [lease.id for lease, _ in found] == list("abcde")
    released, lost, with_result, without, finished = (each for _, each in found)
    assert released == Released()
    assert isinstance(lost, Lost)
    assert with_result == Succeeded(Raw(b'{"n":1}'))
    assert without == Succeeded(None)
    assert finished == Released()


def test_a_lost_job_says_signal_and_peak_memory() -> None:
    lost = outcome(Phase.STARTED)
    assert isinstance(lost, Lost)
    assert (lost.error.kind, lost.error.attempt) == ("lost", 1)
    assert lost.error.message == (
        "its process (w-1) was killed by SIGSEGV (signal 11); peak memory 300 MiB"
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (ProcessExit(code=3, peak_kib=2048), "exited with code 3; peak memory 2 MiB"),
        (ProcessExit(signal=9), "was killed by SIGKILL (signal 9)"),
        (ProcessExit(signal=63), "was killed by signal 63"),
        (ProcessExit(), "is gone"),
    ],
)
def test_an_exit_reads_aloud(how: ProcessExit, says: str) -> None:
    assert str(how) == says


def test_only_a_death_that_was_seen_is_a_witnessed_loss() -> None:
    """A supervisor that adopts a board does not know: it may all have been a power cut."""
    for death, witnessed in (
        (CRASH, True),
        (Death(ProcessExit(code=0)), True),
        (Death(ProcessExit()), False),
    ):
        lost = outcome(Phase.STARTED, death)
        assert isinstance(lost, Lost)
        assert lost.witnessed is witnessed


def test_an_entry_of_another_attempt_says_nothing_of_this_one() -> None:
    assert outcome(Phase.STARTED, attempt=2) == Released()


def test_killed_for_a_time_limit_the_culprit_fails_and_its_neighbours_go_free() -> None:
    death = Death(ProcessExit(signal=9), ours=True, timed_out=frozenset({("a", 1)}))
    leases = [held("a"), held("b"), held("c")]
    board = [
        entry(Phase.STARTED, "a"),
        entry(Phase.STARTED, "b"),
        entry(Phase.SUCCEEDED, "c"),
    ]
    culprit, neighbour, done = (each for _, each in outcomes(leases, board, death))
    assert isinstance(culprit, Failed)
    assert culprit.error.kind == "timeout"
    assert culprit.error.message.startswith("ran past its limit of 1m30s; its process (w-1)")
    assert not culprit.fatal
    assert neighbour == Released()
    assert done == Succeeded(None)


def test_a_job_that_finished_before_the_kill_keeps_its_outcome() -> None:
    death = Death(ProcessExit(signal=9), ours=True, timed_out=frozenset({("a", 1)}))
    assert outcome(Phase.SUCCEEDED, death) == Succeeded(None)


def test_killed_because_it_was_cancelled() -> None:
    death = Death(ProcessExit(signal=9), ours=True, cancelled=frozenset({("a", 1)}))
    assert outcome(Phase.STARTED, death) == Cancelled()


def test_killed_at_a_shutdown_costs_nothing() -> None:
    assert outcome(Phase.STARTED, Death(ProcessExit(signal=9), ours=True)) == Released()
