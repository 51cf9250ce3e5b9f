"""What a supervisor does with the store, for workers that are not real."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backline.job import SECOND, JobRequest, Lane
from backline.stores.memory import MemoryStore
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.settlement import Death, ProcessExit
from backline.supervisor.upkeep import Upkeep
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
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


def test_it_never_sends_two_exchanges_at_once_under_one_name_nor_a_number_twice(
    tmp_path: Path,
) -> None:
    """A store may remember the answer to the last call of a worker, for its repeat."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    upkeep = Upkeep(store, HELLO, SupervisorSettings(target="app:app"), clock, "supervisor")
    exchange = store.exchange
    sent: list[tuple[str, int]] = []
    busy: set[str] = set()

    async def spy(worker: str, call: int, *rest: Any) -> Any:
        assert worker not in busy
        busy.add(worker)
        sent.append((worker, call))
        await asyncio.sleep(0.01)
        busy.remove(worker)
        return await exchange(worker, call, *rest)

    async def main() -> None:
        dead = ["dead-1", "dead-2", "overdue"]
        await store.enqueue([[JobRequest(id=clock.new_id(), task="t") for _ in dead]])
        for name in dead:
            ttl = 0 if name == "overdue" else 30 * SECOND
            await exchange(name, 1, [], {("default", Lane.MAIN): 1}, ttl)
        store.exchange = spy  # type: ignore[method-assign]
        death = Death(ProcessExit(signal=9))
        await asyncio.gather(
            upkeep._reaper.settle_overdue(),
            *(upkeep._recovery.settle(name, tmp_path / name, death) for name in dead[:2]),
        )

    run(main(), clock=clock)
    assert len(sent) == len(set(sent)) == 3
