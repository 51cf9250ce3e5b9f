"""What the ends of jobs enqueue, in the commit that records them."""

from typing import Final

from backline.follow_up import jobs_after
from backline.stores.sqlite import rows
from backline.stores.sqlite.enqueue import add_unrefused
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import Transaction, dumps

_GET_ROWS: Final = statement("get_rows")


def follow(tx: Transaction) -> None:
    """Enqueue what follows the jobs that have ended so far, whatever the queues hold.

    In the order in which these were enqueued. One of them may take the place of a job that
    holds its unique key: then that one has ended, too.
    """
    while tx.followed:
        seqs, tx.followed = sorted(set(tx.followed)), []
        ended = [rows.record(row) for row in tx.db.rows(_GET_ROWS, {"seqs": dumps(seqs)})]
        add_unrefused(tx, [job for record in ended for job in jobs_after(record)])
