"""A crew that grows and shrinks: real processes under a real supervisor."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from tests.supervisor.conftest import PATIENCE, Site, Visitor

from backline.job import SECOND
from backline.states import State
from backline.store import WorkerReport
from backline.supervisor.settings import EXIT_OK

IMPATIENT = """
from backline import autoscale
autoscale.WINDOW = autoscale.STEP = 0
autoscale._LATELY = 1_000_000
"""
"""A crew that shrinks a second after fewer are enough, not five minutes."""


async def scaling(site: Site, least: int = 1, most: int = 2) -> Process:
    """A supervisor with four slots in each process, whose log can be heard."""
    return await site.supervise(
        before=IMPATIENT,
        stdout=PIPE,
        processes=least,
        max_processes=most,
        concurrency=4,
        grace=60 * SECOND,
    )


async def said(supervisor: Process, what: str) -> str:
    """Wait for a line of its log."""
    assert supervisor.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            line = (await supervisor.stdout.readline()).decode()
            assert line, f"it ended before it said {what!r}"
            if what in line:
                return line


async def two_at_work(site: Site) -> dict[int, list[Visitor]]:
    """More jobs than one process has slots: who runs them, by process."""
    await site.add("visit", *"abcdef")
    visitors = await site.ears.visitors(6)
    by_pid: dict[int, list[Visitor]] = {}
    for visitor in visitors:
        by_pid.setdefault(visitor.pid, []).append(visitor)
    assert len(by_pid) == 2
    return by_pid


async def shrinking(site: Site, supervisor: Process) -> tuple[Visitor, Visitor]:
    """One job in each of two processes, of which the first stays and the second is to end."""
    by_pid = await two_at_work(site)
    left = []
    for visitors in by_pid.values():
        keep, *others = visitors
        left.append(keep)
        for each in others:
            each.let_go()
            await site.job(each.job_id)
    await said(supervisor, "processes 2 -> 1")
    reports = await workers(site, lambda found: any(each.draining for each in found.values()))
    left.sort(key=lambda visitor: reports[visitor.pid].draining)
    assert [reports[each.pid].draining for each in left] == [False, True]
    return left[0], left[1]


async def workers(
    site: Site, until: Callable[[dict[int, WorkerReport]], bool]
) -> dict[int, WorkerReport]:
    """What is reported, by process, once it is as `until` wants it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = {each.pid: each for each in await site.store.workers()}
            if until(found):
                return found
            await site.succeeded(0)


async def test_it_grows_under_load_and_shrinks_after_it(site: Site) -> None:
    supervisor = await scaling(site)
    staying, leaving = await shrinking(site, supervisor)
    [own] = [each for each in await site.store.workers() if each.scaling is not None]
    assert own.scaling is not None
    assert (own.scaling.low, own.scaling.high, own.scaling.processes) == (1, 2, 1)
    assert "fewer have been enough" in own.scaling.why
    [new_id] = await site.add("visit", "new")
    [new] = await site.ears.visitors(1)
    assert (new.job_id, new.pid) == (new_id, staying.pid)  # the other takes no more
    for each in (leaving, new, staying):
        each.let_go()
        job = await site.job(each.job_id)
        assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    await workers(site, lambda found: leaving.pid not in found)
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_a_kill_in_mid_shrink_loses_nothing_and_nobody_takes_its_place(site: Site) -> None:
    supervisor = await scaling(site)
    staying, leaving = await shrinking(site, supervisor)
    os.kill(leaving.pid, signal.SIGKILL)
    [again] = await site.ears.visitors(1)
    assert (again.job_id, again.attempt, again.pid) == (leaving.job_id, 2, staying.pid)
    for each in (again, staying):
        each.let_go()
        assert (await site.job(each.job_id)).state is State.SUCCEEDED
    found = await workers(site, lambda found: leaving.pid not in found)
    assert {pid for pid, each in found.items() if each.concurrency} == {staying.pid}
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_a_stop_in_mid_shrink_drains_everybody(site: Site) -> None:
    supervisor = await scaling(site)
    left = await shrinking(site, supervisor)
    supervisor.terminate()
    await said(supervisor, "draining")
    for each in left:
        each.let_go()
        assert (await site.job(each.job_id)).attempt == 1
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_a_reload_in_mid_shrink_renews_who_stays(site: Site) -> None:
    supervisor = await scaling(site)
    staying, leaving = await shrinking(site, supervisor)
    supervisor.send_signal(signal.SIGHUP)
    found = await workers(site, lambda found: found[staying.pid].draining)
    assert found[leaving.pid].draining
    for each in (staying, leaving):
        each.let_go()
        assert (await site.job(each.job_id)).attempt == 1
    found = await workers(site, lambda found: not {staying.pid, leaving.pid} & found.keys())
    assert sum(each.concurrency > 0 for each in found.values()) == 1
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK


async def test_to_zero_and_back_at_the_first_job(site: Site) -> None:
    supervisor = await scaling(site, least=0)
    await said(supervisor, "processes 1 -> 0")
    await workers(site, lambda found: not any(each.concurrency for each in found.values()))
    [job_id] = await site.add("who")
    assert (await site.job(job_id)).state is State.SUCCEEDED
    await said(supervisor, "processes 0 -> 1")
    await said(supervisor, "processes 1 -> 0")
    supervisor.send_signal(signal.SIGHUP)  # the new code may have other queues: one starts
    await said(supervisor, "started, pid")
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK
