"""How jobs go on whose wait for an event is over."""

from backline.job import Micros
from backline.states import State
from backline.stores.memory.table import Table


def wake(table: Table, now: Micros, tick: Micros) -> None:
    """Let those go on that sleep, of the jobs of which a wait has ended in this call; the first
    of the queue has the first choice."""
    heard, table.firsts.heard = table.firsts.heard, []
    rows = {row.seq: row for row in heard if row.asleep and row.state is State.SCHEDULED}
    for row in sorted(rows.values(), key=lambda row: (-row.priority, row.seq)):
        row.due = now
        table.come(row, now, tick)
