"""What workers say came of their jobs."""

from backline.job import Ack, Acked, Micros, WorkerName
from backline.states import TERMINAL, State
from backline.stores.memory.leases import Leases
from backline.stores.memory.table import Table


def settle(
    table: Table, leases: Leases, worker: WorkerName, ack: Ack, now: Micros, tick: Micros
) -> Acked:
    """Apply an ack, if its attempt still runs (I2)."""
    row = table.rows.get(ack.id)
    if row is None:
        husk = table.husks.get(ack.id)
        known = husk is not None and husk[:2] == (ack.attempt, worker)
        return Acked.ALREADY if known else Acked.LOST
    if row.attempt != ack.attempt:
        return Acked.LOST
    if row.state is not State.RUNNING:
        return Acked.ALREADY if row.worker == worker else Acked.LOST
    if ack.if_overdue and row.until > tick:
        return Acked.LOST
    leases.end(row)
    row.worker = worker
    row.settle(ack, now)
    table.firsts.record(row, ack.steps, now)
    target: State = ack.state
    if target not in TERMINAL:
        if row.cancel:
            target = State.CANCELLED
        elif target is State.SCHEDULED:
            row.due = now + ack.delay
    if target is State.READY:
        table.come(row, now, tick)
    else:
        table.move(row, target, now, tick, ack.keep)
    if ack.asleep and target is State.SCHEDULED:
        row.sleep()
    return Acked.APPLIED
