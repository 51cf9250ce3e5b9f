"""Log records say which job they are of, and stand in nobody's way."""

import json
import logging
from collections.abc import Iterator

import pytest

from backline import App
from backline.logs import JobFields, LogFormat, configure

mine = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def root_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `configure` do as it likes: the root logger is as it was afterwards."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.setattr(root, "handlers", [])
    yield
    root.setLevel(level)


def run_a_job_that_logs(extra: dict[str, object] | None = None) -> str:
    app = App("memory://")

    @app.task(name="charge", max_attempts=1)
    def charge() -> None:
        mine.info("charging", extra=extra)

    job = charge.enqueue()
    app.drain()
    app.close()
    return job.id


@pytest.mark.parametrize("field", ["task", "queue", "attempt", "job_id"])
def test_a_job_may_log_fields_with_the_names_of_ours(
    capsys: pytest.CaptureFixture[str], field: str
) -> None:
    configure(style="json")

    job_id = run_a_job_that_logs(extra={field: "mine"})

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [line] = [line for line in lines if line["logger"] == mine.name]
    ours = {"task": "charge", "queue": "default", "attempt": 1, "job_id": job_id}
    assert {name: line[name] for name in ours} == ours | {field: "mine"}


@pytest.mark.parametrize("style", ["text", "json", "logfmt"])
def test_a_record_says_which_job_it_is_of(
    capsys: pytest.CaptureFixture[str], style: LogFormat
) -> None:
    configure(style=style)

    job_id = run_a_job_that_logs()
    mine.info("outside")

    lines = capsys.readouterr().err.splitlines()
    inside, outside = [line for line in lines if mine.name in line]
    assert job_id in inside
    assert "charge" in inside.replace("charging", "")
    assert job_id not in outside


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_a_handler_of_the_service_has_the_fields_too() -> None:
    handler = Kept()
    handler.addFilter(JobFields())
    logger = logging.getLogger("shop.orders")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        job_id = run_a_job_that_logs()
        mine.info("outside")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    facts = [
        [getattr(r, name) for name in ("job_id", "task", "queue", "attempt")]
        for r in handler.records
    ]
    assert facts == [[job_id, "charge", "default", 1], [None, None, None, None]]
