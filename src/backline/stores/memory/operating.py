"""What people do to jobs: cancel, redrive, purge, edit."""

from collections.abc import Sequence

from msgspec import UNSET

from backline.job import JobId, Micros
from backline.states import QUEUED, TERMINAL, State
from backline.store import Cancelling, Edit, Edited
from backline.stores.memory.row import Row
from backline.stores.memory.sharing import belong
from backline.stores.memory.table import Table


def cancel(table: Table, ids: Sequence[JobId], now: Micros, tick: Micros) -> list[Cancelling]:
    """See `backline.store.Store`, as for everything here."""
    with table.flows.together(now, tick):
        return [_cancel(table, table.rows.get(job_id), now, tick) for job_id in ids]


def cancel_flow(table: Table, flow: JobId, limit: int, now: Micros, tick: Micros) -> int:
    """Cancel some of what lives in a flow, and all that is added to it from now on."""
    rows = table.flows.cancel(flow, limit)
    with table.flows.together(now, tick):
        for row in rows:
            _cancel(table, row, now, tick)
    return len(rows)


def redrive(table: Table, ids: Sequence[JobId], now: Micros, tick: Micros) -> list[bool]:
    """Start jobs that ended badly over; those that were cancelled for them wait again."""
    again = [_redrive(table, job_id, now, tick) for job_id in ids]
    for row in again:
        if row is not None and row.ties is not None:
            table.flows.revived(row, now, tick)
    return [row is not None for row in again]


def purge(table: Table, job_id: JobId, now: Micros, tick: Micros) -> bool:
    """Take a finished job out."""
    row = table.rows.get(job_id)
    if row is None or row.state not in TERMINAL:
        return False
    table.purge(row, now, tick)
    return True


def edit(
    table: Table, ids: Sequence[JobId], change: Edit, now: Micros, tick: Micros
) -> list[Edited]:
    """Change jobs that have not started: together, since they may share limits."""
    rows = [table.rows.get(job_id) for job_id in ids]
    queued = {row.seq: row for row in rows if row is not None and row.state in QUEUED}
    moves = change.queue is not UNSET
    asking: set[int] = set()
    if moves or change.due(now) is not None:  # else each keeps what it holds
        asking = {row.seq for row in queued.values() if table.let_go(row, now, tick, moves=moves)}
    if change.queue is not UNSET and queued:
        belong(table.queue(change.queue), queued.values())
    for row in queued.values():
        table.edit(row, change, now, tick, asks=row.seq in asking)
    return [_edited(row) for row in rows]


def _cancel(table: Table, row: Row | None, now: Micros, tick: Micros) -> Cancelling:
    if row is None:
        return Cancelling.UNKNOWN
    if row.state in TERMINAL:
        return Cancelling.ENDED
    if row.state is State.RUNNING:
        row.cancel = True
        return Cancelling.REQUESTED
    table.move(row, State.CANCELLED, now, tick)
    return Cancelling.CANCELLED


def _redrive(table: Table, job_id: JobId, now: Micros, tick: Micros) -> Row | None:
    row = table.rows.get(job_id)
    if row is None or row.state not in TERMINAL or row.state is State.SUCCEEDED:
        return None
    table.start_over(row, now, tick)
    return row


def _edited(row: Row | None) -> Edited:
    if row is None:
        return Edited.UNKNOWN
    if row.state in QUEUED:
        return Edited.EDITED
    return Edited.RUNNING if row.state is State.RUNNING else Edited.ENDED
