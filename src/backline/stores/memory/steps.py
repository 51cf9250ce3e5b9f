"""The recorded steps of a job."""

from msgspec.structs import replace

from backline.fanout import KeptEvent
from backline.job import Micros, Step, StepRecord


class Steps:
    """By name; the first record of a name stays."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, StepRecord] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> StepRecord:
        return self._by_name[name]

    def keep(self, step: Step, now: Micros) -> bool:
        """Record a step; whether it is new."""
        if step.name in self._by_name:
            return False
        self._by_name[step.name] = StepRecord(
            name=step.name,
            attempt=step.attempt,
            value=step.value if step.awaits is None else None,
            recorded_at=now,
            wake_at=None if step.wake_in is None else now + step.wake_in,
            awaits=step.awaits,
        )
        return True

    def open_waits(self) -> list[str]:
        """The names of the waits that are not over."""
        return [name for name, step in self._by_name.items() if step.awaits and not step.over]

    def end_wait(self, name: str, event: KeptEvent | None) -> None:
        """A wait is over, by an event or without one."""
        step = replace(self._by_name[name], over=True)
        if event is not None:
            step = replace(step, value=event.payload, event_id=event.id, event_at=event.at)
        self._by_name[name] = step

    def sleep_until(self, due: Micros, now: Micros) -> None:
        """Let a sleep, or a wait, that is not over be over at another time."""
        for name, step in self._by_name.items():
            if step.wake_at is not None and step.wake_at > now and not step.over:
                self._by_name[name] = replace(step, wake_at=due)

    def records(self, now: Micros) -> list[StepRecord]:
        """All of them, as of now."""
        return [
            step if step.wake_at is None else replace(step, wake_in=max(0, step.wake_at - now))
            for step in self._by_name.values()
        ]
