"""Schedulers on virtual time, over the memory store."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from backline.clock import Clock
from backline.errors import StoreUnavailable
from backline.faults import hooked
from backline.job import DAY, FARTHEST, HOUR, MINUTE, SECOND, JobRequest, Micros
from backline.schedule import (
    Cron,
    Every,
    Missed,
    Rule,
    ScheduleChange,
    ScheduleSpec,
    Tick,
    change,
    next_slot,
)
from backline.scheduler import LOOK, SPREAD, Scheduler
from backline.store import Store
from backline.stores.memory import MemoryStore
from backline.testing.clock import START, VirtualClock
from backline.testing.conformance.jobs import find_all
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import VirtualLoop, run
from backline.testing.process import Process


class Bench:
    """A store, and as many schedulers as a test wants."""

    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock(seed)
        self.store = MemoryStore(clock=self.clock)

    async def make(self, name: str, rule: Rule, missed: Missed = Missed.SKIP) -> None:
        spec = ScheduleSpec(rule=rule, job=JobRequest(id="", task=name), missed=missed)
        new = change.created(name, spec, self.clock.now())
        assert await self.store.arrange([ScheduleChange(name, 0, new)]) == [True]

    async def dues(self, name: str) -> list[Micros]:
        return sorted(job.due for job in await find_all(self.store, page=500) if job.task == name)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], count: int = 1) -> None:
        async def together() -> None:
            schedulers = [
                asyncio.create_task(Scheduler(self.store, self.clock).run()) for _ in range(count)
            ]
            await main()
            for scheduler in schedulers:
                scheduler.cancel()

        run(together(), clock=self.clock)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def slots(rule: Rule, after: Micros, until: Micros) -> list[Micros]:
    found: list[Micros] = []
    slot = next_slot(rule, after)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = next_slot(rule, slot)
    return found


@pytest.mark.parametrize("count", [1, 5])
def test_every_slot_makes_one_job_however_many_schedulers_there_are(
    bench: Bench, count: int
) -> None:
    rules: dict[str, Rule] = {
        "seconds": Every(7 * SECOND),
        "minutes": Cron("*/5 * * * *"),
        "nightly": Cron("0 3 * * *", "Europe/Paris"),
    }

    async def main() -> None:
        for name, rule in rules.items():
            await bench.make(name, rule)
        await asyncio.sleep(6 * 3600 + 0.5)
        for name, rule in rules.items():
            assert await bench.dues(name) == slots(rule, START, bench.clock.now()), name

    bench.run(main, count)


def test_a_slot_is_fired_when_it_comes(bench: Bench) -> None:
    async def main() -> None:
        await bench.make("s", Every(HOUR))
        await asyncio.sleep(3600 + SPREAD / SECOND)
        [job] = await find_all(bench.store)
        assert job.due == START + HOUR
        assert job.enqueued_at - job.due <= SPREAD

    bench.run(main)


def test_a_schedule_made_while_nothing_is_to_come_is_heard_of(bench: Bench) -> None:
    async def main() -> None:
        await asyncio.sleep(0.1)  # the scheduler sleeps for longer than this schedule waits
        await bench.make("s", Every(SECOND))
        await asyncio.sleep(1.0)
        assert len(await bench.dues("s")) == 1

    bench.run(main)


def test_a_wall_clock_put_forward_is_noticed_within_a_second(bench: Bench) -> None:
    async def main() -> None:
        await bench.make("s", Every(HOUR))
        await asyncio.sleep(10)
        bench.clock.step_wall(3600 - 5)
        await asyncio.sleep((LOOK + SPREAD) / SECOND)
        assert await bench.dues("s") == [START + HOUR]

    bench.run(main)


def test_a_wall_clock_put_back_repeats_no_slot(bench: Bench) -> None:
    async def main() -> None:
        await bench.make("s", Every(MINUTE))
        await asyncio.sleep(600.5)
        bench.clock.step_wall(-300)
        await asyncio.sleep(600)
        dues = await bench.dues("s")
        assert dues == slots(Every(MINUTE), START, bench.clock.now())
        assert len(dues) == 15

    bench.run(main)


def test_a_schedule_that_waits_for_a_clock_that_was_far_ahead_is_told_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await bench.make("far", Every(HOUR))
        await bench.make("a little", Every(HOUR))
        await bench.make("held", Every(HOUR))
        rows = bench.store._schedules._rows
        for name, ahead in (("far", 49 * 365 * DAY), ("a little", DAY), ("held", 9 * DAY)):
            rows[name] = replace(rows[name], last=START + ahead, next=START + ahead + HOUR)
        rows["held"] = change.paused(rows["held"])
        await asyncio.sleep(3 * 3600)
        assert await bench.dues("far") == []
        rows["far"] = change.resumed(rows["far"], bench.clock.now())
        await asyncio.sleep(3 * 3600 + 1)
        assert len(await bench.dues("far")) == 3

    with caplog.at_level(logging.WARNING):
        bench.run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert "schedule far" in told
    assert "2074-12-20" in told
    assert "resume" in told


@pytest.mark.parametrize(
    ("missed", "expected"),
    [(Missed.SKIP, []), (Missed.ONCE, [6]), (Missed.ALL, [1, 2, 3, 4, 5, 6])],
)
def test_what_was_missed_is_dealt_with_as_its_policy_says(
    bench: Bench, missed: Missed, expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await bench.make("s", Every(HOUR), missed)
        bench.clock.advance("6h30m")
        scheduler = Scheduler(bench.store, bench.clock)
        await scheduler.fire()
        await scheduler.fire()
        assert await bench.dues("s") == [START + n * HOUR for n in expected]

    with caplog.at_level(logging.WARNING):
        run(main(), clock=bench.clock)
    out = {
        Missed.SKIP: "01:00:00.000000Z to 2026-01-01T06:00:00.000000Z",
        Missed.ONCE: "01:00:00.000000Z to 2026-01-01T05:00:00.000000Z",
    }
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"schedule s: slots from 2026-01-01T{out[missed]} were missed and left out"
        for missed in (missed,)
        if missed in out
    ]


def test_a_long_backlog_is_worked_off_in_bites(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """And each schedule gets its turn: none waits for the backlog of another."""

    async def main() -> None:
        for name in ("a", "b", "c"):
            await bench.make(name, Every(SECOND), Missed.ALL)
        bench.clock.advance("1h")
        scheduler = Scheduler(bench.store, bench.clock)
        assert await scheduler.fire() == 0
        assert {len(await bench.dues(name)) for name in "abc"} == {100}
        for _ in range(15):
            await scheduler.fire()
        newest = slots(Every(SECOND), START + 2_600 * SECOND, START + HOUR)
        for name in "abc":
            assert await bench.dues(name) == newest

    with caplog.at_level(logging.WARNING):
        run(main(), clock=bench.clock)
    assert len(newest := [record.getMessage() for record in caplog.records]) == 3
    assert newest[0] == (
        "schedule a: slots from 2026-01-01T00:00:01.000000Z to 2026-01-01T00:43:20.000000Z "
        "were missed and left out"
    )


def test_an_outage_of_many_schedules_is_told_in_a_few_lines(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for number in range(30):
            await bench.make(f"s{number}", Every(HOUR))
        bench.clock.advance("90m")
        await Scheduler(bench.store, bench.clock).fire()

    with caplog.at_level(logging.WARNING):
        run(main(), clock=bench.clock)
    *named, rest = [record.getMessage() for record in caplog.records]
    assert len(named) == 10
    assert rest == "slots of 20 more schedules were missed and left out"


def test_a_schedule_that_only_this_host_cannot_read_is_not_said_to_need_an_edit(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await bench.make("s", Every(MINUTE))
        row = bench.store._schedules._rows["s"]
        assert row.spec is not None
        spec = replace(row.spec, rule=Cron("0 3 * * *", "Mars/Olympus"))
        bench.store._schedules._rows["s"] = replace(row, spec=spec)
        bench.clock.advance("1m")
        await Scheduler(bench.store, bench.clock).fire()

    with caplog.at_level(logging.ERROR):
        run(main(), clock=bench.clock)
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("schedule s runs nothing on this host: ")
    assert "Mars/Olympus" in told


def test_a_damaged_schedule_stops_no_other_and_is_told_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for name in ("bad zone", "no spec", "bad cron", "fine"):
            await bench.make(name, Every(MINUTE))
        rows = bench.store._schedules._rows
        rows["no spec"] = replace(rows["no spec"], spec=None)
        for name, rule in (
            ("bad zone", Cron("0 3 * * *", "Mars/Olympus")),
            ("bad cron", Cron("99 99 * * *")),
        ):
            spec = rows[name].spec
            assert spec is not None
            rows[name] = replace(rows[name], spec=replace(spec, rule=rule))
        await asyncio.sleep(600.5)
        assert len(await bench.dues("fine")) == 10
        assert await find_all(bench.store) == await find_all(bench.store)

    with caplog.at_level(logging.ERROR):
        bench.run(main)
    told = Counter(record.args[0] for record in caplog.records if isinstance(record.args, tuple))
    assert told == {"bad zone": 1, "no spec": 1, "bad cron": 1}


def test_a_schedule_that_the_store_does_not_take_stops_no_other_and_is_told_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Written together with the others once: from then on by itself, so it delays none."""

    async def main() -> None:
        for name in ("a", "bad", "c"):
            await bench.make(name, Every(MINUTE))
        rows = bench.store._schedules._rows
        spec = rows["bad"].spec
        assert spec is not None
        rows["bad"] = replace(
            rows["bad"], spec=replace(spec, job=replace(spec.job, delay=FARTHEST))
        )
        store = _Counting(bench.store, bench.clock)
        scheduler = Scheduler(store, bench.clock)
        for _ in range(3):
            bench.clock.advance("1m")
            assert await scheduler.fire() > 0, "it does not ask without a break"
        assert [len(await bench.dues(name)) for name in ("a", "bad", "c")] == [3, 0, 3]
        later = [["a", "c"], ["bad"]]
        assert store.written == [["a", "bad", "c"], ["a"], ["bad"], ["c"], *later, *later]

    with caplog.at_level(logging.ERROR):
        run(main(), clock=bench.clock)
    [record] = caplog.records
    assert "schedule bad" in record.getMessage()
    assert "run_at" in record.getMessage()


def test_an_edit_between_the_look_and_the_write_fires_nothing_old(bench: Bench) -> None:
    async def main() -> None:
        await bench.make("s", Every(HOUR))
        bench.clock.advance("1h")

        def edit(point: str) -> None:
            if point == "scheduler.before_tick":
                rows = bench.store._schedules
                found = rows._rows["s"]
                assert rows.change(ScheduleChange("s", found.version, change.paused(found)))

        with hooked(edit):
            await Scheduler(bench.store, bench.clock).fire()
        assert await bench.dues("s") == []

    run(main(), clock=bench.clock)


class _Counting(FlakyStore):
    """Notes which schedules each write is about."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, StoreFaults(), clock.rng)
        self.written: list[list[str]] = []

    async def tick(self, ticks: Sequence[Tick]) -> list[bool]:
        self.written.append([tick.schedule for tick in ticks])
        return await super().tick(ticks)


class _Away(FlakyStore):
    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, StoreFaults(refused=1.0), clock.rng)


def test_an_outage_is_waited_out(bench: Bench) -> None:
    async def main() -> None:
        flaky = _Away(bench.store, bench.clock)
        scheduler = Scheduler(flaky, bench.clock)
        running = asyncio.create_task(scheduler.run())
        await bench.make("s", Every(MINUTE), Missed.ALL)
        await asyncio.sleep(300)
        assert not scheduler.healthy
        with pytest.raises(StoreUnavailable):
            await scheduler.fire()
        flaky.faults = StoreFaults()
        await asyncio.sleep(10)
        assert scheduler.healthy
        assert len(await bench.dues("s")) == 5
        running.cancel()

    run(main(), clock=bench.clock)


class Storm:
    """Five schedulers behind flaky ways, killed, stopped and started anew; clocks that step."""

    RULES: Final[Mapping[str, Rule]] = {
        "seconds": Every(5 * SECOND),  # a step of the clocks leaves fewer behind than are made up
        "cron": Cron("*/2 * * * *", "America/New_York"),
        "fixed": Cron("5,35 * * * *", "Asia/Kathmandu"),
    }
    FAULTS: Final = StoreFaults(refused=0.1, lost=0.1, late=0.05, repeated=0.1, delayed=0.2)

    def __init__(self, seed: int) -> None:
        self.bench = Bench(seed)
        self.rng = random.Random(f"storm {seed}")
        self.latest: Micros = START
        """The latest time that any scheduler may have seen."""

    def started(self) -> Process:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        process = loop.process(f"scheduler {self.rng.random()}")
        way = FlakyStore(self.bench.store, self.FAULTS, random.Random(self.rng.random()))
        process.start(Scheduler(way, self.bench.clock).run())
        return process

    async def blow(self) -> None:
        rng, clock = self.rng, self.bench.clock
        processes = [self.started() for _ in range(5)]
        for _ in range(120):
            await asyncio.sleep(rng.uniform(0, 60))
            self.latest = max(self.latest, clock.now())
            if rng.random() < 0.2:
                clock.step_wall(rng.uniform(-3600, 3600))
                self.latest = max(self.latest, clock.now())
            victim = processes.pop(rng.randrange(5))
            match rng.choice(["kill", "stop", "nothing", "nothing"]):
                case "kill":
                    victim.kill()
                    victim = self.started()
                case "stop":
                    victim.pause()
                    asyncio.get_running_loop().call_later(rng.uniform(0, 90), victim.resume)
            processes.append(victim)
        for process in processes:
            process.kill()

    async def settle(self) -> Micros:
        """Everything that was to come has come; returns until when."""
        clock = self.bench.clock
        await asyncio.sleep(10)  # what is still under way arrives
        self.latest = max(self.latest, clock.now())
        clock.step_wall((self.latest - clock.now()) / SECOND)
        scheduler = Scheduler(self.bench.store, clock)
        while await scheduler.fire() == 0:
            pass
        return clock.now()


@pytest.mark.parametrize("seed", range(12))
def test_i12_in_a_storm_each_slot_makes_one_job(seed: int) -> None:
    storm = Storm(seed)

    async def main() -> None:
        for name, rule in storm.RULES.items():
            await storm.bench.make(name, rule, Missed.ALL)
        await storm.blow()
        until = await storm.settle()
        for name, rule in storm.RULES.items():
            assert await storm.bench.dues(name) == slots(rule, START, until), name

    run(main(), clock=storm.bench.clock, seed=seed)
