"""The heartbeat on a virtual clock, over the memory store."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any

import pytest

from backline.errors import StoreUnavailable
from backline.job import SECOND, JobRequest, Lane, Lease, LeasedJob, Micros
from backline.policy import Succeeded, settle
from backline.store import Cancelling
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.worker.board import Board, Reply
from backline.worker.heartbeat import Heartbeat

TTL = 30 * SECOND
WORKER = "w-1"


class Bench:
    """A store with a worker's board and its heartbeat."""

    def __init__(self, ttl: Micros = TTL) -> None:
        self.clock = VirtualClock()
        self.store = FlakyStore(self.clock)
        self.board = Board.private(8, WORKER)
        self.wakes = 0
        self.heartbeat = Heartbeat(self.store, self.clock, ttl)
        self.heartbeat.add(self.board, self.wake)
        self.ttl = ttl
        self.calls = 0

    def wake(self) -> None:
        self.wakes += 1

    async def lease(self, count: int) -> list[LeasedJob]:
        requests = [JobRequest(id=self.clock.new_id(), task="t") for _ in range(count)]
        await self.store.enqueue([requests])
        self.calls += 1
        demand = {("default", Lane.MAIN): count}
        answer = await self.store.exchange(WORKER, self.calls, [], demand, self.ttl)
        return answer.jobs

    async def start(self) -> tuple[LeasedJob, int]:
        [job] = await self.lease(1)
        return job, self.board.start(job.id, job.attempt, 0)

    async def lose(self, job: Lease) -> None:
        """As a reaper would settle it that thinks the lease is over."""
        await self.store.exchange("reaper", 1, [settle(job, Succeeded(), self.clock.rng)], {}, TTL)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            run(main(), clock=self.clock)
        finally:
            self.board.close()


class FlakyStore(MemoryStore):
    """Can be taken away; notes when leases were extended."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.virtual = clock
        self.away = False
        self.extended_at: list[Micros] = []

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("taken away by the test")

    async def held(self, worker: str) -> Any:
        self._reach()
        return await super().held(worker)

    async def extend(self, leases: Sequence[Lease], ttl: Micros) -> list[bool]:
        self._reach()
        self.extended_at.append(self.virtual.tick())
        return await super().extend(leases, ttl)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_lease_is_kept_as_long_as_the_keeper_runs(bench: Bench) -> None:
    async def main() -> None:
        started, _ = await bench.start()
        await bench.lease(1)  # waits in the worker's buffer: not on the board, kept all the same
        keeping = asyncio.create_task(bench.heartbeat.run())
        for _ in range(200):
            await asyncio.sleep(1)
            assert await bench.store.overdue(10) == []
            assert bench.board.renewed_until > bench.clock.tick()
        keeping.cancel()
        await asyncio.sleep(31)
        assert started.id in {lease.id for lease in await bench.store.overdue(10)}

    bench.run(main)
    gaps = {b - a for a, b in pairwise(bench.store.extended_at)}
    assert gaps == {TTL // 3}


def test_the_renewal_is_counted_from_before_the_call(bench: Bench) -> None:
    async def main() -> None:
        await bench.start()
        before = bench.clock.tick()
        slow = bench.store.extend

        async def extend(leases: Sequence[Lease], ttl: Micros) -> list[bool]:
            await asyncio.sleep(5)
            return await slow(leases, ttl)

        bench.store.extend = extend  # type: ignore[method-assign]
        await bench.heartbeat.beat()
        assert bench.board.renewed_until == before + TTL

    bench.run(main)


def test_the_board_never_promises_more_than_a_lease_that_was_granted_meanwhile(
    bench: Bench,
) -> None:
    """After `held` was read, and before `extend`: the store is slow and serves others, too."""

    async def main() -> None:
        other = Board.private(1, "other")
        bench.heartbeat.add(other, bench.wake)
        held = bench.store.held

        async def slow(worker: str) -> Any:
            answer = await held(worker)
            await asyncio.sleep(4)
            return answer

        bench.store.held = slow  # type: ignore[method-assign]
        beating = asyncio.create_task(bench.heartbeat.beat())
        await asyncio.sleep(1)
        [job] = await bench.lease(1)
        await beating
        [lease] = await held(WORKER)
        assert lease.id == job.id
        assert bench.board.renewed_until <= lease.until
        other.close()

    bench.run(main)


def test_a_worker_that_was_added_during_a_heartbeat_is_promised_nothing(bench: Bench) -> None:
    async def main() -> None:
        added = Board.private(1, "added")
        held = bench.store.held

        async def and_another_comes(worker: str) -> Any:
            answer = await held(worker)
            bench.heartbeat.add(added, bench.wake)
            return answer

        bench.store.held = and_another_comes  # type: ignore[method-assign]
        await bench.heartbeat.beat()
        assert (added.renewed_until, bench.board.renewed_until > 0) == (0, True)
        added.close()

    bench.run(main)


@pytest.mark.parametrize("outage", [1, 8, 19])
def test_an_outage_shorter_than_two_thirds_of_a_lease_loses_none(bench: Bench, outage: int) -> None:
    async def main() -> None:
        await bench.start()
        keeping = asyncio.create_task(bench.heartbeat.run())
        for _ in range(20):
            await asyncio.sleep(11)
            bench.store.away = True
            await asyncio.sleep(outage / 2)
            assert not bench.heartbeat.healthy or outage < 2
            await asyncio.sleep(outage / 2)
            assert await bench.store.overdue(10) == []
            bench.store.away = False
            await asyncio.sleep(4)
            assert bench.heartbeat.healthy
        keeping.cancel()

    bench.run(main)


def test_a_longer_outage_is_ridden_out_and_the_lease_taken_up_again(bench: Bench) -> None:
    async def main() -> None:
        await bench.start()
        keeping = asyncio.create_task(bench.heartbeat.run())
        bench.store.away = True
        await asyncio.sleep(600)
        assert len(await bench.store.overdue(10)) == 1
        bench.store.away = False
        await asyncio.sleep(TTL / SECOND / 10)
        assert await bench.store.overdue(10) == []
        keeping.cancel()

    bench.run(main)


def test_a_cancel_reaches_the_worker_within_a_second_and_wakes_it_once(bench: Bench) -> None:
    async def main() -> None:
        job, slot = await bench.start()
        keeping = asyncio.create_task(bench.heartbeat.run())
        await asyncio.sleep(5.5)
        assert await bench.store.cancel([job.id]) == [Cancelling.REQUESTED]
        await asyncio.sleep(1)
        assert bench.board.reply(slot) is Reply.CANCEL
        await asyncio.sleep(20)
        assert bench.wakes == 1
        keeping.cancel()

    bench.run(main)


def test_a_cancel_of_a_job_that_has_not_started_is_told_when_it_has(bench: Bench) -> None:
    async def main() -> None:
        [job] = await bench.lease(1)
        await bench.store.cancel([job.id])
        keeping = asyncio.create_task(bench.heartbeat.run())
        await asyncio.sleep(5)
        assert bench.wakes == 0
        slot = bench.board.start(job.id, job.attempt, 0)
        await asyncio.sleep(1.1)
        assert (bench.board.reply(slot), bench.wakes) == (Reply.CANCEL, 1)
        keeping.cancel()

    bench.run(main)


def test_a_lost_lease_is_told_and_the_neighbour_is_not(bench: Bench) -> None:
    async def main() -> None:
        lost, lost_slot = await bench.start()
        _, kept_slot = await bench.start()
        keeping = asyncio.create_task(bench.heartbeat.run())
        await asyncio.sleep(0.5)
        await bench.lose(lost)
        await asyncio.sleep(1.1)
        assert bench.board.reply(lost_slot) is Reply.LOST
        assert bench.board.reply(kept_slot) is Reply.NONE
        keeping.cancel()

    bench.run(main)


def test_a_lease_lost_between_reading_and_extending_is_told(bench: Bench) -> None:
    async def main() -> None:
        job, slot = await bench.start()
        extend = bench.store.extend

        async def lose_first(leases: Sequence[Lease], ttl: Micros) -> list[bool]:
            await bench.lose(job)
            return await extend(leases, ttl)

        bench.store.extend = lose_first  # type: ignore[method-assign]
        await bench.heartbeat.beat()
        assert bench.board.reply(slot) is Reply.LOST

    bench.run(main)


def test_a_job_that_was_acked_while_the_store_was_asked_is_not_called_lost(bench: Bench) -> None:
    async def main() -> None:
        job, slot = await bench.start()
        held = bench.store.held

        async def ack_first(worker: str) -> Any:
            bench.board.finish(slot, None)
            await bench.lose(job)  # the outcome is stored; the slot is not cleared yet
            return await held(worker)

        bench.store.held = ack_first  # type: ignore[method-assign]
        await bench.heartbeat.beat()
        assert (bench.board.reply(slot), bench.wakes) == (Reply.NONE, 0)

    bench.run(main)


def test_a_removed_worker_is_left_alone(bench: Bench) -> None:
    async def main() -> None:
        await bench.start()
        bench.heartbeat.remove(WORKER)
        bench.heartbeat.remove(WORKER)
        keeping = asyncio.create_task(bench.heartbeat.run())
        await asyncio.sleep(31)
        assert len(await bench.store.overdue(10)) == 1
        keeping.cancel()

    bench.run(main)


def test_a_worker_that_ends_during_a_heartbeat_costs_the_others_nothing(bench: Bench) -> None:
    """Its board is closed as it is removed, while the store was being asked for another."""

    async def main() -> None:
        started, _ = await bench.start()
        boards = [Board.private(1, f"x-{n}") for n in range(2)]
        for board in boards:
            bench.heartbeat.add(board, bench.wake)
        held = bench.store.held

        async def and_one_ends(worker: str) -> Any:
            if boards:
                board = boards.pop()
                bench.heartbeat.remove(board.worker)
                board.close()
            return await held(worker)

        bench.store.held = and_one_ends  # type: ignore[method-assign]
        await bench.heartbeat.beat()
        assert boards == []
        assert bench.board.renewed_until == bench.clock.tick() + TTL
        assert [lease.id for lease in await held(WORKER)] == [started.id]

    bench.run(main)


def test_the_shortest_lease_is_kept_too() -> None:
    bench = Bench(ttl=SECOND)

    async def main() -> None:
        await bench.start()
        keeping = asyncio.create_task(bench.heartbeat.run())
        for _ in range(100):
            await asyncio.sleep(0.1)
            assert await bench.store.overdue(10) == []
        keeping.cancel()

    bench.run(main)
