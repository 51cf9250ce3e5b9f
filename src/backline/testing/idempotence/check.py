"""`assert_idempotent`: what a task leaves behind, however often its process dies in it."""

import asyncio
import copy
import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Final

from backline.app import App
from backline.display import shown
from backline.errors import BacklineError, ConfigError
from backline.task import AnyTask, Task
from backline.testing.idempotence.moments import Moment, codes_of
from backline.testing.idempotence.report import Outcome, difference, failure
from backline.testing.idempotence.stage import Stage
from backline.testing.loop import Deadlock

_FIRST: Final = 2
"""Of a line that is passed many times, as many passes are broken off; and the last one."""


def assert_idempotent(
    task: AnyTask,
    *args: Any,
    state: Callable[[], Any],
    reset: Callable[[], object] | None = None,
    also: Sequence[Callable[..., Any]] = (),
    real_time: bool = False,
    events: Sequence[tuple[str, str, Any]] = (),
    **kwargs: Any,
) -> None:
    """Fail unless a job of `task`, with these arguments, may be run again at any time.

    Runs it clean, then in one history for each moment in which its process may die: after each
    line of the task's function, while it waits, before and after it records a step, enqueues,
    reports progress or completes within a transaction, and when it has returned and that is not
    recorded yet: the second delivery, and a third. Of a line in a loop, the first two passes and
    the last. A job that sleeps or snoozes has several runs, and each may die in each moment.
    The dead run does nothing more; the job is run anew, to its success, and so are the jobs it
    enqueued. Then `state()` and the enqueued jobs have to be as after one clean run.

    `state` returns what the task is to leave outside, comparable by `==` and copied at once:
    rows, files, calls that a fake received. `reset` puts the outside back to the start; it is
    called before each history, and can only be left out if `state` sees no effect but jobs.
    Both run in the caller's thread. `also`: functions whose lines count as the task's own do.
    `events`: name, key and payload of what is published when the job first comes to rest, for
    its `job.wait_for`; without, a wait times out.

    Each history is an isolated app with a memory store, on a time that jumps: an `async def`
    runs on an event loop without I/O and threads unless `real_time`, a `def` in a thread.
    Ids, order and randomness of Backline's are the same in each call. The process's fault
    points are taken meanwhile (`backline.faults`): no two calls side by side.

    It cannot see: effects in other processes, and those that threads or tasks of its own go on
    to have after the crash; what calls that are no lines of `also` leave half done; a second
    crash within the run that comes after one; two runs that overlap, as when a lease is lost
    in a long pause; the same call enqueued twice, which is two jobs. A crash is an exception on
    its way out, and then all that the dead run held is dropped: open transactions roll back,
    files are flushed, and the bodies of `finally` run, which after a real one they would not.
    After the last line of a `with` block its end is not reached: a lock of this process stays
    taken. Debuggers and coverage see the first clean run, not the traced ones.

    Raises AssertionError that names the history, the line, the difference and what helps;
    ConfigError or BacklineError if the check itself cannot work, with the remedy; what the
    arguments raise (InvalidArguments).
    """
    app = _checked(task, state, reset, also)
    codes = codes_of(*(code for fn in (task.fn, *also) for code in _codes(fn)))
    virtual = task.is_async and not real_time
    stage = Stage(app, task, (args, kwargs), codes, virtual=virtual, events=events)
    _Check(stage, state, reset).run(task.name)


class _Check:
    """Plays histories, and looks at what each leaves outside."""

    def __init__(
        self, stage: Stage, state: Callable[[], Any], reset: Callable[[], object] | None
    ) -> None:
        self._stage = stage
        self._state = state
        self._reset = reset

    def run(self, name: str) -> None:
        """Compare all histories with a clean one. Raises AssertionError, BacklineError."""
        clean, runs = self.clean(name)
        outcomes = [self.play(plan) for plan in _plans(runs)]
        broken = [outcome for outcome in outcomes if not outcome.agrees_with(clean)]
        if broken:
            raise AssertionError(failure(name, clean, broken, len(outcomes)))

    def play(self, plan: Sequence[int | None]) -> Outcome:
        """Play one history from the start. Raises BacklineError."""
        if self._reset is not None:
            self._reset()
        try:
            history = self._stage.play(plan)
        except (Deadlock, NotImplementedError) as error:
            raise BacklineError(
                f"the task cannot run on virtual time ({error}): if it needs sockets or threads, "
                "give real_time=True; if a lock is still held by a run that died, let reset= and "
                "the task make it anew"
            ) from error
        return Outcome(history, self._look())

    def clean(self, name: str) -> tuple[Outcome, list[list[Moment]]]:
        """What the clean job leaves, and the moments that each of its runs passes: several, if
        it sleeps or snoozes.

        Raises BacklineError if that cannot be what others are compared with.
        """
        if self._reset is not None:
            self._reset()
        before = self._look()
        first = self.play(())
        if first.history.failure is not None:
            raise BacklineError(
                f"{name} does not succeed without any crash, {first.history.failure}: give it "
                "arguments, fakes and a reset= with which it does (an async task that needs sockets"
                " or threads also needs real_time=True)"
            )
        changed = bool(before != first.state)
        if not changed and not first.history.enqueued:
            raise BacklineError(
                f"state() is the same before and after a clean run of {name}: return what the task "
                "changes, such as its rows or the calls a fake received"
            )
        if changed and self._reset is None:
            raise ConfigError(
                f"a clean run of {name} changes what state() returns: give reset=, a function that "
                "puts the outside back to the start (deletes the rows, clears the fake)"
            )
        second = self.play([None])
        if not second.agrees_with(first):
            raise BacklineError(
                f"two clean runs of {name} leave different states, so no comparison tells "
                "anything: let reset= put back all that state() sees, and leave out of it what is "
                "new each time (times, random ids)\n" + "\n".join(difference(first, second))
            )
        return first, [run.moments for run in second.history.runs]

    def _look(self) -> Any:
        found = self._state()
        try:
            return copy.deepcopy(found)
        except Exception as error:
            raise ConfigError(
                f"what state() returned cannot be kept ({error}): return plain data, such as a "
                f"list of rows, not {shown(found)}"
            ) from error


def _plans(runs: Sequence[Sequence[Moment]]) -> list[list[int | None]]:
    """A history for each moment to die in, the runs before that one as they are, and one for
    two deaths in a row, when all is done."""
    plans: list[list[int | None]] = [
        [*([None] * before), index]
        for before, moments in enumerate(runs)
        for index in _chosen(moments)
    ]
    last = len(runs[-1]) - 1
    return [*plans, [*([None] * (len(runs) - 1)), last, last]]


def _chosen(moments: Sequence[Moment]) -> list[int]:
    """Of each moment, the first times it comes and the last, in the order of the run."""
    passes: dict[Moment, list[int]] = defaultdict(list)
    for index, moment in enumerate(moments):
        passes[moment].append(index)
    return sorted({index for found in passes.values() for index in (*found[:_FIRST], found[-1])})


def _checked(
    task: object,
    state: object,
    reset: object,
    also: Sequence[object],
) -> App:
    """The app of the task. Raises ConfigError, BacklineError for what cannot be checked."""
    if not isinstance(task, Task):
        raise ConfigError(
            f"assert_idempotent takes a task, the function under @app.task, not {shown(task)}"
        )
    if task.batch is not None:
        raise ConfigError(
            f"{task.name} has batch=: what it did for one job is recorded before it returns, and "
            "this check does not see that; check a task of what the handler does for an item"
        )
    _must_be_sync("state", state, "returns what the task is to leave outside")
    if reset is not None:
        _must_be_sync("reset", reset, "puts the outside back to the start")
    for fn in also:
        if not list(_codes(fn)):
            raise ConfigError(f"also= takes functions written in Python, not {shown(fn)}")
    app = task._producer  # noqa: SLF001 - a task has no other use for telling it
    if not isinstance(app, App) or app.registry.get(task.name) is None:
        raise ConfigError(
            f"the code of {task.name} is not on this app: give the task itself, not app.remote(...)"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return app
    raise BacklineError(
        "assert_idempotent runs event loops of its own, and one runs here already: call it in a "
        "plain def test, or by await asyncio.to_thread(...)"
    )


def _must_be_sync(name: str, given: object, what: str) -> None:
    if not callable(given):
        raise ConfigError(f"{name}= is a function that {what}, not {shown(given)}")
    if inspect.iscoroutinefunction(given):
        raise ConfigError(
            f"{name}= is a plain function that {what}; one that awaits is given as "
            f"{name}=lambda: asyncio.run({getattr(given, '__name__', name)}())"
        )


def _codes(fn: object) -> list[CodeType]:
    """The code of a function, and of the one that its decorators wrap."""
    found = [fn, inspect.unwrap(fn)] if callable(fn) else []
    codes = [getattr(one, "__code__", None) for one in found]
    return [code for code in codes if isinstance(code, CodeType)]
