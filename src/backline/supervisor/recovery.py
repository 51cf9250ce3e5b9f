"""Settles what dead workers left: their leases, from their boards, in the store."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backline import policy
from backline.clock import Clock
from backline.errors import StoreError
from backline.faults import fault
from backline.job import SECOND, HeldLease, Micros, WorkerName
from backline.outage import Outage
from backline.policy import Lost, Outcome
from backline.store import Store
from backline.supervisor import linux
from backline.supervisor.processes import MARK
from backline.supervisor.rundir import Folder
from backline.supervisor.settlement import Death, ProcessExit, outcomes
from backline.worker.board import Board, Entry

log = logging.getLogger(__name__)

_GONE_YET: Final[Micros] = SECOND // 50
_UNSEEN: Final = Death(ProcessExit())


class Recovery:
    """Settles the leases of workers that ended. `name` is who settles, and nobody else."""

    def __init__(self, store: Store, clock: Clock, name: WorkerName, ttl: Micros) -> None:
        self._store = store
        self._clock = clock
        self._name = name
        self._ttl = ttl
        self._calls = 0
        self._calling = asyncio.Lock()

    async def settle(self, worker: WorkerName, board: Path, death: Death) -> None:
        """Settle the leases of a worker whose process has ended, then remove its board.

        Goes on until the store has taken it. Cancelled, it leaves the board to whoever
        adopts it. A board that is not there or is none says that nothing was started; one
        that cannot be opened for now is waited for.
        """
        outage = Outage(f"settling the jobs of worker {worker}", self._clock)
        while True:
            try:
                await self._settle_once(worker, _read(board), death)
                break
            except (StoreError, OSError) as error:
                await outage.wait(error)
        _remove(board)

    async def adopt(self, folder: Folder) -> None:
        """Settle the boards of a supervisor that is gone, then remove its folder."""
        log.warning("adopting %s: its supervisor is gone", folder.path)
        try:
            for path in folder.boards():
                worker = path.stem
                await self._see_it_gone(worker)
                await self.settle(worker, path, _UNSEEN)
        except BaseException:
            folder.close()
            raise
        folder.remove()

    async def _settle_once(
        self, worker: WorkerName, entries: Sequence[Entry], death: Death
    ) -> None:
        await self._store.retire(worker)
        held = await self._store.held(worker)
        if not held:
            return
        ended = outcomes(held, entries, death)
        acks = [policy.settle(lease, outcome, self._clock.rng) for lease, outcome in ended]
        async with self._calling:  # several workers may have ended at once
            self._calls += 1
            fault("recovery.before_settle")
            await self._store.exchange(self._name, self._calls, acks, {}, self._ttl)
        _log(worker, ended)

    async def _see_it_gone(self, worker: WorkerName) -> None:
        """Kill what is left of a worker without a supervisor, and wait for its end.

        The kernel kills it with its supervisor, but not in the same instant, and not what
        its jobs had started: they run again elsewhere.
        """
        mark = f"{MARK}={worker}"
        while True:
            left = linux.processes_with(mark)
            if not left:
                return
            for each in left:
                linux.kill(each)
            await asyncio.sleep(_GONE_YET / SECOND)


def _read(path: Path) -> list[Entry]:
    try:
        board = Board.open(path)
    except (FileNotFoundError, ValueError):
        return []
    try:
        return board.entries()
    finally:
        board.close()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _log(worker: WorkerName, ended: Sequence[tuple[HeldLease, Outcome]]) -> None:
    for lease, outcome in ended:
        if isinstance(outcome, Lost | policy.Failed):
            log.warning(
                "job %s (%s, attempt %d): %s",
                lease.id,
                lease.task,
                lease.attempt,
                outcome.error.message,
            )
    log.info("settled %d job%s of worker %s", len(ended), "" if len(ended) == 1 else "s", worker)
