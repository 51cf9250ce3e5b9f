"""Instants and durations through the Python API: exact, or refused by the option's name."""

from typing import Any

import pytest
from tests.bad_input.corpus.times import INSTANTS, LENGTHS, Instant, Length

from backline import App, ConfigError, Retry
from backline.duration import micros
from backline.job import JobRequest
from backline.task import AnyTask

LONGEST_MESSAGE = 250


def task_of(app: App) -> AnyTask:
    task = app.registry.get("anything")
    assert task is not None
    return task


def request(app: App, **options: Any) -> JobRequest:
    return task_of(app).using(**options).job()


@pytest.mark.parametrize("case", INSTANTS, ids=lambda case: case.name)
def test_an_instant_is_exact_or_refused(app: App, case: Instant) -> None:
    if case.micros is None:
        with pytest.raises(ConfigError, match="run_at= of anything: ") as refusal:
            request(app, run_at=case.value)
        assert len(str(refusal.value)) <= LONGEST_MESSAGE
        return
    assert request(app, run_at=case.value).run_at == case.micros
    assert request(app, expires=case.value).expires_at == case.micros
    record = task_of(app).using(run_at=case.value, expires=case.value).enqueue().refresh()
    assert (record.due, record.expires_at) == (case.micros, case.micros)


@pytest.mark.parametrize("case", LENGTHS, ids=lambda case: case.name)
def test_a_length_is_exact_or_refused(app: App, case: Length) -> None:
    options = ["delay", "timeout", "expires", "keep", "keep_dead"]
    if case.micros is None:
        if isinstance(case.value, int | float | str):
            options.append("unique_for")
        for option in options:
            with pytest.raises(ConfigError, match=f"{option}= of anything: ") as refusal:
                request(app, **{option: case.value})
            assert str(refusal.value).isprintable()
            assert len(str(refusal.value)) <= LONGEST_MESSAGE
        return
    assert micros(case.value) == case.micros
    assert request(app, delay=case.value).delay == case.micros
    assert request(app, keep=case.value).terms.keep == case.micros
    record = task_of(app).using(keep=case.value, delay=case.value).enqueue().refresh()
    assert record.due == record.enqueued_at + case.micros
    assert record.terms.keep == case.micros


@pytest.mark.parametrize(
    "case", [case for case in LENGTHS if case.micros is None], ids=lambda case: case.name
)
def test_a_wait_between_attempts_is_refused(case: Length) -> None:
    for given in ({"base": case.value}, {"cap": case.value}, {"delays": [case.value]}):
        with pytest.raises(ConfigError, match="Retry: "):
            Retry(**given)


@pytest.mark.parametrize("case", LENGTHS, ids=lambda case: case.name)
def test_a_timeout_of_a_result(app: App, case: Length) -> None:
    if case.value is None:
        pytest.skip("it means for ever")
    job = app.job("nobody")
    if case.micros is None:
        with pytest.raises(ConfigError, match="timeout= of result: "):
            job.result(timeout=case.value)
