"""SIGHUP after the app has changed: the workers run the new code, or the old ones go on."""

import asyncio
import signal
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from tests.supervisor.conftest import PATIENCE, Site

from backline.clock import SYSTEM_CLOCK
from backline.job import SECOND, JobRequest, Lane
from backline.states import State
from backline.stores.sqlite import SqliteStore
from backline.supervisor.settings import EXIT_OK

OLD = """
from backline import App

app = App({url!r})


@app.task
def old() -> int:
    return 1
"""
NEW = """

@app.task(executor="process", queue="new")
def new() -> int:
    return 2
"""


def write(site: Site, code: str) -> None:
    """Make this the app that workers import from now on."""
    (site.path / "changing.py").write_text(code)
    site.environment |= {"PYTHONPATH": str(site.path), "PYTHONDONTWRITEBYTECODE": "1"}


async def state_after(site: Site, **fields: Any) -> State:
    """How a job ends."""
    request = JobRequest(id=SYSTEM_CLOCK.new_id(), **fields)
    await site.store.enqueue([[request]])
    return (await site.job(request.id)).state


async def complaint(supervisor: Process, about: str) -> None:
    """Wait for a line that says so to people."""
    assert supervisor.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while about not in (await supervisor.stderr.readline()).decode():
            pass


async def test_a_queue_that_the_new_code_has_gets_cells(site: Site) -> None:
    write(site, OLD.format(url=site.url))
    supervisor = await site.supervise(target="changing:app")
    assert await state_after(site, task="changing.old") is State.SUCCEEDED
    write(site, OLD.format(url=site.url) + NEW)
    supervisor.send_signal(signal.SIGHUP)
    job = {"task": "changing.new", "queue": "new", "lane": Lane.CELL}
    assert await state_after(site, **job) is State.SUCCEEDED
    supervisor.send_signal(signal.SIGTERM)
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_the_new_worker_works_before_the_old_one_ends(site: Site) -> None:
    supervisor = await site.supervise(grace=60 * SECOND)
    await site.add("visit", "old")
    [old] = await site.ears.visitors(1)
    supervisor.send_signal(signal.SIGHUP)
    while True:  # until it has taken over, the old one may take another job
        await site.add("visit", "new")
        [new] = await site.ears.visitors(1)
        new.let_go()
        if new.pid != old.pid:
            break
    reports = {each.pid: each for each in await site.store.workers()}
    while old.pid not in reports or not reports[old.pid].draining:
        await site.add("who")
        reports = {each.pid: each for each in await site.store.workers()}
    assert reports[old.pid].running == 1
    old.let_go()
    assert (await site.job(old.job_id)).attempt == 1
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_asked_again_while_it_replaces_them_it_replaces_them_again(site: Site) -> None:
    write(site, OLD.format(url=site.url))
    supervisor = await site.supervise(target="changing:app")
    assert await state_after(site, task="changing.old") is State.SUCCEEDED
    write(site, "raise ZeroDivisionError")
    supervisor.send_signal(signal.SIGHUP)
    await complaint(supervisor, "ZeroDivisionError")
    supervisor.send_signal(signal.SIGHUP)
    await complaint(supervisor, "ZeroDivisionError")  # said again: somebody has tried to mend it
    write(site, OLD.format(url=site.url) + NEW)
    supervisor.send_signal(signal.SIGHUP)
    job = {"task": "changing.new", "queue": "new", "lane": Lane.CELL}
    assert await state_after(site, **job) is State.SUCCEEDED


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("code", "about"),
    [(OLD, "another store"), ("raise ZeroDivisionError", "ZeroDivisionError")],
)
async def test_new_code_that_cannot_work_is_said_and_the_old_workers_go_on(
    site: Site, tmp_path: Path, code: str, about: str, processes: int
) -> None:
    """On another store nobody would keep its leases: its jobs would run twice."""
    other = tmp_path / "other.db"
    write(site, OLD.format(url=site.url))
    supervisor = await site.supervise(target="changing:app", processes=processes)
    assert await state_after(site, task="changing.old") is State.SUCCEEDED
    write(site, code.format(url=f"sqlite:///{other}"))
    supervisor.send_signal(signal.SIGHUP)
    await complaint(supervisor, about)
    for _ in range(3):
        assert await state_after(site, task="changing.old") is State.SUCCEEDED
    supervisor.send_signal(signal.SIGTERM)
    assert (await site.end(supervisor))[0] == EXIT_OK
    if other.exists():
        store = SqliteStore(other)
        await store.open()
        assert await store.workers() == []
        await store.close()


NO_ROOM = """
import errno, pathlib

flag = pathlib.Path({flag!r})
if not flag.exists():
    flag.touch()
    raise OSError(errno.EMFILE, "Too many open files")
"""


async def test_a_first_worker_for_which_there_is_no_room_is_no_fault_of_the_app(site: Site) -> None:
    """The next one may find some: the supervisor goes on."""
    flag = str(site.path / "flag")
    write(site, NO_ROOM.format(flag=flag) + OLD.format(url=site.url))
    supervisor = await site.supervise(target="changing:app")
    await complaint(supervisor, "Too many open files")
    assert await state_after(site, task="changing.old") is State.SUCCEEDED
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK
