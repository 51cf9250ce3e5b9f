"""Names, keys, tags, headers and ids through the Python API: stored as they stand, or refused
with an error that names the argument."""

from typing import Any

import pytest
from tests.bad_input.corpus.names import NAMES, XSS, Name

from backline import App, ConfigError, InvalidArguments, JobNotFound
from backline.display import safe
from backline.job import JobRecord
from backline.store import Cancelling
from backline.task import AnyTask

FINE = [each for each in NAMES if each.fine]
REFUSED = [each for each in NAMES if not each.fine]
TEXTS = [each for each in NAMES if isinstance(each.value, str) and len(each.value) <= 4_000]
LONGEST_MESSAGE = 300


def anything(app: App) -> AnyTask:
    task = app.registry.get("anything")
    assert task is not None
    return task


def stored(app: App, **options: Any) -> JobRecord:
    return anything(app).using(**options).enqueue().refresh()


def ids(cases: list[Name]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def check_message(error: BaseException) -> None:
    """One line, short, and nothing in it that drives a terminal."""
    assert str(error).isprintable()
    assert len(str(error)) <= LONGEST_MESSAGE


@ids(FINE)
def test_a_name_is_stored_as_it_stands(app: App, case: Name) -> None:
    plain = "".join(case.value)
    record = stored(
        app, queue=case.value, tags=[case.value], unique_key=case.value, headers={case.value: "x"}
    )
    assert (record.queue, record.tags, record.headers) == (plain, (plain,), {plain: "x"})
    assert record.unique_key == f"anything:{plain}"
    assert all(type(each) is str for each in (record.queue, record.unique_key, *record.tags))
    [seen] = [each for each in _names(app) if each == plain]
    assert safe(seen).isprintable()


@ids(FINE)
def test_a_task_may_have_the_name(app: App, case: Name) -> None:
    plain = "".join(case.value)
    assert app.enqueue(case.value, case.name).refresh().task == plain


def test_a_script_is_a_name_like_any_other(app: App) -> None:
    task = anything(app)
    names = [case.value for case in XSS]
    jobs = app.enqueue_many(
        [
            task.using(queue=name, tags=[name], unique_key=name, headers={name: name}).job(name)
            for name in names
        ]
    )
    for name, job in zip(names, jobs, strict=True):
        record = job.refresh()
        kept = (record.queue, *record.tags, *record.headers, *record.headers.values())
        assert set(kept) == {name}
        assert record.unique_key == f"anything:{name}"
        assert task.codec.decode(record.payload) == ([name], {})
        assert app.job(name).cancel() is Cancelling.UNKNOWN
        assert app.remote(name).enqueue().refresh().task == name


@ids(REFUSED)
@pytest.mark.parametrize("option", ["queue", "unique_key", "tags"])
def test_a_name_is_refused(app: App, case: Name, option: str) -> None:
    value = [case.value] if option == "tags" else case.value
    with pytest.raises(ConfigError, match=f"{option}= of anything: ") as refusal:
        anything(app).using(**{option: value})  # type: ignore[misc]
    check_message(refusal.value)


@ids(REFUSED)
def test_a_task_of_that_name_is_refused(app: App, case: Name) -> None:
    with pytest.raises(ConfigError, match="name= of a task: ") as refusal:
        app.enqueue(case.value)
    check_message(refusal.value)


@ids(REFUSED)
def test_a_queue_of_that_name_cannot_be_declared_nor_served(app: App, case: Name) -> None:
    with pytest.raises(ConfigError, match="queue ") as refusal:
        app.queue(case.value, max_depth=1)
    check_message(refusal.value)
    if isinstance(case.value, str) and "," not in case.value and case.value == case.value.strip():
        worker = app.worker([case.value])
        with pytest.raises(ConfigError) as refusal:
            _enter(worker)
        check_message(refusal.value)


@ids(REFUSED)
def test_a_key_that_is_computed_is_refused(app: App, case: Name) -> None:
    task = anything(app).using(unique_key=lambda: case.value)
    with pytest.raises(InvalidArguments, match="the unique_key of anything: ") as refusal:
        task.enqueue()
    check_message(refusal.value)


@ids(TEXTS)
def test_a_header_holds_any_unicode(app: App, case: Name) -> None:
    if "surrogate" in case.name:
        for headers in ({case.value: "x"}, {"x": case.value}):
            with pytest.raises(ConfigError, match="lone surrogate") as refusal:
                anything(app).using(headers=headers)
            check_message(refusal.value)
    else:
        plain = "".join(case.value)
        record = stored(app, headers={case.value: "x", "x": case.value})
        assert record.headers == {plain: "x", "x": plain}


@ids([each for each in NAMES if not isinstance(each.value, str)])
def test_a_header_that_is_no_text_is_refused(app: App, case: Name) -> None:
    given: list[dict[Any, Any]] = [{"x": case.value}]
    if not isinstance(case.value, list | dict):
        given.append({case.value: "x"})
    for headers in given:
        with pytest.raises(ConfigError, match="headers= of anything: a mapping of str to str"):
            anything(app).using(headers=headers)


@ids(NAMES)
def test_a_job_of_that_id_is_not_known(app: App, case: Name) -> None:
    if not isinstance(case.value, str):
        with pytest.raises(TypeError, match="a job's id is a str, not "):
            app.job(case.value)
        return
    job = app.job(case.value)
    assert job.cancel() is Cancelling.UNKNOWN
    assert job.retry() is False
    for look in (job.refresh, job.status, lambda: job.result(timeout=0)):
        with pytest.raises(JobNotFound, match="is not known to this store") as missing:
            look()
        check_message(missing.value)


def _names(app: App) -> list[str]:
    async def queues() -> list[str]:
        return [queue.queue for queue in await app.store.stats()]

    return app.wait(queues, "queues")


def _enter(worker: Any) -> None:
    """The first step of entering it: settings are checked before anything is awaited."""
    entering = worker.__aenter__()
    try:
        entering.send(None)
    finally:
        entering.close()
