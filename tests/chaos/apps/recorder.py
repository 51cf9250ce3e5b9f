"""What jobs note of themselves, where no kill of their process can take it back.

Each process appends to a file of its own, one JSON line an event, by one `write`: what was
written is there, whoever dies next. A datagram wakes the test, which then reads the files.
"""

import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backline import JobContext

FOLDER = Path(os.environ.get("CHAOS_HISTORY", "."))
LEDGER = FOLDER / "ledger.db"

_FENCED = """
insert into fenced (job, attempt) values (?, ?)
on conflict (job) do update set attempt = excluded.attempt where excluded.attempt > attempt
"""


def note(what: str, **fields: Any) -> None:
    """Append an event. The file is opened anew: a job may have closed all of them."""
    event = {"what": what, "pid": os.getpid(), "mono": time.monotonic_ns() // 1000, **fields}
    line = json.dumps(event).encode() + b"\n"
    where = os.open(
        FOLDER / f"{os.getpid()}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    )
    try:
        os.write(where, line)
    finally:
        os.close(where)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        bell.sendto(b".", str(FOLDER / "bell"))


@contextlib.contextmanager
def recorded(job: JobContext) -> Iterator[None]:
    """Note the start of a run, and how it ends if it gets that far."""
    fields = {"job": job.id, "attempt": job.attempt, "task": job.task}
    note("start", wall=time.time_ns() // 1000, **fields)
    try:
        yield
    except BaseException as error:
        note("end", how=type(error).__name__, **fields)
        raise
    note("end", how="ok", **fields)


def take_effect(job: JobContext) -> None:
    """Write to both ledgers: one refuses an older token, the other takes whatever comes."""
    db = sqlite3.connect(LEDGER, timeout=30, isolation_level=None)
    try:
        db.execute("begin immediate")
        db.execute(_FENCED, (job.id, job.attempt))
        db.execute("insert into unfenced values (?, ?)", (job.id, job.attempt))
        db.execute("commit")
    finally:
        db.close()


def make_ledgers(path: Path) -> None:
    """Once, before the first job."""
    db = sqlite3.connect(path)
    db.executescript("""
        pragma journal_mode = wal;
        create table fenced (job text primary key, attempt integer not null);
        create table unfenced (job text not null, attempt integer not null);
    """)
    db.close()
