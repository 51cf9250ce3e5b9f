"""The tables Backline keeps in a caller's own database, and every statement about them.

`backline_outbox` holds jobs that were enqueued in the caller's transactions, and events that
were published there, until a relay has moved them to the store. `backline_inbox` holds one row
for each job that completed in such a transaction, `backline_step` one for each step that was done
in one. Nothing here starts, commits or rolls back a transaction.
"""

from pathlib import Path
from typing import Final

VERSION: Final = 1
EVENT: Final = ""
"""In the place of a queue, which has a name: the row is an event, to be published."""

STEPS: Final = (
    (
        # `seq` is given under SQLite's write lock, so its order is the order of commits, and
        # `autoincrement` never gives it twice: a relay may delete by what it read earlier.
        """create table backline_outbox (
            seq integer primary key autoincrement,
            id text not null,
            queue text not null,
            job text not null,
            written_at integer not null,
            error text,
            failed_at integer
        )""",
        "create index backline_outbox_waiting on backline_outbox (seq) where error is null",
        "create index backline_outbox_failed on backline_outbox (seq) where error is not null",
        """create table backline_inbox (
            id text not null primary key,
            attempt integer not null,
            result text,
            completed_at integer not null
        ) without rowid""",
        "create index backline_inbox_age on backline_inbox (completed_at)",
        """create table backline_step (
            id text not null,
            step text not null,
            attempt integer not null,
            value text,
            recorded_at integer not null,
            primary key (id, step)
        ) without rowid""",
    ),
)
"""What brings a database from version n to n + 1, for each n from 0."""

MAKE_VERSION: Final = "create table if not exists backline_version (version integer not null)"
READ_VERSION: Final = "select max(version) from backline_version"
NOTE_VERSION: Final = "insert into backline_version (version) values (?)"

FILES: Final = "pragma database_list"

WRITE: Final = "insert into backline_outbox (id, queue, job, written_at) values (?, ?, ?, ?)"
WAITING: Final = """select seq, queue, job from backline_outbox
    where error is null and queue not in (select value from json_each(?))
    order by seq limit ?"""
DELETE: Final = "delete from backline_outbox where seq = ?"
SET_ASIDE: Final = "update backline_outbox set error = ?, failed_at = ? where seq = ?"
FAILED: Final = """select id, error from backline_outbox
    where error is not null order by seq limit ?"""
COUNT_FAILED: Final = "select count(*) from backline_outbox where error is not null"
TRY_AGAIN: Final = """update backline_outbox set error = null, failed_at = null
    where error is not null"""
OLDEST: Final = """select count(*), min(written_at) from
    (select written_at from backline_outbox where error is null order by seq limit ?)"""

COMPLETE: Final = """insert into backline_inbox (id, attempt, result, completed_at)
    values (?, ?, ?, ?) on conflict (id) do nothing"""
COMPLETED: Final = "select attempt, result from backline_inbox where id = ?"
COMPLETED_BEFORE: Final = """select id from backline_inbox where completed_at <= ?
    order by completed_at limit ?"""
FORGET: Final = "delete from backline_inbox where id = ?"

RECORD: Final = """insert into backline_step (id, step, attempt, value, recorded_at)
    values (?, ?, ?, ?, ?) on conflict (id, step) do nothing"""
RECORDED: Final = "select attempt, value from backline_step where id = ? and step = ?"
STEPPED: Final = """select id, max(recorded_at) from backline_step where id > ?
    group by id order by id limit ?"""
FORGET_STEPS: Final = "delete from backline_step where id = ?"

SCRATCH: Final = "backline_isolated"
"""The name under which a scratch file of an isolated app is attached to the caller's connection."""
SCRATCH_STEPS: Final = (
    "create table backline_outbox (isolation integer, turn integer, queue text, job text)",
    "create table backline_inbox (id text primary key, attempt integer, result text)",
    """create table backline_step
    (id text, step text, attempt integer, value text, primary key (id, step))""",
)
SCRATCH_ATTACH: Final = "attach ? as backline_isolated"
SCRATCH_WRITE: Final = """insert into backline_isolated.backline_outbox
    (isolation, turn, queue, job) values (?, ?, ?, ?)"""
SCRATCH_WAITING: Final = """select rowid, turn, queue, job from backline_outbox
    where isolation = ? and rowid > ? order by rowid"""
SCRATCH_COMPLETE: Final = """insert into backline_isolated.backline_inbox (id, attempt, result)
    values (?, ?, ?) on conflict (id) do nothing"""
SCRATCH_COMPLETED: Final = "select attempt from backline_isolated.backline_inbox where id = ?"
SCRATCH_RESULT: Final = COMPLETED
SCRATCH_RECORD: Final = """insert into backline_isolated.backline_step (id, step, attempt, value)
    values (?, ?, ?, ?) on conflict (id, step) do nothing"""
SCRATCH_RECORDED: Final = """select attempt, value from backline_isolated.backline_step
    where id = ? and step = ?"""


def missing(path: Path) -> str:
    """What to say of a database without these tables."""
    return (
        f"{path} has no outbox of this version; make it with "
        f"`backline migrate --outbox sqlite:///{path}`"
    )
