"""What no campaign may violate: each invariant reads a `Story` and yields what is wrong.

The numbers are those of the project's reliability plan; `backline.testing.simulation` has
the same ones over the store's own commits, which real processes do not show. Here the
evidence is what the jobs noted, what they left in the ledgers, and the store's last word.
"""

import itertools
import sqlite3
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from tests.chaos.history import Event, History, Run, Token
from tests.chaos.intake import Intake
from tests.chaos.processes import Footprint

from backline.job import SECOND, JobId, JobRecord, Micros
from backline.states import TERMINAL, State
from backline.store import Cancelling, QueueStats

AFTERMATH: Final[Micros] = 5 * SECOND
"""How long after an outage of the store it still explains what happens."""
MOST_MEMORY: Final = 200 << 20
MOST_LOG: Final = 64 << 20
MORE_FILES: Final = 8
"""A cell is spoken with over one, and looked at through another."""
MORE_THREADS: Final = 20
"""Those that run jobs are started when there is one for them."""


class Usage(NamedTuple):
    """A process, early on and when all was quiet."""

    pid: int
    before: Footprint
    after: Footprint


@dataclass(frozen=True)
class Ledgers:
    """The effects of the jobs, as two other systems saw them."""

    fenced: Mapping[JobId, int]
    """The highest token that was written for each job."""
    unfenced: Counter[JobId]
    """How often each job took effect."""

    @classmethod
    def read(cls, path: Path) -> "Ledgers":
        db = sqlite3.connect(path)
        try:
            fenced = dict(db.execute("select job, attempt from fenced").fetchall())
            return cls(fenced, Counter(job for (job,) in db.execute("select job from unfenced")))
        finally:
            db.close()


@dataclass(frozen=True)
class Story:
    """A campaign, once all is quiet again."""

    intake: Intake
    records: Mapping[JobId, JobRecord]
    queues: Sequence[QueueStats]
    history: History
    ledgers: Ledgers
    usage: Sequence["Usage"] = ()
    log_bytes: int = 0
    """The size of the write-ahead log."""
    runs: Mapping[JobId, Sequence[Run]] = field(init=False)
    deaths: Mapping[int, Event] = field(init=False)
    """By pid."""
    disturbed: frozenset[int] = field(init=False)
    outages: Sequence[tuple[Micros, Micros]] = field(init=False)

    def __post_init__(self) -> None:
        runs: dict[JobId, list[Run]] = defaultdict(list)
        for run in self.history.runs():
            runs[run.start.job].append(run)
        object.__setattr__(self, "runs", runs)
        object.__setattr__(self, "deaths", {e.pid: e for e in self.history.of("kill")})
        touched = (*self.history.of("stop"), *self.history.of("term"))
        object.__setattr__(self, "disturbed", frozenset(event.pid for event in touched))
        begins, ends = self.history.of("outage"), self.history.of("restored")
        spans = [(b.mono, e.mono + AFTERMATH) for b, e in zip(begins, ends, strict=True)]
        object.__setattr__(self, "outages", spans)

    def cut_off(self, run: Run) -> Event | None:
        """The kill that cut the run off."""
        death = self.deaths.get(run.start.pid)
        return death if run.end is None else None

    def unrecorded(self, run: Run) -> Event | None:
        """The kill that came after the run had ended, but maybe before that was recorded."""
        death = self.deaths.get(run.start.pid)
        if run.end is None or death is None or death.mono > run.end.mono + SECOND:
            return None
        return death

    def replaced(self, job: JobId) -> bool:
        """Another job came that took its key, if it had not ended and did not run."""
        keys = self.intake.keys
        if job not in keys:
            return False
        later = itertools.dropwhile(lambda each: each != job, keys)
        later = itertools.islice(later, 1, None)
        return any(keys[each] == keys[job] and each in self.intake.replacing for each in later)

    def troubled(self, run: Run) -> bool:
        """Its process was stopped for a while, or told to end, or the store was away."""
        if run.start.pid in self.disturbed:
            return True
        end = run.start.mono if run.end is None else run.end.mono
        return any(run.start.mono <= over and end >= begun for begun, over in self.outages)

    def over(self, run: Run) -> Micros | None:
        """When the run was over; None: nobody knows."""
        death = self.cut_off(run)
        if run.end is not None:
            return run.end.mono
        return None if death is None else death.mono


Invariant: TypeAlias = Callable[[Story], Iterator[str]]


def c1_no_loss(story: Story) -> Iterator[str]:
    """Every job whose enqueue returned has ended, and as its last run did."""
    for job in story.intake.acknowledged:
        purged = story.replaced(job) and job not in story.runs  # a minute after it never ran
        if job not in story.records and not purged:
            yield f"{job} is lost: its producer was told that it is stored"
    for job, record in story.records.items():
        if record.state not in TERMINAL:
            yield f"{job} is still {record.state}"
        elif record.state is State.SUCCEEDED and not any(map(_ok, story.runs.get(job, ()))):
            yield f"{job} has succeeded, and no run of it has"


def c2_no_invention(story: Story) -> Iterator[str]:
    """Nothing is there, and nothing ran, that nobody enqueued."""
    for job in {*story.records, *story.runs} - set(story.intake.offered):
        yield f"{job} was never enqueued"


def c3_one_effect(story: Story) -> Iterator[str]:
    """A success left one row where tokens are looked at: that of the attempt that ended it."""
    for job, record in story.records.items():
        token = story.ledgers.fenced.get(job)
        if record.state is State.SUCCEEDED and token is None:
            yield f"{job} has succeeded without its effect"
        elif record.state is State.SUCCEEDED and token != record.attempt:
            yield f"{job} succeeded in attempt {record.attempt}, its effect is of {token}"


def c4_fencing(story: Story) -> Iterator[str]:
    """The result that is kept is that of the newest attempt: none of an older token was taken."""
    for job, record in story.records.items():
        expected = f'"{job} {record.attempt}"'.encode()
        if record.state is State.SUCCEEDED and bytes(record.result or b"") != expected:
            kept = bytes(record.result or b"").decode()
            yield f"{job} succeeded in attempt {record.attempt}, and its result is {kept}"


def c5_attempts(story: Story) -> Iterator[str]:
    """Tokens only grow, no attempt runs twice, and each is charged for what happened to it."""
    for job, record in story.records.items():
        runs = story.runs.get(job, [])
        numbers = [run.start.attempt for run in runs]
        if any(a >= b for a, b in itertools.pairwise(numbers)):
            yield f"{job} ran as the attempts {numbers}"
        if numbers and numbers[-1] > record.attempt:
            yield f"{job} ran as attempt {numbers[-1]} of {record.attempt}"
        yield from _charged(story, record, runs)


def _charged(story: Story, record: JobRecord, runs: Sequence[Run]) -> Iterator[str]:
    raised = [run for run in runs if run.end is not None and not _ok(run)]
    asked = any(each.job == record.id for each in story.intake.cancels)
    told = [run for run in raised if asked and run.end and run.end.how == "CancelledError"]
    excused = [run for run in raised if story.unrecorded(run) or story.troubled(run)]
    failed = [run for run in raised if run not in told and run not in excused]
    cut = [run for run in runs if story.cut_off(run) is not None]
    silent = record.attempt - len(runs)  # leased, and killed before they could say so
    between = [run for run in runs if story.unrecorded(run) or story.troubled(run)]
    charges = record.losses + record.failures
    least, most = len(failed) + len(cut), len(raised) + len(cut) + silent + len(between)
    if not least <= charges <= most:
        yield (
            f"{record.id} holds {record.failures} failures and {record.losses} losses; "
            f"it failed {len(failed)} times and was cut off {len(cut)} times"
        )
    if record.state is State.DEAD and record.failures < record.terms.max_attempts:
        yield f"{record.id} is dead after {record.failures} failures"
    ended = {State.DEAD, State.CANCELLED}  # that of its last run had been asked for meanwhile
    if record.state not in ended and record.failures >= record.terms.max_attempts:
        yield f"{record.id} is {record.state} after {record.failures} failures"


def c8_unique(story: Story) -> Iterator[str]:
    """Of the jobs that share a unique key, one begins after the other is over."""
    by_key: dict[str, list[tuple[Micros, Micros, JobId]]] = defaultdict(list)
    for job, key in story.intake.keys.items():
        runs = [run for run in story.runs.get(job, ()) if not story.troubled(run)]
        spans = [(run.start.mono, over) for run in runs if (over := story.over(run)) is not None]
        if spans:
            by_key[key].append((spans[0][0], spans[-1][1], job))
    for key, spans_of_jobs in by_key.items():
        for (_, over, job), (begun, _, following) in itertools.pairwise(sorted(spans_of_jobs)):
            if begun < over:
                yield f"{following} ran under {key!r} while {job} held it"


def c11_sums(story: Story) -> Iterator[str]:
    """The counts of every queue are the jobs that are in it, and those that are not there."""
    held: dict[str, Counter[State]] = defaultdict(Counter)
    for record in story.records.values():
        held[record.queue][record.state] += 1
    for queue in story.queues:
        if +Counter(queue.counts) != held[queue.queue]:
            yield f"{queue.queue} counts {queue.counts}, but holds {dict(held[queue.queue])}"
    purged, intake = sum(queue.purged for queue in story.queues), story.intake
    gone = len({*intake.acknowledged} - {*story.records})
    unknown = len({*intake.offered} - {*intake.acknowledged} - {*intake.refused})
    if not gone <= purged <= gone + unknown:
        yield f"{purged} jobs were purged, and {gone} are gone"
    for seen in story.intake.snapshots:
        if not seen.least <= seen.counted <= seen.most:
            yield f"{seen.counted} jobs were counted, of {seen.least} to {seen.most} enqueued"
        if seen.smallest < 0:
            yield f"a count was {seen.smallest}"


def c13_not_early(story: Story) -> Iterator[str]:
    """No delayed job starts before its time, and none is tried again before its pause."""
    for job, not_before in story.intake.not_before.items():
        for run in story.runs.get(job, [])[:1]:
            if run.start.wall < not_before:
                early = (not_before - run.start.wall) / SECOND
                yield f"{job} started {early:.3f} s before its time"
    for job, runs in story.runs.items():
        if job in story.records:
            yield from _impatient(story, story.records[job], runs)


def _impatient(story: Story, record: JobRecord, runs: Sequence[Run]) -> Iterator[str]:
    """Which runs began before the pause was over that the failure before them had earned.

    Only failures that were recorded count: a process may be killed before it can say so. The
    pauses grow, so one that was earned by more failures than are known here is no shorter.
    """
    pauses = record.terms.backoff.delays or (0,)
    failed = sorted(error.attempt for error in record.errors if error.kind != "lost")
    for run, again in itertools.pairwise(runs):
        if run.end is None or run.start.attempt not in failed or story.troubled(run):
            continue
        earlier = failed.index(run.start.attempt)
        if again.start.mono < _end(run) + pauses[min(earlier, len(pauses) - 1)]:
            yield f"{record.id} ran as attempt {again.start.attempt} before its pause was over"


def c15_explained(story: Story) -> Iterator[str]:
    """Every run that did not end its job failed, or was in flight when something was done
    to its process.
    """
    for job, runs in story.runs.items():
        for run, following in itertools.pairwise(runs):
            excused = story.cut_off(run) or story.unrecorded(run) or story.troubled(run)
            if not excused and (run.end is None or _ok(run)):
                yield (
                    f"{job} ran as attempt {following.start.attempt} though attempt "
                    f"{run.start.attempt} was not disturbed"
                )


def c16_bounds(story: Story) -> Iterator[str]:
    """What processes and the write-ahead log take stays within bounds, and does not grow."""
    for pid, before, after in story.usage:
        if after.memory > MOST_MEMORY:
            yield f"process {pid} takes {after.memory >> 20} MiB"
        if after.files > before.files + MORE_FILES:
            yield f"process {pid} has {after.files} files open, after {before.files}"
        if after.threads > before.threads + MORE_THREADS:
            yield f"process {pid} has {after.threads} threads, after {before.threads}"
    if story.log_bytes > MOST_LOG:
        yield f"the write-ahead log takes {story.log_bytes >> 20} MiB"


def c17_cancel(story: Story) -> Iterator[str]:
    """What was cancelled before it started never starts; what runs is not tried again."""
    for job, answer, asked, answered in story.intake.cancels:
        record = story.records.get(job)
        later = [run for run in story.runs.get(job, []) if run.start.mono > answered]
        if answer is Cancelling.CANCELLED:
            if later:
                yield f"{job} started after it was cancelled"
            if record is not None and record.state is not State.CANCELLED:
                yield f"{job} was cancelled, and is {record.state}"
        elif answer is Cancelling.REQUESTED:
            running = [run for run in story.runs.get(job, []) if run.start.mono <= answered]
            ran = [run for run in running if (story.over(run) or answered) >= asked]
            if len(later) > (0 if ran else 1):  # leased by then, it may have been about to start
                yield f"{job} was tried again after a cancel was asked for"


def c18_refused(story: Story) -> Iterator[str]:
    """What a producer was told is not stored is not."""
    for job in {*story.records, *story.runs} & set(story.intake.refused):
        yield f"{job} is there, and its producer was told that it is not"


INVARIANTS: Final[tuple[Invariant, ...]] = (
    c1_no_loss,
    c2_no_invention,
    c3_one_effect,
    c4_fencing,
    c5_attempts,
    c8_unique,
    c11_sums,
    c13_not_early,
    c15_explained,
    c16_bounds,
    c17_cancel,
    c18_refused,
)


def check(story: Story) -> list[str]:
    """Every violation, each with the name of its invariant; empty if all is well."""
    return [f"{each.__name__}: {text}" for each in INVARIANTS for text in each(story)]


@dataclass(frozen=True)
class Recovery:
    """How a run that a kill cut off went on."""

    token: Token
    settled: Micros | None
    """From the kill to the store's record of the loss; None: too old to be kept."""
    running: Micros | None
    """From the kill to the next start; None: it never started again."""
    alone: bool
    """It waited for a cell."""


def recoveries(story: Story) -> list[Recovery]:
    """One for each run that was cut off."""
    found: list[Recovery] = []
    for job, runs in story.runs.items():
        starts = [run.start.mono for run in runs]
        losses = [error for error in story.records[job].errors if error.kind == "lost"]
        errors = {error.attempt: error for error in losses}
        for run in runs:
            kill = story.cut_off(run)
            if kill is None:
                continue
            at = errors[run.start.attempt].at if run.start.attempt in errors else None
            following = bisect_left(starts, run.start.mono + 1)
            lost = [number for number in errors if number <= run.start.attempt]
            found.append(
                Recovery(
                    token=run.token,
                    settled=None if at is None else at - kill.wall,
                    running=starts[following] - kill.mono if following < len(starts) else None,
                    alone=len(lost) > 1 or run.start.task.endswith("roast"),
                )
            )
    return found


def cancel_delays(story: Story) -> list[Micros]:
    """How long after its cancel each running job ended, where nothing else was the matter."""
    delays: list[Micros] = []
    for job, answer, asked, answered in story.intake.cancels:
        for run in story.runs.get(job, ()):
            calm = run.start.pid not in story.deaths and not story.troubled(run)
            ended = run.end is not None and run.start.mono < asked and run.end.mono > answered
            if answer is Cancelling.REQUESTED and calm and ended:
                delays.append(_end(run) - answered)
    return delays


def _end(run: Run) -> Micros:
    assert run.end is not None
    return run.end.mono


def _ok(run: Run) -> bool:
    return run.end is not None and run.end.how == "ok"
