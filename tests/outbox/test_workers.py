"""Worker processes relay by themselves: what a service commits runs soon."""

import os
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

PATIENCE = 30.0

APP = """
import os
import sqlite3
from contextlib import closing

from backline import App, JobContext

app = App("sqlite:///jobs.db")
app.outbox("sqlite:///business.db")


@app.task(name="shop.ship")
def ship(job: JobContext, n: int) -> None:
    with closing(sqlite3.connect("business.db")) as connection, connection:
        connection.execute("insert into shipped values (?)", (n,))
        job.complete(within=connection)
    with open("told", "w") as told:
        told.write(f"{n}\\n")
"""

PLACE = """
import sqlite3, sys, time
from shop_app import app, ship

connection = sqlite3.connect("business.db")
with connection:
    for n in map(int, sys.argv[1:]):
        ship.using(within=connection).enqueue(n)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop_app.py").write_text(APP)
    os.mkfifo(tmp_path / "told")
    backline(tmp_path, "migrate", "--outbox", "sqlite:///business.db")
    with closing(sqlite3.connect(tmp_path / "business.db")) as connection:
        connection.execute("create table shipped (n integer)")
    return tmp_path


def backline(folder: Path, *words: str) -> None:
    words = (sys.executable, "-W", "error", "-m", "backline", *words)
    subprocess.run(words, cwd=folder, timeout=60, check=True, capture_output=True)


def place(folder: Path, *orders: int) -> None:
    words = (sys.executable, "-W", "error", "-c", PLACE, *map(str, orders))
    subprocess.run(words, cwd=folder, timeout=60, check=True)


@pytest.fixture
def told(folder: Path) -> Iterator[int]:
    """Where the jobs say that they have run."""
    descriptor = os.open(folder / "told", os.O_RDWR | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def hear(told: int, count: int) -> list[int]:
    """The next so many jobs that say they have run."""
    heard: list[int] = []
    while len(heard) < count:
        ready, _, _ = select.select([told], [], [], PATIENCE)
        assert ready, f"only {heard} have run"
        heard += map(int, os.read(told, 4096).split())
    return heard


@pytest.mark.processes
def test_what_a_service_commits_runs_in_the_workers_once(folder: Path, told: int) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "backline", "worker", "shop_app:app", "--processes", "2"],
        cwd=folder,
        stderr=subprocess.PIPE,
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
    )
    try:
        place(folder, 1)
        assert hear(told, 1) == [1]
        place(folder, *range(2, 32))
        assert sorted(hear(told, 30)) == list(range(2, 32))
    finally:
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said.decode()
    assert b"Traceback" not in said, said.decode()
    with closing(sqlite3.connect(folder / "business.db")) as connection:
        shipped = connection.execute("select n from shipped order by n").fetchall()
        assert shipped == [(n,) for n in range(1, 32)]
        assert connection.execute("select count(*) from backline_outbox").fetchall() == [(0,)]


@pytest.mark.processes
def test_a_drain_relays_first(folder: Path, told: int) -> None:
    place(folder, 7)
    backline(folder, "drain", "shop_app:app")
    assert hear(told, 1) == [7]
