"""What is done to workers that must end, on virtual time, with processes that are none."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from backline.job import SECOND
from backline.supervisor.enforcer import LOOK, Enforcer
from backline.supervisor.settings import SupervisorSettings
from backline.testing.clock import VirtualClock


def test_a_worker_that_the_kernel_cannot_end_yet_is_killed_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It hangs in a call to a disk or a network file system."""
    clock = VirtualClock()
    kills = []

    def kill(**how: Any) -> None:
        kills.append(how)
        child.killed = True

    child: Any = SimpleNamespace(
        name="w",
        killed=False,
        leaving=False,
        stopping_since=None,
        board=None,
        kill=kill,
        hung_up_at=clock.tick(),
    )
    enforcer = Enforcer(SupervisorSettings(target="app:app"), clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            clock.advance(LOOK / SECOND)
            enforcer.look([child])
    assert kills == [{"ours": False}]
    assert len(caplog.records) == 1
