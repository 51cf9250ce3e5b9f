"""What people who know another job queue type first: each answer names what is ours."""

import asyncio
import copy
import inspect
import pkgutil
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import backline
from backline import App, BacklineError, ConfigError, ResultTimeout, Retry, UnknownOption
from backline.task import dialects
from backline.task.options import DECLARED_ONLY, OPTIONS, BatchSettings


@pytest.fixture
def app() -> App:
    return App("memory://")


def of(thing: object, name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert not hasattr(thing, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("apply_async", "task.using("),
        ("send", "task.enqueue("),
        ("s", "task.job("),
        ("enqueue_in", "delay="),
        ("AsyncResult", "task.handle("),
    ],
)
def test_methods_of_other_tasks(app: App, name: str, ours: str) -> None:
    task = app.task(name="t")(lambda: None)
    assert ours in of(task, name)
    assert ours in of(task.using(queue="mail"), name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("get", "job.result("), ("state", "job.status()"), ("revoke", "job.cancel()")],
)
def test_attributes_of_other_handles(app: App, name: str, ours: str) -> None:
    assert ours in of(app.job("x"), name)


PAGE = "docs/how-to/coming-from.md"


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("delay", 'app.enqueue("module.task", ...)'),
        ("send_task", 'app.enqueue("module.task", ...)'),
        ("actor", "@app.task"),
        ("conf", "App(url)"),
        ("autodiscover_tasks", "import the modules"),
        ("add_periodic_task", "cron="),
        ("AsyncResult", "app.job(job_id)"),
        ("run_worker", "`backline worker module:app`"),
        ("enqueue_in", "delay="),
    ],
)
def test_attributes_of_other_apps(app: App, name: str, ours: str) -> None:
    told = of(app, name)
    assert told.startswith(f"'App' object has no attribute '{name}'; ")
    assert ours in told
    assert PAGE in told


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Celery", "App("),
        ("shared_task", "@app.task"),
        ("crontab", "cron="),
        ("Ignore", "raise Cancel("),
        ("chord", "group(...).then("),
        ("get_current_job", "current_job()"),
    ],
)
def test_names_of_other_packages(name: str, ours: str) -> None:
    told = of(backline, name)
    assert told.startswith(f"module 'backline' has no attribute '{name}'; ")
    with pytest.raises(ImportError) as caught:
        exec(f"from backline import App, {name}")
    assert str(caught.value).startswith(f"cannot import name '{name}' from 'backline'; ")
    for each in (told, str(caught.value)):
        assert ours in each
        assert PAGE in each


def test_a_name_that_nobody_has_is_missed_as_ever() -> None:
    assert of(backline, "Appp") == "module 'backline' has no attribute 'Appp'"
    with pytest.raises(ImportError, match=r"cannot import name 'Appp' from 'backline' \(/"):
        exec("from backline import Appp")
    exec("from backline import autoscale, testing")


def test_what_python_asks_of_an_app_is_answered_as_ever(app: App) -> None:
    for name in ("__path__", "__wrapped__", "__deepcopy__", "_ipython_display_", "__len__"):
        assert not hasattr(app, name)
    assert inspect.unwrap(app) is app  # type: ignore[arg-type]
    assert [*inspect.signature(App).parameters] == ["url", "clock", "store", "unknown"]
    assert copy.copy(app).registry is app.registry
    bare = App.__new__(App)  # as copy and pickle make one
    assert not hasattr(bare, "__setstate__")
    with pytest.raises(AttributeError, match="'App' object has no attribute 'url'"):
        _ = bare.url
    assert inspect.getmodule(backline.App) is not None
    assert not hasattr(backline, "__wrapped__")


def test_a_function_in_the_place_of_a_name_or_an_id(app: App) -> None:
    """As RQ has it: queue.enqueue(f, x), @job."""

    def welcome(user: int) -> None: ...

    with pytest.raises(
        TypeError, match=r"a job's id is a str, not <.*; a task's decorator is @app\.task"
    ):
        app.job(welcome)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"@app\.task, then welcome\.enqueue\(\.\.\.\)"):
        app.enqueue(welcome, 7)  # type: ignore[arg-type]


def test_a_plain_mistake_is_a_plain_error(app: App) -> None:
    task = app.task(name="t")(lambda: None)
    assert of(task, "enqueu") == "'SyncTask' object has no attribute 'enqueu'"
    with pytest.raises(AttributeError) as caught:
        task.enqueu()  # type: ignore[attr-defined]
    assert (caught.value.name, caught.value.obj) == ("enqueu", task)  # Python finds the near one


def test_no_attribute_of_ours_is_called_foreign(app: App) -> None:
    assert not {*dir(app.task(name="t")(lambda: None))} & dialects.OF_TASK.keys()
    assert not {*dir(app.job("x"))} & dialects.OF_JOB.keys()
    assert not {"url", "clock", "store"} & dialects.OF_APP.keys()
    assert not {*dir(app)} & dialects.ON_APP.keys()
    modules = {module.name for module in pkgutil.iter_modules(backline.__path__)}
    assert not {*dir(backline), *modules} & dialects.IN_PACKAGE.keys()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda _: App(broker="redis://x"), "option 'broker' of App; an app has the URL of its"),
        (lambda _: App("tasks", broker="redis://x"), 'App("sqlite:///backline.db")'),
        (lambda app: app.queue("q", maxsize=3), "'maxsize' of app.queue; use max_depth="),
        (lambda app: app.queue("q", max_dept=3), "did you mean max_depth=?"),
        (lambda _: Retry(max=3), "'max' of Retry; use max_attempts= of the task"),
        (lambda _: Retry(bas="2s"), "did you mean base=?"),
        (lambda app: app.task(name="t", crontab="* * * * *"), "use cron=, as in @app.task(cron="),
        (lambda app: app.task(name="t", run_every=60), "use every=, as in @app.task(every="),
        (lambda app: app.task(name="t", timezone="UTC"), "use tz="),
        (lambda app: app.task(name="t", rate_limit="10/m"), 'use rate="100/m"'),
        (lambda app: app.task(name="t", depends_on=[]), "use task.using(after=[job])"),
        (lambda app: app.task(name="t", on_failure=print), "is its on_success= and its on_dead="),
    ],
)
def test_options_of_others_are_type_errors_that_name_ours(
    app: App, made: Callable[[App], Any], told: str
) -> None:
    with pytest.raises(UnknownOption) as caught:
        made(app)(lambda: None)
    assert told in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_the_list_of_options_is_that_of_the_place(app: App) -> None:
    with pytest.raises(UnknownOption) as declared:
        app.task(name="t", zzzz=1)(lambda: None)  # type: ignore[call-overload]
    assert "within" not in str(declared.value)
    assert "every, executor, expires" in str(declared.value)
    with pytest.raises(UnknownOption) as used:
        app.task(name="t")(lambda: None).using(zzzz=1)  # type: ignore[call-arg]
    assert "weight, within" in str(used.value)
    assert "executor" not in str(used.value)
    assert BatchSettings.__annotations__.keys() - OPTIONS == DECLARED_ONLY


def test_the_retry_of_a_task_is_no_function(app: App) -> None:
    task = app.task(name="t")(lambda: None)
    with pytest.raises(TypeError, match="raise RetryLater"):
        task.retry(countdown=3)  # type: ignore[operator]


@pytest.mark.parametrize("delays", [[], ()])
def test_no_delays_are_not_the_default_ones(delays: list[str]) -> None:
    with pytest.raises(ConfigError, match="max_attempts=1"):
        Retry(delays=delays)


class Mailer:
    def send(self, to: str) -> None: ...

    @staticmethod
    def plain(to: str) -> None: ...


def test_a_method_is_no_task(app: App) -> None:
    with pytest.raises(ConfigError, match="is a method, and a job carries no object"):
        app.task(Mailer.send)
    assert app.task(Mailer.plain).name.endswith("Mailer.plain")


async def test_a_call_that_would_block_names_what_to_write(app: App) -> None:
    @app.task(name="t")
    def welcome() -> None: ...

    with pytest.raises(BacklineError, match=r"`await welcome\.aenqueue\(\.\.\.\)`"):
        welcome.enqueue()
    with pytest.raises(BacklineError, match=r"`await job\.aresult\(\.\.\.\)`"):
        app.job("x").result()
    with pytest.raises(BacklineError, match=r"`await app\.acancel\(\.\.\.\)`"):
        app.cancel("x")


def test_an_error_of_ours_comes_without_the_frames_that_led_to_it(app: App) -> None:
    job = app.remote("t").enqueue()
    with pytest.raises(ResultTimeout) as caught:
        job.result(timeout=0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[1:]] == ["result", "wait"]


def test_an_error_of_a_task_keeps_its_frames(app: App) -> None:
    @app.task(name="t")
    def deep() -> None:
        asyncio.run(app.job("x").arefresh())

    with app.immediate(), pytest.raises(BacklineError) as caught:
        deep.enqueue()
    assert "deep" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_a_job_that_waits_for_long_says_for_what(app: App) -> None:
    with pytest.raises(ResultTimeout, match="a worker that knows its task; `backline doctor`"):
        app.remote("t").using(delay="1h").enqueue().result(timeout=0)


def test_an_error_within_a_property_of_an_app_of_ones_own_is_told_as_it_is() -> None:
    class Shop(App):
        @property
        def till(self) -> str:
            return str([].missing)  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'list' object has no attribute 'missing'"):
        _ = Shop("memory://").till
