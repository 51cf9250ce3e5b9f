"""Calls of one handler with many jobs, each of which keeps its own lease, slot and end.

Such a call stops as a whole: when a job of it is past its time limit or lost, when the worker
ends, or when everybody's job is cancelled. One job that is cancelled is only told.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import msgspec

from backline import policy
from backline.batch import Batch, BatchItem
from backline.context import Running, current_run
from backline.job import Ack, Charge, Micros
from backline.policy import Cancelled, Failed, Outcome
from backline.states import State
from backline.task import check_returned
from backline.worker.execute import (
    NOTHING,
    Look,
    Middleware,
    explain,
    log_raised,
    look,
    raised,
    returned,
    settled,
)
from backline.worker.meeting import Meeting
from backline.worker.run import Run, StopReason
from backline.worker.setup import Finished, Handover, RunnerSetup

log = logging.getLogger("backline.worker")

Item: TypeAlias = BatchItem[Any, Any]


class BatchRun:
    """Some runs of a task that share a call. Implements `run.Whole` and `setup.Caller`."""

    def __init__(self, runs: Sequence[Run], now: Micros) -> None:
        self.runs = tuple(runs)
        self.task = runs[0].task
        self.leased_at = now
        """Since when it waits for a runner."""
        self.stop: StopReason | None = None
        """Why the call as a whole was told to stop."""
        self.runner: asyncio.Task[None] | None = None
        self.call: Future[Any] | None = None
        self.given_up = False
        self.meeting: Meeting | None = None
        """Where the middleware of each job waits, if there is any."""
        self.heeded = False
        self.open: dict[Run, Item] = {}
        """What has begun, and is not settled."""

    @property
    def running(self) -> int:
        """How many have begun and not ended."""
        return sum(run.ack is None and run.slot >= 0 for run in self.runs)

    def told(self) -> bool:
        """Whether the call is to stop; who asks has heeded it."""
        self.heeded = self.heeded or self.stop is not None
        return self.stop is not None

    def tell(self, run: Run, reason: StopReason, now: Micros) -> None:
        going = [other for other in self.runs if other.ack is None and other.whole is self]
        if reason is StopReason.CANCEL:
            run.cancel = True
            if not all(other.cancel for other in going):
                return
        if self.stop is not None:
            run.stop, run.stopped_at = reason, now
            return
        for other in going:
            other.stop, other.stopped_at = _reason(other, run, reason, now), now
        self.stop = reason
        if self.call is not None:
            self.call.cancel()
        elif self.runner is not None:
            self.runner.cancel()

    def returned(self, run: Run) -> None:
        if run.stop is None and (self.heeded or (run.cancel and run.heeded)):
            run.stop = StopReason.CANCEL if run.cancel else StopReason.BATCH
        run.heeded = run.heeded or self.heeded  # nobody knows how far the handler came

    def close(self) -> None:
        """Let go of the runs: they hold this, and nobody collects such a circle."""
        self.runs = ()
        self.open.clear()
        self.meeting = None


def _reason(run: Run, told: Run, reason: StopReason, now: Micros) -> StopReason:
    """Why a run stops when the call of `told` does."""
    if run is told or reason is StopReason.SHUTDOWN:
        return reason
    if run.cancel:
        return StopReason.CANCEL
    if reason is StopReason.TIMEOUT and now >= run.deadline:
        return reason
    return StopReason.BATCH


class BatchCalls:
    """Calls handlers, on the loop and in threads."""

    def __init__(
        self, setup: RunnerSetup, handover: Handover, middleware: Sequence[Middleware]
    ) -> None:
        self._setup = setup
        self._give = handover.give
        self._middleware = middleware
        self._tick = setup.clock.tick
        self._under_way: set[BatchRun] = set()

    def calls(self, runs: int) -> int:
        """How many calls are under way, where so many runs are."""
        under_way = list(self._under_way)  # in one step: threads add to it
        return runs + sum((not batch.given_up) - batch.running for batch in under_way)

    async def run(self, batch: BatchRun, running: Running, me: asyncio.Task[None]) -> Micros | None:
        """Run a batch on the loop; returns when it ended, or None when its runner must end."""
        batch.runner, running.in_batch = me, True
        error: BaseException | None = None
        try:
            self._begin(batch)
            if self._middleware:
                meeting = batch.meeting = Meeting(batch.open, self._setup, self._middleware)
                await meeting.hold(lambda items: self._call(batch, items))
            elif batch.open:
                items = list(batch.open.values())
                check_returned(batch.task.name, await batch.task.fn(Batch(items, batch.told)))
        except BaseException as caught:  # noqa: BLE001 - a handler may raise anything at all
            error = caught
        batch.runner = None
        looks = {run: await self._setup.look(run, cause) for run, cause in _in_doubt(batch, error)}
        self._settle(batch, error, looks, self._setup.finished)
        running.in_batch = False
        return None if isinstance(error, GeneratorExit) else self._tick()

    def run_in_thread(self, batch: BatchRun) -> None:
        """Run a batch in this thread."""
        error: BaseException | None = None
        try:
            self._begin(batch)
            if batch.open:
                check_returned(batch.task.name, copy_context().run(_called, batch))
        except BaseException as caught:  # noqa: BLE001 - a handler may raise anything at all
            error = caught
        looks = {run: look(run) for run, _ in _in_doubt(batch, error)}
        self._settle(batch, error, looks, self._give)

    async def _call(self, batch: BatchRun, items: Sequence[Item]) -> None:
        """Call the handler with those whose middleware has let them through."""
        face = Batch(items, batch.told)
        if batch.task.is_async:
            value = await batch.task.fn(face)
        else:
            context = copy_context()
            value = await self._setup.in_thread(batch, lambda: context.run(batch.task.fn, face))
        check_returned(batch.task.name, value)

    def _begin(self, batch: BatchRun) -> None:
        """Begin each of the runs; what cannot begin ends by itself."""
        setup = self._setup
        self._under_way.add(batch)
        for run in batch.runs:
            lease = run.lease
            run.whole = batch  # first: once it is admitted, it may be told
            if not setup.admit(run):
                self._give(run, policy.released(lease))
                continue
            try:
                run.slot = setup.board.start(lease.id, lease.attempt, run.deadline)
            except ValueError as error:  # somebody wrote another id into the store
                why = str(error)
                self._give(run, policy.malformed(lease.id, lease.attempt, lease.terms, why))
                continue
            try:
                arguments, keywords = batch.task.codec.decode(lease.payload, lease.results)
                [value] = arguments or keywords.values()
            except BaseException as error:  # noqa: BLE001 - decoders call the user's code
                self._give(run, raised(run, error, setup.clock.rng, NOTHING))
                continue
            noted = partial(self._noted, batch, run)
            batch.open[run] = BatchItem(value, run.context, noted)

    def _noted(self, batch: BatchRun, run: Run, item: Item) -> None:
        """The handler has ended this item. Any thread."""
        if batch.meeting is not None:
            batch.meeting.ended(run)
            return
        if run.ack is not None or (item.error is not None and run.completing):
            return  # it was given up; or whether it has completed is looked up at the end
        if len(batch.open) == 1:
            return  # by the last one the call is watched until it has returned
        if batch.open.pop(run, None) is not None:
            run.busy = self._tick() - run.started_at
            self._give(run, _ended(run, item, self._setup.clock.rng))

    def _settle(
        self,
        batch: BatchRun,
        error: BaseException | None,
        looks: Mapping[Run, Look],
        finished: Finished,
    ) -> None:
        """Settle what the handler has left open: it returned, or raised."""
        acks: list[Ack] = []
        shared: Outcome | None = None
        rng = self._setup.clock.rng
        for run, item in list(batch.open.items()):
            cause, seen = item.error or error, looks.get(run, NOTHING)
            if item.ended and not (item.error is not None and run.completing):
                ack = _ended(run, item, rng)
            elif cause is None:
                ack = _returned(batch, run, rng)
            elif run.stop is None and seen is NOTHING and cause is error:
                shared = shared or explain(run, cause)  # a traceback once, not once a job
                ack = settled(run, _of_attempt(shared, run.lease.attempt), rng, known=True)
            else:
                ack = settled(run, explain(run, cause, seen), rng, known=seen.known)
            acks.append(ack)
            run.busy = self._tick() - run.started_at
            finished(run, ack)
        _log(batch, acks, error)
        self._under_way.discard(batch)
        batch.close()


def _in_doubt(batch: BatchRun, error: BaseException | None) -> list[tuple[Run, BaseException]]:
    """The runs that failed, and may have completed in a transaction of the caller's."""
    open_runs = [(run, item.error or error) for run, item in batch.open.items() if run.completing]
    return [(run, cause) for run, cause in open_runs if cause is not None]


def _called(batch: BatchRun) -> object:
    """Call a handler in this thread, in a context of its own."""
    current_run.set(Running(in_batch=True))
    return batch.task.fn(Batch(list(batch.open.values()), batch.told))


def _ended(run: Run, item: Item, rng: random.Random) -> Ack:
    """How an item is recorded that the handler has ended."""
    if item.error is not None:
        return raised(run, item.error, rng, NOTHING)
    try:
        result = run.task.codec.encode_result(item.result)
    except BaseException as error:  # noqa: BLE001 - encoders call the user's code
        return raised(run, error, rng, NOTHING)
    return policy.succeeded(run.lease, result or run.completed)


def _returned(batch: BatchRun, run: Run, rng: random.Random) -> Ack:
    """How a run is recorded whose handler returned and said nothing of it."""
    batch.returned(run)
    try:
        return returned(run, run.completed)
    except BaseException as error:  # noqa: BLE001 - it heeded
        return raised(run, error, rng, NOTHING)


def _of_attempt(outcome: Outcome, attempt: int) -> Outcome:
    """The same outcome, for the run of another job."""
    if isinstance(outcome, Failed | Cancelled) and outcome.error is not None:
        error = msgspec.structs.replace(outcome.error, attempt=attempt)
        return replace(outcome, error=error)
    return outcome


def _log(batch: BatchRun, acks: Sequence[Ack], error: BaseException | None) -> None:
    """Say once that the call failed, as it is said of a job that runs alone."""
    failed = [ack for ack in acks if ack.charge is Charge.FAILURE]
    if error is None or not failed:
        return
    first, dead = failed[0].error, sum(ack.state is State.DEAD for ack in failed)
    what = "" if first is None else f"{first.kind}: {first.message}".rstrip(": ")
    name = batch.task.name
    text = "a batch of %d jobs (%s) failed for %d of them, of which %d are dead: %s"
    shown = error if dead or log.isEnabledFor(logging.DEBUG) else None
    level = logging.ERROR if dead else logging.INFO
    log_raised(level, text, len(batch.runs), name, len(failed), dead, what, error=shown)
