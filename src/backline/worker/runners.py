"""Where jobs run: coroutines on the loop, functions in threads.

Both pools take runs from their own line and hand each back, with its ack, to `Finished`.
They differ in who steps the user's code; what a run is and how it ends is the same.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec import Raw

from backline import policy
from backline.clock import Clock, Pool
from backline.context import Running, current_run
from backline.job import SECOND, Ack, Micros
from backline.worker.board import Board
from backline.worker.execute import (
    NOTHING,
    UNKNOWN,
    Heeded,
    Look,
    Middleware,
    look,
    raised,
    through,
)
from backline.worker.run import Run

log = logging.getLogger("backline.worker")

Finished: TypeAlias = Callable[[Run, Ack], None]
Admit: TypeAlias = Callable[[Run], bool]
"""Called, in the thread that will run it, before a run begins; False: give it back instead."""

STARVED: Final[Micros] = SECOND
"""Jobs that found no thread wait this long before they are handed back."""
TURN: Final[Micros] = 400
"""A runner lets the rest of the loop go on after this long of jobs that never waited."""


@dataclass(frozen=True, slots=True)
class RunnerSetup:
    """What both pools work with."""

    clock: Clock
    board: Board
    admit: Admit
    finished: Finished
    threads: Pool
    lookups: Executor
    """For looks at the caller's databases, which may be locked: not behind jobs."""


class LoopRunners:
    """Runs coroutines: each runner is one asyncio Task that awaits job after job in place.

    A Task a job would cost more than most of what happens to a job here. The price is care:
    a runner is dropped after a job that was cancelled or that changed the context, so no
    job sees traces of another.
    """

    def __init__(self, setup: RunnerSetup, size: int, middleware: Sequence[Middleware]) -> None:
        self._size = size
        self._tick = setup.clock.tick
        self._rng = setup.clock.rng
        self._board = setup.board
        self._admit = setup.admit
        self._finished = setup.finished
        self._middleware = middleware
        self._threads = setup.threads
        self._lookups = setup.lookups
        self._line: deque[Run] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._context: Context = copy_context()

    def feed(self, runs: Sequence[Run]) -> None:
        """Put runs in line."""
        self._line.extend(runs)
        self._staff()

    def waiting(self) -> int:
        """How many runs are in line, not started."""
        return len(self._line)

    def oldest(self) -> Run | None:
        """The run that is next in line."""
        return self._line[0] if self._line else None

    def take_back(self) -> list[Run]:
        """Empty the line: these runs were not started and never will be here."""
        runs = list(self._line)
        self._line.clear()
        return runs

    def abandon(self, run: Run) -> None:
        """Stop counting on the runner of a run that will not end; another takes its place."""
        runner = run.runner
        if runner is not None:
            if run.call is None and not runner.cancelling():
                runner.cancel()  # it was told while in a thread, and now something else waits
            self._runners.discard(runner)
            self._staff()

    async def close(self) -> None:
        """Cancel whatever still runs and wait for it, but not for what refuses to stop."""
        for runner in self._runners:
            runner.cancel()
        if self._runners:
            await asyncio.wait(self._runners, timeout=1)

    def _staff(self) -> None:
        if self._line and len(self._runners) < self._size:
            runner = asyncio.get_running_loop().create_task(
                self._serve(), name="backline runner", context=self._context.copy()
            )
            self._runners.add(runner)

    async def _serve(self) -> None:
        """Run jobs until none is in line."""
        me = asyncio.current_task()
        assert me is not None
        running = Running()
        current_run.set(running)
        clean = copy_context()
        turn_ends = self._tick() + TURN
        try:
            while self._line:
                run = self._line.popleft()
                if self._line:
                    self._staff()  # the job may wait; then the next runner goes on
                ended = await self._run(run, running, me)
                stopped = run.stop is not None or me.cancelling()
                if ended is None or stopped or copy_context() != clean:
                    return
                if ended > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = self._tick() + TURN
        finally:
            self._runners.discard(me)
            self._staff()

    async def _run(self, run: Run, running: Running, me: asyncio.Task[None]) -> Micros | None:
        """Run one job; returns when it ended, or None when this runner must end as well."""
        lease = run.lease
        if not self._admit(run):
            self._finished(run, policy.released(lease))
            return self._tick()
        try:
            run.slot = self._board.start(lease.id, lease.attempt, run.deadline)
        except ValueError as error:  # somebody wrote another id into the store
            self._finished(run, policy.malformed(lease.id, lease.attempt, lease.terms, str(error)))
            return self._tick()
        running.run, run.runner = run, me
        task = run.task
        try:
            arguments, keywords = task.codec.decode(lease.payload)
            if self._middleware or not task.is_async:
                value = await self._call(run, arguments, keywords)
            elif task.takes_context:
                value = await task.fn(run.context, *arguments, **keywords)
            else:
                value = await task.fn(*arguments, **keywords)
            ack = _returned(run, task.codec.encode_result(value) or run.completed)
            closing = False
        except BaseException as error:  # noqa: BLE001 - a job may raise anything at all
            ack = raised(run, error, self._rng, await self._look(run, error))
            closing = isinstance(error, GeneratorExit)
        running.run = None
        ended = self._tick()
        run.busy = ended - run.started_at
        self._finished(run, ack)
        return None if closing else ended

    async def _call(self, run: Run, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        job, task = run.context, run.task
        first = (job,) if task.takes_context else ()

        async def call() -> Any:
            if task.is_async:
                return await task.fn(*first, *arguments, **keywords)
            context = copy_context()
            return await self._in_thread(
                run, lambda: context.run(task.fn, *first, *arguments, **keywords)
            )

        return await through(self._middleware, job, call)()

    async def _look(self, run: Run, error: BaseException) -> Look:
        """Whether the job has completed all the same; in a thread, for the look may block."""
        if not run.completing:
            return NOTHING
        if isinstance(error, GeneratorExit):  # nothing can be awaited any more
            return UNKNOWN
        try:
            run.call = self._lookups.submit(look, run)
            return await asyncio.wrap_future(run.call)
        except BaseException:  # noqa: BLE001 - it was cancelled, or there is no thread
            return UNKNOWN
        finally:
            run.call = None

    async def _in_thread(self, run: Run, fn: Callable[[], Any]) -> Any:
        """Call a function in a thread, and do not return before it has.

        A run that is told to stop meanwhile goes on until the function heeds it, as one
        without middleware does; so does one whose middleware has had enough of waiting, for a
        job that was settled might run again beside its old thread. Only who was given up, or
        is cancelled twice, leaves the thread alone.
        """
        if run.stop is not None:  # and some middleware tries again
            raise asyncio.CancelledError
        run.call = call = self._threads.submit(_guarded, fn)
        waiting = asyncio.wrap_future(call)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if run.ack is None and not call.cancel():
                await asyncio.wait([waiting])
            raise
        finally:
            run.call = None


class ThreadRunners:
    """Runs functions in threads.

    A thread takes the next run from the line by itself and only leaves the outcome for the
    loop, which is woken once for all outcomes it has not seen yet.
    """

    def __init__(self, setup: RunnerSetup) -> None:
        self._tick = setup.clock.tick
        self._rng = setup.clock.rng
        self._board = setup.board
        self._admit = setup.admit
        self._finished = setup.finished
        self._threads = setup.threads
        self._loop = asyncio.get_running_loop()
        self._line: deque[Run] = deque()
        self._done: deque[tuple[Run, Ack]] = deque()
        self._told = False

    def feed(self, runs: Sequence[Run]) -> None:
        """Put runs in line."""
        self._line.extend(runs)
        try:
            for _ in runs:
                self._threads.submit(self._serve_next)
        except RuntimeError as error:
            # Nobody serves the line: its runs are handed back as if a long job were before
            # them, but not at once, for they may come here again.
            log.warning("no thread for %d jobs: %s", len(self._line), error)
            later = self._tick() + STARVED
            for run in runs:
                run.leased_at = later

    def waiting(self) -> int:
        """How many runs are in line, not started."""
        return len(self._line)

    def oldest(self) -> Run | None:
        """The run that is next in line."""
        try:
            return self._line[0]
        except IndexError:  # a thread took it meanwhile
            return None

    def take_back(self) -> list[Run]:
        """Empty the line: these runs were not started and never will be here."""
        runs: list[Run] = []
        try:
            while True:
                runs.append(self._line.pop())
        except IndexError:
            return runs

    def _serve_next(self) -> None:
        try:
            run = self._line.popleft()
        except IndexError:  # taken back
            return
        ack = self._run(run) if self._admit(run) else policy.released(run.lease)
        self._done.append((run, ack))
        if not self._told:
            self._told = True
            self._tell_loop()

    def _run(self, run: Run) -> Ack:
        lease = run.lease
        try:
            run.slot = self._board.start(lease.id, lease.attempt, run.deadline)
        except ValueError as error:  # somebody wrote another id into the store
            return policy.malformed(lease.id, lease.attempt, lease.terms, str(error))
        try:
            ack = _returned(run, copy_context().run(_call, run))
        except BaseException as error:  # noqa: BLE001 - a job may raise anything at all
            ack = raised(run, error, self._rng, look(run))
        run.busy = self._tick() - run.started_at
        return ack

    def _tell_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            log.warning("a job ended after its worker's loop was closed; it will run again")

    def _collect(self) -> None:
        self._told = False
        while self._done:
            self._finished(*self._done.popleft())


def _returned(run: Run, result: Raw | None) -> Ack:
    """How a run that returned is recorded.

    One that saw `job.cancelled` and then returned nothing did as it was told: its work is not
    done. To call that a success would lose the job.
    """
    if run.heeded and run.stop is not None and result is None and not run.completing:
        raise Heeded
    return policy.succeeded(run.lease, result)


def _guarded(fn: Callable[[], Any]) -> Any:
    """Call a function whose outcome an asyncio Future is to take, which it refuses of this."""
    try:
        return fn()
    except StopIteration as error:
        raise RuntimeError("a task raised StopIteration") from error


def _call(run: Run) -> Raw | None:
    """Call a function in this thread, in a context of its own."""
    current_run.set(Running(run))
    task = run.task
    arguments, keywords = task.codec.decode(run.lease.payload)
    first = (run.context,) if task.takes_context else ()
    return task.codec.encode_result(task.fn(*first, *arguments, **keywords)) or run.completed
