"""The moments of a run at which its process may die, and the death at one of them.

A run passes them in one order: after each line of the handler, while it waits, before and
after each call of ours, and when it has returned. `Run.reached` counts them; the one that is
planned raises `Crash` in the handler. The lines come from `sys.settrace`, which is set for the
handler's thread while the handler runs, and only then.
"""

import linecache
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, TypeAlias

Trace: TypeAlias = Any
"""What `sys.settrace` takes."""


class Crash(BaseException):
    """The process is gone: nothing after this is done."""


class Kind(StrEnum):
    """What the run had done when its process died."""

    LINE = "a crash after line {line} of {file}"
    WAITING = "a crash while it waited in line {line} of {file}"
    FAULT = "a crash {call}, in line {line} of {file}"
    RETURNED = "a second delivery, after it returned in line {line} of {file}"


_CALLS: Final = {
    "enqueue.before_send": "right before a job was enqueued",
    "enqueue.after_send": "right after a job was enqueued",
    "progress.before_report": "right before progress was reported",
    "progress.after_report": "right after progress was reported",
    "step.before_record": "when a step was done, right before it was recorded",
    "step.after_record": "right after a step was recorded",
    "complete.before_insert": "right before the job was completed within a transaction",
    "complete.after_insert": "before the transaction was committed that completes the job",
}


class Moment(NamedTuple):
    """Where a run was."""

    kind: Kind
    path: str
    line: int
    point: str = ""
    """The fault point, of a call of ours."""

    def __str__(self) -> str:
        call = _CALLS.get(self.point, "")
        return self.kind.format(line=self.line, file=Path(self.path).name, call=call)

    @property
    def code(self) -> str:
        """The text of the line, empty if it is nowhere to be read."""
        return linecache.getline(self.path, self.line).strip()


class Run:
    """One run of the handler, which dies at its moment number `dies_at`; None: it lives."""

    def __init__(self, codes: frozenset[CodeType], dies_at: int | None) -> None:
        self.moments: list[Moment] = []
        self.died_at: Moment | None = None
        self._codes = codes
        self._dies_at = dies_at
        self._lines: dict[FrameType, int] = {}
        self._at: tuple[str, int] = ("", 0)
        """The line that was begun last."""

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Follow the lines of the handler in this thread; who traced before goes on after."""
        outside = sys.gettrace()
        if self.died_at is None:
            sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(outside)

    def reached(self, kind: Kind, point: str = "", at: tuple[str, int] | None = None) -> None:
        """Note that the run is here, and die if that is planned. Raises Crash."""
        if self.died_at is None:
            moment = Moment(kind, *(at or self._at), point)
            self.moments.append(moment)
            if len(self.moments) - 1 != self._dies_at:
                return
            self.died_at = moment
        raise Crash

    def returned(self) -> None:
        """The handler has returned. Raises Crash, also if it kept one to itself."""
        self.reached(Kind.RETURNED)

    def forget(self) -> None:
        """Let go of the frames of the handler."""
        self._lines.clear()

    def fault(self, point: str) -> None:
        """A call of ours. Raises Crash."""
        if point in _CALLS:
            self.reached(Kind.FAULT, point)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Trace:
        """A call, or a coroutine that goes on."""
        return self._step if frame.f_code in self._codes else None

    def _step(self, frame: FrameType, event: str, arg: object) -> Trace:
        if event == "line":
            path, before = frame.f_code.co_filename, self._lines.get(frame)
            if before is not None:
                self.reached(Kind.LINE, at=(path, before))
            self._lines[frame] = frame.f_lineno
            self._at = path, frame.f_lineno
        return self._step


class Stepped:
    """Awaits a coroutine, traced, and dies where it waits if that is planned.

    Between two steps nothing is traced: the loop and its other tasks are not the handler's.
    """

    def __init__(self, run: Run, coroutine: Any) -> None:
        self._run = run
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, given = self._coroutine.send, None
        while True:
            try:
                with self._run.traced():
                    waits_for = step(given)
            except StopIteration as returned:
                return returned.value
            try:
                if self._run.died_at is None:  # else it unwinds: a rollback may have to wait
                    self._run.reached(Kind.WAITING)
                step, given = self._coroutine.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                step, given = self._coroutine.throw, error


def codes_of(*codes: CodeType) -> frozenset[CodeType]:
    """These and what is defined within them: inner functions, comprehensions."""
    found: set[CodeType] = set()
    left = list(codes)
    while left:
        code = left.pop()
        found.add(code)
        left += [const for const in code.co_consts if isinstance(const, CodeType)]
    return frozenset(found)
