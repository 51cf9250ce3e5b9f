"""What the store has of the schedules that stand in code, with two versions of the code."""

import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace
from tests import deploys
from tests.deploys import rounds, worker

from backline import App, ConfigError
from backline.job import DAY, FARTHEST, HOUR, MINUTE, SECOND, JobRequest, Lane, Micros
from backline.schedule import Cron, Every, ScheduleChange, ScheduleRecord, change
from backline.store import Store, WorkerReport
from backline.testing.clock import START
from backline.testing.conformance.jobs import find_all


class Deploy(deploys.Deploy):
    """Versions of the code of the task `report`, and what became of its schedule."""

    def version(self, **settings: Any) -> App:
        app = App(store=self.store, clock=self.clock)

        @app.task(name="report", **settings)
        def report() -> None: ...

        return app

    async def opened(self, **settings: Any) -> None:
        """A process that runs no worker: a command, a web service."""
        app = self.version(**settings)
        await app.aopen()

    async def found(self) -> ScheduleRecord | None:
        page = await self.store.schedules(limit=1, names=["report"])
        return next(iter(page.schedules), None)

    async def every(self) -> Micros | None:
        found = await self.found()
        if found is None:
            return None
        assert found.spec is not None
        assert isinstance(found.spec.rule, Every)
        return found.spec.rule.interval

    async def edit(self, **changes: Any) -> None:
        found = await self.found()
        assert found is not None
        assert found.spec is not None
        new = change.edited(found, replace(found.spec, **changes), self.clock.now())
        assert await self.store.arrange([ScheduleChange("report", found.version, new)]) == [True]

    async def pause(self) -> None:
        found = await self.found()
        assert found is not None
        new = change.paused(found)
        assert await self.store.arrange([ScheduleChange("report", found.version, new)]) == [True]

    async def dues(self) -> list[Micros]:
        return sorted(job.due for job in await find_all(self.store, page=2_000))


@pytest.fixture
def deploy() -> Deploy:
    return Deploy()


# ------------------------------------------------------------------------- two versions at once


def test_the_worker_that_started_last_has_the_say_until_it_is_gone(deploy: Deploy) -> None:
    async def main() -> None:
        async with AsyncExitStack() as old, AsyncExitStack() as new:
            await worker(old, deploy.version(every="1h"))
            assert await deploy.every() == HOUR
            await worker(new, deploy.version(every="2h"))
            assert await deploy.every() == 2 * HOUR
            before = await deploy.found()
            await rounds(10)
            assert await deploy.found() == before, "the two do not undo each other"
            await new.aclose()  # rolled back
            await rounds()
            assert await deploy.every() == HOUR
            await worker(new, deploy.version(every="3h"))
            await old.aclose()
            await rounds()
            assert await deploy.every() == 3 * HOUR

    deploy.run(main)


def test_a_worker_that_died_has_no_say(deploy: Deploy) -> None:
    """Its report is forgotten by itself."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await worker(stack, deploy.version(every="1h"))
            await deploy.store.report([other(deploy.clock.now() + MINUTE)], 15 * SECOND)
            await deploy.edit(rule=Every(5 * HOUR))
            found = await deploy.found()
            assert found is not None
            theirs = replace(found, declared=replace(found.declared, rule=Every(2 * HOUR)))
            [done] = await deploy.store.arrange([ScheduleChange("report", found.version, theirs)])
            assert done
            await rounds()
            assert await deploy.every() == HOUR

    deploy.run(main)


def other(started_at: Micros, **fields: Any) -> WorkerReport:
    values: dict[str, Any] = {
        "worker": "other", "host": "h", "pid": 1, "queues": ("default",), "lane": Lane.MAIN,
        "concurrency": 1, "tasks": ("report",), "started_at": started_at, "version": "1",
    }  # fmt: skip
    return WorkerReport(**values | fields)


@pytest.mark.parametrize(
    ("fields", "stands"),
    [({}, 2 * HOUR), ({"tasks": ("another",)}, HOUR), ({"lane": Lane.CELL}, HOUR)],
)
def test_only_workers_that_know_the_task_count_and_cells_do_not(
    deploy: Deploy, fields: dict[str, Any], stands: Micros
) -> None:
    async def main() -> None:
        await deploy.opened(every="2h")
        await deploy.store.report([other(START, **fields)], HOUR)
        await deploy.opened(every="1h")
        assert await deploy.every() == stands

    deploy.run(main)


def test_a_process_without_workers_undoes_nothing_that_a_living_worker_declared(
    deploy: Deploy,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await worker(stack, deploy.version(every="2h"))
            await deploy.opened(every="1h")
            await deploy.opened()
            assert await deploy.every() == 2 * HOUR
        await deploy.opened(every="1h")
        assert await deploy.every() == HOUR

    deploy.run(main)


def test_a_process_declares_beside_its_own_worker_what_it_learns_later(deploy: Deploy) -> None:
    async def main() -> None:
        app = deploy.version()
        async with AsyncExitStack() as stack:
            await worker(stack, app)
            await rounds()

            @app.task(name="later", every="30s")
            def later() -> None: ...

            assert [each.name for each in await app.schedules.aall()] == ["later"]

    deploy.run(main)


def test_an_edit_outlives_two_versions_side_by_side(deploy: Deploy) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await worker(stack, deploy.version(every="1h"))
            await worker(stack, deploy.version(every="2h"))
            await deploy.edit(rule=Every(5 * MINUTE))
            await rounds(3)
            await deploy.opened(every="1h")
            assert await deploy.every() == 5 * MINUTE

    deploy.run(main)


# ------------------------------------------------------------------- a schedule that is taken out


def test_a_task_that_stays_without_its_schedule_withdraws_it(deploy: Deploy) -> None:
    async def main() -> None:
        await deploy.opened(every="1h")
        await deploy.opened()
        assert await deploy.found() is None

    deploy.run(main)


def test_a_task_that_is_known_late_withdraws_its_schedule_at_the_next_use(deploy: Deploy) -> None:
    async def main() -> None:
        await deploy.opened(every="1h")
        app = App(store=deploy.store, clock=deploy.clock)
        await app.aopen()
        assert await deploy.every() == HOUR

        @app.task(name="report")
        def report() -> None: ...

        assert await app.schedules.aall() == []

    deploy.run(main)


def test_what_people_made_of_a_schedule_is_theirs(
    deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await deploy.opened(every="1h")
        await deploy.edit(rule=Every(MINUTE))
        app = deploy.version()
        async with AsyncExitStack() as stack:
            await worker(stack, app)
            await rounds(3)
            assert await deploy.every() == MINUTE
        await deploy.opened(every="1h")
        assert await deploy.every() == MINUTE, "also when the schedule is back"

    with caplog.at_level(logging.WARNING):
        deploy.run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert "schedule report: it stands in the code of its task no more, but was edited" in told


def test_a_pause_stays_and_what_was_made_at_run_time_is_none_of_code(deploy: Deploy) -> None:
    async def main() -> None:
        await deploy.opened(every="1h")
        await deploy.pause()
        await deploy.opened()
        await deploy.opened(every="1h")
        found = await deploy.found()
        assert found is not None
        assert found.paused
        app = deploy.version()
        await app.schedules.adelete("report")
        await app.schedules.acreate("report", JobRequest(id="", task="report"), every="1h")
        await deploy.opened()
        assert await deploy.every() == HOUR

    deploy.run(main)


# ------------------------------------------------------------------------ slots of the old rule


@pytest.mark.parametrize(
    ("missed", "hours"), [("all", [1, 2, 3, 4, 5]), ("once", [5]), ("skip", [])]
)
def test_slots_that_an_old_rule_owes_are_used_by_its_policy_first(
    deploy: Deploy, missed: str, hours: list[int]
) -> None:
    async def main() -> None:
        await deploy.opened(every="1h", missed=missed)
        deploy.clock.advance("5h30m")
        await deploy.opened(cron="0 3,15 * * *", missed=missed)
        assert await deploy.dues() == [START + hour * HOUR for hour in hours]
        found = await deploy.found()
        assert found is not None
        assert found.spec is not None
        assert found.spec.rule == Cron("0 3,15 * * *")
        assert (found.last, found.next) == (START + 5 * HOUR + 30 * MINUTE, START + 15 * HOUR)

    deploy.run(main)


def test_a_long_backlog_of_an_old_rule_is_worked_off_up_to_its_bound(deploy: Deploy) -> None:
    async def main() -> None:
        await deploy.opened(every="1m", missed="all")
        deploy.clock.advance("2d")
        await deploy.opened(every="2m", missed="all")
        end = START + 2 * DAY
        assert await deploy.dues() == [end - n * MINUTE for n in reversed(range(1_000))]

    deploy.run(main)


@pytest.mark.parametrize("damage", ["zone", "jobs"])
def test_slots_of_an_old_rule_that_cannot_be_used_are_told_of(
    deploy: Deploy, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await deploy.opened(every="1h", missed="all")
        rows = deploy.store._schedules._rows
        spec = rows["report"].spec
        assert spec is not None
        if damage == "zone":
            spec = replace(spec, rule=Cron("0 * * * *", "Mars/Olympus"))
        else:
            spec = replace(spec, job=replace(spec.job, delay=FARTHEST))
        rows["report"] = replace(rows["report"], spec=spec, declared=spec)
        deploy.clock.advance("5h30m")
        await deploy.opened(every="2h", missed="all")
        assert await deploy.dues() == []
        assert await deploy.every() == 2 * HOUR

    with caplog.at_level(logging.WARNING):
        deploy.run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert "schedule report: slots from 2026-01-01T01:00" in told
    assert "are left out" in told


def test_an_edit_that_nothing_can_be_added_to_stops_no_app(
    deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    """Older code took it. What code itself declares wrongly is said where it is."""

    async def main() -> None:
        await deploy.opened(every="1h")
        rows = deploy.store._schedules._rows
        spec = rows["report"].spec
        assert spec is not None
        rows["report"] = replace(
            rows["report"], spec=replace(spec, job=replace(spec.job, delay=FARTHEST))
        )
        app = deploy.version(every="2h")
        app.schedule("another", JobRequest(id="", task="report"), every="2h")
        for _ in range(2):
            await app.aopen()
            app._home.redeclare()
        assert {each.name for each in await app.schedules.aall()} == {"report", "another"}
        assert await deploy.every() == HOUR
        app.schedule("wrong", JobRequest(id="", task="report", delay=FARTHEST), every="2h")
        with pytest.raises(ConfigError, match="schedule 'wrong' cannot be stored"):
            await app.aopen()

    with caplog.at_level(logging.WARNING):
        deploy.run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert "schedule report: what code declares cannot be added to what was edited" in told


def test_a_schedule_that_is_taken_out_runs_no_more(
    deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even what it owes: whoever took it out does not want it to run."""

    async def main() -> None:
        await deploy.opened(every="1h", missed="all")
        deploy.clock.advance("5h30m")
        await deploy.opened()
        assert await deploy.dues() == []
        assert await deploy.found() is None

    with caplog.at_level(logging.WARNING):
        deploy.run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert "slots from 2026-01-01T01:00" in told


def test_what_is_declared_already_costs_one_read(deploy: Deploy) -> None:
    async def main() -> None:
        await deploy.opened(every="1h")
        store = _Counted(deploy.store)
        app = App(store=store, clock=deploy.clock)

        @app.task(name="report", every="1h")
        def report() -> None: ...

        await app.aopen()
        assert store.calls == ["schedules"]

    deploy.run(main)


class _Counted:
    """Notes what is asked of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in {"schedules", "arrange", "tick", "workers"}:
            self.calls.append(name)
        return getattr(self._store, name)
