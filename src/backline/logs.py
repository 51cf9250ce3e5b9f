"""Log records that say which job they belong to.

The library logs to `backline.*` and configures nothing. The command line calls `configure`;
a service that embeds a worker adds a `JobFields` to its handlers and formats as it likes.
"""

import json
import logging
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, TypeAlias

from backline.context import current_run
from backline.display import clipped, safe_lines

FIELDS: Final = ("job_id", "task", "queue", "attempt")
MAX_TRACEBACK: Final = 16_000
"""Characters of a traceback in the log; more lose their middle."""
ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
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


class _Formatter(logging.Formatter):
    """What our formats share: no traceback is longer than people read."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - logging's name
        return clipped(super().formatException(ei), MAX_TRACEBACK)


class _Text(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        job_id = getattr(record, "job_id", None)
        where = f" [{record.task} {job_id}]" if job_id else ""  # type: ignore[attr-defined]
        line = f"{clock} {record.levelname.lower():7} {record.name}{where}: {record.getMessage()}"
        line = "\\n".join(line.splitlines()) or line  # one record, one line: no forged lines
        if not record.exc_info:
            return line
        return f"{line}\n{safe_lines(self.formatException(record.exc_info), '  ')}"


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False, default=str)


class _Logfmt(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = _facts(record)
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_quoted(value)}" for name, value in facts.items())


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
