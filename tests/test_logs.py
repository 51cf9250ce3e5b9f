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


def run_a_job_that_fails(error: Exception, max_attempts: int = 1) -> str:
    app = App("memory://")

    @app.task(name="charge", max_attempts=max_attempts)
    def charge() -> None:
        raise error

    job = charge.enqueue()
    app.drain()
    app.close()
    return job.id


def test_the_last_failure_is_an_error_with_its_traceback_below_our_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()

    run_a_job_that_fails(ValueError("no such card\n12:00:00 info    mine: \x1b[2Jall is well"))

    said = capsys.readouterr().err
    _, *trace = said[said.index("is dead, failure 1: ValueError: no such card") :].splitlines()
    assert "Traceback (most recent call last):" in trace[0]
    assert [line for line in trace if "charge" in line]
    assert "runners.py" not in said
    assert all(line.startswith("  ") for line in trace)  # none can pass as a record of its own
    assert "\x1b" not in "".join(trace)


def test_a_failure_that_is_retried_has_no_traceback_unless_one_debugs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    run_a_job_that_fails(ValueError("no such card"), max_attempts=2)
    said = capsys.readouterr().err
    assert "failed, 1 of 2, again in" in said
    assert "Traceback" not in said

    configure("DEBUG")
    run_a_job_that_fails(ValueError("no such card"), max_attempts=2)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("style", ["text", "json", "logfmt"])
def test_a_long_traceback_loses_its_middle(
    capsys: pytest.CaptureFixture[str], style: LogFormat
) -> None:
    configure(style=style)
    run_a_job_that_fails(ValueError("begin" + "x" * 100_000 + "end"))
    said = capsys.readouterr().err
    assert "characters left out" in said
    assert len(said) < 40_000


def test_an_error_that_defends_itself_against_being_printed_is_logged_all_the_same() -> None:
    class Handler(Kept):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                raise SystemExit("looked at too closely")
            super().emit(record)

    handler = Handler()
    logger = logging.getLogger("backline.worker")
    logger.addHandler(handler)
    try:
        run_a_job_that_fails(ValueError("no such card"))
    finally:
        logger.removeHandler(handler)
    assert [record.levelname for record in handler.records] == ["ERROR"]
