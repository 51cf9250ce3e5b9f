"""An idle system: how soon a job starts in another process, and what waiting costs.

Beside it: Huey's consumer, in turn with ours. Two commits, that of the enqueue and that of
the lease, are part of every figure of ours: see what the disk takes for one, which is printed
with the machine.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from bench import bare, huey_tasks
from bench.processes import Running, backline, cpu_s, started, wait_for
from bench.producing import add, tasks, url
from bench.report import Bar, Finding, absolute
from bench.settings import Size
from bench.tally import Tally
from bench.tasks import TALLY, TARGET

WARM_UP: Final = 20
_APART_S: Final = (0.02, 0.06)
_IMPATIENT: Final = """
import sys
from backline import autoscale
from backline.supervisor.loop import supervise
from backline.supervisor.settings import SupervisorSettings
autoscale.WINDOW = autoscale.STEP = 0
sys.exit(supervise(SupervisorSettings(target=sys.argv[1], processes=0, max_processes=1, cells=0)))
"""
"""A supervisor that ends its worker as soon as nothing is to be done."""
_STARTS: Final = 9
_SETTLE_S: Final = 2.0


def run(size: Size, folder: Path) -> list[Finding]:
    """Latency first, then the quiet."""
    ours, theirs = _latencies(size, folder)
    quick, slow = _percentiles(ours)
    quick_huey, slow_huey = _percentiles(theirs)
    note = f"{len(ours)} jobs, {_APART_S[0] * 1e3:g} to {_APART_S[1] * 1e3:g} ms apart"
    supervisor, worker = _quiet(size, folder)
    first = _from_zero(folder)
    quiet = f"over {size.idle_s:g} s"
    return [
        absolute("idle, enqueue to start, p50", quick, _ms(3), note, f"Huey {quick_huey:.3g} ms"),
        absolute("idle, enqueue to start, p99", slow, _ms(10), note, f"Huey {slow_huey:.3g} ms"),
        absolute("scaled to zero, enqueue to start", first, _ms(2_000), f"median of {_STARTS}"),
        absolute("idle worker, processor", worker, Bar(1, "%", at_most=True), quiet),
        absolute("idle supervisor, processor", supervisor, Bar(1, "%", at_most=True), quiet),
    ]


def _latencies(size: Size, folder: Path) -> tuple[list[float], list[float]]:
    """Milliseconds from before the call of enqueue to the first line of the task."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(size.rounds):
        place = folder / str(number)
        for at in ("ours", "huey"):
            (place / at).mkdir(parents=True)
        pings = size.pings // size.rounds
        ours += _ours(place / "ours", pings)
        theirs += _huey(place / "huey", pings)
    return ours, theirs


def _ours(folder: Path, pings: int) -> list[float]:
    of = tasks(folder)

    async def ping() -> None:
        await of.stamp.aenqueue(time.monotonic_ns())

    async def measure() -> list[float]:
        async with of.app:
            return await _pinged(ping, pings, tally, running)

    tally = Tally.make(folder / "tally")
    with backline(TARGET, url(folder), folder, {TALLY: str(folder / "tally")}) as running:
        return asyncio.run(measure())


def _huey(folder: Path, pings: int) -> list[float]:
    database = folder / "huey.db"
    huey = huey_tasks.declare(database)

    async def ping() -> None:
        huey.stamp(time.monotonic_ns())

    tally = Tally.make(folder / "tally")
    env = {TALLY: str(folder / "tally"), huey_tasks.DATABASE: str(database)}
    with started(huey_tasks.CONSUMER, folder, env) as running:
        return asyncio.run(_pinged(ping, pings, tally, running))


async def _pinged(
    send: Callable[[], Awaitable[None]], pings: int, tally: Tally, running: Running
) -> list[float]:
    """Send jobs one at a time, each once the last has arrived, some time apart."""
    for _ in range(WARM_UP + pings):
        await asyncio.sleep(random.uniform(*_APART_S))
        before = tally.arrivals
        await send()
        wait_for(partial(tally.arrived_since, before), "a job did not start", running.check)
    return tally.latencies_ms()[WARM_UP:]


def _quiet(size: Size, folder: Path) -> tuple[float, float]:
    """Percent of one core that supervisor and worker take while nothing happens."""
    place = folder / "quiet"
    place.mkdir()
    of = tasks(place)
    add(of, [])
    with backline(bare.TARGET, url(place), place, {}) as running:
        worker = running.worker()
        time.sleep(_SETTLE_S)
        processes = (running.top, worker)
        before = [cpu_s(process) for process in processes]
        start = time.perf_counter()
        time.sleep(size.idle_s)
        running.check()
        took = time.perf_counter() - start
        supervisor_s, worker_s = (
            cpu_s(process) - was for process, was in zip(processes, before, strict=True)
        )
    return supervisor_s / took * 100, worker_s / took * 100


def _from_zero(folder: Path) -> float:
    """Milliseconds from an enqueue to the first line of the task where no worker lives."""
    place = folder / "zero"
    place.mkdir()
    of = tasks(place)
    tally = Tally.make(place / "tally")
    env = {"BACKLINE_URL": url(place), TALLY: str(place / "tally")}
    with started((sys.executable, "-c", _IMPATIENT, TARGET), place, env) as running:
        running.worker()
        for number in range(_STARTS):
            wait_for(lambda: not running.top.children(), "it did not scale to zero", running.check)
            of.stamp.enqueue(time.monotonic_ns())
            wait_for(partial(tally.arrived_since, number), "no job started", running.check)
    return median(tally.latencies_ms())


def _percentiles(values: list[float]) -> tuple[float, float]:
    return median(values), quantiles(values, n=100)[-1]


def _ms(limit: float) -> Bar:
    return Bar(limit, "ms", at_most=True)
