"""Where jobs run: coroutines on the loop, functions in threads.

Both pools take runs from their own line and hand each back, with its ack, to `Finished`.
They differ in who steps the user's code; what a run is and how it ends is the same.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextvars import Context, copy_context
from typing import Any, Final, TypeAlias

from msgspec import Raw

from backline import policy
from backline.context import Running, current_run
from backline.job import SECOND, Ack, Micros
from backline.worker.batches import BatchCalls, BatchRun
from backline.worker.execute import Middleware, look, raised, returned, through
from backline.worker.run import Run
from backline.worker.setup import Handover, RunnerSetup

log = logging.getLogger("backline.worker")

STARVED: Final[Micros] = SECOND
"""Jobs that found no thread wait this long before they are handed back."""
TURN: Final[Micros] = 400
"""A runner lets the rest of the loop go on after this long of jobs that never waited."""

Unit: TypeAlias = Run | BatchRun
"""What one call runs."""


class LoopRunners:
    """Runs coroutines: each runner is one asyncio Task that awaits job after job in place.

    A Task a job would cost more than most of what happens to a job here. The price is care:
    a runner is dropped after a job that was cancelled or that changed the context, so no
    job sees traces of another.
    """

    def __init__(
        self,
        setup: RunnerSetup,
        size: int,
        middleware: Sequence[Middleware],
        batches: BatchCalls,
    ) -> None:
        self._setup = setup
        self._size = size
        self._tick = setup.clock.tick
        self._rng = setup.clock.rng
        self._board = setup.board
        self._admit = setup.admit
        self._finished = setup.finished
        self._middleware = middleware
        self._batches = batches
        self._line: deque[Unit] = deque()
        self._runners: set[asyncio.Task[None]] = set()
        self._context: Context = copy_context()

    def feed(self, runs: Sequence[Unit]) -> None:
        """Put runs in line."""
        self._line.extend(runs)
        self._staff()

    def waiting(self) -> int:
        """How many runs are in line, not started."""
        return len(self._line)

    def oldest(self) -> Unit | None:
        """The run that is next in line."""
        return self._line[0] if self._line else None

    def take_back(self) -> list[Unit]:
        """Empty the line: these runs were not started and never will be here."""
        runs = list(self._line)
        self._line.clear()
        return runs

    def abandon(self, run: Unit) -> None:
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
                if self._line and len(self._runners) < self._size:
                    self._staff()  # the job may wait; then the next runner goes on
                if isinstance(run, BatchRun):
                    ended = await self._batches.run(run, running, me)
                else:
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
            arguments, keywords = task.codec.decode(lease.payload, lease.results)
            if self._middleware or not task.is_async:
                value = await self._call(run, arguments, keywords)
            elif task.takes_context:
                value = await task.fn(run.context, *arguments, **keywords)
            else:
                value = await task.fn(*arguments, **keywords)
            ack = returned(run, task.codec.encode_result(value) or run.completed)
            closing = False
        except BaseException as error:  # noqa: BLE001 - a job may raise anything at all
            ack = raised(run, error, self._rng, await self._setup.look(run, error))
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
            return await self._setup.in_thread(
                run, lambda: context.run(task.fn, *first, *arguments, **keywords)
            )

        return await through(self._middleware, job, call)()


class ThreadRunners:
    """Runs functions in threads.

    A thread takes the next run from the line by itself and only leaves the outcome for the
    loop, which is woken once for all outcomes it has not seen yet.
    """

    def __init__(self, setup: RunnerSetup, handover: Handover, batches: BatchCalls) -> None:
        self._tick = setup.clock.tick
        self._rng = setup.clock.rng
        self._board = setup.board
        self._admit = setup.admit
        self._threads = setup.threads
        self._give = handover.give
        self._batches = batches
        self._line: deque[Unit] = deque()

    def feed(self, runs: Sequence[Unit]) -> None:
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

    def oldest(self) -> Unit | None:
        """The run that is next in line."""
        try:
            return self._line[0]
        except IndexError:  # a thread took it meanwhile
            return None

    def take_back(self) -> list[Unit]:
        """Empty the line: these runs were not started and never will be here."""
        runs: list[Unit] = []
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
        if isinstance(run, BatchRun):
            self._batches.run_in_thread(run)
            return
        ack = self._run(run) if self._admit(run) else policy.released(run.lease)
        self._give(run, ack)

    def _run(self, run: Run) -> Ack:
        lease = run.lease
        try:
            run.slot = self._board.start(lease.id, lease.attempt, run.deadline)
        except ValueError as error:  # somebody wrote another id into the store
            return policy.malformed(lease.id, lease.attempt, lease.terms, str(error))
        try:
            ack = returned(run, copy_context().run(_call, run))
        except BaseException as error:  # noqa: BLE001 - a job may raise anything at all
            ack = raised(run, error, self._rng, look(run))
        run.busy = self._tick() - run.started_at
        return ack


def _call(run: Run) -> Raw | None:
    """Call a function in this thread, in a context of its own."""
    current_run.set(Running(run))
    task = run.task
    arguments, keywords = task.codec.decode(run.lease.payload, run.lease.results)
    first = (run.context,) if task.takes_context else ()
    return task.codec.encode_result(task.fn(*first, *arguments, **keywords)) or run.completed
