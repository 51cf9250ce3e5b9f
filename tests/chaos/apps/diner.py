"""The app of the campaigns: ordinary work, every run of it recorded and with an effect."""

import asyncio
import ctypes
import os
import select
import subprocess

from recorder import note, recorded, take_effect

from backline import App, JobContext, Retry

app = App()
AT_ONCE = Retry(delays=["0s"])


def signed(job: JobContext) -> str:
    """A result that says which attempt it is of."""
    return f"{job.id} {job.attempt}"


async def pass_time(seconds: float) -> None:
    """Take so long, on the loop."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


def pass_time_in_thread(seconds: float) -> None:
    """Take so long, in the kernel."""
    select.select([], [], [], seconds)


@app.task(retry=AT_ONCE, queue="soup")
async def cook(job: JobContext, seconds: float, garnish: str = "") -> str:
    """`garnish` makes its arguments as large as one likes."""
    del garnish
    with recorded(job):
        await pass_time(seconds)
        take_effect(job)
    return signed(job)


@app.task(retry=AT_ONCE, queue="bread")
def bake(job: JobContext, seconds: float) -> str:
    with recorded(job):
        pass_time_in_thread(seconds)
        take_effect(job)
    return signed(job)


@app.task(retry=AT_ONCE, queue="meat", executor="process")
def roast(job: JobContext, seconds: float) -> str:
    with recorded(job):
        pass_time_in_thread(seconds)
        take_effect(job)
    return signed(job)


@app.task(retry=AT_ONCE, queue="soup")
async def spill_once(job: JobContext, seconds: float) -> str:
    """Fails the first time."""
    with recorded(job):
        await pass_time(seconds)
        if job.failures == 0:
            raise ValueError("spilled")
        take_effect(job)
    return signed(job)


@app.task(retry=AT_ONCE, queue="bread", max_attempts=2)
def burn(job: JobContext, seconds: float) -> None:
    """Fails for good."""
    with recorded(job):
        pass_time_in_thread(seconds)
        raise OSError("burnt")


@app.task(retry=AT_ONCE)
def leave_orphans(job: JobContext, count: int) -> str:
    """Starts programs whose own parent ends before they do, and nobody waits for them."""
    with recorded(job):
        for _ in range(count):
            subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
        take_effect(job)
    return signed(job)


@app.task(retry=AT_ONCE)
async def who() -> int:
    note("who")
    return os.getpid()


@app.task(max_attempts=1)
async def block_the_loop(job: JobContext, seconds: float) -> str:
    """Lets no other coroutine of its process run."""
    with recorded(job):
        pass_time_in_thread(seconds)
        take_effect(job)
    return signed(job)


@app.task(max_attempts=1)
def hold_the_gil(job: JobContext, seconds: int) -> str:
    """Waits in C, and lets no other thread of its process run."""
    with recorded(job):
        ctypes.PyDLL(None).sleep(seconds)
        take_effect(job)
    return signed(job)


@app.task(max_attempts=1, executor="process")
def hold_the_gil_of_a_cell(job: JobContext, seconds: int) -> str:
    with recorded(job):
        ctypes.PyDLL(None).sleep(seconds)
        take_effect(job)
    return signed(job)
