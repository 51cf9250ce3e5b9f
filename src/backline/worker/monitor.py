"""Watches running jobs: time limits, cancels, leases that cannot be renewed.

One timer for all of them, not one a job: a job pays two dictionary writes. The timer goes
off at the next deadline, and at least once a second while anything runs.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from backline.clock import Clock, call_in
from backline.job import SECOND, Micros
from backline.states import State
from backline.worker.board import Board, Reply
from backline.worker.run import Run, StopReason

_LOOK: Final[Micros] = SECOND
_STANDSTILL: Final[Micros] = 2 * SECOND
"""A look that comes so much later than the last one: this process stood still."""
_AFTERWARDS: Final[Micros] = 3 * SECOND
"""How long the heartbeat may then take to renew the leases that ran out meanwhile."""


class RunMonitor:
    """Tells runs to stop, and gives up those that do not.

    `lease` and `refusal` as in `WorkerSettings`. `give_up` is called, on the loop, with a run
    that ignored being stopped for `refusal`.
    """

    def __init__(
        self,
        clock: Clock,
        board: Board,
        *,
        lease: Micros,
        refusal: Micros,
        give_up: Callable[[Run], None],
    ) -> None:
        self._clock = clock
        self._board = board
        self._margin = lease // 10
        self._refusal = refusal
        self._give_up = give_up
        self._running: dict[Run, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_look: Micros = 0
        self._looked_at: Micros = 0
        self._spare_until: Micros = 0
        """Until then no lease counts as over: whoever renews it may have stood still as well."""
        self._closed = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()

    @property
    def running(self) -> int:
        """How many runs have begun and not ended."""
        return len(self._running)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Those that have begun and not ended."""
        return tuple(self._running)

    def admit(self, run: Run) -> bool:
        """Let a run begin; False after `close`, and if its lease may end before anybody
        renews it. Any thread.
        """
        now = self._clock.tick()
        if now >= run.until - self._margin and now >= self._lease_end(run):
            return False
        run.begin(now)  # first: the loop may look at whatever is among the running
        self._running[run] = None
        if self._closed:  # looked at last: whoever closes then sees this run, or it is not begun
            self.ended(run)
            return False
        if run.deadline < self._next_look or self._next_look <= now:
            self._look_at(min(run.deadline, now + _LOOK))
        return True

    def ended(self, run: Run) -> None:
        """A run ended. Repeated, or for a run that never began: nothing."""
        self._running.pop(run, None)
        if run.stop is None:
            return
        if run.stop is StopReason.SHUTDOWN and run.ack and run.ack.state is not State.SUCCEEDED:
            self._board.cut_short()

    def close(self) -> None:
        """Let no run begin any more."""
        self._closed = True

    def stop_all(self, reason: StopReason) -> None:
        """Tell every running job to stop."""
        now = self._clock.tick()
        for run in list(self._running):
            run.tell(reason, now)
        self.look()

    def look(self) -> None:
        """Check every running job now; sets the timer for the next time. On the loop only."""
        if self._loop is None:
            return
        now = self._clock.tick()
        if self._timer is not None and now - self._looked_at > _LOOK + _STANDSTILL:
            self._spare_until = now + _AFTERWARDS
        self._looked_at = now
        self._board.beat(now)  # at least once a second while anything runs
        replies = self._board.any_reply()
        soonest = now + _LOOK
        for run in list(self._running):
            reason = self._reason_to_stop(run, now, replies=replies)
            if reason is not None:
                run.tell(reason, now)
            if run.stop is None:
                soonest = min(soonest, run.deadline)
            elif now >= run.stopped_at + self._refusal:
                self._give_up(run)
            else:
                soonest = min(soonest, run.stopped_at + self._refusal)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next_look = 0  # before the check: a thread that begins a run after it will say so
        if self._running:
            self._next_look = soonest
            delay = (soonest - now) / SECOND
            self._timer = self._loop.call_later(delay, self.look)

    def _reason_to_stop(self, run: Run, now: Micros, *, replies: bool) -> StopReason | None:
        if run.stop is not None:
            return None
        reply = self._board.reply(run.slot) if replies and run.slot >= 0 else Reply.NONE
        if reply is Reply.LOST:
            return StopReason.LOST
        if now >= self._lease_end(run) and now >= self._spare_until:
            return StopReason.LOST
        if reply is Reply.CANCEL:
            return StopReason.CANCEL
        return StopReason.TIMEOUT if now >= run.deadline else None

    def _lease_end(self, run: Run) -> Micros:
        """When the run must have stopped, lest another worker has it by then."""
        return max(run.until, self._board.renewed_until) - self._margin

    def _look_at(self, tick: Micros) -> None:
        """Look at `tick` at the latest. Any thread."""
        self._next_look = tick
        loop = self._loop
        if loop is not None:
            call_in(loop, self._rearm)

    def _rearm(self) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, self._next_look - self._clock.tick()) / SECOND
        self._timer = self._loop.call_later(delay, self.look)
