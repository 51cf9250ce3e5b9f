"""The app of the supervisor's tests: jobs that visit the test and wait there, and poison."""

import asyncio
import ctypes
import faulthandler
import json
import os
import signal
import socket

from backline import App, Batch, JobContext, Retry

app = App()
AT_ONCE = Retry(delays=["0s"])
EARS = os.environ.get("BACKLINE_TEST_EARS", "")


def call(job: JobContext, name: str) -> bytes:
    return json.dumps([name, job.id, job.attempt, os.getpid()]).encode() + b"\n"


@app.task(retry=AT_ONCE)
async def visit(job: JobContext, name: str) -> str:
    """Waits on the loop until the test lets it go."""
    reader, writer = await asyncio.open_unix_connection(EARS)
    writer.write(call(job, name))
    await reader.read(1)
    writer.close()
    return name


def visit_and_block(job: JobContext, name: str) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(EARS)
        line.sendall(call(job, name))
        line.recv(1)
    return name


visit_in_thread = app.task(retry=AT_ONCE, name="kitchen.visit_in_thread")(visit_and_block)
visit_in_cell = app.task(retry=AT_ONCE, name="kitchen.visit_in_cell", executor="process")(
    visit_and_block
)


@app.task(retry=AT_ONCE)
async def block_the_loop(job: JobContext, name: str) -> str:
    """Waits in a way that stops every other coroutine of the worker."""
    return visit_and_block(job, name)


@app.task(batch=10, wait="200ms", retry=AT_ONCE, name="kitchen.crowd")
async def crowd(batch: Batch[str, int]) -> None:
    """Is done with the first three, and waits with the rest until the test lets it go."""
    for item in batch[:3]:
        item.succeed(os.getpid())
    reader, writer = await asyncio.open_unix_connection(EARS)
    writer.write(call(batch[-1].job, "crowd"))
    await reader.read(1)
    writer.close()
    for item in batch:
        item.succeed(os.getpid())


@app.task(batch=10, wait="200ms", retry=AT_ONCE, name="kitchen.crowd_in_thread")
def crowd_in_thread(batch: Batch[str, int]) -> None:
    """The same, in a thread."""
    for item in batch[:3]:
        item.succeed(os.getpid())
    visit_and_block(batch[-1].job, "crowd")
    for item in batch:
        item.succeed(os.getpid())


@app.task(batch=10, wait="200ms", retry=AT_ONCE, name="kitchen.feast")
async def feast(batch: Batch[str, int]) -> None:
    """One dish in it kills whoever tastes it."""
    if "poison" in batch.values:
        os.kill(os.getpid(), signal.SIGKILL)
    for item in batch:
        item.succeed(len(batch))


@app.task(timeout="1s", max_attempts=2, retry=AT_ONCE, executor="process")
def spin() -> None:
    while True:
        pass


@app.task(timeout="1s", max_attempts=1)
async def pause_the_loop() -> None:
    signal.pause()


@app.task(max_attempts=2, retry=AT_ONCE)
def segfault() -> None:
    faulthandler.disable()
    faulthandler._sigsegv()


@app.task(max_attempts=2, retry=AT_ONCE)
def leave() -> None:
    os._exit(0)


@app.task(max_attempts=2, retry=AT_ONCE)
async def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(max_attempts=2, retry=AT_ONCE)
def close_all_files() -> str:
    os.closerange(3, 64)
    return "closed"


@app.task(max_attempts=1, retry=AT_ONCE)
def hold_the_gil(job: JobContext, name: str) -> str:
    """Waits in C, and lets no other thread of the worker run."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(EARS)
        line.sendall(call(job, name))
        ctypes.PyDLL(None).recv(line.fileno(), ctypes.create_string_buffer(1), 1, 0)
    return name


@app.task
async def visit_beside_a_program(job: JobContext, name: str) -> str:
    """As `visit`; the name it calls with is the process id of what it has started."""
    program = await asyncio.create_subprocess_exec(
        "sleep", "600", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    reader, writer = await asyncio.open_unix_connection(EARS)
    writer.write(call(job, str(program.pid)))
    await reader.read(1)
    program.kill()
    await program.wait()
    return name


@app.task
async def who() -> int:
    return os.getpid()


@app.task
async def stop_pid_1() -> int:
    os.kill(1, signal.SIGTERM)
    return os.getppid()
