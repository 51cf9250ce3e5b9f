"""What a running task, and whoever holds its handle, sees of the times of a job."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from backline import App, JobContext, current_job
from backline.job import HOUR, SECOND, as_datetime
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock
from backline.testing.loop import run

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> VirtualClock:
    clock = VirtualClock()
    clock.step_wall(BEGIN - as_datetime(clock.now()))
    return clock


@pytest.fixture
def app(clock: VirtualClock) -> App:
    return App(store=MemoryStore(clock=clock), clock=clock)


@pytest.mark.parametrize("surrounded", [False, True])
def test_a_run_knows_how_much_time_it_has_left(
    app: App, clock: VirtualClock, surrounded: bool
) -> None:
    seen: list[float] = []

    @app.task(name="index", timeout="90s")
    def index(job: JobContext) -> None:
        seen.append(job.time_left())
        clock.advance(60)
        seen.append(current_job().time_left())
        clock.advance(31)
        seen.append(job.time_left())

    if surrounded:

        @app.middleware
        async def around(job: JobContext, call_next: object) -> object:
            seen.append(job.time_left())
            return await call_next()  # type: ignore[operator]

    async def main() -> None:
        await index.aenqueue()
        await app.adrain()
        await app.aclose()

    run(main(), clock=clock)
    assert seen[-3:] == [90.0, 30.0, 0.0]
    assert seen[:-3] == [90.0] * surrounded


def test_a_later_attempt_has_the_whole_time_again(app: App, clock: VirtualClock) -> None:
    seen: list[float] = []

    @app.task(name="poll", timeout="90s", max_attempts=2)
    async def poll(job: JobContext) -> None:
        seen.append(job.time_left())
        await asyncio.sleep(200)

    async def main() -> None:
        await poll.aenqueue()
        await app.adrain(scheduled=True)
        await app.aclose()

    run(main(), clock=clock)
    assert seen == [90.0, 90.0]


def test_times_are_aware_datetimes(app: App, clock: VirtualClock) -> None:
    seen: list[datetime] = []

    @app.task(name="send", max_attempts=1)
    async def send(job: JobContext) -> None:
        seen.append(job.enqueued_at)
        await asyncio.sleep(2)
        raise ValueError

    async def main() -> None:
        job = await send.using(delay="1h").aenqueue()
        assert (job.enqueued_at, job.due_at, job.started_at, job.finished_at) == (None,) * 4
        await job.arefresh()
        hour = timedelta(hours=1)
        assert (job.enqueued_at, job.due_at) == (BEGIN, BEGIN + hour)
        assert (job.started_at, job.finished_at) == (None, None)
        await app.adrain(scheduled=True)
        await job.arefresh()
        assert job.enqueued_at == seen[0] == BEGIN
        assert job.started_at is not None
        assert job.finished_at is not None
        assert hour <= job.started_at - BEGIN < hour + timedelta(seconds=2)
        assert timedelta(seconds=2) <= job.finished_at - job.started_at < timedelta(seconds=3)
        assert job.errors[0].recorded_at == job.finished_at
        assert {job.enqueued_at.tzinfo, job.finished_at.tzinfo, seen[0].tzinfo} == {UTC}
        await app.aclose()

    run(main(), clock=clock)


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (HOUR + 1, datetime(1970, 1, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (-SECOND, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (2**63 - 1, datetime.max.replace(tzinfo=UTC)),
        (-(2**63), datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_every_time_of_a_store_has_a_datetime(at: int, shown: datetime) -> None:
    assert as_datetime(at) == shown
