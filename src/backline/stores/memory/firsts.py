"""The first event of each (name, key), and the jobs that wait for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backline.fanout import KeptEvent
from backline.job import Micros, Step
from backline.stores.memory.steps import Steps

if TYPE_CHECKING:
    from backline.stores.memory.row import Row


class Firsts:
    """Events by name and key, and steps of jobs that are waits for them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], KeptEvent] = {}
        self._waits: dict[tuple[str, str], dict[tuple[int, str], Row]] = {}
        """Those that are not over, each by its job and its name."""
        self.heard: list[Row] = []
        """Jobs of which a wait has ended in this call."""

    def get(self, place: tuple[str, str], now: Micros) -> KeptEvent | None:
        """The event that is kept."""
        found = self._kept.get(place)
        return None if found is None or found.until <= now else found

    def publish(self, event: KeptEvent, now: Micros) -> None:
        """Keep an event, if it is the first, and end the waits for it whose time is not over."""
        place = event.name, event.key
        if self.get(place, now) is None:
            self._kept[place] = event
        for (_, name), row in [*self._waits.get(place, {}).items()]:
            step = None if row.recorded is None else row.recorded[name]
            if step is not None and step.wake_at is not None and step.wake_at > now:
                self._end(row, name, event)

    def forget(self, place: tuple[str, str], now: Micros) -> None:
        """Forget an event whose time is over."""
        if place in self._kept and self._kept[place].until <= now:
            del self._kept[place]

    def record(self, row: Row, steps: Sequence[Step], now: Micros) -> None:
        """Record steps; the first record of a name stays."""
        for step in steps:
            self._record(row, step, now)

    def _record(self, row: Row, step: Step, now: Micros) -> None:
        row.recorded = row.recorded or Steps()
        new = row.recorded.keep(step, now)
        awaits = row.recorded[step.name].awaits
        if awaits is None:
            return
        if new:
            self._waits.setdefault((awaits.name, awaits.key), {})[row.seq, step.name] = row
        if row.recorded[step.name].over:
            self.heard.append(row)
        elif step.over:
            self._end(row, step.name, None)
        elif new and (event := self.get((awaits.name, awaits.key), now)) is not None:
            self._end(row, step.name, event)

    def purged(self, row: Row) -> None:
        """A job is gone, and waits for nothing."""
        for name in () if row.recorded is None else row.recorded.open_waits():
            self._drop(row, name)

    def _end(self, row: Row, name: str, event: KeptEvent | None) -> None:
        assert row.recorded is not None, "it has waits"
        self._drop(row, name)
        row.recorded.end_wait(name, event)
        self.heard.append(row)

    def _drop(self, row: Row, name: str) -> None:
        awaits = None if row.recorded is None else row.recorded[name].awaits
        if awaits is not None:
            place = awaits.name, awaits.key
            waits = self._waits[place]
            del waits[row.seq, name]
            if not waits:
                del self._waits[place]
