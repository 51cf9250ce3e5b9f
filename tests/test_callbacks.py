"""Callbacks as people declare them: `on_success=`, `on_dead=`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backline import App, ConfigError, InvalidArguments, Outcome, State
from backline.errors import RetryLater
from backline.follow_up import FOLLOWS

told: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    told.clear()
    yield
    told.clear()


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    app = App("memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}")
    yield app
    app.close()


def declare(app: App, **options: Any) -> Any:
    @app.task(name="total", max_attempts=1, **options)
    def total(amounts: list[int]) -> int:
        if not amounts:
            raise ValueError("nothing to add")
        return sum(amounts)

    return total


def listener(app: App, name: str = "listen", **options: Any) -> Any:
    @app.task(name=name, **options)
    def listen(outcome: Outcome[int]) -> None:
        told.append(outcome)

    return listen


def test_on_success_gets_the_outcome_typed(app: App) -> None:
    job = declare(app, on_success=listener(app), tags=["x"]).enqueue([1, 2])
    app.drain()
    [outcome] = told
    assert (outcome.id, outcome.task, outcome.state) == (job.id, "total", State.SUCCEEDED)
    assert (outcome.result, outcome.error, outcome.attempts) == (3, None, 1)
    assert outcome.succeeded
    assert outcome.tags == ("x",)
    assert outcome.finished_at.utcoffset() is not None


def test_on_dead_gets_what_went_wrong_and_on_success_nothing(app: App) -> None:
    listen = listener(app)
    declare(app, on_success=listen, on_dead=listen).enqueue([])
    app.drain()
    [outcome] = told
    assert (outcome.state, outcome.result) == (State.DEAD, None)
    assert (outcome.error.kind, outcome.error.message) == ("ValueError", "nothing to add")


def test_using_replaces_and_none_takes_away(app: App) -> None:
    one, two = listener(app, "one"), listener(app, "two")
    total = declare(app, on_success=one)
    total.using(on_success=[one, two]).enqueue([1])
    total.using(on_success=None).enqueue([1])
    app.drain()
    assert len(told) == 2


def test_a_job_with_its_own_arguments(app: App) -> None:
    @app.task(name="say")
    def say(text: str) -> None:
        told.append(text)

    declare(app).using(on_dead=say.job("order 7 failed")).enqueue([])
    app.drain()
    assert told == ["order 7 failed"]


def test_a_name_is_looked_up_by_the_worker(app: App) -> None:
    total = declare(app, on_success="listen")
    listener(app)
    total.enqueue([4])
    app.drain()
    assert [outcome.result for outcome in told] == [4]


def test_the_callback_keeps_its_own_options(app: App) -> None:
    listen = listener(app, queue="mail", priority=7, delay="1m", keep="1h")
    job = declare(app, on_success=listen).enqueue([1])
    fetched = app.fetch(job.id)
    assert fetched is not None
    [follow_up] = fetched.follow_ups
    assert (follow_up.on, follow_up.job.queue) == ((State.SUCCEEDED,), "mail")
    assert (follow_up.job.priority, follow_up.job.delay) == (7, 60_000_000)


def test_a_callback_has_no_callbacks_of_its_own(app: App) -> None:
    last = listener(app, "last")
    declare(app, on_success=listener(app, "first", on_success=last)).enqueue([1])
    app.drain()
    assert len(told) == 1


def test_each_end_after_a_redrive_calls_back(app: App) -> None:
    listen = listener(app)
    job = declare(app, on_dead=listen).enqueue([])
    app.drain()
    assert app.redrive(job.id)
    app.drain()
    assert [outcome.attempts for outcome in told] == [1, 2]


def test_a_retry_calls_nobody_back(app: App) -> None:
    @app.task(name="flaky", on_success=listener(app), on_dead=listener(app, "dead"))
    def flaky() -> None:
        raise RetryLater("1h")

    flaky.enqueue()
    app.drain()
    assert not told


def test_the_callback_names_the_job_it_follows(app: App) -> None:
    seen: list[str] = []

    @app.middleware
    async def look(job: Any, call_next: Any) -> Any:
        seen.append(job.headers.get(FOLLOWS, ""))
        return await call_next()

    job = declare(app, on_success=listener(app)).enqueue([1])
    app.drain()
    assert seen == ["", job.id]


def test_hooks_say_nothing_in_what_is_enqueued_later(app: App) -> None:
    app.headers(lambda: {"traceparent": "now"})
    listen = listener(app, headers={"own": "1"})
    job = declare(app, on_success=listen).enqueue([1])
    fetched = app.fetch(job.id)
    assert fetched is not None
    assert dict(fetched.follow_ups[0].job.headers) == {"own": "1"}


def test_what_cannot_be_a_callback_is_refused_where_it_is_declared(app: App) -> None:
    def key(outcome: Outcome[int]) -> str:
        return outcome.id

    @app.task(name="two")
    def two(first: int, second: int) -> None: ...

    keyed = listener(app, unique_key=key)
    limited = listener(app, "limited", concurrency_key=key)
    for wrong in (two, 7, print, "", [two], keyed, limited, ["x"] * 11):
        with pytest.raises(ConfigError, match="on_success= of"):
            declare(app, on_success=wrong)


def test_what_an_event_made_is_followed_like_any_other(app: App) -> None:
    app.webhooks()

    @app.on("added", name="hear", on_success=listener(app), callback_url="https://example.com/")
    def hear(payload: int) -> int:
        return payload

    [job] = app.publish("added", 4).jobs.values()
    fetched = app.fetch(job.id)
    assert fetched is not None
    assert [each.job.task for each in fetched.follow_ups] == ["listen", "backline.webhook"]


def test_callback_url_needs_webhooks(app: App) -> None:
    total = declare(app, callback_url="https://example.com/done")
    with pytest.raises(ConfigError, match=r"app\.webhooks"):
        total.enqueue([1])
    app.webhooks()
    total.enqueue([1])
    with pytest.raises(InvalidArguments, match="callback_url"):
        total.enqueue([1], callback_url="https://example.com/")
