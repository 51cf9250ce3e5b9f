"""Log records that say which job they belong to.

The library logs to `backline.*` and configures nothing. The command line calls `configure`;
a service that embeds a worker adds a `JobFields` to its handlers and formats as it likes.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from backline.context import current_run

FIELDS: Final = ("job_id", "task", "queue", "attempt")
LogFormat: TypeAlias = Literal["text", "json", "logfmt"]


class JobFields(logging.Filter):
    """Gives each record `job_id`, `task`, `queue` and `attempt`, which are None outside of a job.

    For a handler that is called where the record is made, so in front of any queue. What a
    record has already under one of these names, from `extra=`, stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        running = current_run.get(None)
        job = None if running is None or running.run is None else running.run.context
        facts = (None,) * 4 if job is None else (job.id, job.task, job.queue, job.attempt)
        for name, fact in zip(FIELDS, facts, strict=True):
            record.__dict__.setdefault(name, fact)
        return True


def configure(level: str = "INFO", style: LogFormat = "text") -> None:
    """Log to standard error in one of our formats. For a program that is ours from the start."""
    handler = logging.StreamHandler()
    handler.addFilter(JobFields())
    handler.setFormatter({"text": _Text, "json": _Json, "logfmt": _Logfmt}[style]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


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
