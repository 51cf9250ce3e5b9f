"""No queue waits for ever beside another that always has work."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.worker.test_loop import Bench

from backline.testing.clock import VirtualClock
from backline.testing.loop import run

NAMES = ("a", "b", "c", "d")


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("rare", NAMES)
@pytest.mark.parametrize("busy", NAMES)
def test_a_queue_is_served_beside_one_that_always_has_work(
    busy: str, rare: str, concurrency: int
) -> None:
    """Wherever the two stand among the queues, and however few slots there are."""
    clock = VirtualClock()
    bench = Bench(clock)

    async def main() -> None:
        served: list[str] = []

        async def cook(name: str) -> None:
            served.append(name)
            await asyncio.sleep(0.3)

        job = bench.task(cook)
        await bench.enqueue(*(replace(job("busy"), queue=busy) for _ in range(60)))
        await bench.enqueue(replace(job("rare"), queue=rare))
        await bench.worker(
            drain=True, concurrency=concurrency, queues=dict.fromkeys(NAMES, 1)
        ).run()
        assert len(served) == 61
        if busy != rare:
            assert served.index("rare") < 20

    run(main(), clock=clock)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_two_busy_queues_share_few_slots_by_weight(concurrency: int) -> None:
    clock = VirtualClock()
    bench = Bench(clock)

    async def main() -> None:
        served: list[str] = []

        async def cook(name: str) -> None:
            served.append(name)
            await asyncio.sleep(0.3)

        job = bench.task(cook)
        await bench.enqueue(
            *(replace(job(queue), queue=queue) for queue in NAMES[:2] for _ in range(100))
        )
        weights = {"a": 3, "b": 1, "c": 1, "d": 1}
        await bench.worker(drain=True, concurrency=concurrency, queues=weights).run()
        assert len(served) == 200
        assert 0.6 <= served[:80].count("a") / 80 <= 0.85

    run(main(), clock=clock)
