"""What the ends of jobs enqueue, in the call that ended them."""

from backline.follow_up import jobs_after
from backline.job import Micros
from backline.stores.memory.table import Table


def follow(table: Table, now: Micros, tick: Micros) -> None:
    """Enqueue what follows the jobs that have ended so far, whatever the queues hold.

    In the order in which these were enqueued. One of them may take the place of a job that
    holds its unique key: then that one has ended, too.
    """
    while table.ended:
        ended, table.ended = sorted(table.ended, key=lambda row: row.seq), []
        jobs = [job for row in ended for job in jobs_after(row.record())]
        table.add_call(jobs, now, tick)
