"""Schedules as people declare and change them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from backline import App, BacklineError, ConfigError, JobContext, Schedule, ScheduleNotFound
from backline.job import HOUR, MINUTE, SECOND, as_datetime
from backline.schedule import Cron, Every, Missed, Rule, ScheduleChange, ScheduleSpec
from backline.schedule.change import created
from backline.stores.memory import MemoryStore
from backline.testing.clock import START, VirtualClock
from backline.testing.conformance.jobs import find_all
from backline.testing.flaky import FlakyStore, StoreFaults
from backline.testing.loop import run


def an_app(clock: VirtualClock | None = None, store: MemoryStore | None = None) -> App:
    clock = clock or VirtualClock()
    return App(store=store or MemoryStore(clock=clock), clock=clock)


def declare(app: App, name: str = "report", **settings: Any) -> Any:
    @app.task(name=name, **settings)
    def report(day: str = "today") -> str:
        return day

    return report


async def test_a_declared_schedule_is_in_the_store() -> None:
    async with an_app() as app:
        declare(
            app,
            cron="0 3 * * *",
            tz="Europe/Paris",
            missed="once",
            queue="mail",
            priority=5,
            max_attempts=2,
            tags=["x"],
        )
        [found] = await app.schedules.aall()
        assert (found.name, found.task) == ("report", "report")
        assert found.when == "every day at 03:00, Europe/Paris"
        assert (found.declared, found.edited, found.paused, found.last_at) == (
            True,
            False,
            False,
            None,
        )
        assert found.next_at == datetime(2026, 1, 1, 2, tzinfo=UTC)
        spec = found.record.spec
        assert spec is not None
        assert spec.missed is Missed.ONCE
        assert bytes(spec.job.payload) == b"[[],{}]"
        job = spec.job
        assert (job.queue, job.priority, job.terms.max_attempts, job.tags, job.id) == (
            "mail",
            5,
            2,
            ("x",),
            "",
        )


async def test_a_task_declared_later_has_its_schedule_at_the_next_use() -> None:
    async with an_app() as app:
        assert await app.schedules.aall() == []
        declare(app, every="30s")
        [found] = await app.schedules.aall()
        assert (found.when, found.next_at) == ("every 30s", as_datetime(START + 30 * SECOND))


def test_a_worker_runs_what_is_scheduled() -> None:
    clock = VirtualClock()
    ran: list[timedelta] = []

    async def main() -> None:
        async with an_app(clock) as app:

            @app.task(name="tick", every="1m")
            async def tick(job: JobContext) -> None:
                ran.append(as_datetime(clock.now()) - as_datetime(START))

            async with app.worker():
                await asyncio.sleep(361)
            [found] = await app.schedules.aall()
            assert found.last_at == as_datetime(START + 6 * MINUTE)

    run(main(), clock=clock)
    assert [round(passed.total_seconds()) for passed in ran] == [60 * n for n in range(1, 7)]


async def test_a_drain_begins_nothing_by_itself() -> None:
    clock = VirtualClock()
    async with an_app(clock) as app:
        task = declare(app, every="1m")
        await app.schedules.aall()
        clock.advance("30m")
        await task.aenqueue()
        assert await app.adrain() == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"cron": "0 3 * * *", "every": "5s"}, "both cron= and every="),
        ({"tz": "Europe/Paris"}, "needs a cron="),
        ({"missed": "all"}, "needs a cron= or an every="),
        ({"cron": "0 3 * *"}, "report: cron .* has 4 fields of 5"),
        ({"cron": "0 3 * * *", "tz": "Paris"}, "is no time zone"),
        ({"every": "0.1s"}, "under a second"),
        ({"every": "5s", "missed": "maybe"}, "one of skip, once, all"),
        ({"every": "5s", "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, "have no run_at"),
        ({"every": "5s", "expires": datetime(2030, 1, 1, tzinfo=UTC)}, "have no expires_at"),
        ({"every": "5s", "idempotency_key": "k"}, "have no idempotency_key"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_where_it_stands(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        declare(an_app(), **settings)


def test_a_task_that_needs_arguments_has_no_schedule_of_its_own() -> None:
    app = an_app()
    with pytest.raises(ConfigError, match=r"app\.schedule\(name, task\.job"):

        @app.task(name="greet", every="5s")
        def greet(user_id: int) -> None: ...

    with pytest.raises(ConfigError, match="set where the task is declared"):
        declare(app).using(cron="0 3 * * *")


async def test_an_edit_stays_until_the_declaration_changes() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)

    async def deployed(**settings: Any) -> Schedule:
        async with an_app(clock, store) as app:
            declare(app, **settings)
            return await app.schedules.aget("report")

    await deployed(every="1h")
    async with an_app(clock, store) as operator:
        await operator.schedules.aedit("report", every="5m")
        await operator.schedules.apause("report")
    same = await deployed(every="1h")
    assert (same.when, same.edited, same.paused) == ("every 5m", True, True)
    other_part = await deployed(every="1h", priority=3)
    assert other_part.when == "every 5m"
    assert other_part.record.spec is not None
    assert other_part.record.spec.job.priority == 3
    changed = await deployed(every="2h", priority=3)
    assert (changed.when, changed.edited, changed.paused) == ("every 2h", False, True)
    async with an_app(clock, store) as without:
        assert [found.name for found in await without.schedules.aall()] == ["report"]


async def test_schedules_are_made_changed_and_deleted_at_run_time() -> None:
    clock = VirtualClock()
    async with an_app(clock) as app:
        report = declare(app)
        schedules = app.schedules
        made = await schedules.acreate(
            "nightly", report.job("yesterday"), cron="0 3 * * *", tz="Asia/Tokyo"
        )
        assert made.when == "every day at 03:00, Asia/Tokyo"
        assert not made.declared
        assert made.next_at == (await schedules.aget("nightly")).next_at
        edited = await schedules.aedit("nightly", job=report.job("now"), missed="all")
        assert edited.when == made.when
        assert edited.record.spec is not None
        assert bytes(edited.record.spec.job.payload) == b'[["now"],{}]'
        paused = await schedules.apause("nightly")
        assert (paused.paused, paused.next_at) == (True, None)
        assert repr(paused) == "<Schedule nightly: every day at 03:00, Asia/Tokyo, paused>"
        clock.advance("2d")
        resumed = await schedules.aresume("nightly")
        assert resumed.record.last == clock.now()
        assert await schedules.adelete("nightly")
        assert not await schedules.adelete("nightly")
        assert await schedules.aall() == []


@pytest.mark.parametrize(
    ("found", "given", "rule"),
    [
        (
            Cron("0 3 * * *", "Europe/Paris"),
            {"cron": "0 4 * * *"},
            Cron("0 4 * * *", "Europe/Paris"),
        ),
        (Cron("0 3 * * *", "Europe/Paris"), {"tz": "Asia/Tokyo"}, Cron("0 3 * * *", "Asia/Tokyo")),
        (Cron("0 3 * * *", "Europe/Paris"), {"missed": "all"}, Cron("0 3 * * *", "Europe/Paris")),
        (Cron("0 3 * * *", "Europe/Paris"), {"every": "1h"}, Every(HOUR)),
        (Every(HOUR), {"cron": "0 4 * * *"}, Cron("0 4 * * *")),
        (Every(HOUR, start=7), {"every": "2h"}, Every(2 * HOUR, start=7)),
    ],
)
async def test_an_edit_leaves_what_it_does_not_name(
    found: Rule, given: dict[str, Any], rule: Rule
) -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with an_app(clock, store) as app:
        spec = ScheduleSpec(rule=found, job=replace(declare(app).job(), id=""))
        change = ScheduleChange("n", 0, created("n", spec, clock.now()))
        assert await store.arrange([change]) == [True]
        edited = await app.schedules.aedit("n", **given)
        assert edited.record.spec is not None
        assert edited.record.spec.rule == rule


@pytest.mark.parametrize(
    ("made", "given", "complaint"),
    [
        ({"every": "1h"}, {"tz": "Asia/Tokyo"}, "schedule 'n' needs a cron="),
        ({"cron": "0 3 * * *"}, {"every": "1h", "tz": "Asia/Tokyo"}, "needs a cron="),
        ({"cron": "0 3 * * *"}, {"every": "1h", "cron": "0 4 * * *"}, "both cron= and every="),
        ({"cron": "0 3 * * *"}, {"tz": "Nowhere"}, "schedule 'n': tz='Nowhere' is no time zone"),
    ],
)
async def test_an_edit_that_cannot_be_changes_nothing(
    made: dict[str, Any], given: dict[str, Any], complaint: str
) -> None:
    async with an_app() as app:
        before = await app.schedules.acreate("n", declare(app).job(), **made)
        with pytest.raises(ConfigError, match=complaint):
            await app.schedules.aedit("n", **given)
        assert (await app.schedules.aget("n")).when == before.when


async def test_what_is_run_now_is_a_job_besides_those_of_the_slots() -> None:
    async with an_app() as app:
        report = declare(app)
        await app.schedules.acreate("nightly", report.job("x"), cron="0 3 * * *")
        await app.schedules.apause("nightly")
        before = (await app.schedules.aget("nightly")).record
        first, second = await app.schedules.arun("nightly"), await app.schedules.arun("nightly")
        assert first.id != second.id
        assert await app.adrain() == 2
        assert await first.aresult() == "x"
        assert (await app.schedules.aget("nightly")).record == before


async def test_a_name_is_made_once() -> None:
    async with an_app() as app:
        report = declare(app)
        await app.schedules.acreate("n", report.job(), every="1h")
        await app.schedules.acreate("n", report.job(), every="1h")  # its reply was lost, say
        for other in ({"every": "2h"}, {"cron": "0 3 * * *"}):
            with pytest.raises(ConfigError, match="there is a schedule 'n' already"):
                await app.schedules.acreate("n", report.job(), **other)


async def test_a_service_that_makes_its_schedules_starts_while_one_is_paused() -> None:
    async with an_app() as app:
        report = declare(app)
        await app.schedules.acreate("n", report.job(), every="1h")
        await app.schedules.apause("n")
        again = await app.schedules.acreate("n", report.job(), every="1h")
        assert (again.paused, again.next_at) == (True, None), "it is still what the operator wants"
        with pytest.raises(ConfigError, match="there is a schedule 'n' already"):
            await app.schedules.acreate("n", report.job(), every="2h")


async def test_a_task_has_several_declared_schedules_with_arguments() -> None:
    async with an_app() as app:
        report = declare(app, cron="0 3 * * *")
        app.schedule("for sales", report.job("sales"), cron="0 4 * * *", tz="Asia/Tokyo")
        app.schedule("for staff", report.using(queue="mail").job("staff"), every="1h", missed="all")
        found = await app.schedules.aall()
        assert [(each.name, each.when, each.declared, each.edited) for each in found] == [
            ("for sales", "every day at 04:00, Asia/Tokyo", True, False),
            ("for staff", "every 1h", True, False),
            ("report", "every day at 03:00, UTC", True, False),
        ]
        specs = [each.record.spec for each in found]
        assert [spec and bytes(spec.job.payload) for spec in specs] == [
            b'[["sales"],{}]', b'[["staff"],{}]', b"[[],{}]",
        ]  # fmt: skip
        assert specs[1] is not None
        assert (specs[1].job.queue, specs[1].missed, specs[1].job.id) == ("mail", Missed.ALL, "")


async def test_what_app_schedule_declares_bears_what_operators_did() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)

    async def deployed(day: str = "x", **settings: Any) -> Schedule:
        async with an_app(clock, store) as app:
            app.schedule("n", declare(app).job(day), **settings)
            return await app.schedules.aget("n")

    await deployed(every="1h")
    async with an_app(clock, store) as operator:
        await operator.schedules.aedit("n", every="5m")
        await operator.schedules.apause("n")
    same = await deployed(every="1h")
    assert (same.when, same.edited, same.paused) == ("every 5m", True, True)
    other_part = await deployed(day="y", every="1h")
    assert other_part.when == "every 5m"
    assert other_part.record.spec is not None
    assert bytes(other_part.record.spec.job.payload) == b'[["y"],{}]'
    changed = await deployed(day="y", every="2h")
    assert (changed.when, changed.edited, changed.paused) == ("every 2h", False, True)


async def test_what_hooks_say_of_a_request_is_no_part_of_a_schedule() -> None:
    """Else the jobs of a year would belong to the trace of the request that made it."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with an_app(clock, store) as app:
        spans = iter(range(100))

        @app.headers
        def trace() -> dict[str, str]:
            return {"traceparent": f"t{next(spans)}", "tenant": "of the request"}

        report = declare(app, headers={"tenant": "acme"})
        app.schedule("declared", report.job(), every="1h")
        made = await app.schedules.acreate("n", report.job(), every="1h")
        again = await app.schedules.acreate("n", report.job(), every="1h")  # the reply was lost
        assert again.record.spec == made.record.spec
        edited = await app.schedules.aedit("n", job=report.using(headers={"x": "y"}).job())
        for found, own in [
            (made, {"tenant": "acme"}),
            (edited, {"tenant": "acme", "x": "y"}),
            (await app.schedules.aget("declared"), {"tenant": "acme"}),
        ]:
            assert found.record.spec is not None
            assert found.record.spec.job.headers == own
        await app.schedules.arun("n")
        [job] = await find_all(store)
        assert job.headers.keys() == {"tenant", "x", "traceparent"}
        assert job.headers["tenant"] == "acme"
        many = await app.aenqueue_many([report.job()])
        found_job = await app.afetch(many[0].id)
        assert found_job is not None
        assert found_job.headers.keys() == {"tenant", "traceparent"}, "of no schedule"


async def test_what_was_made_at_run_time_can_be_declared_from_then_on() -> None:
    async with an_app() as app:
        report = declare(app)
        await app.schedules.acreate("n", report.job(), every="1h")
        app.schedule("n", report.job(), every="2h")
        [found] = await app.schedules.aall()
        assert (found.when, found.declared, found.edited) == ("every 2h", True, False)


def test_a_name_stands_in_code_once() -> None:
    app = an_app()
    report = declare(app, every="1h")
    app.schedule("n", report.job(), every="1h")
    for name in ("n", "report"):
        with pytest.raises(ConfigError, match=f"two schedules are named '{name}'"):
            app.schedule(name, report.job(), every="1h")
    with pytest.raises(ConfigError, match="two schedules are named 'n'"):
        declare(app, name="n", every="1h")
    assert app.registry.names() == ("report",), "a task that was refused is not there"
    declare(app, name="n")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "schedule 'n' needs a time"),
        ({"every": "1h", "cron": "* * * * *"}, "both"),
        ({"every": "1h", "missed": "never"}, "one of skip, once, all"),
        ({"every": "1h", "missd": "all"}, "did you mean missed="),
    ],
)
def test_what_cannot_be_declared_is_refused_where_it_stands(
    settings: dict[str, Any], complaint: str
) -> None:
    app = an_app()
    with pytest.raises(ConfigError, match=complaint):
        app.schedule("n", declare(app).job(), **settings)
    with pytest.raises(ConfigError, match="the name of a schedule"):
        app.schedule("", declare(app, name="other").job(), every="1h")
    assert app.registry.schedules == {}


@pytest.mark.parametrize("call", ["apause", "aresume", "arun", "aget", "aedit"])
async def test_a_schedule_that_is_not_there_is_said_to_be_so(call: str) -> None:
    async with an_app() as app:
        with pytest.raises(ScheduleNotFound, match="there is no schedule nope") as raised:
            await getattr(app.schedules, call)("nope")
        assert raised.value.name == "nope"


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("", {"every": "1h"}, "the name of a schedule"),
        ("a\nb", {"every": "1h"}, "the name of a schedule"),
        ("n", {}, "needs a time"),
        ("n", {"every": "1h", "cron": "* * * * *"}, "both"),
        ("n", {"every": "1h", "missed": "never"}, "one of skip, once, all"),
    ],
)
async def test_what_cannot_be_made_is_refused(
    name: str, settings: dict[str, Any], complaint: str
) -> None:
    async with an_app() as app:
        with pytest.raises(ConfigError, match=complaint):
            await app.schedules.acreate(name, declare(app).job(), **settings)


async def test_a_schedule_takes_jobs_without_a_time_of_their_own() -> None:
    async with an_app() as app:
        report = declare(app)
        later = report.using(run_at=datetime(2030, 1, 1, tzinfo=UTC))
        with pytest.raises(ConfigError, match="have no run_at"):
            await app.schedules.acreate("n", later.job(), every="1h")
        with pytest.raises(ConfigError, match=r"takes what task\.job"):
            await app.schedules.acreate("n", report, every="1h")


def test_changes_that_meet_are_all_made() -> None:
    """Two operators and a deploy at the same time, on a way that loses replies."""
    clock = VirtualClock()
    store = MemoryStore(clock=clock)

    async def main() -> None:
        way = FlakyStore(store, StoreFaults(delayed=0.7), clock.rng)
        apps = [App(store=way, clock=clock) for _ in range(3)]
        for app in apps:
            declare(app, every="1h")
        report = apps[0].registry.get("report")
        assert report is not None
        await asyncio.gather(
            apps[0].schedules.aedit("report", every="5m"),
            apps[1].schedules.apause("report"),
            apps[2].schedules.aedit("report", job=report.using(priority=9).job()),
        )
        found = await apps[0].schedules.aget("report")
        spec = found.record.spec
        assert spec is not None
        assert (found.when, found.paused, spec.job.priority) == ("every 5m", True, 9)
        for app in apps:
            await app.aclose()

    run(main(), clock=clock)


async def test_a_damaged_schedule_can_be_mended_and_deleted() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    async with an_app(clock, store) as app:
        report = declare(app)
        await app.schedules.acreate("n", report.job(), every="1h")
        rows = store._schedules._rows
        rows["n"] = type(rows["n"])(name="n", spec=None, version=7, last=START, next=START)
        found = await app.schedules.aget("n")
        assert (found.when, found.task) == ("what is stored cannot be read", "")
        for call in (app.schedules.arun("n"), app.schedules.aedit("n", every="1m")):
            with pytest.raises(ConfigError, match="cannot be read"):
                await call
        mended = await app.schedules.aedit("n", job=report.job(), every="1m")
        assert mended.next_at == as_datetime(clock.now() + MINUTE)
        assert await app.schedules.adelete("n")


async def test_on_a_loop_the_error_names_what_to_write() -> None:
    async with an_app() as app:
        with pytest.raises(BacklineError, match=r"await app\.schedules\.aall\("):
            app.schedules.all()


def test_sync_code_has_the_same(tmp_path: Path) -> None:
    app = App(f"sqlite:///{tmp_path / 'jobs.db'}")
    report = declare(app, cron="0 3 * * *")
    for _ in range(2):
        assert app.schedules.create("n", report.job("x"), every="1h").name == "n"
    assert [found.name for found in app.schedules.all()] == ["n", "report"]
    spec = app.schedules.edit("n", every="2h").record.spec
    assert spec is not None
    assert spec.rule == Every(2 * HOUR)
    assert app.schedules.pause("n").paused
    assert not app.schedules.resume("n").paused
    report_spec = app.schedules.get("report").record.spec
    assert report_spec is not None
    assert report_spec.rule == Cron("0 3 * * *")
    job = app.schedules.run("n")
    assert app.drain() == 1
    assert job.result() == "x"
    assert app.schedules.delete("n")
    app.close()


async def test_six_hundred_tasks_are_declared_once() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock=clock)
    for _ in range(2):
        async with an_app(clock, store) as app:
            for n in range(600):
                declare(app, name=f"t{n}", every="1h")
            assert len(await app.schedules.aall()) == 600
    assert store._schedules._versions == 600, "the second deploy changed nothing"
    assert await find_all(store) == []
