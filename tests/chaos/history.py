"""What the jobs of a campaign noted, and what was done to the system, in one list."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from backline.job import JobId, Micros

Token: TypeAlias = tuple[JobId, int]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line; `mono` in microseconds of CLOCK_MONOTONIC, the same in every process."""

    what: str
    """From jobs: start, end. From the nemesis: kill, stop, cont, term."""
    pid: int
    mono: Micros
    wall: Micros = 0
    job: JobId = ""
    attempt: int = 0
    task: str = ""
    how: str = ""


class Run(NamedTuple):
    """One run of one attempt, as its process noted it."""

    start: Event
    end: Event | None

    @property
    def token(self) -> Token:
        return self.start.job, self.start.attempt


def monotonic() -> Micros:
    """Now, on the clock of every history."""
    return time.monotonic_ns() // 1000


class History:
    """Reads the files of a folder as they grow, and adds the nemesis' own events."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self._folder = folder
        self._read: dict[Path, int] = defaultdict(int)
        self._decode = msgspec.json.Decoder(Event).decode

    def read(self) -> None:
        """Take in what was written since."""
        for path in self._folder.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] += len(whole)
            self.events += [self._decode(line) for line in whole.splitlines()]

    def note(self, what: str, pid: int, **fields: Any) -> Event:
        """The nemesis did this, now."""
        event = Event(what=what, pid=pid, mono=monotonic(), wall=time.time_ns() // 1000, **fields)
        self.events.append(event)
        return event

    def of(self, what: str) -> list[Event]:
        """The events of a kind."""
        return [event for event in self.events if event.what == what]

    def runs(self) -> list[Run]:
        """Every run of every attempt, by its start."""
        ends: dict[tuple[Token, int], Event] = {
            ((event.job, event.attempt), event.pid): event for event in self.of("end")
        }
        starts = sorted(self.of("start"), key=lambda event: event.mono)
        return [Run(each, ends.get(((each.job, each.attempt), each.pid))) for each in starts]

    def running(self) -> list[Run]:
        """The runs that have not ended, in processes that nobody has killed."""
        dead = {event.pid for event in self.of("kill")}
        return [run for run in self.runs() if run.end is None and run.start.pid not in dead]
