"""What `backline doctor` looks at: each check says what it found, and what would help."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from backline._version import __version__
from backline.app.arranging import every_schedule
from backline.app.subscribing import every_subscription
from backline.cli.remedies import command, the_app
from backline.cli.session import Session, sqlite_file
from backline.cli.text import plural
from backline.display import ago, safe, span, without_secrets
from backline.fanout import SubscriptionRecord
from backline.job import MINUTE, SECOND, HeldLease, JobRecord, Lane
from backline.schedule import ScheduleRecord
from backline.states import QUEUED, State
from backline.store import Capabilities, Filter, QueueStats, WorkerReport
from backline.stores.sqlite.place import file_system

SAMPLE: Final = 200
"""So many queued jobs of a queue are looked at from each end."""
_AHEAD: Final = 5 * SECOND
_OVERDUE: Final = 3 * SECOND
"""Of live workers, somebody settles a lease within a second of its end."""
_LOW_SPACE: Final = 1 << 30
_NO_SPACE: Final = 100 << 20
_LONG_WAIT: Final = 5 * MINUTE
MOUNTS: Final = Path("/proc/self/mountinfo")


class Level(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing: what has happened, or may come. Jobs are taken in and done."""
    WRONG = "wrong"
    """Now, and until somebody acts, jobs are not taken in, not done, or not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    message: str
    fix: str = ""
    """The command or the change that helps."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What the checks look at, read once."""

    url: str
    now: int
    schema: int
    capabilities: Capabilities
    queues: list[QueueStats]
    workers: list[WorkerReport]
    queued: dict[str, list[JobRecord]]
    """Of each queue with queued jobs, its oldest and its newest."""
    newest: list[JobRecord]
    dead: dict[str, list[JobRecord]]
    """Of each queue with dead jobs, the newest."""
    lost: list[HeldLease]
    """Leases that have been over for so long that nobody seems to settle them."""
    schedules: list[ScheduleRecord]
    subscriptions: list[SubscriptionRecord]

    @property
    def working(self) -> list[WorkerReport]:
        """The workers that are there, and no supervisors without any."""
        return [worker for worker in self.workers if worker.concurrency]


Findings: TypeAlias = Iterator[Finding]


async def examine(session: Session) -> Patient:
    """Read all that the checks need; nothing of it costs more with more jobs."""
    store = session.store
    schema = await store.migrate()
    queues = await store.stats()
    queued: dict[str, list[JobRecord]] = {}
    dead: dict[str, list[JobRecord]] = {}
    for queue in queues:
        if queue.depth:
            where = Filter(queue=queue.queue, states=QUEUED)
            newest = await store.find(where, limit=SAMPLE)
            oldest = await store.find(where, limit=SAMPLE, oldest_first=True)
            queued[queue.queue] = [*oldest.jobs, *newest.jobs]
        if queue.counts.get(State.DEAD, 0):
            where = Filter(queue=queue.queue, states=frozenset({State.DEAD}))
            dead[queue.queue] = (await store.find(where, limit=SAMPLE)).jobs
    overdue = session.clock.tick() - _OVERDUE
    return Patient(
        url=store.url,
        now=session.now,
        schema=schema,
        capabilities=store.capabilities,
        queues=queues,
        workers=await store.workers(),
        queued=queued,
        newest=(await store.find(Filter(), limit=SAMPLE)).jobs,
        dead=dead,
        lost=[lease for lease in await store.overdue(SAMPLE) if lease.until <= overdue],
        schedules=await every_schedule(store),
        subscriptions=await every_subscription(store),
    )


def known_tasks(workers: Sequence[WorkerReport]) -> set[str] | None:
    """The tasks that live workers have the code of; None: there is no worker to know any."""
    working = [worker for worker in workers if worker.concurrency]
    return {task for worker in working for task in worker.tasks} if working else None


def the_store(patient: Patient) -> Findings:
    """Reachable, its product and schema, and what an acknowledged job survives."""
    facts = patient.capabilities
    yield Finding(
        "store",
        Level.OK,
        f"{without_secrets(patient.url)} ({facts.product}), schema {patient.schema}",
    )
    if facts.survives == "power cut":
        yield Finding("durability", Level.OK, "an acknowledged job survives a power cut")
    else:
        survives = f"the end of a {facts.survives}" if facts.survives == "process" else "nothing"
        yield Finding(
            "durability",
            Level.NOTE,
            f"an acknowledged job survives {survives}, but no power cut",
            "drop durability=normal from the URL",
        )


def the_file(patient: Patient) -> Findings:
    """Room on the disk, and the right to write."""
    path = sqlite_file(patient.url)
    if path is None or not path.exists():
        return
    sizes = [each.stat().st_size for each in (path, Path(f"{path}-wal")) if each.exists()]
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        yield Finding(
            "file", Level.WRONG, f"{path} or its folder is read-only", f"chmod u+w {path}"
        )
    yield _file_system(path)
    free = shutil.disk_usage(path.parent).free
    told = f"{_bytes(sum(sizes))} in {path}, {_bytes(free)} free on its disk"
    if free >= _LOW_SPACE:
        yield Finding("disk", Level.OK, told)
    else:
        level = Level.WRONG if free < _NO_SPACE else Level.NOTE
        yield Finding(
            "disk", level, told, f"{command('purge --all --older-than 1h')}, or make room"
        )


def _file_system(path: Path) -> Finding:
    """Network file systems are refused when the store is opened; others can lose it too."""
    try:
        kind = file_system(path, MOUNTS.read_text(errors="surrogateescape"))
    except OSError:
        kind = ""
    if kind in {"tmpfs", "ramfs"}:
        return Finding(
            "file system",
            Level.NOTE,
            f"{path} lies on {kind}, in memory: a reboot loses every job",
            "--store with a file on a disk",
        )
    return Finding("file system", Level.OK, f"{path} lies on {safe(kind) or 'an unknown kind'}")


def the_clock(patient: Patient) -> Findings:
    """A clock that was set back holds up everything that is due by it."""
    newest = max((job.enqueued_at for job in patient.newest), default=patient.now)
    if newest - patient.now > _AHEAD:
        apart = span(newest - patient.now)
        yield Finding(
            "clock",
            Level.WRONG,
            f"a job was enqueued {apart} ahead of this clock, which was set back",
            "timedatectl status",
        )
    else:
        yield Finding("clock", Level.OK, "no job comes from the future")


def the_workers(patient: Patient) -> Findings:
    """Alive, healthy, of this version."""
    working = patient.working
    if working:
        running = sum(worker.running for worker in working)
        slots = sum(worker.concurrency for worker in working)
        draining = sum(worker.draining for worker in working)
        alive = plural(len(working), "worker") + f" alive, {running} of {slots} slots busy"
        alive += f", {draining} draining" if draining else ""
        yield Finding("workers", Level.OK, alive)
    elif not any(worker.scaling is not None for worker in patient.workers):
        yield _no_worker(patient)
    yield from _scaling(patient)
    for worker in patient.workers:
        where = f"process {worker.pid} on {safe(worker.host)}"
        again = f"started again and again ({worker.restarts} times)"
        if not worker.concurrency and worker.scaling is None:
            yield Finding(
                "workers",
                Level.WRONG,
                f"a supervisor, {where}, has no worker: none can work, and they are {again}",
                f"read the log of {where}, and mend the app or its surroundings",
            )
        elif not worker.healthy:
            what = f"{safe(worker.worker)} is {again}"
            yield Finding("workers", Level.WRONG, what, f"read the log of {where}")
    others = sorted({worker.version for worker in patient.workers} - {__version__})
    if others:
        versions = safe(", ".join(others))
        yield Finding("workers", Level.NOTE, f"some run Backline {versions}, not {__version__}")


def _scaling(patient: Patient) -> Findings:
    """What supervisors make of the load."""
    for worker in patient.workers:
        scaling = worker.scaling
        if scaling is not None:
            yield Finding(
                "scaling",
                Level.OK,
                f"{scaling.processes} of {scaling.low}-{scaling.high} processes, decided "
                f"{ago(scaling.decided_at, patient.now)}: {safe(scaling.why)}",
            )


def _no_worker(patient: Patient) -> Finding:
    depth = sum(queue.depth for queue in patient.queues)
    waiting = f"{plural(depth, 'job')} {'waits' if depth == 1 else 'wait'}"
    fix = "" if patient.workers else f"backline worker {the_app()}"
    level = Level.WRONG if depth else Level.NOTE
    return Finding("workers", level, f"no worker is alive; {waiting}", fix)


def the_leases(patient: Patient) -> Findings:
    """Jobs that count as running, though whoever ran them is gone."""
    lost = patient.lost
    if not lost:
        return
    more = "at least " if len(lost) == SAMPLE else ""
    first = lost[0]
    yield Finding(
        "leases",
        Level.WRONG,
        f"{more}{plural(len(lost), 'job')} counted as running, though the lease is over and nobody "
        f"settles it; the first is job {safe(first.id)} of worker {safe(first.worker)}",
        f"backline worker {the_app()}: any live worker has them run again",
    )


def the_tasks(patient: Patient) -> Findings:
    """Jobs whose task no worker has the code of are put back for ever."""
    known = known_tasks(patient.workers)
    if known is None:
        return
    unknown: defaultdict[str, int] = defaultdict(int)
    for records in patient.queued.values():
        for record in {record.id: record for record in records}.values():
            if record.task not in known:
                unknown[record.task] += 1
    for task, count in sorted(unknown.items()):
        twins = sorted(name for name in known if name.rpartition(".")[2] == task.rpartition(".")[2])
        what = f"no live worker knows the task {safe(task)}: at least {plural(count, 'job')} of it "
        cancel = command(f"cancel --task {safe(task)}")
        if twins:
            here, there = (safe(name.rpartition(".")[0]) for name in (twins[0], task))
            what += f"cannot run; they know {safe(twins[0])}"
            fix = f"if it is the same code, import it as {here} where now {there} is; or: {cancel}"
        else:
            what += "cannot run"
            fix = f"deploy the code that has it, or: {cancel}"
        yield Finding("tasks", Level.WRONG, what, fix)
    if not unknown:
        yield Finding("tasks", Level.OK, "live workers know every task that is queued")


def the_queues(patient: Patient) -> Findings:
    """Served, not paused by an oversight, neither full nor far behind."""
    scaling = [worker for worker in patient.workers if worker.scaling is not None]
    taking = [worker for worker in patient.working if not worker.draining] + scaling
    served = {name for each in taking if each.lane is Lane.MAIN for name in each.queues}
    celled = {name for each in taking if each.lane is Lane.CELL for name in each.queues}
    fine = True
    for queue in patient.queues:
        name = safe(queue.queue)
        waits = f"{plural(queue.depth, 'job')} of queue {name}"
        if queue.depth and taking and queue.queue not in served:
            fine = False
            yield Finding(
                "queues",
                Level.WRONG,
                f"no live worker serves {waits}",
                f"backline worker {the_app()} -q {name}",
            )
        oldest = queue.oldest_ready
        late = oldest is not None and patient.now - oldest > _LONG_WAIT
        if queue.cells and late and not queue.paused and queue.queue not in celled:
            fine = False
            yield Finding(
                "queues",
                Level.WRONG,
                f"{plural(queue.cells, 'job')} of queue {name} must run in a cell: there is none",
                f"backline worker {the_app()} -q {name} --cells 2",
            )
        if queue.paused:
            fine = False
            yield Finding(
                "queues",
                Level.NOTE,
                f"queue {name} is paused; {plural(queue.depth, 'job')} in it",
                command(f"resume {name}"),
            )
        if queue.max_depth is not None and queue.depth >= queue.max_depth:
            fine = False
            yield Finding(
                "queues",
                Level.WRONG,
                f"queue {name} is full: {queue.depth:,} of {queue.max_depth:,} jobs",
                f"backline worker {the_app()} -q {name} (beside those that run), or a higher "
                "max_depth",
            )
    if fine:
        yield Finding("queues", Level.OK, f"{plural(len(patient.queues), 'queue')}, none paused")


def the_backlog(patient: Patient) -> Findings:
    """Jobs that have been ready for long, and dead ones that wait for a decision."""
    for queue in patient.queues:
        name = safe(queue.queue)
        oldest = queue.oldest_ready
        if oldest is not None and not queue.paused and patient.now - oldest > _LONG_WAIT:
            yield Finding(
                "backlog",
                Level.NOTE,
                f"a job of queue {name} became ready {ago(oldest, patient.now)}",
                "more workers: --processes or --concurrency",
            )
        if count := queue.counts.get(State.DEAD, 0):
            yield _dead(name, count, patient.dead[queue.queue])
    if not any(queue.counts.get(State.DEAD, 0) for queue in patient.queues):
        yield Finding("dead", Level.OK, "no dead jobs")


def _dead(queue: str, count: int, newest: Sequence[JobRecord]) -> Finding:
    """Nothing is wrong now: they are the record of what was, until somebody decides."""
    killers = sum(bool(job.errors) and job.errors[-1].kind == "lost" for job in newest)
    what = f"{plural(count, 'dead job')} in queue {queue}"
    first = f"{command(f'dead -q {queue}')}, then"
    if killers:
        what += f"; of the newest {len(newest)}, {killers} killed the process that ran them"
        first += ", with the task mended"
    return Finding("dead", Level.NOTE, what, f"{first}: {command(f'redrive {queue}')}")


CHECKS: Final = (
    the_store,
    the_file,
    the_clock,
    the_workers,
    the_leases,
    the_tasks,
    the_queues,
    the_backlog,
)


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
