"""How fast one worker process drains a queue of no-op jobs on SQLite.

Beside it: Huey's consumer, and a bare loop over our own statements. Rates of workers count
from the first job that finished, so starting up is not in them.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from backline.job import JobRequest
from bench import huey_tasks, raw
from bench.processes import Drained, Running, backline, drained, started, wait_for
from bench.producing import A_CALL, add, check, enqueue_group, succeeded, tasks, url
from bench.report import Bar, Finding, Samples, rated
from bench.settings import Size
from bench.tally import Tally
from bench.tasks import BATCH, TALLY, TARGET, Tasks

CUSTOMERS = 1_000
LEASED = 200
"""Jobs that the bare loop leases and finishes in a commit."""


class Ours(NamedTuple):
    """What a drain of ours gave, round by round."""

    rates: Samples
    cpu: Samples


def run(size: Size, folder: Path) -> list[Finding]:
    """Every kind of drain once in each round."""
    plain, threads, burning = (Ours(Samples(), Samples("µs")) for _ in range(3))
    batched, keyed, grouped = (Ours(Samples(), Samples("µs")) for _ in range(3))
    huey, huey_cpu = Samples(), Samples("µs")
    bare, whole = Samples(), Samples()
    requests = _noops(tasks(folder), size.drained)
    tape = raw.record(folder / "tape.db", requests, a_call=A_CALL, leased=LEASED)
    for number in range(size.rounds):
        place = folder / str(number)
        place.mkdir()
        _note(plain, drain(place / "plain", _noops, size.drained))
        found = drain_huey(place / "huey", size.drained_by_peer)
        huey.add(found.rate)
        huey_cpu.add(found.cpu_us)
        bare.add(raw.replay(place / "bare.db", tape, only=True).exchanges)
        _note(burning, drain(place / "burning", _noops, size.drained, burn=True))
        _note(batched, drain(place / "batched", _noops_in_batches, size.drained))
        _note(threads, drain(place / "threads", _noops_in_threads, size.drained))
        _note(keyed, drain(place / "keyed", _noops_with_keys, size.drained))
        _note(grouped, drain_group(place / "grouped", size.grouped))
        whole.add(raw.replay(place / "whole.db", tape, only=False).exchanges)
    cpu = f"{plain.cpu} of processor time a job, supervisor included, Huey {huey_cpu}"
    return [
        rated("drain, async no-op", plain.rates, "Huey", huey, Bar(20, "x"), cpu),
        rated("drain, async no-op", plain.rates, "bare lease and finish", bare, Bar(50, "%")),
        rated("drain, async no-op", plain.rates, "all our statements, bare", whole),
        *_others(plain, threads, burning, batched, keyed, huey),
        rated(
            f"drain, a group of {size.grouped:,} with a continuation",
            grouped.rates,
            "plain",
            plain.rates,
            Bar(80, "%"),
            f"{grouped.cpu} of processor time a job",
        ),
    ]


def _others(
    plain: Ours, threads: Ours, burning: Ours, batched: Ours, keyed: Ours, huey: Samples
) -> list[Finding]:
    """What is not a plain no-op, one by one."""
    return [
        rated(
            "drain beside a thread of busy Python",
            burning.rates,
            "undisturbed",
            plain.rates,
            Bar(25, "%"),
        ),
        rated(
            f"drain, no-op in batches of {BATCH}",
            batched.rates,
            "one by one",
            plain.rates,
            note=f"{batched.cpu} of processor time a job",
        ),
        rated(
            "drain, def no-op in threads",
            threads.rates,
            "Huey",
            huey,
            Bar(6, "x"),
            f"{threads.cpu} of processor time a job",
        ),
        rated(
            "drain, each job with a limit, a fair key and a unique key",
            keyed.rates,
            "plain",
            plain.rates,
            Bar(85, "%"),
            f"{CUSTOMERS:,} keys; {keyed.cpu} of processor time a job",
        ),
    ]


def drain(
    folder: Path,
    make: Callable[[Tasks, int], Sequence[JobRequest]],
    jobs: int,
    *,
    burn: bool = False,
) -> Drained:
    """Enqueue jobs in a fresh database, start a worker, and time it."""
    folder.mkdir(exist_ok=True)
    of = tasks(folder)
    add(of, make(of, jobs))
    return drain_ready(folder, of, jobs, jobs + burn, burn=burn)


def drain_ready(
    folder: Path, of: Tasks, jobs: int, succeeding: int, *, burn: bool = False
) -> Drained:
    """Start a worker on `jobs` jobs that are ready, and time it.

    With `burn`, a task keeps a thread busy meanwhile. `succeeding` must have succeeded then.
    """
    if burn:
        add(of, [of.burn.job()])  # its priority lets it start first
    tally = Tally.make(folder / "tally")
    with backline(TARGET, url(folder), folder, {TALLY: str(folder / "tally")}) as running:
        if burn:
            wait_for(lambda: tally.burning, "the burning task did not start", running.check)
        found = _timed(running, tally, jobs, burning=burn)
        tally.enough()
    check(tally.total(), jobs, "ran")
    check(succeeded(of), succeeding, "are recorded as succeeded")
    return found


def drain_group(folder: Path, jobs: int) -> Drained:
    """The same of one group, to the end of its continuation."""
    folder.mkdir(exist_ok=True)
    of = tasks(folder)
    asyncio.run(enqueue_group(of, jobs))
    return drain_ready(folder, of, jobs, jobs)


def drain_huey(folder: Path, jobs: int) -> Drained:
    """The same by Huey."""
    folder.mkdir()
    database = folder / "huey.db"
    noop = huey_tasks.declare(database).noop
    for number in range(jobs):
        noop(number)
    tally = Tally.make(folder / "tally")
    env = {TALLY: str(folder / "tally"), huey_tasks.DATABASE: str(database)}
    with started(huey_tasks.CONSUMER, folder, env) as running:
        found = drained(running, tally, jobs)
    check(tally.total(), jobs, "ran")
    return found


def _timed(running: Running, tally: Tally, jobs: int, *, burning: bool) -> Drained:
    found = drained(running, tally, jobs)
    if burning and not tally.burning:
        raise AssertionError("the busy thread ended before the drain did")
    return found


def _note(ours: Ours, found: Drained) -> None:
    ours.rates.add(found.rate)
    ours.cpu.add(found.cpu_us)


def _noops(of: Tasks, jobs: int) -> list[JobRequest]:
    return [of.noop.job(number) for number in range(jobs)]


def _noops_with_keys(of: Tasks, jobs: int) -> list[JobRequest]:
    """None of them waits: each customer may run all of its jobs at once."""
    task = of.noop.using(
        concurrency_key=lambda number: f"customer {number % CUSTOMERS}",
        concurrency=-(-jobs // CUSTOMERS),
        unique_key=str,
        fair_key=lambda number: f"customer {number % CUSTOMERS}",
    )
    return [task.job(number) for number in range(jobs)]


def _noops_in_batches(of: Tasks, jobs: int) -> list[JobRequest]:
    return [of.noop_in_batches.job(number) for number in range(jobs)]


def _noops_in_threads(of: Tasks, jobs: int) -> list[JobRequest]:
    return [of.noop_in_thread.job(number) for number in range(jobs)]
