"""The recorded steps of a job."""

from msgspec.structs import replace

from backline.job import Micros, Step, StepRecord


class Steps:
    """By name; the first record of a name stays."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, StepRecord] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def keep(self, step: Step, now: Micros) -> None:
        """Record a step."""
        record = StepRecord(
            name=step.name,
            attempt=step.attempt,
            value=step.value,
            recorded_at=now,
            wake_at=None if step.wake_in is None else now + step.wake_in,
        )
        self._by_name.setdefault(step.name, record)

    def sleep_until(self, due: Micros, now: Micros) -> None:
        """Let a sleep that is not over be over at another time."""
        for name, step in self._by_name.items():
            if step.wake_at is not None and step.wake_at > now:
                self._by_name[name] = replace(step, wake_at=due)

    def records(self, now: Micros) -> list[StepRecord]:
        """All of them, as of now."""
        return [
            step if step.wake_at is None else replace(step, wake_in=max(0, step.wake_at - now))
            for step in self._by_name.values()
        ]
