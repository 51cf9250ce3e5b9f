"""All jobs of a memory store, every index over them, and the one way a job moves."""

from collections.abc import Iterable
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
from backline.states import MOVES, Effect, State
from backline.store import Call, Edit, Hint
from backline.stores.memory.due import pop_due
from backline.stores.memory.firsts import Firsts
from backline.stores.memory.flows import Flows
from backline.stores.memory.gates import Gates
from backline.stores.memory.husks import Husks
from backline.stores.memory.idempotency import IdempotencyKeys
from backline.stores.memory.ids import Ids
from backline.stores.memory.keys import Keys
from backline.stores.memory.line import Line
from backline.stores.memory.queue import QueueState
from backline.stores.memory.row import Fuse, Row
from backline.stores.memory.sharing import Sharing, belong
from backline.stores.requests import Founded

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
        self._keys = Keys()
        self._gates = Gates(lambda: self.hints.add(Hint.WORK))
        self.sharing = Sharing()
        self._fuses: Line[Fuse] = Line()
        self._finished: Line[Row] = Line()
        self._seq = 0
        self.ended: list[Row] = []
        """Jobs with follow-ups that have ended in this call."""
        self.flows = Flows(self)
        self.firsts = Firsts()
        self._stand_ins: dict[JobId, JobId] = {}
        """Of the call that is being added: who has the key of a job that was not."""
        self._tied: list[Row] = []
        """Of that call: the jobs that have to do with others."""

    def queue(self, name: str) -> QueueState:
        """The queue of that name, made if need be."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = QueueState(name)
        return queue

    def known(self, job_id: JobId) -> bool:
        """Whether the job was added before, even if it is purged by now."""
        return job_id in self.rows or job_id in self.husks

    def founded(self, ids: set[JobId]) -> Founded:
        """Which of some parents are known."""
        known = {i for i in ids if self.known(i) or i in self.flows.groups}
        return Founded(known, self.rows.keys())

    def answered(self, request: JobRequest, now: Micros) -> Enqueued | None:
        """The answer for a job that an earlier enqueue settled, which adds nothing now."""
        if self.known(request.id):
            return Enqueued(request.id)
        name = request.idempotency_key
        return None if name is None else self._idempotency.answer(name, request, now)

    def add_call(self, call: Call, now: Micros, tick: Micros) -> list[Enqueued]:
        """Add the jobs of an admitted call."""
        self._stand_ins.clear()
        with self.flows.together(now, tick):
            answers = [self._add_one(job, now, tick) for job in call]
            tied, self._tied = self._tied, []
            self.flows.added(tied, now, tick)
        return answers

    def _add_one(self, request: JobRequest, now: Micros, tick: Micros) -> Enqueued:
        if request.flow is not None or request.group is not None:
            self.flows.make_group(request, now)
        answer = self.answered(request, now)
        if answer is None:
            answer = self._add(request, now, tick)
            if request.idempotency_key is not None:
                self._idempotency.remember(request.idempotency_key, request, answer, now)
        self._stand_ins[request.id] = answer.id
        return answer

    def _add(self, request: JobRequest, now: Micros, tick: Micros) -> Enqueued:
        name = request.unique_key
        if name is not None and request.on_conflict is not OnConflict.REPLACE:
            holder = self._keys.holder(name, now)
            if holder is not None:
                return Enqueued(holder, False, request.on_conflict is OnConflict.RAISE)
        self._seq += 1
        row = Row(request, self.queue(request.queue), self._seq, now)
        if row.queue.fair or request.fair_key is not None:
            belong(row.queue, [row])
        if name is not None:
            self._replace(self._keys.take(name, row, now), now, tick)
        if request.after or request.flow is not None or request.group is not None:
            self.flows.tie(row, self.rows, self._ends_of(request), self._stand_ins)
            self._tied.append(row)
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
        if row.line is None:  # spelled out, for so are most that move
            row.mark += 1
        else:
            row.leave()
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
        if row.stand is not None or row.ties is not None:
            self._let_others(row, now, tick, ends=bool(ends))
        if source is State.RUNNING and row.queue.concurrency is not None:
            self.hints.add(Hint.WORK)  # what was held back by the limit may run elsewhere

    def go_on(self, row: Row, now: Micros, tick: Micros) -> None:
        """Let a job that waited for others go on, unless there is one left to wait for."""
        key, ties = row.key, row.ties
        if key is not None and key.holder is row and key.predecessor is not None:
            return
        if ties is not None and ties.waits:
            return
        if row.due > now:
            self.move(row, State.SCHEDULED, now, tick)
        else:
            self.come(row, now, tick)

    def start_over(self, row: Row, now: Micros, tick: Micros, *, waits: bool = False) -> None:
        """Let a finished job live again, as if it had never failed or expired: its time has come,
        unless it `waits` for others."""
        row.failures = 0
        row.redrives += 1
        row.turn = None
        row.cancel = False
        row.due = now
        row.expires_at = row.finished_at = row.purge_at = row.result = None
        name = row.request.unique_key
        if name is not None:
            self._keys.take_back(name, row, now)
        if waits:
            self.move(row, State.WAITING, now, tick)
        else:
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
                row.leave()
            self._go_on(self._gates.leave(row, tick), now, tick)
        return asks

    def edit(self, row: Row, change: Edit, now: Micros, tick: Micros, *, asks: bool) -> None:
        """Change a job that has not started, and let it stand where it belongs from now on."""
        due, asleep = change.due(now), row.asleep
        row.leave()
        row.turn = None
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
        rows = pop_due(self.queues, limit, now)
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
        with self.flows.together(now, tick):
            while count < limit and self._fuses.is_due(now) and (fuse := self._fuses.pop()):
                fuse.row.fuse = None
                self.move(fuse.row, State.EXPIRED, now, tick)
                count += 1
        return count

    def purge(self, row: Row, now: Micros, tick: Micros) -> None:
        """Take a finished job out; its id is remembered for a day."""
        del row.queue.members[row.state][row.seq]
        row.queue.purged += 1
        row.leave()
        del self.rows[row.id]
        self.ids.drop()
        self.husks.add(row, now)
        self.firsts.purged(row)
        if row.ties is not None:
            self.flows.purged(row, now)
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
        self.flows.sweep(now)
        self._keys.lapse(now)
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
            self.hints.add(Hint.WORK)
            if row.tenant is None:
                queue.ready[row.lane].push(row)
            elif row.turn is not None:
                queue.ready[row.lane].push_back(row)
            else:
                self.sharing.join(row)
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
            successor = self._keys.give_back(row, row.key, now)
            if successor is not None:
                self.go_on(successor, now, tick)
        if row.request.follow_ups:
            self.ended.append(row)

    def _let_others(self, row: Row, now: Micros, tick: Micros, *, ends: bool) -> None:
        """A job has moved for which others may wait: because of limits, or for its end."""
        if row.stand is not None:
            self._go_on(self._gates.moved(row, row.stand, tick), now, tick)
        if ends and row.ties is not None:
            self.flows.ended(row, now, tick)

    def _replace(self, holder: Row | None, now: Micros, tick: Micros) -> None:
        """Another job has taken the key of this one."""
        if holder is not None:
            keep = holder.request.terms.keep
            if not holder.attempt:
                keep = min(keep, REPLACED_KEEP)
            self.move(holder, State.CANCELLED, now, tick, keep)

    def _ends_of(self, request: JobRequest) -> dict[JobId, State]:
        """How those of its parents ended that are purged."""
        parents = [self._stand_ins.get(after.parent, after.parent) for after in request.after]
        husks = ((parent, self.husks.get(parent)) for parent in parents)
        return {parent: husk.state for parent, husk in husks if husk is not None}
