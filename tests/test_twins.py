"""What can be awaited has a name with `a`, and a twin for code without a loop."""

import inspect

import pytest

from backline import App, Job, JobContext, State
from backline.app.app import App as RealApp
from backline.app.schedules import Schedules

FOR_HANDLES = {"aflow_stats", "acancel_flow", "asend", "aended", "aoffer", "asteps"}
"""What handles and tasks ask of their app; they have the twins."""


@pytest.mark.parametrize("kind", [RealApp, Job, JobContext, Schedules])
def test_every_coroutine_has_a_name_with_a_and_a_sync_twin(kind: type) -> None:
    members = dict(inspect.getmembers(kind, inspect.isfunction))
    awaited = {
        name
        for name, member in members.items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
    assert awaited
    for name in awaited:
        assert name.startswith("a"), name
        if name not in FOR_HANDLES:
            twin = members[name.removeprefix("a")]
            assert not inspect.iscoroutinefunction(twin), name
            assert list(inspect.signature(twin).parameters) == list(
                inspect.signature(members[name]).parameters
            )


def test_jobs_are_looked_after_by_id_without_a_loop() -> None:
    app = App("memory://")

    @app.task(name="nap", delay="1h")
    def nap() -> None: ...

    app.open()
    job = nap.enqueue()
    record = app.fetch(job.id)
    assert record is not None
    assert record.state is State.SCHEDULED
    assert app.cancel(job.id) == "cancelled"
    assert app.redrive(job.id)
    assert app.relay() == 0
    assert app.fetch("unknown") is None
    assert app.cancel("unknown") == "unknown"
    app.close()


async def test_jobs_are_looked_after_by_id_on_a_loop() -> None:
    async with App("memory://") as app:
        job = await app.remote("nap").using(delay="1h").aenqueue()
        assert (await app.acancel(job.id)) == "cancelled"
        assert await app.aredrive(job.id)
        record = await app.afetch(job.id)
        assert record is not None
        assert record.state is State.READY
        assert await app.arelay() == 0
