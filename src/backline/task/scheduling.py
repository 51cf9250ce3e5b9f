"""Schedules as people write them: `@app.task(cron=..., tz=...)`, `app.schedule(...)`, checked."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from backline.display import shown
from backline.errors import ConfigError, EnqueueError
from backline.job import JobRequest, as_datetime
from backline.schedule import Cron, Every, Missed, Rule, ScheduleSpec, cron, every
from backline.task.headers import MadeHeaders
from backline.task.names import name_text

RULE_OPTIONS: Final = frozenset({"cron", "tz", "every"})
SCHEDULE_OPTIONS: Final = RULE_OPTIONS | {"missed"}


def rule_of(given: Mapping[str, Any], where: str, found: Rule | None = None) -> Rule | None:
    """The rule that `cron=`, `tz=` and `every=` say; None: they say nothing.

    What is not given of a rule is as in `found`, if that is of the same kind. Raises
    ConfigError, naming `where`.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if said.keys() >= {"cron", "every"}:
        raise ConfigError(f"{where} has both cron= and every=; give one")
    before = {"cron": found.expression, "tz": found.tz} if isinstance(found, Cron) else {}
    if "tz" in said and ("every" in said or not (said.keys() | before.keys()) >= {"cron"}):
        raise ConfigError(f'tz= of {where} needs a cron=, such as cron="0 3 * * *"')
    try:
        if "every" in said:
            start = found.start if isinstance(found, Every) else 0
            return every(said["every"], start=as_datetime(start) if start else None)
        whole = {"tz": "UTC", **before, **said}
        return cron(whole["cron"], tz=whole["tz"]) if said else None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def missed_of(value: object, where: str) -> Missed:
    """What becomes of missed slots. Raises ConfigError, naming `where`."""
    if not isinstance(value, str) or value not in list(Missed):
        choices = ", ".join(Missed)
        raise ConfigError(f"missed= of {where} is one of {choices}, not {shown(value)}")
    return Missed(value)


def schedule_of(
    name: str, job: JobRequest, timing: Mapping[str, Any], missed: object
) -> ScheduleSpec:
    """The schedule of this name that enqueues such jobs.

    Raises ConfigError for a name, a job or a rule that cannot be.
    """
    try:
        where = f"schedule {shown(name_text(name))}"
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the name of a schedule: {error}") from None
    rule = rule_of(timing, where)
    if rule is None:
        raise ConfigError(f'{where} needs a time: cron="0 3 * * *" or every="30s"')
    return ScheduleSpec(rule=rule, job=job_for(job, where), missed=missed_of(missed, where))


def job_for(job: object, where: str) -> JobRequest:
    """What each slot enqueues, without what hooks said of the moment at which it was made.

    Raises ConfigError for a job with a time of its own, or a key that only one can have.
    """
    if type(job) is not JobRequest:
        raise ConfigError(f"{where} takes what task.job(...) makes, not {shown(job)}")
    for name in ("run_at", "expires_at", "idempotency_key"):
        if getattr(job, name) is not None:
            raise ConfigError(f"{where} runs again and again: its jobs have no {name}")
    if job.after:
        raise ConfigError(f"{where} cannot make jobs that wait for others (after=, previous)")
    headers = job.headers.own if isinstance(job.headers, MadeHeaders) else job.headers
    return replace(job, id="", headers=headers, flow=None, group=None)


def declared_schedule(
    given: Mapping[str, Any], template: Callable[[], JobRequest], where: str
) -> ScheduleSpec | None:
    """The schedule that a task was declared with, if any; `template` makes its job.

    Raises ConfigError, also for a task that cannot be called without arguments.
    """
    rule = rule_of({name: given.get(name) for name in RULE_OPTIONS}, where)
    if rule is None:
        if given.get("missed") is not None:
            raise ConfigError(f"missed= of {where} needs a cron= or an every=")
        return None
    try:
        job = template()
    except EnqueueError as error:
        raise ConfigError(
            f"{where} has a schedule, which calls it without arguments: {error}; for others "
            "use app.schedule(name, task.job(...), cron=...)"
        ) from None
    missed = given.get("missed")
    return ScheduleSpec(
        rule=rule,
        job=job_for(job, where),
        missed=Missed.SKIP if missed is None else missed_of(missed, where),
    )
