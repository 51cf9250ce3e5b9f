"""What a supervisor does with the store, for workers that are not real."""

from types import SimpleNamespace
from typing import Any

from backline.stores.memory import MemoryStore
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.upkeep import Upkeep
from backline.testing.clock import VirtualClock
from backline.worker.board import Board

HELLO = Hello(url="memory://", queues=("q",), tasks=("t",), concurrency=3)


def test_a_worker_whose_board_could_not_be_opened_is_kept_as_soon_as_it_can() -> None:
    """Its leases would run out under it, though it lives."""
    clock = VirtualClock()
    settings = SupervisorSettings(target="app:app")
    upkeep = Upkeep(MemoryStore(clock=clock), HELLO, settings, clock, "supervisor")
    child: Any = SimpleNamespace(name="w", alive=True, hello=None, board=None)
    upkeep.keep(child)
    child.hello = HELLO
    upkeep.keep(child)
    kept = upkeep._heartbeat._members
    assert kept == {}
    child.board = Board.private(2, "w")
    upkeep.keep(child)
    member = kept["w"]
    upkeep.keep(child)
    assert kept == {"w": member}
    assert kept["w"] is member  # what it has been told is remembered
