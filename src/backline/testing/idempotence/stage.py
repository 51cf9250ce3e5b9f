"""Playing one history of a job: its runs, some of which die, on a store and a time of its own."""

import asyncio
import gc
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType
from typing import Any, Final

from backline.app import App
from backline.clock import SYSTEM_CLOCK, Pool
from backline.context import current_run
from backline.errors import BacklineError, Snooze
from backline.faults import hooked
from backline.job import JobId, JobRecord
from backline.states import State
from backline.store import Filter
from backline.task import AnyTask
from backline.testing.clock import VirtualClock
from backline.testing.idempotence.moments import Moment, Run, Stepped
from backline.testing.loop import VirtualLoop
from backline.worker.run import Run as WorkerRun

_PAGE: Final = 1_000
_ROUNDS: Final = 30
"""So often time is moved on, by 1 s, 2 s, 4 s and so on: some thirty years in all."""


class StillClock(VirtualClock):
    """Time that stands still unless it is moved, for code that needs real threads."""

    def executor(self, name: str, threads: int = 1) -> Pool:
        return SYSTEM_CLOCK.executor(name, threads)

    def thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        return SYSTEM_CLOCK.thread(name, target)


class History:
    """What happened to the job, and what came of it."""

    def __init__(self, plan: Sequence[int | None]) -> None:
        self.plan = plan
        """At which of its moments each run dies; None: it lives, as do all later ones."""
        self.runs: list[Run] = []
        self.records: dict[JobId, JobRecord] = {}
        self.job_id: JobId = ""

    @property
    def deaths(self) -> list[Moment]:
        """Where the job's process died, run by run."""
        return [run.died_at for run in self.runs if run.died_at is not None]

    @property
    def failure(self) -> str | None:
        """How the job ended, if not in success."""
        record = self.records.get(self.job_id)
        if record is None or record.state is State.SUCCEEDED:
            return None
        why = f": {record.errors[-1].kind}: {record.errors[-1].message}" if record.errors else ""
        return f"the job is {record.state}{why}"

    @property
    def enqueued(self) -> list[str]:
        """The jobs it enqueued, but those that were cancelled before they began; sorted."""
        return sorted(
            f"{record.task} {bytes(record.payload).decode()}"
            for record in self.records.values()
            if record.id != self.job_id
            and not (record.state is State.CANCELLED and not record.attempt)
        )


class Stage:
    """Plays histories of a job of `task`, each in an isolated app."""

    def __init__(
        self,
        app: App,
        task: AnyTask,
        arguments: tuple[Sequence[Any], Mapping[str, Any]],
        codes: frozenset[CodeType],
        *,
        virtual: bool,
        events: Sequence[tuple[str, str, Any]] = (),
    ) -> None:
        self._app = app
        self._task = task
        self._arguments = arguments
        self._codes = codes
        self._virtual = virtual
        self._events = events
        self._history = History(())
        self._run: Run | None = None

    def play(self, plan: Sequence[int | None]) -> History:
        """Enqueue the job, work until there is nothing to do, and tell how it went.

        Raises BacklineError for jobs that are never done.
        """
        history = self._history = History(plan)
        with self._watched(), hooked(self._fault), _only_the_new_is_collected():
            if self._virtual:
                self._on_virtual_time(history)
            else:
                asyncio.run(self._play(history, StillClock()))
        return history

    def _on_virtual_time(self, history: History) -> None:
        clock = VirtualClock()
        loop = VirtualLoop(clock)
        try:
            loop.run(self._play(history, clock))
        except BaseExceptionGroup:
            if not history.deaths:
                raise
            # Else somebody missed an answer of the dead.
        finally:
            loop.close()

    async def _play(self, history: History, clock: VirtualClock) -> None:
        args, kwargs = self._arguments
        with self._app.isolated(clock=clock):
            job = await self._task.aenqueue(*args, **kwargs)
            history.job_id = job.id
            for doubled in range(_ROUNDS):
                await self._app.adrain()
                await self._look(history)
                if not any(one.state is State.SCHEDULED for one in history.records.values()):
                    return
                if not doubled:
                    for name, key, payload in self._events:
                        await self._app.apublish(name, payload, key=key)
                clock.advance(2**doubled)
        raise BacklineError(
            f"jobs of {self._task.name} are scheduled again and again, for years: let it, and "
            "the jobs it enqueues, come to an end in the test"
        )

    async def _look(self, history: History) -> None:
        """Look at all jobs; those that are purged later have been seen."""
        after = None
        while True:
            page = await self._app.store.find(Filter(), limit=_PAGE, after=after)
            history.records.update((record.id, record) for record in page.jobs)
            after = page.after
            if after is None:
                return

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Let every run of the task pass through here."""
        registered = self._app.registry.get(self._task.name)
        assert registered is not None, "a task that was declared is registered"
        fn = registered.fn
        registered.fn = self._around_async(fn) if registered.is_async else self._around(fn)
        try:
            yield
        finally:
            registered.fn = fn

    def _around(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return fn(*args, **kwargs)
            try:
                with run.traced():
                    result = fn(*args, **kwargs)
                run.returned()
            except BaseException as error:
                self._end(run, error)
                if run.died_at is None:
                    raise
            else:
                self._end(run)
                return result
            raise Snooze(0)  # what its loss comes to: it costs no attempt

        return call

    def _around_async(
        self, fn: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            run = self._begin()
            if run is None:
                return await fn(*args, **kwargs)
            try:
                result = await Stepped(run, fn(*args, **kwargs))
                run.returned()
            except BaseException as error:
                self._end(run, error)
                if run.died_at is None:
                    raise
            else:
                self._end(run)
                return result
            raise Snooze(0)  # what its loss comes to: it costs no attempt

        return call

    def _begin(self) -> Run | None:
        """The run that begins; None: it is another job's, or a call within the run."""
        history = self._history
        if self._run is not None or _job_id() != history.job_id:
            return None
        number = len(history.runs)
        dies_at = history.plan[number] if number < len(history.plan) else None
        self._run = Run(self._codes, dies_at)
        history.runs.append(self._run)
        return self._run

    def _end(self, run: Run, error: BaseException | None = None) -> None:
        """The run is over; one that died leaves nothing here, and its worker knows nothing."""
        self._run = None
        run.forget()
        if run.died_at is None:
            return
        _clear(error)
        running = current_run.get().run
        if isinstance(running, WorkerRun):  # it would look whether the job was completed
            running.completing = False
            running.completed = None

    def _fault(self, point: str) -> None:
        if self._run is not None and _job_id() == self._history.job_id:
            self._run.fault(point)


@contextmanager
def _only_the_new_is_collected() -> Iterator[None]:
    """Spare the collector what was there before: in a long test run, a second at each death.

    Where somebody froze it already, that is left to them.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


def _clear(error: BaseException | None) -> None:
    """Drop what the frames of the dead hold: connections are closed, transactions rolled back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the dead close nothing
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.with_traceback(None).__context__
        gc.collect()  # one of sqlite3's connections refers to itself


def _job_id() -> JobId | None:
    """The job this code runs in."""
    running = current_run.get(None)
    return None if running is None or running.run is None else running.run.context.id
