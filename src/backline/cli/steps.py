"""The steps of a job, as people read them."""

from backline.cli.text import plural, say, say_table
from backline.display import moment, safe, safe_json
from backline.job import JobRecord, Micros, StepRecord

_TEXT = 200
_NAME = 40
_SHOWN = 10


def asleep(record: JobRecord, steps: list[StepRecord], now: Micros) -> str:
    """Until when a job sleeps, and for what it waits."""
    until = moment(record.due, now)
    waits = [step for step in steps if step.wake_at == record.due and not step.over]
    for step in waits:
        if step.awaits is not None:
            return f"waits for {_event(step)}, until {until} at most"
    return f"asleep until {until}"


def show_steps(steps: list[StepRecord], now: Micros) -> None:
    """A table of the newest, and how many there are."""
    rows = [
        [
            safe(step.name, most=_NAME),
            str(step.attempt),
            moment(step.recorded_at, now),
            _value(step, now),
        ]
        for step in steps[-_SHOWN:]
    ]
    if len(steps) > _SHOWN:
        say(f"the newest {_SHOWN} of {plural(len(steps), 'step')}; all of them: --json")
    say_table(["STEP", "RUN", "RECORDED", "VALUE"], rows, right=frozenset({1}))


def _value(step: StepRecord, now: Micros) -> str:
    until = "" if step.wake_at is None else moment(step.wake_at, now)
    if step.awaits is not None and step.event_id is None:
        return (
            f"no {_event(step)} came" if step.over else f"a wait for {_event(step)} until {until}"
        )
    if step.awaits is None and until:
        return f"a sleep until {until}"
    return "" if step.value is None else safe_json(step.value, most=_TEXT)


def _event(step: StepRecord) -> str:
    assert step.awaits is not None, "it is a wait"
    return f"{safe(step.awaits.name, most=_NAME)} {safe(step.awaits.key, most=_NAME)}"
