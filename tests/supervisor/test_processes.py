"""Real worker processes, with tiny children in place of real workers."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backline.clock import SYSTEM_CLOCK
from backline.job import Lane
from backline.supervisor import linux
from backline.supervisor.messages import ChildSettings, Wake
from backline.supervisor.processes import MARK, Child, Processes
from backline.supervisor.settlement import Death, ProcessExit

pytestmark = pytest.mark.processes

PRELUDE = """
import os, signal, socket, sys, subprocess, time
from pathlib import Path
import msgspec
from backline.supervisor import linux
from backline.supervisor.messages import *
from backline.worker.board import Board

settings = msgspec.json.decode(sys.argv[1], type=ChildSettings)
assert linux.die_with_parent(settings.parent)
channel = socket.socket(fileno=settings.channel)
board = Board.create(Path(settings.board), 4, settings.worker)

def hello():
    channel.sendall(line(Hello(url="sqlite:///x.db", queues=("q",), tasks=("t",), concurrency=3)))

def heard():
    return read_to_worker(channel.makefile("rb").readline().strip())
"""


class Yard:
    """Starts children that run a few lines of Python."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.started = 0
        self.stack = Processes(SYSTEM_CLOCK)

    def spawn(self, code: str, lane: Lane = Lane.MAIN) -> Child:
        self.started += 1
        worker = f"yard-{os.getpid()}-{self.started}"
        self.stack._command = ("-c", PRELUDE + textwrap.dedent(code))
        return self.stack.spawn(
            ChildSettings(
                target="app:app",
                worker=worker,
                lane=lane,
                board=str(self.tmp_path / f"{worker}.board"),
            )
        )


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    yard = Yard(tmp_path)
    with yard.stack:
        async with asyncio.timeout(60):
            yield yard
            children = yard.stack.all
            for child in children:
                child.kill()
            for child in children:
                await child.ended


async def ended(pid: int) -> None:
    """Wait until a process has ended that is no child of ours."""
    with contextlib.suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        try:
            readable = asyncio.Event()
            asyncio.get_running_loop().add_reader(watched, readable.set)
            await asyncio.wait_for(readable.wait(), 20)
        finally:
            asyncio.get_running_loop().remove_reader(watched)
            os.close(watched)


async def end_of(child: Child) -> ProcessExit:
    return await asyncio.wait_for(child.ended, 30)


async def marked(worker: str, count: int) -> None:
    """Wait until so many processes carry the worker's mark: one does not while it is exec'ed."""
    while len(linux.processes_with(f"{MARK}={worker}")) < count:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)


async def test_a_worker_says_hello_is_told_to_stop_and_ends(yard: Yard) -> None:
    child = yard.spawn("hello(); assert isinstance(heard(), Stop); board.start('j', 1, 0)")
    await asyncio.wait_for(child.spoke.wait(), 30)
    assert child.hello is not None
    assert (child.hello.url, child.hello.queues, child.hello.concurrency) == (
        "sqlite:///x.db",
        ("q",),
        3,
    )
    child.stop(7)
    how = await end_of(child)
    assert (how.code, how.signal, child.stop_asked, child.stopping_since) == (0, None, True, 7)
    assert not child.send(Wake())
    assert child.board is not None
    assert [entry.job_id for entry in child.board.entries()] == ["j"]
    child.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit(3)", (3, None)),
        ("os._exit(0)", (0, None)),
        ("os.kill(os.getpid(), signal.SIGKILL)", (None, signal.SIGKILL)),
        ("import faulthandler; faulthandler._sigsegv()", (None, signal.SIGSEGV)),
    ],
)
async def test_how_a_worker_ended_is_known(
    yard: Yard, code: str, expected: tuple[int | None, int | None]
) -> None:
    child = yard.spawn(code)
    how = await end_of(child)
    assert (how.code, how.signal) == expected
    assert child.hello is None
    assert child.spoke.is_set()
    assert child.death == Death(how)


async def test_the_peak_of_its_memory_is_known(yard: Yard) -> None:
    # A child's peak begins at what this process takes: the kernel counts from the fork.
    modest = yard.spawn("pass")
    small = (await end_of(modest)).peak_kib
    assert small is not None
    greedy = yard.spawn(f"b'x' * {(small + 200 * 1024) * 1024}")
    large = (await end_of(greedy)).peak_kib
    assert large is not None
    assert large - small > 150 * 1024


async def test_why_it_cannot_start_is_heard_even_if_it_ends_at_once(yard: Yard) -> None:
    child = yard.spawn(
        "channel.sendall(line(CannotStart(message='no app')) + b'{broken'); os._exit(4)"
    )
    assert (await end_of(child)).code == 4
    assert child.failure == "no app"


async def test_nonsense_on_the_channel_harms_nobody(yard: Yard) -> None:
    child = yard.spawn("channel.sendall(b'\\xff\\n[1,2\\n'); heard()")
    assert (await end_of(child)).code == 1  # the supervisor has hung up: no line to read
    assert child.hello is None


async def test_finished_jobs_are_counted_beyond_its_end(yard: Yard) -> None:
    child = yard.spawn("[board.finish_other(board.start('j', n, 0)) for n in range(3)]")
    await end_of(child)
    assert child.finished == 3


async def test_a_terminals_interrupt_does_not_end_it(yard: Yard) -> None:
    child = yard.spawn("hello(); heard()")
    os.kill(child.pid, signal.SIGINT)
    await asyncio.wait_for(child.spoke.wait(), 30)
    os.kill(child.pid, signal.SIGINT)
    child.stop(0)
    assert (await end_of(child)).code == 0


@pytest.mark.parametrize("lane", [Lane.MAIN, Lane.CELL])
async def test_a_terminal_reaches_neither_a_worker_nor_what_it_starts(
    yard: Yard, lane: Lane
) -> None:
    """In a session of its own no key sends it a signal, and no read or write stops it."""
    child = yard.spawn("hello(); signal.pause()", lane)
    await asyncio.wait_for(child.spoke.wait(), 30)
    assert os.getpgid(child.pid) == os.getsid(child.pid) == child.pid


PARENT = """
import asyncio, sys
from pathlib import Path
from backline.clock import SYSTEM_CLOCK
from backline.job import Lane
from backline.supervisor.messages import ChildSettings
from backline.supervisor.processes import Processes

async def main():
    with Processes(SYSTEM_CLOCK, ("-c", sys.argv[1])) as processes:
        child = processes.spawn(ChildSettings(
            target="a:b", worker="w", lane=Lane(sys.argv[3]), board=sys.argv[2]))
        await child.spoke.wait()
        print(child.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def kill_a_supervisor(board: Path, lane: Lane) -> int:
    """Have a supervisor start a worker, kill it, and return the worker's process id."""
    stubborn = PRELUDE + "signal.signal(signal.SIGTERM, signal.SIG_IGN); hello(); signal.pause()"
    command = [sys.executable, "-c", PARENT, stubborn, str(board), lane]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    return pid


@pytest.mark.parametrize("lane", [Lane.MAIN, Lane.CELL])
async def test_a_worker_dies_with_its_supervisor(tmp_path: Path, lane: Lane) -> None:
    await ended(kill_a_supervisor(tmp_path / "b", lane))


LEAVE_CHILDREN = """
import multiprocessing
sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
for n in range(40):
    subprocess.Popen(["sleep", "600"], start_new_session=bool(n % 2))
for n in range(160):
    if os.fork() == 0:
        if n % 2:
            os.setsid()
        if n % 3 == 0 and os.fork():
            os._exit(0)
        signal.pause()
hello()
heard()
os._exit(1)
"""


async def test_what_a_cell_leaves_behind_dies_with_it(yard: Yard) -> None:
    cell = yard.spawn(LEAVE_CHILDREN, Lane.CELL)
    await asyncio.wait_for(cell.spoke.wait(), 30)
    await marked(cell.name, 190)
    mark = f"{MARK}={cell.name}"
    cell.stop(0)
    assert (await end_of(cell)).code == 1
    for pid in linux.processes_with(mark):
        await ended(pid)  # killed, and about to end


CUT_OFF = """
subprocess.Popen(["sleep", "600"], start_new_session=True)
os.fork() == 0 and signal.pause()
board.start("job", 1, 0)
hello()
heard()
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_what_a_job_started_that_was_cut_off_dies_with_its_worker(yard: Yard) -> None:
    """The job runs again elsewhere: what it started must not work beside that run."""
    child = yard.spawn(CUT_OFF)
    await asyncio.wait_for(child.spoke.wait(), 30)
    await marked(child.name, 3)
    mark = f"{MARK}={child.name}"
    child.stop(0)
    assert (await end_of(child)).signal == signal.SIGKILL
    for pid in linux.processes_with(mark):
        await ended(pid)


async def test_what_a_job_started_that_was_handed_back_dies_with_its_worker(yard: Yard) -> None:
    """The worker has stopped the job, told the store, and ends as it should."""
    child = yard.spawn("""
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        slot = board.start("job", 1, 0)
        board.cut_short()
        board.finish_other(slot)
        board.clear(slot)
        hello()
        heard()
    """)
    await asyncio.wait_for(child.spoke.wait(), 30)
    await marked(child.name, 2)
    mark = f"{MARK}={child.name}"
    child.stop(0)
    assert (await end_of(child)).code == 0
    for pid in linux.processes_with(mark):
        await ended(pid)


async def test_a_worker_that_ends_well_may_leave_what_it_likes(yard: Yard) -> None:
    child = yard.spawn(
        "subprocess.Popen(['sleep', '600']); board.finish_other(board.start('j', 1, 0))"
    )
    await end_of(child)
    left = linux.processes_with(f"{MARK}={child.name}")
    assert len(left) == 1
    linux.kill(left[0])


async def test_a_cell_is_buried_though_no_file_can_be_opened(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left behind cannot be looked for then."""

    def no_files(assignment: str) -> list[int]:
        raise OSError(errno.EMFILE, "Too many open files", "/proc")

    cell = yard.spawn("hello(); signal.pause()", Lane.CELL)
    await asyncio.wait_for(cell.spoke.wait(), 30)
    monkeypatch.setattr(linux, "processes_with", no_files)
    cell.kill()
    assert (await end_of(cell)).signal == signal.SIGKILL
    assert yard.stack.all == []


@pytest.mark.parametrize("lane", [Lane.MAIN, Lane.CELL])
async def test_a_worker_that_somebody_else_has_reaped_is_buried_too(yard: Yard, lane: Lane) -> None:
    child = yard.spawn("hello(); signal.pause()", lane)
    await asyncio.wait_for(child.spoke.wait(), 30)
    child.kill()
    os.waitpid(child.pid, 0)  # noqa: ASYNC222 - it was killed
    yard.stack.reap()
    assert await end_of(child) == ProcessExit()
    assert yard.stack.all == []


def test_a_workers_end_is_known_though_no_file_can_be_opened() -> None:
    """`os.wait4` imports a module when it is first called, and after it has waited."""
    code = "import sys, backline.supervisor.processes; sys.exit('resource' not in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


async def test_orphans_are_reaped(yard: Yard) -> None:
    """As PID 1 must: the child's child ends after it, and nobody else waits for it."""
    child = yard.spawn("os.fork() == 0 and signal.pause(); hello()")
    await end_of(child)
    [orphan] = linux.processes_with(f"{MARK}={child.name}")
    linux.kill(orphan)
    await ended(orphan)
    yard.stack.reap()
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)
