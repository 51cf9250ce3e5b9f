"""All jobs of a memory store, every index over them, and the one way a job moves."""

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final

from msgspec import UNSET

from backline import states
from backline.job import (
    REPLACED_KEEP,
    Enqueued,
    JobId,
    JobRequest,
    Lane,
    Limits,
    Micros,
    OnConflict,
)
from backline.states import MOVES, TERMINAL, Effect, State
from backline.store import Edit, Hint
from backline.stores.memory.gates import Gates
from backline.stores.memory.husks import Husks
from backline.stores.memory.idempotency import IdempotencyKeys
from backline.stores.memory.ids import Ids
from backline.stores.memory.line import Line
from backline.stores.memory.row import Fuse, Key, QueueState, Row

_ENDS: Final = {
    source: {target: bool(effect & Effect.ENDS) for target, effect in targets.items()}
    for source, targets in MOVES.items()
}
"""Whether a move ends the job. The depth needs no column: it is the size of three tables."""


class Table:
    """Jobs by id, by queue and state, by due time, by expiry and by age; unique keys.

    `now` is wall time and `tick` is not (see `Clock`); both are the caller's, so that one
    call sees one moment.
    """

    def __init__(self) -> None:
        self.rows: dict[JobId, Row] = {}
        self.husks = Husks()
        self.queues: dict[str, QueueState] = {}
        self.hints: set[Hint] = set()
        """What happened since the last `Watchers.tell`."""
        self.ids = Ids(self.rows)
        self._idempotency = IdempotencyKeys()
        self._keys: dict[str, Key] = {}
        self._gates = Gates(lambda: self.hints.add(Hint.WORK))
        self._lapsing: Line[Key] = Line()
        """Keys that an ended job still holds."""
        self._fuses: Line[Fuse] = Line()
        self._finished: Line[Row] = Line()
        self._seq = 0
        self.ended: list[Row] = []
        """Jobs with follow-ups that have ended in this call."""

    def queue(self, name: str) -> QueueState:
        """The queue of that name, made if need be."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = QueueState(name)
        return queue

    def known(self, job_id: JobId) -> bool:
        """Whether the job was added before, even if it is purged by now."""
        return job_id in self.rows or job_id in self.husks

    def answered(self, request: JobRequest, now: Micros) -> Enqueued | None:
        """The answer for a job that an earlier enqueue settled, which adds nothing now."""
        if self.known(request.id):
            return Enqueued(request.id)
        return self._idempotency.answer(request, now)

    def add(self, request: JobRequest, now: Micros, tick: Micros) -> Enqueued:
        """Add one job of an admitted call."""
        answer = self.answered(request, now)
        if answer is None:
            answer = self._add(request, now, tick)
            self._idempotency.remember(request, answer, now)
        return answer

    def _add(self, request: JobRequest, now: Micros, tick: Micros) -> Enqueued:
        name = request.unique_key
        key = None if name is None else self._keys.get(name)
        taken = key is not None and not key.free(now)
        if taken and key is not None and request.on_conflict is not OnConflict.REPLACE:
            return Enqueued(key.holder.id, False, request.on_conflict is OnConflict.RAISE)
        self._seq += 1
        row = Row(request, self.queue(request.queue), self._seq, now)
        if name is not None:
            self._take(name, key, row, now, tick)
        if request.limits is not None:
            self._go_on(self._gates.declare(row.queue, request.limits, tick), now, tick)
            if row.state is State.READY:
                row.state = self._within_limits(row, request.limits, tick)
        self._arrive(row, tick)
        self._insert(row, now, tick)
        return Enqueued(request.id)

    def come(self, row: Row, now: Micros, tick: Micros) -> None:
        """The time of a job has come: it is ready, or waits within its limits. The one way a job
        that is stored becomes ready."""
        asked = row.request.limits
        target = State.READY if asked is None else self._within_limits(row, asked, tick)
        if target is row.state:
            self._stand(row, now, tick)
        else:
            self.move(row, target, now, tick)

    def move(
        self, row: Row, target: State, now: Micros, tick: Micros, keep: Micros | None = None
    ) -> None:
        """Move a job, with every effect of the move: the tail of whatever moves one.

        If this ends it, it stays readable for `keep`, or as its terms say.
        """
        source = row.state
        ends = _ENDS[source].get(target)
        if ends is None:
            states.move(source, target)
        members = row.queue.members
        del members[source][row.seq]
        members[target][row.seq] = row
        row.state = target
        if row.asleep:
            row.wake()
        if row.line is None:  # spelled out, for most moves are of jobs that stand in none
            row.mark += 1
        else:
            self._leave(row)
        if row.fuse is not None and (ends or target is State.RUNNING):
            row.fuse.mark += 1
            row.fuse = None
            self._fuses.drop()
        if ends:
            self._end(row, now, tick, keep)
        elif target is not State.RUNNING:
            if source is not State.RUNNING:
                self._arrive(row, tick)
            self._stand(row, now, tick)
        if row.stand is not None:
            self._go_on(self._gates.moved(row, row.stand, tick), now, tick)
        if source is State.RUNNING and row.queue.concurrency is not None:
            self.hints.add(Hint.WORK)  # what was held back by the limit may run elsewhere

    def revive(self, row: Row, now: Micros, tick: Micros) -> None:
        """Make a finished job ready again, as if it had never failed or expired."""
        row.failures = 0
        row.redrives += 1
        row.cancel = False
        row.due = now
        row.expires_at = row.finished_at = row.purge_at = row.result = None
        name = row.request.unique_key
        if name is not None:
            key = self._keys.get(name)
            if key is None:
                row.key = self._keys[name] = Key(name, row, now)
            elif key.holder is row or key.free(now):
                self._keep_key(key)
                key.holder, row.key = row, key
                key.until, key.since = row.window_end, now
        self.come(row, now, tick)

    def lent(self, now: Micros, tick: Micros) -> None:
        """The leases of a call are out: where they used up permits, others may go on."""
        self._go_on(self._gates.used(tick), now, tick)

    def let_go(self, row: Row, now: Micros, tick: Micros, *, moves: bool) -> bool:
        """Have a job that is to be changed give back what it holds within its limits; whether
        it was ready, or waited for more, and so is to ask again.

        One that is scheduled keeps what it has, unless it `moves` to another queue.
        """
        asks = row.stand is not None and row.state is not State.SCHEDULED
        if asks or (moves and row.stand is not None):
            if asks:
                self._leave(row)
            self._go_on(self._gates.leave(row, tick), now, tick)
        return asks

    def edit(self, row: Row, change: Edit, now: Micros, tick: Micros, *, asks: bool) -> None:
        """Change a job that has not started, and let it stand where it belongs from now on."""
        due, asleep = change.due(now), row.asleep
        self._leave(row)
        row.wake()
        del row.queue.members[row.state][row.seq]
        if change.queue is not UNSET:
            row.queue = self.queue(change.queue)
        if change.priority is not UNSET:
            row.priority = change.priority
        if due is not None:
            row.due = due
            if asleep and row.recorded is not None:
                row.recorded.sleep_until(due, now)
        if asks or (due is not None and row.state is not State.WAITING):
            was = row.state
            row.state = self._state_at(row, now, tick)
            if was is not row.state:
                self._arrive(row, tick)
        if asleep and row.state is State.SCHEDULED:
            row.sleep()
        row.queue.members[row.state][row.seq] = row
        self._stand(row, now, tick)

    def promote(self, limit: int, now: Micros, tick: Micros) -> int:
        """Make jobs ready that are due, earliest first, and those that a rate lets start."""
        lines: list[tuple[Micros, str]] = []
        for name, queue in self.queues.items():
            due = queue.scheduled.due()
            if due is not None and due <= now:
                heappush(lines, (due, name))
        rows: list[Row] = []
        while lines and len(rows) < limit:
            _, name = heappop(lines)
            line = self.queues[name].scheduled
            row = line.pop()
            if row is not None:
                row.line = None
                rows.append(row)
            due = line.due()
            if due is not None and due <= now:
                heappush(lines, (due, name))
        for row in sorted(rows, key=lambda row: row.priority, reverse=True):
            self.come(row, now, tick)
        return len(rows) + self._permit(limit - len(rows), now, tick)

    def _permit(self, limit: int, now: Micros, tick: Micros) -> int:
        count = 0
        for queue in self.queues.values():
            while count < limit and queue.paces.is_due(tick) and (pace := queue.paces.pop()):
                pace.opens = None
                self._go_on(self._gates.due(pace, tick), now, tick)
                count += 1
        return count

    def expire(self, limit: int, now: Micros, tick: Micros) -> int:
        """End jobs that are past their expiry and never started, earliest first."""
        count = 0
        while count < limit and self._fuses.is_due(now) and (fuse := self._fuses.pop()):
            fuse.row.fuse = None
            self.move(fuse.row, State.EXPIRED, now, tick)
            count += 1
        return count

    def purge(self, row: Row, now: Micros, tick: Micros) -> None:
        """Take a finished job out; its id is remembered for a day."""
        del row.queue.members[row.state][row.seq]
        row.queue.purged += 1
        self._leave(row)
        del self.rows[row.id]
        self.ids.drop()
        self.husks.add(row, now)
        self._go_on(self._gates.leave(row, tick), now, tick)

    def sweep(self, limit: int, now: Micros, tick: Micros) -> int:
        """Purge what is past its time, then forget husks and keys past theirs."""
        count = 0
        while count < limit and self._finished.is_due(now):
            row = self._finished.pop()
            if row is not None:
                row.line = None
                self.purge(row, now, tick)
                count += 1
        count += self.husks.forget(limit - count, now)
        count += self._idempotency.forget(limit - count, now)
        count += self._gates.forget(limit - count, tick)
        while self._lapsing.is_due(now):
            key = self._lapsing.pop()
            if key is not None:
                del self._keys[key.name]
        return count

    def _insert(self, row: Row, now: Micros, tick: Micros) -> None:
        self.rows[row.id] = row
        self.ids.add(row.id)
        row.queue.members[row.state][row.seq] = row
        if row.expires_at is not None:
            row.fuse = Fuse(row)
            self._fuses.push(row.expires_at, row.seq, row.fuse)
        self._stand(row, now, tick)

    @staticmethod
    def _arrive(row: Row, tick: Micros) -> None:
        """Count a job that became ready and was not put back, unless it is for a cell."""
        if row.state is State.READY and row.lane is Lane.MAIN:
            row.queue.arrived.add(tick)

    def _stand(self, row: Row, now: Micros, tick: Micros) -> None:
        """Put a job in the line of its state."""
        queue = row.queue
        if row.state is State.READY:
            queue.ready[row.lane].push(row)
            self.hints.add(Hint.WORK)
        elif row.state is State.SCHEDULED:
            first = queue.scheduled.due()
            if first is None or row.due < first:
                self.hints.add(Hint.WORK)
            row.line = queue.scheduled
            row.line.push(row.due, row.seq, row)
        elif row.state is State.WAITING:
            self._go_on(self._gates.wait(row, tick), now, tick)

    def _state_at(self, row: Row, now: Micros, tick: Micros) -> State:
        """Where a job stands that waits for no other."""
        if row.due > now:
            return State.SCHEDULED
        asked = row.request.limits
        return State.READY if asked is None else self._within_limits(row, asked, tick)

    def _within_limits(self, row: Row, asked: Limits, tick: Micros) -> State:
        """Where its limits put a job whose time has come."""
        return State.READY if self._gates.come(row, asked, tick) else State.WAITING

    def _go_on(self, rows: Iterable[Row], now: Micros, tick: Micros) -> None:
        """These waited for their turn within their limits, and have it."""
        for row in rows:
            self.move(row, State.READY, now, tick)

    @staticmethod
    def _leave(row: Row) -> None:
        """Take a job out of the line it stands in."""
        row.mark += 1
        line = row.line
        if line is not None:
            row.line = None
            line.drop()

    def _end(self, row: Row, now: Micros, tick: Micros, keep: Micros | None) -> None:
        if keep is None:
            keep = row.request.terms.keep_for(row.state)
        row.finished_at = now
        row.purge_at = now + keep
        row.line = self._finished
        row.line.push(row.purge_at, row.seq, row)
        row.queue.drained.add(tick)
        self.hints.add(Hint.FINISHED)
        if row.key is not None:
            self._give_back(row, row.key, now, tick)
        if row.request.follow_ups:
            self.ended.append(row)

    def _take(self, name: str, key: Key | None, row: Row, now: Micros, tick: Micros) -> None:
        """Let a job that is being added hold the key, in the place of whoever holds it."""
        if key is None:
            key = self._keys[name] = Key(name, row, now)
        since = now
        if key.holder is not row:
            since = self._replace(key, now, tick)
        key.holder, row.key = row, key
        key.until, key.since = row.window_end, since
        row.due = row.request.due(now, since)
        row.state = State.SCHEDULED if row.due > now else State.READY
        if key.predecessor is not None:
            row.state = State.WAITING

    def _replace(self, key: Key, now: Micros, tick: Micros) -> Micros:
        """Let go of who holds a key; returns what the `max_wait` of the next one counts from."""
        holder = key.holder
        self._keep_key(key)
        if holder.state is State.RUNNING:
            key.predecessor = holder
        elif holder.state not in TERMINAL:
            holder.key = None
            keep = holder.request.terms.keep
            if not holder.attempt:
                keep = min(keep, REPLACED_KEEP)
            self.move(holder, State.CANCELLED, now, tick, keep)
            if not holder.attempt:
                return min(key.since, now)
        return now

    def _give_back(self, row: Row, key: Key, now: Micros, tick: Micros) -> None:
        """A job that held a key, or lived on while its successor did, has ended."""
        row.key = None
        holder = key.holder
        if key.predecessor is row:
            key.predecessor = None
            if holder.due > now:
                self.move(holder, State.SCHEDULED, now, tick)
            else:
                self.come(holder, now, tick)
        elif key.predecessor is not None:
            # The successor ended before its turn: the key is the predecessor's again.
            key.holder, key.predecessor = key.predecessor, None
            key.until = key.holder.window_end
        elif key.until > now:
            self._lapsing.push(key.until, row.seq, key)
        else:
            del self._keys[key.name]

    def _keep_key(self, key: Key) -> None:
        """A key that was about to lapse is held by a live job again."""
        if key.holder.state in TERMINAL:
            key.mark += 1
            self._lapsing.drop()
