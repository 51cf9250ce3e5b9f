"""The worker: leases jobs, has them run, records how they ended.

One loop speaks with the store. Each exchange hands over the outcomes that gathered while
the last one was under way and brings the next jobs, so the store commits once for many
jobs while the jobs of the last exchange run. Everything that can wake the loop rings one
bell: an outcome, a hint, a timer, a signal to stop.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias

from backline import policy
from backline.clock import Clock
from backline.errors import StoreError
from backline.faults import fault
from backline.job import FARTHEST, SECOND, Ack, Acked, Backoff, Lane, LeasedJob, Micros
from backline.outage import Outage
from backline.states import State
from backline.store import Demand, Exchange, Hint, Store
from backline.task import Executor, Registry
from backline.worker.board import Board
from backline.worker.execute import Middleware, given_up
from backline.worker.given_up import GivenUp
from backline.worker.lines import Lines
from backline.worker.monitor import RunMonitor
from backline.worker.prefetch import Pace, QueueTurns
from backline.worker.progress import ProgressSender
from backline.worker.run import Observer, Run, StopReason
from backline.worker.settings import WorkerSettings
from backline.worker.setup import RunnerSetup
from backline.worker.steps import StepRecorder
from backline.worker.unknown import UnknownTasks

log = logging.getLogger("backline.worker")

Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]

_RETRIES: Final = Backoff(base=SECOND // 10, cap=2 * SECOND)
_LAST_WORDS: Final[Micros] = 5 * SECOND
"""How long after the grace a store that does not answer may still take outcomes."""
_LOOKUPS: Final = 2
_PROMOTE: Final = 1_000
_OVERDUE: Final[Micros] = 50_000
"""How often to try again to have jobs promoted that are due by this process's clock."""


class Worker:
    """Runs the jobs of some queues in this process until it is told to stop.

    The heartbeats are not its business: a `Heartbeat` outside of the user's code renews the
    leases and answers on the board. Everything but `run` may be called only on its loop.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: WorkerSettings,
        *,
        clock: Clock,
        board: Board,
        lifespan: Lifespan | None = None,
        middleware: Sequence[Middleware] = (),
        observer: Observer | None = None,
    ) -> None:
        self.settings = settings
        self.board = board
        self.started = asyncio.Event()
        """Set when `run` begins to work: the lifespan is entered, and nothing failed."""
        self._store = store
        self._registry = registry
        self._clock = clock
        self._lifespan = lifespan
        self._middleware = tuple(middleware)
        self._observer = observer
        self._bell = asyncio.Event()
        self._pace = Pace(settings.concurrency, settings.max_prefetch)
        self._progress = ProgressSender(store)
        self._steps = StepRecorder(store, clock)
        self._threads = clock.executor("backline-job", settings.concurrency)
        self._given_up = GivenUp(self._threads, settings.concurrency, settings.stuck_limit)
        self._monitor = RunMonitor(
            clock, board, lease=settings.lease, refusal=settings.refusal, give_up=self._give_up
        )
        self._outcomes: list[Run] = []
        self._held = 0
        self._calls = 0
        self._turns = QueueTurns(settings.queues)
        self._unknown = UnknownTasks(registry)
        self._promoting = Outage("making due jobs ready", clock)
        self._busy: Micros = 0
        self._next_at: Micros | None = None
        self._stop_by: Micros | None = None
        """Set once the worker is to stop: when the grace is over."""

    @property
    def stopping(self) -> bool:
        """It leases nothing more."""
        return self._stop_by is not None

    @property
    def runs(self) -> tuple[Run, ...]:
        """What runs here now."""
        return self._monitor.runs

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks it knows."""
        return self._registry.names()

    @property
    def stuck(self) -> int:
        """How many jobs were given up because they ignored being stopped, and go on."""
        return len(self._given_up)

    @property
    def worn_out(self) -> bool:
        """So much of it is stuck in jobs that never end that another process should go on."""
        return self.stuck >= self.settings.stuck_limit

    def stop(self, *, patient: bool = False) -> None:
        """Lease nothing more; finish what runs, within the grace or, if `patient`, whatever it
        takes. Repeated: nothing, but a call that is not patient ends the patience."""
        if self._stop_by is None or (self._stop_by == FARTHEST and not patient):
            self._stop_by = FARTHEST if patient else self._clock.tick() + self.settings.grace
            self._monitor.close()
            if not patient:
                asyncio.get_running_loop().call_later(self.settings.grace / SECOND, self._stop_runs)
            self._bell.set()

    def quit(self) -> None:
        """Stop what runs now and give it back."""
        self._stop_by = self._clock.tick()
        self._monitor.close()
        self._stop_runs()

    def wake(self) -> None:
        """The board may have replies, or the store work."""
        self._monitor.look()
        self._hint()

    async def run(self) -> None:
        """Work until `stop` (with `drain`: until there is nothing to do), then return.

        Rides out every error of the store. Raises what `lifespan` raises.
        """
        async with AsyncExitStack() as stack:
            if self._lifespan is not None:
                await stack.enter_async_context(self._lifespan())
            await stack.enter_async_context(self._progress)
            stack.callback(self._steps.close)
            await stack.enter_async_context(self._runners())
            stack.enter_context(self._monitor)
            await stack.enter_async_context(self._store.watch([Hint.WORK], self._hint))
            self.started.set()
            await self._work()

    @asynccontextmanager
    async def _runners(self) -> AsyncIterator[None]:
        setup = RunnerSetup(
            self._clock,
            self.board,
            self._monitor.admit,
            self._finished,
            self._threads,
            self._clock.executor("backline-look", _LOOKUPS),
        )
        self._lines = Lines(setup, self._registry, self.settings, self._middleware)
        try:
            yield
        finally:
            await self._lines.close()
            self._threads.shutdown(wait=False)
            setup.lookups.shutdown(wait=False)

    async def _work(self) -> None:
        while True:
            self._give_back()
            demand = self._demand()
            found = 0
            if self._outcomes or demand:
                found = await self._exchange(demand)
            asked_all = len(demand) == len(self.settings.queues)
            drained = self.settings.drain and asked_all and not found
            if self._held == 0 and (self.stopping or drained):
                return
            if self._should_ask_again(demand, found):
                self._bell.set()
            await self._pause()

    async def _pause(self) -> None:
        """Wait for the bell, but let the runners go on in any case."""
        if self._bell.is_set():
            self._bell.clear()
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().call_later(self._patience(), self._hint)
        try:
            await self._bell.wait()
        finally:
            timer.cancel()
            self._bell.clear()

    def _patience(self) -> float:
        """Seconds until it is time to look for work without being told of any."""
        if self.settings.drain and self._held == 0:
            return 0.0  # one more look says whether that was all
        wait = self.settings.poll
        if self._next_at is not None:
            left = self._next_at - self._clock.tick()
            # Past, and still not ready: the store's clock is behind ours, or it is busy.
            wait = min(wait, left if left > 0 else _OVERDUE)
        if self._lines.waiting():
            wait = min(wait, self._pace.patience)
        return wait / SECOND

    def _hint(self) -> None:
        self._turns.hint()
        self._bell.set()

    # Speaking with the store.

    async def _exchange(self, demand: Demand) -> int:
        """Hand over outcomes and bring jobs; returns how many."""
        runs, self._outcomes = self._outcomes, []
        busy, self._busy = self._busy, 0
        if demand:
            self._turns.asked(demand)
            await self._promote()
        before = self._clock.tick()
        reply = await self._persist([run.ack for run in runs if run.ack is not None], demand)
        if reply is None:  # the board keeps them: it is all that a supervisor can settle them by
            self._held -= len(runs)
            return 0
        now = self._clock.tick()
        self._pace.measured(now, now - before, len(runs), busy)
        self.board.beat(now)
        self._recorded(runs, reply.acks)
        if demand:
            self._note_next(demand, None if reply.next_in is None else now + reply.next_in)
            self._turns.answered(demand, reply.jobs)
            self._accept(reply.jobs, before, now)
        return len(reply.jobs)

    async def _persist(self, acks: list[Ack], demand: Demand) -> Exchange | None:
        """Exchange until the store answers: the same call, so a lost reply costs nothing.

        None: the worker stops, and no longer waits for a store that is away.
        """
        self._calls += 1
        outage = Outage("handing in outcomes and asking for jobs", self._clock, _RETRIES)
        while True:
            try:
                fault("worker.before_exchange")
                reply = await self._store.exchange(
                    self.settings.name, self._calls, acks, demand, self.settings.lease
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, the jobs must not be lost
                wait = outage.failed(error)
            else:
                outage.over()
                return reply
            if self._stop_by is not None and self._clock.tick() > self._stop_by + _LAST_WORDS:
                log.error("stopping without the store: %d outcomes are not recorded", len(acks))
                return None
            await asyncio.sleep(wait / SECOND)

    async def _promote(self) -> None:
        """Make due jobs ready before asking for them: no reaper needs to be awake for it."""
        if self._next_at is None or self._next_at > self._clock.tick():
            return
        try:
            await self._store.promote(_PROMOTE)
        except StoreError as error:
            self._promoting.failed(error)
        else:
            self._next_at = None
            self._promoting.over()

    def _note_next(self, demand: Demand, due: Micros | None) -> None:
        """Remember when to look for due jobs; of queues that were not asked, what is known."""
        known = self._next_at
        if known is None or len(demand) == len(self.settings.queues):
            self._next_at = due
        elif due is not None:
            self._next_at = min(due, known)

    def _demand(self) -> dict[tuple[str, Lane], int]:
        idle = self.settings.drain and self._held == 0
        if self.stopping or not (idle or self._turns.open):
            return {}
        lines, places = self._lines, self.board.slots - self._held
        slots = self.settings.concurrency - self._given_up.missing
        free = slots - lines.waiting() - lines.calls(self._monitor.running)
        room = min(free + self._pace.ahead(), places)
        if room <= 0:
            return {}
        turns = self._turns  # while idle, the answer must speak for every queue
        divided = turns.every(room) if idle else turns.divide(room, self._clock.tick())
        asked = lines.demand(divided, free, places)
        return {(queue, self.settings.lane): share for queue, share in asked.items()}

    def _should_ask_again(self, demand: Demand, found: int) -> bool:
        """A queue came short while another may have work: the slot is for that one, now."""
        if found >= sum(demand.values()):
            return False
        return self._turns.open or (self.settings.drain and not self._held)

    # Runs come and go.

    def _accept(self, jobs: Sequence[LeasedJob], asked_at: Micros, now: Micros) -> None:
        """Put leased jobs in line."""
        self._held += len(jobs)
        until = asked_at + self.settings.lease
        known: list[Run] = []
        send, tick = self._progress.send, self._clock.tick  # bound once, not once a job
        for job in jobs:
            task = self._registry.get(job.task)
            run = Run(job, task, until, now, send, tick, self._steps)
            if task is None:
                self._refuse(run, policy.TaskUnknown())
            elif task.executor is Executor.PROCESS and self.settings.lane is not Lane.CELL:
                self._refuse(run, policy.Misplaced())
            else:
                known.append(run)
        self._lines.feed(known)

    def _refuse(self, run: Run, outcome: policy.TaskUnknown | policy.Misplaced) -> None:
        log.debug("gave back job %s: %s", run.lease.id, type(outcome).__name__)
        if isinstance(outcome, policy.TaskUnknown):
            self._unknown.note(run.lease.task)
        self._finished(run, policy.settle(run.lease, outcome, self._clock.rng))

    def _finished(self, run: Run, ack: Ack) -> None:
        """A run ended, or was given up: the first outcome counts, later ones are too late."""
        if run.ack is not None:
            self._given_up.ended(run)
            return
        run.end(ack)
        self._monitor.ended(run)
        self._busy += run.busy
        if ack.state is State.SUCCEEDED:
            self.board.finish(run.slot, None if ack.result is None else bytes(ack.result))
        else:
            if run.slot >= 0:
                self.board.finish_other(run.slot)
            self._turns.hint(run.lease.queue)  # it may be ready here again, or due soon
        self._outcomes.append(run)
        if self._observer is not None:
            self._observer(run)
        self._bell.set()

    def _recorded(self, runs: Sequence[Run], acks: Sequence[Acked]) -> None:
        """The store took these outcomes, or refused them."""
        self._held -= len(runs)
        for run, acked in zip(runs, acks, strict=True):
            if run.slot >= 0:
                self.board.clear(run.slot)
            if acked is Acked.LOST:
                log.warning(
                    "attempt %d of job %s was no longer ours: its outcome was refused",
                    run.lease.attempt,
                    run.lease.id,
                )

    def _give_up(self, run: Run) -> None:
        """A run ignored being stopped: settle it, so that a late end changes nothing."""
        assert run.stop is not None
        lease, why = run.lease, run.stop.name.lower()
        if self._lines.abandon(run):
            log.error("job %s (%s) ignored being stopped (%s)", lease.id, lease.task, why)
            self._given_up.add(run)
        self._finished(run, given_up(run, run.stop, self._clock.rng))
        no_slot = self._given_up.missing >= self.settings.concurrency
        if (self.worn_out and self.settings.replaceable) or (no_slot and self.settings.drain):
            self.stop()

    def _give_back(self) -> None:
        """Give back what waits here for nothing: while stopping, and behind long jobs."""
        if self.stopping:
            runs = self._lines.take_back()
        else:
            runs = self._lines.late(self._clock.tick(), self._pace.patience)
        if runs:
            self._pace.stalled()
        for run in runs:
            self._finished(run, policy.released(run.lease))

    def _stop_runs(self) -> None:
        """The grace is over."""
        self._monitor.stop_all(StopReason.SHUTDOWN)
        self._bell.set()
