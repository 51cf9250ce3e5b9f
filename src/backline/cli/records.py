"""A job as JSON for programs: its keys are promised, its times ISO 8601 in UTC."""

from collections.abc import Iterable

import msgspec
from msgspec import Raw

from backline.display import iso, safe_json, valid_json
from backline.job import AttemptError, JobRecord, Limits, Micros, StepRecord


def as_json(job: JobRecord, steps: Iterable[StepRecord] | None = None) -> dict[str, object]:
    """All of a job. `args` and `kwargs` are null if the stored payload is not their JSON,
    `recorded` if its steps were not looked at.
    """
    args, kwargs = arguments(job)
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "state": job.state,
        "lane": job.lane,
        "priority": job.priority,
        "args": args,
        "kwargs": kwargs,
        "attempt": job.attempt,
        "failures": job.failures,
        "max_attempts": job.terms.max_attempts,
        "losses": job.losses,
        "releases": job.releases,
        "timeout_seconds": job.terms.timeout / 1_000_000,
        "unique_key": job.unique_key,
        **_limits(job.limits),
        "headers": dict(job.headers),
        "tags": list(job.tags),
        "enqueued_at": iso(job.enqueued_at),
        "due_at": iso(job.due),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "expires_at": _time(job.expires_at),
        "purge_at": _time(job.purge_at),
        "worker": job.worker,
        "cancel_requested": job.cancel,
        "result": valid_json(job.result),
        "progress": None if job.progress is None else _progress(job),
        "flow": job.flow,
        "group": job.group,
        "after": [{"id": one.id, "on": one.on, "ended": one.ended} for one in job.after],
        "before": list(job.before),
        "errors": [_error(error) for error in job.errors],
        "steps": job.steps,
        "asleep": job.asleep,
        "recorded": None if steps is None else [_step(step) for step in steps],
        "callbacks": [{"task": each.job.task, "on": each.on} for each in job.follow_ups],
        "redrives": job.redrives,
        "fair_key": job.fair_key,
    }


def _limits(limits: Limits | None) -> dict[str, object]:
    slots = limits.slots if limits is not None and limits.key is not None else None
    return {
        "concurrency_key": None if limits is None else limits.key,
        "concurrency": slots,
        "rate_key": None if limits is None else limits.rate_key,
    }


def arguments(job: JobRecord) -> tuple[Raw | None, Raw | None]:
    """The positional and the keyword arguments, as JSON; None for both if malformed."""
    try:
        args, kwargs = msgspec.json.decode(job.payload, type=tuple[list[Raw], dict[str, Raw]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    listed, named = valid_json(msgspec.json.encode(args)), valid_json(msgspec.json.encode(kwargs))
    return (None, None) if listed is None or named is None else (listed, named)


def signature(job: JobRecord, *, most: int | None = None) -> str:
    """The arguments as a call would show them: `42, name="x"`; what is malformed, as it is."""
    try:
        args, kwargs = msgspec.json.decode(job.payload, type=tuple[list[Raw], dict[str, Raw]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return safe_json(job.payload, most=most)
    parts = [safe_json(value) for value in args]
    parts += [f"{name}={safe_json(value)}" for name, value in kwargs.items()]
    return safe_json(", ".join(parts).encode(errors="backslashreplace"), most=most)


def _progress(job: JobRecord) -> dict[str, object]:
    assert job.progress is not None
    return {"done": job.progress.done, "total": job.progress.total, "note": job.progress.note}


def _step(step: StepRecord) -> dict[str, object]:
    """`value` is null for None, and for what is no JSON."""
    return {
        "name": step.name,
        "attempt": step.attempt,
        "value": valid_json(step.value),
        "recorded_at": iso(step.recorded_at),
        "wake_at": _time(step.wake_at),
        "event": None if step.awaits is None else step.awaits.name,
        "key": None if step.awaits is None else step.awaits.key,
        "over": step.over,
        "event_id": step.event_id,
    }


def _error(error: AttemptError) -> dict[str, object]:
    return {
        "attempt": error.attempt,
        "kind": error.kind,
        "message": error.message,
        "traceback": error.traceback,
        "at": _time(error.at),
    }


def _time(then: Micros | None) -> str | None:
    return None if then is None else iso(then)
