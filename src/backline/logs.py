"""Log records that say which job they belong to.

The library logs to `backline.*` and configures nothing. The command line calls `configure`;
a service that embeds a worker calls `add_job_fields` and formats as it likes: every record
then has `job_id`, `task`, `queue` and `attempt`, which are None outside of a job.
"""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from backline.context import current_run

FIELDS: Final = ("job_id", "task", "queue", "attempt")
LogFormat: TypeAlias = Literal["text", "json", "logfmt"]


def add_job_fields() -> None:
    """From now on every log record of this process says which job it is of. Repeated: nothing."""
    inner = logging.getLogRecordFactory()
    if not isinstance(inner, _Factory):
        logging.setLogRecordFactory(_Factory(inner))


def configure(level: str = "INFO", style: LogFormat = "text") -> None:
    """Log to standard error in one of our formats. For a program that is ours from the start."""
    add_job_fields()
    handler = logging.StreamHandler()
    handler.setFormatter({"text": _Text, "json": _Json, "logfmt": _Logfmt}[style]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Factory:
    def __init__(self, inner: Callable[..., logging.LogRecord]) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._inner(*args, **kwargs)
        running = current_run.get(None)
        if running is None or running.run is None:
            record.job_id = record.task = record.queue = record.attempt = None
        else:
            job = running.run.context
            record.job_id, record.task = job.id, job.task
            record.queue, record.attempt = job.queue, job.attempt
        return record


def _facts(record: logging.LogRecord) -> dict[str, object]:
    facts: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    for name in FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            facts[name] = value
    return facts


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        job_id = getattr(record, "job_id", None)
        where = f" [{record.task} {job_id}]" if job_id else ""  # type: ignore[attr-defined]
        line = f"{clock} {record.levelname.lower():7} {record.name}{where}: {record.getMessage()}"
        line = "\\n".join(line.splitlines()) or line  # one record, one line: no forged lines
        return line + _trace(self, record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False, default=str)


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_quoted(value)}" for name, value in facts.items())


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return f"\n{formatter.formatException(record.exc_info)}" if record.exc_info else ""


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
