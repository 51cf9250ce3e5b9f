"""A line for every run that ended, for somebody who watches: what `backline dev` shows.

Those that take a while are shown when they have begun, too.

12:04:31 ✓ app.hello  019b76da-a800…1dec  waited 4 ms, ran 1.2 ms  → "hello world"
12:04:33 ↻ app.thumb  019b76da-b01c…77a0  ConnectionError: refused  run 2 of 5 in 2.1 s
"""

from collections.abc import Callable, Iterable
from typing import Final

from backline.clock import Clock
from backline.display import clock_time, safe, safe_json, short_id, span
from backline.job import SECOND, Ack, Charge, JobId, Micros
from backline.states import State
from backline.worker import Run

LINES_A_SECOND: Final = 100
"""More successes than that in a second are counted, not shown: a terminal is slow."""
A_WHILE: Final[Micros] = SECOND // 4
_NAME: Final = 40
_TEXT: Final = 200
_COLOURS: Final = {"✓": 32, "✗": 31, "↻": 33, "⊘": 33, "↩": 2, "?": 33, "☾": 2, "▶": 36}


class EventLines:
    """Writes a line for each run of a worker: pass it as the worker's observer.

    `where` are the options that have `backline job` look into the right store.
    """

    def __init__(
        self, clock: Clock, write: Callable[[str], object], *, colour: bool, where: str = ""
    ) -> None:
        self._clock = clock
        self._write = write
        self._where = where
        self._colour = colour
        self._second = 0
        self._shown = 0
        self._left_out = 0
        self._wide = 0
        self._begun: set[tuple[JobId, int]] = set()

    def __call__(self, run: Run) -> None:
        """Show how a run ended."""
        ack = run.ack
        assert ack is not None, "an observer hears of runs that ended"
        tick = self._clock.tick()
        self._turn_to(tick // SECOND)
        if ack.state is State.SUCCEEDED:
            self._shown += 1
            if self._shown > LINES_A_SECOND:
                self._left_out += 1
                return
        self._write(self._line(run, ack, tick))

    def look(self, runs: Iterable[Run]) -> None:
        """Show those of `runs` that have gone on for a while and were not shown yet.

        Shows, too, how many were left out in a second that is over.
        """
        tick = self._clock.tick()
        self._turn_to(tick // SECOND)
        begun = {
            (run.lease.id, run.lease.attempt): run
            for run in runs
            if run.ack is None and tick - run.started_at >= A_WHILE
        }
        for token, run in begun.items():
            if token not in self._begun:
                self._write(self._started(run, self._clock.now() - (tick - run.started_at)))
        self._begun = set(begun)

    def end(self) -> None:
        """Show how many were left out since; no more is coming."""
        self._sum_up()

    def _started(self, run: Run, at: Micros) -> str:
        lease = run.lease
        nth = f"run {lease.failures + 1} of {lease.terms.max_attempts}"
        return self._head("▶", run, at) + f"  {nth}, waited {span(max(0, at - lease.due))}\n"

    def _turn_to(self, second: int) -> None:
        if second != self._second:
            self._sum_up()
            self._second, self._shown = second, 0

    def _sum_up(self) -> None:
        if self._left_out:
            self._write(f"{'':9}… and {self._left_out:,} more that succeeded\n")
            self._left_out = 0

    def _line(self, run: Run, ack: Ack, tick: Micros) -> str:
        now = self._clock.now()
        see = f"(backline job {short_id(run.lease.id)}{self._where})"
        mark, told = _told(run, ack, now - (tick - run.started_at), see)
        return self._head(mark, run, now) + f"  {told}\n"

    def _head(self, mark: str, run: Run, at: Micros) -> str:
        name = safe(run.lease.task, most=_NAME)
        self._wide = max(self._wide, len(name))
        if self._colour:
            mark = f"\x1b[{_COLOURS[mark]}m{mark}\x1b[0m"
        return f"{clock_time(at)} {mark} {name:{self._wide}}  {short_id(run.lease.id)}"


def _told(run: Run, ack: Ack, started_at: Micros, see: str) -> tuple[str, str]:
    """A mark, and what happened; `see`: how to see more."""
    lease = run.lease
    error = "" if ack.error is None else _first_line(f"{ack.error.kind}: {ack.error.message}")
    match ack.state:
        case State.SUCCEEDED:
            waited = span(max(0, started_at - lease.due))
            result = "" if ack.result is None else f"  → {safe_json(ack.result, most=_TEXT)}"
            return "✓", f"waited {waited}, ran {span(run.busy)}{result}"
        case State.DEAD:
            runs = f"dead after {lease.failures + 1} of {lease.terms.max_attempts} failures"
            return "✗", f"{error}  {runs}  {see}"
        case State.CANCELLED:
            return "⊘", f"cancelled  {error}".rstrip()
        case State.SCHEDULED if ack.charge is Charge.RELEASE:
            return "?", f"no such task here; put back for {span(ack.delay)}"
        case State.SCHEDULED if ack.charge is Charge.CLEAN:
            what = "asleep" if ack.asleep else "snoozed"
            return "☾", f"{what} for {span(ack.delay)}"
        case State.SCHEDULED:
            nth = f"run {lease.failures + 2} of {lease.terms.max_attempts}"
            return "↻", f"{error}  {nth} in {span(ack.delay)}  {see}"
        case _:
            return "↩", "handed back"


def _first_line(text: str) -> str:
    return safe(text.strip().split("\n", 1)[0], most=_TEXT)
