"""All jobs of a memory store, every index over them, and the one way a job moves."""

from collections.abc import Iterable
from heapq import heappop, heappush, nlargest, nsmallest
from itertools import islice
from typing import Final, NamedTuple

from msgspec import UNSET

from backline import states
from backline.job import (
    DAY,
    REPLACED_KEEP,
    Enqueued,
    JobId,
    JobRecord,
    JobRequest,
    Lane,
    Micros,
    OnConflict,
    WorkerName,
)
from backline.states import MOVES, TERMINAL, Effect, State
from backline.store import Edit, Filter, Hint, Page
from backline.stores.memory.idempotency import IdempotencyKeys
from backline.stores.memory.ids import Ids
from backline.stores.memory.line import Line
from backline.stores.memory.row import Fuse, Key, QueueState, Row

_ENDS: Final = {
    source: {target: bool(effect & Effect.ENDS) for target, effect in targets.items()}
    for source, targets in MOVES.items()
}
"""Whether a move ends the job. The depth needs no column: it is the size of three tables."""


class Husk(NamedTuple):
    """What is remembered of a purged job, so that late repeats of calls change nothing."""

    attempt: int
    worker: WorkerName | None


class Table:
    """Jobs by id, by queue and state, by due time, by expiry and by age; unique keys.

    `now` is wall time and `tick` is not (see `Clock`); both are the caller's, so that one
    call sees one moment.
    """

    def __init__(self) -> None:
        self.rows: dict[JobId, Row] = {}
        self.husks: dict[JobId, Husk] = {}
        self.queues: dict[str, QueueState] = {}
        self.hints: set[Hint] = set()
        """What happened since the last `Watchers.tell`."""
        self._ids = Ids(self.rows)
        self._idempotency = IdempotencyKeys()
        self._keys: dict[str, Key] = {}
        self._lapsing: Line[Key] = Line()
        """Keys that an ended job still holds."""
        self._fuses: Line[Fuse] = Line()
        self._finished: Line[Row] = Line()
        self._forgetting: list[tuple[Micros, JobId]] = []
        self._seq = 0

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
        self._insert(row)
        self._arrive(row, tick)
        return Enqueued(request.id)

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
        if keep is None:
            keep = row.request.terms.keep_for(target) if ends else 0
        members = row.queue.members
        del members[source][row.seq]
        members[target][row.seq] = row
        row.state = target
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
            self._stand(row)
            if source is not State.RUNNING:
                self._arrive(row, tick)

    def revive(self, row: Row, now: Micros, tick: Micros) -> None:
        """Make a finished job ready again, as if it had never failed or expired."""
        row.failures = 0
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
        self.move(row, State.READY, now, tick)

    def edit(self, row: Row, change: Edit, now: Micros) -> None:
        """Change a job that has not started, and let it stand where it belongs from now on."""
        due = change.due(now)
        self._leave(row)
        del row.queue.members[row.state][row.seq]
        if change.queue is not UNSET:
            row.queue = self.queue(change.queue)
        if change.priority is not UNSET:
            row.priority = change.priority
        if due is not None:
            row.due = due
            if row.state is not State.WAITING:
                row.state = State.SCHEDULED if due > now else State.READY
        row.queue.members[row.state][row.seq] = row
        self._stand(row)

    def promote(self, limit: int, now: Micros, tick: Micros) -> int:
        """Make due jobs ready, earliest first."""
        lines: list[tuple[Micros, str]] = []
        for name, queue in self.queues.items():
            due = queue.scheduled.due()
            if due is not None and due <= now:
                heappush(lines, (due, name))
        count = 0
        while lines and count < limit:
            _, name = heappop(lines)
            line = self.queues[name].scheduled
            row = line.pop()
            if row is not None:
                row.line = None
                self.move(row, State.READY, now, tick)
                count += 1
            due = line.due()
            if due is not None and due <= now:
                heappush(lines, (due, name))
        return count

    def expire(self, limit: int, now: Micros, tick: Micros) -> int:
        """End jobs that are past their expiry and never started, earliest first."""
        count = 0
        while count < limit:
            due = self._fuses.due()
            fuse = self._fuses.pop() if due is not None and due <= now else None
            if fuse is None:
                break
            fuse.row.fuse = None
            self.move(fuse.row, State.EXPIRED, now, tick)
            count += 1
        return count

    def purge(self, row: Row, now: Micros) -> None:
        """Take a finished job out; its id is remembered for a day."""
        queue = row.queue
        del queue.members[row.state][row.seq]
        queue.purged += 1
        self._leave(row)
        del self.rows[row.id]
        self._ids.drop()
        self.husks[row.id] = Husk(row.attempt, row.worker)
        heappush(self._forgetting, (now + DAY, row.id))

    def sweep(self, limit: int, now: Micros) -> int:
        """Purge what is past its time, then forget husks and keys past theirs."""
        count = 0
        while count < limit and _due(self._finished, now):
            row = self._finished.pop()
            if row is not None:
                row.line = None
                self.purge(row, now)
                count += 1
        while count < limit and self._forgetting and self._forgetting[0][0] <= now:
            del self.husks[heappop(self._forgetting)[1]]
            count += 1
        count += self._idempotency.forget(limit - count, now)
        while _due(self._lapsing, now):
            key = self._lapsing.pop()
            if key is not None:
                del self._keys[key.name]
        return count

    def page(
        self,
        where: Filter,
        limit: int,
        after: JobId | None,
        *,
        oldest_first: bool,
        payloads: bool,
    ) -> Page:
        """A page of jobs in the order of their ids."""
        tables = [
            queue.members[state]
            for queue in self._queues(where.queue)
            for state in (where.states or State)
        ]
        count = sum(len(table) for table in tables)
        limit = max(limit, 0)
        wanted = limit + 1
        # The cheaper of two ways: sort all candidates, or walk all ids until the page is full.
        if count * count <= wanted * len(self.rows):
            rows = (
                row
                for table in tables
                for row in table.values()
                if _matches(row, where) and _beyond(row.id, after, oldest_first=oldest_first)
            )
            choose = nsmallest if oldest_first else nlargest
            found = choose(wanted, rows, key=lambda row: row.id)
        else:
            walk = (self.rows[i] for i in self._ids.walk(after, oldest_first=oldest_first))
            found = list(islice((row for row in walk if _matches(row, where)), wanted))
        jobs: list[JobRecord] = [row.record(payloads=payloads) for row in found[:limit]]
        return Page(jobs, found[limit - 1].id if len(found) > limit > 0 else None)

    def _queues(self, name: str | None) -> Iterable[QueueState]:
        if name is None:
            return self.queues.values()
        queue = self.queues.get(name)
        return () if queue is None else (queue,)

    def _insert(self, row: Row) -> None:
        self.rows[row.id] = row
        self._ids.add(row.id)
        row.queue.members[row.state][row.seq] = row
        if row.expires_at is not None:
            row.fuse = Fuse(row)
            self._fuses.push(row.expires_at, row.seq, row.fuse)
        self._stand(row)

    @staticmethod
    def _arrive(row: Row, tick: Micros) -> None:
        """Count a job that became ready and was not put back, unless it is for a cell."""
        if row.state is State.READY and row.lane is Lane.MAIN:
            row.queue.arrived.add(tick)

    def _stand(self, row: Row) -> None:
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

    @staticmethod
    def _leave(row: Row) -> None:
        """Take a job out of the line it stands in."""
        row.mark += 1
        line = row.line
        if line is not None:
            row.line = None
            line.drop()

    def _end(self, row: Row, now: Micros, tick: Micros, keep: Micros) -> None:
        row.finished_at = now
        row.purge_at = now + keep
        row.line = self._finished
        row.line.push(row.purge_at, row.seq, row)
        row.queue.drained.add(tick)
        self.hints.add(Hint.FINISHED)
        if row.key is not None:
            self._give_back(row, row.key, now, tick)

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
            self.move(holder, State.SCHEDULED if holder.due > now else State.READY, now, tick)
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


def _due(line: Line[Row] | Line[Key], now: Micros) -> bool:
    due = line.due()
    return due is not None and due <= now


def _matches(row: Row, where: Filter) -> bool:
    return (
        (not where.states or row.state in where.states)
        and (where.queue is None or row.queue.name == where.queue)
        and (where.task is None or row.request.task == where.task)
        and (where.tag is None or where.tag in row.request.tags)
        and (where.priority is None or row.priority == where.priority)
        and (where.enqueued_from is None or row.enqueued_at >= where.enqueued_from)
        and (where.enqueued_before is None or row.enqueued_at < where.enqueued_before)
        and (where.error is None or (bool(row.errors) and row.errors[-1].kind == where.error))
    )


def _beyond(job_id: JobId, after: JobId | None, *, oldest_first: bool) -> bool:
    return after is None or (job_id > after if oldest_first else job_id < after)
