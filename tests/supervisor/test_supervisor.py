"""Real supervisors with real workers over a real file: crashes, poison, limits, signals."""

import asyncio
import os
import shutil
import signal
import socket

import pytest
from msgspec import Raw
from tests.supervisor.conftest import PATIENCE, Site

from backline.clock import SYSTEM_CLOCK
from backline.job import HOUR, SECOND, JobRequest, Lane
from backline.schedule import Every, ScheduleChange, ScheduleSpec, change
from backline.states import State
from backline.store import Filter, QueueSettings, WorkerReport
from backline.supervisor.settings import EXIT_APP, EXIT_OK, EXIT_QUIT, EXIT_STORE

pytestmark = pytest.mark.processes


async def test_a_killed_workers_jobs_run_elsewhere_at_once_and_the_others_do_not_notice(
    site: Site,
) -> None:
    await site.supervise(processes=2, concurrency=3)
    ids = await site.add("visit", *"abcd")
    first = await site.ears.visitors(4)
    victim = first[0].pid
    hit = {visitor.job_id for visitor in first if visitor.pid == victim}
    killed_at = SYSTEM_CLOCK.tick()
    os.kill(victim, signal.SIGKILL)
    again = await site.ears.visitors(len(hit))
    assert SYSTEM_CLOCK.tick() - killed_at < 10 * SECOND  # a third of the lease
    assert {(visitor.job_id, visitor.attempt) for visitor in again} == {(each, 2) for each in hit}
    for visitor in (*first, *again):
        visitor.let_go()
    for job_id in ids:
        job = await site.job(job_id)
        expected = (State.SUCCEEDED, 2, 1, 0) if job_id in hit else (State.SUCCEEDED, 1, 0, 0)
        assert (job.state, job.attempt, job.losses, job.failures) == expected
        if job_id in hit:
            assert "was killed by SIGKILL (signal 9); peak memory" in job.errors[0].message


async def test_two_supervisors_fire_each_slot_once_and_one_goes_on_alone(site: Site) -> None:
    first = await site.supervise(target="clockwork:app")
    await site.supervise(target="clockwork:app")
    await site.succeeded(2)
    first.kill()
    await site.succeeded(3)
    [schedule] = (await site.store.schedules(limit=9)).schedules
    jobs = (await site.store.find(Filter(task="clockwork.chime"), limit=100)).jobs
    dues = sorted(job.due for job in jobs)
    assert schedule.ran is not None
    assert [due for due in dues if due <= schedule.ran] == list(
        range(dues[0], schedule.ran + 1, SECOND)
    )


async def test_workers_declare_over_an_older_one_that_lives_still(site: Site) -> None:
    """A rolling deploy: the schedule that stands is of the version before, and its worker too."""
    older = ScheduleSpec(rule=Every(HOUR), job=JobRequest(id="", task="clockwork.chime"))
    now = SYSTEM_CLOCK.now()
    found = change.declared(None, "clockwork.chime", older, now)
    assert await site.store.arrange([ScheduleChange(found.name, 0, found)]) == [True]
    worker = WorkerReport(
        worker="older", host="h", pid=1, queues=("default",), lane=Lane.MAIN, concurrency=1,
        tasks=("clockwork.chime",), started_at=now - HOUR, version="1",
    )  # fmt: skip
    await site.store.report([worker], HOUR)
    await site.supervise(target="clockwork:app")
    await site.succeeded(1)


async def test_a_killed_supervisor_leaves_no_process_and_a_new_one_adopts(site: Site) -> None:
    supervisor = await site.supervise(processes=2, concurrency=2)
    await site.add("visit", *"abc")
    [in_cell] = await site.add("visit_in_cell", "cell", lane=Lane.CELL)
    visitors = await site.ears.visitors(4)
    supervisor.kill()
    for visitor in visitors:
        await visitor.gone()
        await ended(visitor.pid)
    started_at = SYSTEM_CLOCK.tick()
    successor = await site.supervise(processes=1, concurrency=4)
    again = await site.ears.visitors(4)
    assert SYSTEM_CLOCK.tick() - started_at < 15 * SECOND  # adopted, not waited for
    assert {visitor.attempt for visitor in again} == {2}
    for visitor in again:
        visitor.let_go()
        assert (await site.job(visitor.job_id)).state is State.SUCCEEDED
    job = await site.job(in_cell)
    assert (job.losses, job.failures) == (1, 0)  # nobody saw its end: not its own doing
    successor.terminate()
    assert (await site.end(successor))[0] == EXIT_OK
    assert list(site.run_dir.iterdir()) == []


async def test_a_frozen_supervisor_and_worker_come_back_too_late_to_be_believed(
    site: Site,
) -> None:
    frozen = await site.supervise(lease=3 * SECOND)
    [job_id] = await site.add("visit", "x")
    [first] = await site.ears.visitors(1)
    await freeze(site, frozen.pid, first.pid)
    await site.supervise(lease=3 * SECOND)
    [second] = await site.ears.visitors(1)
    assert (second.job_id, second.attempt) == (job_id, 2)
    for pid in (frozen.pid, first.pid):
        os.kill(pid, signal.SIGCONT)
    first.let_go()
    await first.gone()
    frozen.terminate()  # and with it goes all that its worker still had to say
    assert (await site.end(frozen))[0] == EXIT_OK
    assert (await site.job(job_id, lambda job: True)).state is State.RUNNING
    second.let_go()
    job = await site.job(job_id)
    assert (job.state, job.attempt, job.losses) == (State.SUCCEEDED, 2, 1)


async def test_only_the_culprit_is_charged(site: Site) -> None:
    await site.supervise(processes=1, concurrency=8, cells=8)
    neighbours = await site.add("visit", *"abc")
    first = await site.ears.visitors(3)
    poison = {
        "segfault": "SIGSEGV (signal 11)",
        "kill_self": "SIGKILL (signal 9)",
        "leave": "exited with code 0",
    }
    for task, how in poison.items():
        [job_id] = await site.add(task, max_attempts=2)
        job = await site.job(job_id)
        assert (job.state, job.lane, job.losses, job.failures) == (State.DEAD, Lane.CELL, 2, 2)
        assert [error.kind for error in job.errors] == ["lost"] * 4  # twice alone, in a cell
        assert all(f"{how}; peak memory" in error.message for error in job.errors)
        [job_id] = await site.add("who")  # a good worker: the next death counts anew
        assert (await site.job(job_id)).state is State.SUCCEEDED
    for visitor in first:
        await visitor.gone()
    letting_go = asyncio.create_task(site.ears.let_everybody_go())
    for job_id in neighbours:
        job = await site.job(job_id)
        assert (job.state, job.failures) == (State.SUCCEEDED, 0)
        assert job.losses in {1, 2}
    letting_go.cancel()


async def test_a_cell_is_killed_within_a_second_of_the_limit(site: Site) -> None:
    await site.supervise()
    [job_id] = await site.add("spin", lane=Lane.CELL, max_attempts=1, timeout=SECOND)
    job = await site.job(job_id)
    assert (job.state, job.failures, job.losses) == (State.DEAD, 1, 0)
    [error] = job.errors
    assert error.kind == "timeout"
    assert error.message.startswith("ran past its limit of 1 s; its process (")
    assert job.finished_at is not None
    assert job.started_at is not None
    assert job.finished_at - job.started_at < 4 * SECOND  # 2 s, on a machine that has time


async def test_a_worker_whose_loop_stands_still_is_killed_for_the_one_that_is_late(
    site: Site,
) -> None:
    await site.supervise(concurrency=2)
    [neighbour] = await site.add("visit", "neighbour")
    await site.ears.visitors(1)
    [late] = await site.add("pause_the_loop", max_attempts=1, timeout=SECOND)
    job = await site.job(late)
    assert (job.state, job.errors[0].kind, job.losses) == (State.DEAD, "timeout", 0)
    [again] = await site.ears.visitors(1)
    again.let_go()
    job = await site.job(neighbour)
    assert (job.state, job.attempt, job.losses, job.failures) == (State.SUCCEEDED, 2, 0, 0)


async def test_a_blocked_loop_or_a_gil_held_in_c_loses_no_lease(site: Site) -> None:
    await site.supervise(lease=SECOND, processes=3, concurrency=1)
    ids = [*await site.add("block_the_loop", "loop"), *await site.add("hold_the_gil", "gil")]
    visitors = await site.ears.visitors(2)
    with pytest.raises(TimeoutError):  # nobody else gets them in five times the lease
        await site.ears.visitors(1, within=5)
    for visitor in visitors:
        visitor.let_go()
    for job_id in ids:
        job = await site.job(job_id)
        assert (job.state, job.attempt, job.losses) == (State.SUCCEEDED, 1, 0)


@pytest.mark.parametrize("lane", [Lane.MAIN, Lane.CELL])
async def test_a_job_that_closes_the_files_of_its_process_harms_no_other(
    site: Site, lane: Lane
) -> None:
    await site.supervise(processes=1)
    [job_id] = await site.add("close_all_files", lane=lane, max_attempts=2)
    job = await site.job(job_id)
    # It returned: if the board says so it succeeded, else its process was lost each time.
    assert job.state is State.SUCCEEDED or [error.kind for error in job.errors][-1] == "lost"
    [other] = await site.add("who")
    assert (await site.job(other)).state is State.SUCCEEDED


async def test_a_cell_is_killed_when_its_job_is_cancelled(site: Site) -> None:
    await site.supervise()
    [job_id] = await site.add("visit_in_cell", "cell", lane=Lane.CELL)
    [visitor] = await site.ears.visitors(1)
    await site.store.cancel([job_id])
    await visitor.gone()
    job = await site.job(job_id)
    assert (job.state, job.attempt, job.failures) == (State.CANCELLED, 1, 0)


async def test_cells_run_several_at_once_are_reused_and_end_when_idle(site: Site) -> None:
    await site.supervise(cells=2, cell_idle=SECOND)
    await site.add("visit_in_cell", *"abc", lane=Lane.CELL)
    both = await site.ears.visitors(2)
    assert both[0].pid != both[1].pid
    with pytest.raises(TimeoutError):
        await site.ears.visitors(1, within=1.5)
    both[0].let_go()
    [third] = await site.ears.visitors(1)
    assert third.pid == both[0].pid
    both[1].let_go()
    third.let_go()
    for visitor in (both[1], third):
        await ended(visitor.pid)


async def test_workers_are_replaced_after_so_many_jobs_and_no_job_notices(site: Site) -> None:
    await site.supervise(processes=2, max_jobs=20)
    pids = set()
    async with asyncio.timeout(PATIENCE):
        while len(pids) < 5:  # each of the first two was replaced, and one of those too
            ids = await site.add("who", *[])
            for job_id in ids:
                job = await site.job(job_id)
                assert (job.state, job.losses, job.failures) == (State.SUCCEEDED, 0, 0)
                pids.add(bytes(job.result or b""))


async def test_workers_are_replaced_when_they_take_too_much_memory(site: Site) -> None:
    await site.supervise(max_memory=1 << 20)
    pids = set()
    async with asyncio.timeout(PATIENCE):
        while len(pids) < 3:
            pids.update(await visit(site))


async def test_sighup_replaces_the_workers(site: Site) -> None:
    supervisor = await site.supervise(processes=2)
    before = set()
    while len(before) < 2:
        [visitor] = await visit(site)
        before.add(visitor)
    supervisor.send_signal(signal.SIGHUP)
    for pid in before:
        await ended(pid)
    after = set()
    while len(after) < 2:
        [visitor] = await visit(site)
        after.add(visitor)
    assert not before & after


async def visit(site: Site) -> list[int]:
    """Which worker takes a job now."""
    await site.add("visit", "x")
    visitors = await site.ears.visitors(1)
    for visitor in visitors:
        visitor.let_go()
    return [visitor.pid for visitor in visitors]


@pytest.mark.parametrize("task", ["visit", "visit_in_thread", "visit_in_cell"])
async def test_sigterm_lets_running_jobs_finish(site: Site, task: str) -> None:
    supervisor = await site.supervise(grace=60 * SECOND)
    lane = Lane.CELL if task == "visit_in_cell" else Lane.MAIN
    [running] = await site.add(task, "running", lane=lane)
    [visitor] = await site.ears.visitors(1)
    supervisor.terminate()
    await draining(site)  # until it has heard, it may take another job
    [later] = await site.add(task, "later", lane=lane)
    with pytest.raises(TimeoutError):
        await site.ears.visitors(1, within=1)
    visitor.let_go()
    assert (await site.end(supervisor))[0] == EXIT_OK
    assert (await site.job(running)).state is State.SUCCEEDED
    job = await site.job(later, lambda job: True)
    assert (job.state, job.failures, job.losses) == (State.READY, 0, 0)
    assert list(site.run_dir.iterdir()) == []


@pytest.mark.parametrize("task", ["visit", "visit_in_thread", "block_the_loop", "visit_in_cell"])
async def test_what_does_not_finish_within_the_grace_is_handed_back_for_free(
    site: Site, task: str
) -> None:
    supervisor = await site.supervise(grace=SECOND // 2)
    lane = Lane.CELL if task == "visit_in_cell" else Lane.MAIN
    [job_id] = await site.add(task, "x", lane=lane)
    await site.ears.visitors(1)
    asked_at = SYSTEM_CLOCK.tick()
    supervisor.terminate()
    assert (await site.end(supervisor))[0] == EXIT_OK
    assert SYSTEM_CLOCK.tick() - asked_at < 5 * SECOND
    job = await site.job(job_id, lambda job: True)
    assert (job.state, job.attempt, job.losses, job.failures) == (State.READY, 1, 0, 0)


async def test_a_second_signal_quits_at_once(site: Site) -> None:
    supervisor = await site.supervise(grace=600 * SECOND)
    ids = [*await site.add("visit", "a"), *await site.add("visit_in_thread", "b")]
    await site.ears.visitors(2)
    supervisor.send_signal(signal.SIGINT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(supervisor.wait(), 0.5)
    asked_at = SYSTEM_CLOCK.tick()
    supervisor.send_signal(signal.SIGINT)
    assert (await site.end(supervisor))[0] == EXIT_QUIT
    assert SYSTEM_CLOCK.tick() - asked_at < 5 * SECOND
    for job_id in ids:
        job = await site.job(job_id, lambda job: True)
        assert (job.state, job.losses, job.failures) == (State.READY, 0, 0)


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (2, signal.SIGTERM)])
async def test_one_stop_that_is_sent_twice_is_one(site: Site, numbers: tuple[int, int]) -> None:
    """`timeout` tells its child, and then the child's group."""
    supervisor = await site.supervise(grace=600 * SECOND)
    [job_id] = await site.add("visit", "x")
    [visitor] = await site.ears.visitors(1)
    supervisor.send_signal(numbers[0])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(supervisor.wait(), 0.02)
    supervisor.send_signal(numbers[1])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(supervisor.wait(), 1)
    visitor.let_go()
    assert (await site.end(supervisor))[0] == EXIT_OK
    assert (await site.job(job_id)).state is State.SUCCEEDED


@pytest.mark.parametrize("signals", [1, 2])
async def test_what_a_job_has_started_ends_when_the_job_is_handed_back(
    site: Site, signals: int
) -> None:
    """It runs again elsewhere, and must have that to itself."""
    supervisor = await site.supervise(grace=SECOND // 2 if signals == 1 else 600 * SECOND)
    [job_id] = await site.add("visit_beside_a_program", "x")
    [visitor] = await site.ears.visitors(1)
    supervisor.send_signal(signal.SIGINT)
    if signals == 2:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(supervisor.wait(), 0.5)
        supervisor.send_signal(signal.SIGINT)
    assert (await site.end(supervisor))[0] == (EXIT_OK if signals == 1 else EXIT_QUIT)
    assert (await site.job(job_id, lambda job: True)).state is State.READY
    await ended(int(visitor.name))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:app", "cannot load 'nowhere:app': no module named 'nowhere'"),
        ("kitchen", "'kitchen' names no app: write module:attribute, such as shop:app"),
        ("kitchen:ap", "module 'kitchen' has no 'ap'; did you mean kitchen:app?"),
        ("kitchen:EARS", "it is a str, not a backline.App; did you mean kitchen:app?"),
        ("kitchen:visit", "it is an AsyncTask, not a backline.App; did you mean kitchen:app?"),
        ("broken:app", "cannot load 'broken:app': ValueError: no such kitchen"),
        ("needy:app", "No module named 'a_library_that_nobody_has'"),
    ],
)
async def test_an_app_that_cannot_be_loaded_is_said_once_and_ends_it(
    site: Site, target: str, says: str
) -> None:
    supervisor = await site.supervise(target=target, processes=3)
    code, errors = await site.end(supervisor)
    assert code == EXIT_APP
    assert errors.count(says) == 1
    assert errors.startswith("backline: ")
    assert "importlib" not in errors
    if target == "broken:app":
        assert "in configure" in errors


async def test_a_store_that_processes_cannot_share_is_refused(site: Site) -> None:
    site.environment["BACKLINE_URL"] = "memory://"
    code, errors = await site.end(await site.supervise())
    assert code == EXIT_STORE
    assert "worker processes cannot share memory://" in errors
    assert list(site.run_dir.iterdir()) == []


async def test_the_service_manager_hears_of_start_and_end(site: Site) -> None:
    address = site.path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(address))
        door.setblocking(False)
        site.environment["NOTIFY_SOCKET"] = str(address)
        supervisor = await site.supervise(processes=2)
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(door, 200), 40) == b"READY=1\nSTATUS=2 workers"
        supervisor.terminate()
        stopping = await asyncio.wait_for(loop.sock_recv(door, 200), 40)
        assert stopping.startswith(b"STOPPING=1")
        assert (await site.end(supervisor))[0] == EXIT_OK


async def test_workers_are_reported(site: Site) -> None:
    await site.supervise(processes=2, concurrency=7)
    await site.add("visit", "x")
    [visitor] = await site.ears.visitors(1)
    reports = {report.pid: report for report in await workers(site, 2)}
    report = reports[visitor.pid]
    assert (report.concurrency, report.lane, report.healthy) == (7, Lane.MAIN, True)
    assert "kitchen.visit" in report.tasks
    assert "default" in report.queues


async def draining(site: Site) -> None:
    """Wait until every worker says that it takes no more jobs."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await site.store.workers()
            if found and all(report.draining for report in found):
                return


async def workers(site: Site, count: int) -> list:
    async with asyncio.timeout(40):
        while len(found := await site.store.workers()) < count:
            await visit(site)
    return found


@pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="needs a PID namespace of its own"
)
async def test_it_works_as_pid_1(site: Site) -> None:
    supervisor = await site.supervise(within=["unshare", "--pid", "--fork", "--mount-proc"])
    [job_id] = await site.add("stop_pid_1")
    assert (await site.end(supervisor))[0] == EXIT_OK
    job = await site.job(job_id)
    assert (job.state, job.result) == (State.SUCCEEDED, Raw(b"1"))


async def freeze(site: Site, *pids: int) -> None:
    """SIGSTOP, but not in the middle of a commit: that holds up every writer of the file."""
    while True:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        probe = QueueSettings(queue="probe", max_depth=SYSTEM_CLOCK.tick())
        writing = asyncio.ensure_future(site.store.configure([probe]))
        written, _ = await asyncio.wait([writing], timeout=0.5)
        if written:
            return
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        await asyncio.wait_for(writing, PATIENCE)


async def ended(pid: int) -> None:
    """Wait until a process has ended that is no child of ours."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(watched, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), 20)
    finally:
        loop.remove_reader(watched)
        os.close(watched)
