"""Waits for events in a worker: they end a run, and are the same in every later one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw
from tests.worker.test_steps import StepBench, virtually

from backline.context import JobContext
from backline.errors import BacklineError, ConfigError, WaitTimeout
from backline.fanout import Event, Publication
from backline.job import DAY, Step
from backline.states import State
from backline.store import Store
from backline.testing.wrapper import StoreWrapper


@dataclass
class Payment:
    cents: int


async def publish(bench: StepBench, payload: bytes = b'{"cents":5}', key: str = "7") -> None:
    event = Publication(id=bench.clock.new_id(), name="paid", key=key, payload=Raw(payload))
    await bench.store.publish([event])


def test_a_job_comes_back_when_its_event_does_and_gets_the_same_in_every_attempt() -> None:
    async def scenario(bench: StepBench) -> None:
        seen: list[Any] = []

        async def order(job: JobContext) -> str:
            await job.step("charge", bench.note, "charge")
            seen.append(await job.wait_for("paid", Payment, key="7", timeout="3d"))
            if job.failures == 0:
                raise OSError("planned")
            return "shipped"

        [record] = await bench.drain(bench.task(order)())
        assert (record.state, record.asleep, record.losses) == (State.SCHEDULED, True, 0)
        assert record.due == bench.clock.now() + 3 * DAY
        assert await bench.names(record.id) == ["charge", "wait 1"]
        bench.clock.advance("1h")
        await publish(bench)
        record = await bench.again(record.id)
        assert (record.state, record.failures) == (State.SCHEDULED, 1)
        bench.clock.advance("4d")
        await publish(bench, b'{"cents":6}')
        record = await bench.again(record.id)
        assert (record.state, seen) == (State.SUCCEEDED, [Payment(5)] * 2)
        assert bench.ledger == ["charge"]

    virtually(scenario)


def test_an_event_that_came_before_is_there_at_once() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> Any:
            return await job.wait_for("paid", key="7", timeout="3d")

        await publish(bench)
        [record] = await bench.drain(bench.task(order)())
        assert (record.state, bytes(record.result or b"")) == (State.SUCCEEDED, b'{"cents":5}')
        assert (record.attempt, record.failures) == (2, 0)

    virtually(scenario)


@pytest.mark.parametrize("kind", [Event, Event[Payment]])
def test_all_that_is_known_of_the_event_is_there_for_who_asks(kind: Any) -> None:
    async def scenario(bench: StepBench) -> None:
        seen: list[Event[Any]] = []

        async def order(job: JobContext) -> None:
            seen.append(await job.wait_for("paid", kind, key="7", timeout="3d"))

        await publish(bench)
        await bench.drain(bench.task(order)())
        [event] = seen
        assert (event.name, event.key) == ("paid", "7")
        assert event.published_at.timestamp() * 1_000_000 == bench.clock.now()
        assert event.payload == ({"cents": 5} if kind is Event else Payment(5))

    virtually(scenario)


def test_a_wait_that_times_out_does_so_in_every_attempt() -> None:
    async def scenario(bench: StepBench) -> None:
        ends: list[str] = []

        async def order(job: JobContext) -> str:
            try:
                await job.wait_for("paid", key="7", timeout="3d")
            except TimeoutError as error:
                ends.append(str(error))
            if job.failures == 0:
                raise OSError("planned")
            return "reminded"

        [record] = await bench.drain(bench.task(order)())
        bench.clock.advance("3d")
        record = await bench.again(record.id)
        await publish(bench)  # too late
        bench.clock.advance("1h")
        record = await bench.again(record.id)
        assert record.state is State.SUCCEEDED
        assert ends == ["no event paid of key '7' came in time"] * 2

    virtually(scenario)


def test_a_timeout_that_is_not_caught_is_the_last_attempt() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            await job.wait_for("paid", key="7", timeout=0)

        [record] = await bench.drain(bench.task(order)())
        record = await bench.again(record.id)
        assert (record.state, record.failures) == (State.DEAD, 1)
        assert record.errors[-1].kind.endswith("WaitTimeout")

    virtually(scenario)


class TellsFirst(StoreWrapper):
    """An event comes right before a wait is given up."""

    def __init__(self, store: Store, tell: Callable[[], Any]) -> None:
        super().__init__(store)
        self._tell = tell

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        if any(step.over for step in steps):
            await self._tell()
        return await self._store.record(steps)


def test_an_event_that_the_store_takes_before_the_wait_is_given_up_wins() -> None:
    async def scenario(bench: StepBench) -> None:
        async def tell() -> None:
            bench.clock.step_wall(-3_600)  # so that its time has not come
            await publish(bench)

        async def order(job: JobContext) -> Any:
            return await job.wait_for("paid", key="7", timeout="1m")

        [record] = await bench.drain(bench.task(order)())
        bench.clock.advance("1m")
        bench.store = TellsFirst(bench.store, tell)
        record = await bench.again(record.id)
        assert (record.state, bytes(record.result or b"")) == (State.SUCCEEDED, b'{"cents":5}')

    virtually(scenario)


def test_a_run_before_its_time_waits_for_the_rest() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> Any:
            return await job.wait_for("paid", key="7", timeout="3d")

        [record] = await bench.drain(bench.task(order)())
        bench.clock.advance("1d")
        await bench.store.cancel([record.id])
        await bench.store.redrive([record.id])
        record = await bench.again(record.id)
        assert (record.state, record.due) == (State.SCHEDULED, bench.clock.now() + 2 * DAY)
        assert await bench.names(record.id) == ["wait 1"]
        await publish(bench)
        assert (await bench.again(record.id)).state is State.SUCCEEDED

    virtually(scenario)


def test_several_waits_have_names_and_steps_keep_theirs() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> list[Any]:
            one = await job.wait_for("paid", key="7", timeout="3d")
            two = await job.wait_for("paid", key="8", timeout="3d")
            return [one, two, await job.wait_for("paid", key="7", timeout="3d", name="again")]

        [record] = await bench.drain(bench.task(order)())
        await publish(bench, b"1", key="8")
        await publish(bench, b"2")
        record = await bench.again(record.id)
        assert bytes(record.result or b"") == b"[2,1,2]"
        assert await bench.names(record.id) == ["wait 1", "wait 2", "again"]

    virtually(scenario)


async def _other_event(job: JobContext) -> None:
    await job.wait_for("refused", key="7", timeout="3d")


async def _sleeps(job: JobContext) -> None:
    await job.sleep("1h", name="wait 1")


async def _steps(job: JobContext) -> None:
    await job.step("wait 1", lambda: 1)


@pytest.mark.parametrize("changed", [_other_event, _sleeps, _steps])
def test_code_that_was_changed_gets_no_other_event(changed: Any) -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            await (changed(job) if job.attempt > 1 else job.wait_for("paid", key="7", timeout=9))

        await publish(bench)
        [record] = await bench.drain(bench.task(order, max_attempts=1)())
        assert "is recorded as a wait for paid of key '7'" in record.errors[-1].message

    virtually(scenario)


@pytest.mark.parametrize(
    ("event", "key", "wrong"),
    [("paid.*", "7", "is a pattern"), ("paid", "", "key= of wait_for"), ("", "7", "the name of")],
)
def test_what_can_never_come_is_refused(event: str, key: str, wrong: str) -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            with pytest.raises(ConfigError, match=wrong):
                await job.wait_for(event, key=key, timeout="1m")
            with pytest.raises(ValueError, match="duration"):
                await job.wait_for("paid", key="7", timeout="soon")

        [record] = await bench.drain(bench.task(order)())
        assert (record.state, record.steps) == (State.SUCCEEDED, 0)

    virtually(scenario)


def test_only_the_tasks_own_coroutine_waits() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            async def beside() -> None:
                await job.wait_for("paid", key="7", timeout="1m")

            with pytest.raises(BacklineError, match=r"job\.wait_for ends the run"):
                await asyncio.create_task(beside())

        [record] = await bench.drain(bench.task(order)())
        assert record.state is State.SUCCEEDED

    virtually(scenario)


def test_a_payload_that_does_not_fit_makes_the_job_dead() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            await job.wait_for("paid", Payment, key="7", timeout="1m")

        await publish(bench, b'"five"')
        [record] = await bench.drain(bench.task(order)())
        assert record.state is State.DEAD
        assert "event paid" in record.errors[-1].message

    virtually(scenario)


def test_a_wait_timeout_is_a_timeout_and_ours() -> None:
    assert issubclass(WaitTimeout, TimeoutError)
    assert issubclass(WaitTimeout, BacklineError)
