"""Steps in a worker: done once, recorded, found again; sleeps that end a run."""

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from tests.worker.bench import Bench

from backline.context import JobContext, SuspendRun, current_step
from backline.errors import BacklineError, InvalidResult, StoreUnavailable
from backline.job import (
    DAY,
    MAX_PAYLOAD,
    SECOND,
    Ack,
    Charge,
    JobRecord,
    JobRequest,
    Lane,
    Step,
    StepRecord,
)
from backline.states import State
from backline.store import Store
from backline.task import Task
from backline.testing.clock import VirtualClock
from backline.testing.loop import VirtualLoop
from backline.testing.wrapper import StoreWrapper


@dataclass
class Receipt:
    amount: int
    at: datetime


AT = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - whichever zone


class StepBench(Bench):
    """Its tasks keep a ledger of what they did outside."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.clock: VirtualClock = clock
        self.ledger: list[str] = []

    def note(self, what: str) -> str:
        self.ledger.append(what)
        return what

    async def again(self, job_id: str, **options: Any) -> JobRecord:
        """Work once more, on what is due by now."""
        await self.store.promote(10)
        await self.worker(drain=True, **options).run()
        return await self.record(job_id)

    async def names(self, job_id: str) -> list[str]:
        [found] = await self.store.steps([job_id])
        return [step.name for step in found]


def virtually(scenario: Any) -> None:
    clock = VirtualClock()
    bench = StepBench(clock)
    loop = VirtualLoop(clock)
    try:
        loop.run(scenario(bench))
    finally:
        loop.close()


def test_a_failed_job_goes_on_after_its_last_step() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> str:
            first = await job.step("charge", bench.note, "charge")
            if job.failures == 0:
                raise OSError("planned")
            second = await job.step("ship", bench.note, "ship")
            return f"{first} {second}"

        task = bench.task(order)
        [record] = await bench.drain(task())
        assert (record.state, record.steps) == (State.SCHEDULED, 1)
        bench.clock.advance("1h")
        record = await bench.again(record.id)
        assert (record.state, bytes(record.result or b"")) == (State.SUCCEEDED, b'"charge ship"')
        assert (bench.ledger, await bench.names(record.id)) == (
            ["charge", "ship"],
            ["charge", "ship"],
        )

    virtually(scenario)


def test_a_value_comes_back_typed_the_same_in_both_runs() -> None:
    async def scenario(bench: StepBench) -> None:
        seen: list[Any] = []

        def receipt(amount: int) -> Receipt:
            return Receipt(amount, AT)

        async def nothing() -> None:
            return None

        async def order(job: JobContext) -> None:
            seen.append(await job.step("typed", receipt, 5))
            seen.append(await job.step("partial", functools.partial(receipt, 6)))
            seen.append(await job.step("plain", lambda: (1, AT)))
            seen.append(await job.step("thread", asyncio.to_thread, receipt, 7))
            seen.append(await job.step("nothing", nothing))
            if job.failures == 0:
                raise OSError("planned")

        [record] = await bench.drain(bench.task(order)())
        bench.clock.advance("1h")
        await bench.again(record.id)
        expected = [
            Receipt(5, AT),
            Receipt(6, AT),
            [1, "2026-01-02T03:04:05"],
            {"amount": 7, "at": "2026-01-02T03:04:05"},
            None,
        ]
        assert seen == expected * 2

    clock = VirtualClock()
    asyncio.run(scenario(StepBench(clock)))


def test_the_key_is_the_same_in_every_attempt_and_known_to_what_is_called() -> None:
    async def scenario(bench: StepBench) -> None:
        keys: list[str] = []

        def charge() -> None:
            keys.append(current_step().key)
            if len(keys) == 1:
                raise OSError("planned")

        async def order(job: JobContext) -> None:
            await job.step("charge", charge)
            with pytest.raises(BacklineError, match="outside of a step"):
                current_step()

        [record] = await bench.drain(bench.task(order)())
        bench.clock.advance("1h")
        record = await bench.again(record.id)
        assert record.state is State.SUCCEEDED
        assert keys == [f"{record.id}:charge"] * 2

    virtually(scenario)


def test_a_task_may_try_a_step_again_itself() -> None:
    async def scenario(bench: StepBench) -> None:
        tries: list[int] = []

        def flaky() -> int:
            tries.append(1)
            if len(tries) < 3:
                raise OSError("planned")
            return len(tries)

        async def order(job: JobContext) -> int:
            while True:
                try:
                    return await job.step("flaky", flaky)
                except OSError:
                    await asyncio.sleep(1)

        [record] = await bench.drain(bench.task(order)())
        assert (record.state, bytes(record.result or b"")) == (State.SUCCEEDED, b"3")

    virtually(scenario)


def test_a_sleeping_job_takes_no_slot_and_comes_back() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            try:
                bench.note(await job.step("charge", lambda: "charge"))
                await job.sleep("3d")
                bench.note("awake")
                await job.sleep(0, name="short")
            except Exception:
                bench.note("caught")

        [record] = await bench.drain(bench.task(order)())
        assert (record.state, record.asleep, record.losses) == (State.SCHEDULED, True, 0)
        assert record.due == bench.clock.now() + 3 * DAY
        assert await bench.names(record.id) == ["charge", "sleep 1"]
        bench.clock.advance("3d")
        record = await bench.again(record.id)
        record = await bench.again(record.id)
        assert (record.state, record.attempt) == (State.SUCCEEDED, 3)
        assert bench.ledger == ["charge", "charge", "awake", "charge", "awake"]

    virtually(scenario)


def test_a_job_that_is_redriven_while_asleep_sleeps_the_rest() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            await job.sleep("3d")

        [record] = await bench.drain(bench.task(order)())
        due = record.due
        bench.clock.advance("1d")
        await bench.store.cancel([record.id])
        assert (await bench.record(record.id)).state is State.CANCELLED
        await bench.store.redrive([record.id])
        record = await bench.again(record.id)
        assert (record.state, record.asleep) == (State.SCHEDULED, True)
        assert abs(record.due - due) <= SECOND
        bench.clock.advance("2d")
        assert (await bench.again(record.id)).state is State.SUCCEEDED

    virtually(scenario)


def test_a_dead_job_that_is_redriven_goes_on_where_it_was() -> None:
    async def scenario(bench: StepBench) -> None:
        broken = [True]

        async def order(job: JobContext) -> None:
            await job.step("charge", bench.note, "charge")
            if broken:
                raise OSError("planned")
            await job.step("ship", bench.note, "ship")

        [record] = await bench.drain(bench.task(order, max_attempts=1)())
        assert record.state is State.DEAD
        broken.clear()
        await bench.store.redrive([record.id])
        assert (await bench.again(record.id)).state is State.SUCCEEDED
        assert bench.ledger == ["charge", "ship"]

    virtually(scenario)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda job: job.step("a", int), "comes twice in one run"),
        (lambda job: job.step("", int), "1 to 200 printable characters"),
        (lambda job: job.step("x" * 201, int), "1 to 200 printable characters"),
        (lambda job: job.step("\ud800", int), "printable"),
        (lambda job: job.step("a\0b", int), "printable"),
        (lambda job: job.step(7, int), "1 to 200 printable characters, not 7"),
        (lambda job: job.step("b", 7), "write job.step"),
        (lambda job: job.step(lambda: 1), "takes a name before the function"),
        (lambda job: job.step(int, 7), "takes a name before the function"),
        (lambda job: job.step("b", object), "the result of step 'b'"),
        (lambda job: job.step("b", lambda: "x" * MAX_PAYLOAD), "Store it elsewhere"),
        (lambda job: job.step("b", _as_int), "the result of step 'b'"),
        (lambda job: job.sleep("soon"), "soon"),
        (lambda job: job.sleep(-1), "duration"),
        (lambda job: asyncio.gather(job.sleep("1d")), "only the task's own coroutine"),
    ],
)
def test_what_cannot_be_is_told(call: Any, told: str) -> None:
    async def scenario(bench: StepBench) -> None:
        errors: list[str] = []

        async def order(job: JobContext) -> None:
            await job.step("a", int)
            try:
                await call(job)
            except (BacklineError, TypeError, ValueError) as error:
                errors.append(str(error))

        await bench.drain(bench.task(order)())
        assert told in errors[0]

    virtually(scenario)


def _as_int() -> int:
    return "text"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda job: job.step("a", int), "await job.step("),
        (lambda job: job.sleep("1d"), "await job.sleep("),
        (lambda job: job.wait_for("paid", key="k", timeout="1d"), "await job.wait_for("),
    ],
)
def test_what_was_not_awaited_fails_the_run(call: Any, told: str) -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> str:
            call(job)
            return "done"

        [record] = await bench.drain(bench.task(order)())
        assert (record.state, record.steps, record.failures) == (State.SCHEDULED, 0, 1)
        assert told in record.errors[0].message

    virtually(scenario)


def test_a_step_that_was_cancelled_before_it_began_is_not_forgotten() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            task = asyncio.ensure_future(job.step("a", int))
            task.cancel()
            await asyncio.wait([task])

        [record] = await bench.drain(bench.task(order)())
        assert record.state is State.SUCCEEDED

    virtually(scenario)


def test_a_task_in_a_thread_has_no_steps() -> None:
    async def scenario(bench: StepBench) -> None:
        def order(job: JobContext) -> None:
            job.step("a", int)

        def nap(job: JobContext) -> None:
            job.sleep("1d")

        for record in await bench.drain(*(bench.task(fn)() for fn in (order, nap))):
            assert "has to be an async def" in record.errors[0].message

    virtually(scenario)


def test_no_more_than_a_bound_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Task, "most_steps", 3)

    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            for number in range(4):
                await job.step(f"number {number}", int)

        [record] = await bench.drain(bench.task(order)())
        assert "has recorded 3 steps" in record.errors[0].message
        assert record.steps == 3
        bench.clock.advance("1h")
        assert "has recorded 3 steps" in (await bench.again(record.id)).errors[1].message

    virtually(scenario)


def test_a_change_of_the_code_is_met_by_name() -> None:
    """Names that are gone are ignored, new ones are done; of another kind they are refused."""

    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            if job.attempt == 1:
                await job.step("old", int)
                await job.step("kept", int)
                raise OSError("planned")
            assert await job.step("new", lambda: 1) == 1
            assert await job.step("kept", lambda: 1) == 0
            with pytest.raises(InvalidResult):
                await job.step("old", _as_text)

        async def other(job: JobContext) -> None:
            await (job.sleep("1s", name="a") if job.attempt == 1 else job.step("a", int))

        [record, another] = await bench.drain(bench.task(order)(), bench.task(other)())
        bench.clock.advance("1h")
        assert (await bench.again(record.id)).state is State.SUCCEEDED
        another = await bench.record(another.id)
        assert "recorded as a sleep" in another.errors[0].message

    virtually(scenario)


def _as_text() -> str:
    return ""


def test_a_run_that_lost_its_lease_does_no_further_step() -> None:
    async def scenario(bench: StepBench) -> None:
        async def steal(job: JobContext) -> None:
            """Do what takes long: the job is settled meanwhile."""
            bench.note("stolen")
            over = Ack(job.id, job.attempt, State.CANCELLED)
            await bench.store.exchange("thief", 1, [over], {}, SECOND)

        async def order(job: JobContext) -> None:
            try:
                await job.step("first", steal, job)
            finally:
                try:
                    await job.step("second", bench.note, "second")
                except asyncio.CancelledError:
                    bench.note("refused")
                    raise

        async def beside(job: JobContext) -> None:
            await asyncio.gather(*(job.step(name, steal, job) for name in "ab"))
            bench.note("went on")

        for fn, expected in ((order, ["stolen", "refused"]), (beside, ["stolen", "stolen"])):
            bench.ledger.clear()
            [record] = await bench.drain(bench.task(fn)())
            assert (record.state, record.steps) == (State.CANCELLED, 0)
            assert bench.ledger == expected

    virtually(scenario)


class Away(StoreWrapper):
    """Takes no steps for a while."""

    def __init__(self, store: Store, refusals: int) -> None:
        super().__init__(store)
        self.refusals = refusals

    async def record(self, steps: Sequence[Step]) -> list[bool]:
        self._refuse()
        return await self._store.record(steps)

    async def steps(self, ids: Sequence[str]) -> list[list[StepRecord]]:
        self._refuse()
        return await self._store.steps(ids)

    def _refuse(self) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise StoreUnavailable("planned")


def test_a_store_that_is_away_is_insisted_upon() -> None:
    async def scenario(bench: StepBench) -> None:
        bench.store = away = Away(bench.store, 5)

        async def order(job: JobContext) -> None:
            await job.step("a", bench.note, "a")
            if job.failures == 0:
                raise OSError("planned")

        [record] = await bench.drain(bench.task(order)())
        assert record.steps == 1
        away.refusals = 5
        bench.clock.advance("1h")
        assert (await bench.again(record.id)).state is State.SUCCEEDED
        assert bench.ledger == ["a"]

    virtually(scenario)


def test_a_run_that_is_stopped_waits_for_the_record_of_what_it_did() -> None:
    async def scenario(bench: StepBench) -> None:
        bench.store = Away(bench.store, 3)
        done = asyncio.Event()

        async def order(job: JobContext) -> None:
            await job.step("a", done.set)

        job = bench.task(order)()
        await bench.store.enqueue([[job]])
        worker = bench.worker(grace=0)
        running = asyncio.create_task(worker.run())
        await done.wait()
        worker.quit()
        await running
        record = await bench.record(job.id)
        assert (record.state, record.steps) == (State.READY, 1)

    virtually(scenario)


def test_a_sleep_that_is_caught_is_an_error_and_one_in_a_group_is_none() -> None:
    async def scenario(bench: StepBench) -> None:
        async def swallows(job: JobContext) -> None:
            with contextlib.suppress(BaseException):
                await job.sleep("1d")

        async def grouped(job: JobContext) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(5))
                await job.sleep("1d")

        async def breaks(job: JobContext) -> None:
            try:
                await job.sleep("1d")
            finally:
                raise OSError("while it ended")

        records = await bench.drain(*(bench.task(fn)() for fn in (swallows, grouped, breaks)))
        first, second, third = records
        assert "let SuspendRun pass" in first.errors[0].message
        assert (second.asleep, second.errors) == (True, ())
        assert third.errors[0].kind == "OSError"
        assert [record.steps for record in records] == [0, 1, 0]

    virtually(scenario)


def test_steps_side_by_side_share_a_commit() -> None:
    async def scenario(bench: StepBench) -> None:
        batches: list[int] = []

        class Counting(StoreWrapper):
            async def record(self, steps: Sequence[Step]) -> list[bool]:
                batches.append(len(steps))
                await asyncio.sleep(0.01)
                return await self._store.record(steps)

        bench.store = Counting(bench.store)

        async def order(job: JobContext) -> None:
            await asyncio.gather(*(job.step(f"part {n}", int) for n in range(20)))

        [record] = await bench.drain(bench.task(order)())
        assert (record.steps, sum(batches)) == (20, 20)
        assert len(batches) <= 3

    virtually(scenario)


def test_a_suspect_goes_home_when_it_falls_asleep() -> None:
    async def scenario(bench: StepBench) -> None:
        async def order(job: JobContext) -> None:
            await job.sleep("1d")

        request: JobRequest = bench.task(order)()
        await bench.store.enqueue([[request]])
        demand = {("default", Lane.MAIN): 1}
        for call, lane in ((1, None), (2, Lane.CELL)):
            [lease] = (await bench.store.exchange("dying", call, (), demand, SECOND)).jobs
            lost = Ack(lease.id, lease.attempt, State.READY, charge=Charge.LOSS, lane=lane)
            await bench.store.exchange("reaper", call, [lost], {}, SECOND)
        record = await bench.again(request.id, lane=Lane.CELL)
        assert (record.asleep, record.lane, record.losses) == (True, Lane.MAIN, 0)

    virtually(scenario)


def test_suspending_is_no_exception_of_the_tasks() -> None:
    assert not issubclass(SuspendRun, Exception)
