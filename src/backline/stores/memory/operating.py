"""What people do to single jobs: cancel, redrive, purge, edit."""

from backline.job import JobId, Micros
from backline.states import QUEUED, TERMINAL, State
from backline.store import Cancelling, Edit, Edited
from backline.stores.memory.table import Table


def cancel(table: Table, job_id: JobId, now: Micros, tick: Micros) -> Cancelling:
    """See `backline.store.Store`, as for everything here; one job at a time."""
    row = table.rows.get(job_id)
    if row is None:
        return Cancelling.UNKNOWN
    if row.state in TERMINAL:
        return Cancelling.ENDED
    if row.state is State.RUNNING:
        row.cancel = True
        return Cancelling.REQUESTED
    table.move(row, State.CANCELLED, now, tick)
    return Cancelling.CANCELLED


def redrive(table: Table, job_id: JobId, now: Micros, tick: Micros) -> bool:
    """Start a job that ended badly over."""
    row = table.rows.get(job_id)
    if row is None or row.state not in TERMINAL or row.state is State.SUCCEEDED:
        return False
    table.revive(row, now, tick)
    return True


def purge(table: Table, job_id: JobId, now: Micros) -> bool:
    """Take a finished job out."""
    row = table.rows.get(job_id)
    if row is None or row.state not in TERMINAL:
        return False
    table.purge(row, now)
    return True


def edit(table: Table, job_id: JobId, change: Edit, now: Micros) -> Edited:
    """Change a job that has not started."""
    row = table.rows.get(job_id)
    if row is None:
        return Edited.UNKNOWN
    if row.state not in QUEUED:
        return Edited.RUNNING if row.state is State.RUNNING else Edited.ENDED
    table.edit(row, change, now)
    return Edited.EDITED
