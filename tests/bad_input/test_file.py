"""A damaged file: the healthy jobs run, the damaged one goes dead or can be shown and taken
out, every command answers, and nothing of it reaches a terminal raw.

What harms one row alone is done to many rows of one file here, and in `make chaos` to one row
of a file each.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import pytest
from tests.bad_input.conftest import build
from tests.bad_input.corpus.damage import CLOSED, DAMAGE, KEYS, REPORTS, STRICT, Damage
from tests.bad_input.shell import backline, clean

from backline import StoreError
from backline.clock import SYSTEM_CLOCK
from backline.job import SECOND, AttemptError, Enqueued, HeldLease, JobRequest, OnConflict
from backline.policy import Lost, settle
from backline.states import State
from backline.store import Filter, Store
from backline.stores import open_store

PATIENCE_S: Final = 20.0
LOOKS = (["jobs", "--all"], ["jobs", "--json", "--all"], ["dead"], ["queues"], ["top", "--once"])
FIRST_CALL: Final = 10_000_000_000
HEALTHY: Final = 3
ALONE = [damage for damage in DAMAGE if damage.alone]
TOGETHER = [damage for damage in DAMAGE if not damage.alone]


class Fate(NamedTuple):
    """What became of a victim."""

    state: str
    kind: str


def make(file: Path, jobs: int) -> Path:
    """A file with so many jobs that are ready."""
    app = build(url(file))
    task = app.registry.get("anything")
    assert task is not None
    app.enqueue_many([task.job(n) for n in range(jobs)])
    app.close()
    return file


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sound") / "jobs.db", 1 + HEALTHY)


@pytest.fixture
def file(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "jobs.db"
    shutil.copy(sound, copy)
    return copy


@contextlib.contextmanager
def behind(file: Path) -> Iterator[apsw.Connection]:
    """A connection past the store, with every check of the schema off."""
    db = apsw.Connection(str(file))
    try:
        db.execute("pragma ignore_check_constraints = on; pragma foreign_keys = off")
        yield db
    finally:
        db.close()


def fates(file: Path) -> dict[int, Fate]:
    sql = (
        "select seq, cast(state as blob), cast(coalesce("
        "errors ->> '$[#-1].kind', errors ->> '$[#-1][1]', '') as blob) from job"
    )
    with behind(file) as db:
        db.execute("update job set errors = '[]' where not json_valid(errors)")
        return {
            seq: Fate(state.decode(), kind.decode(errors="replace"))
            for seq, state, kind in db.execute(sql)
        }


def ids(file: Path) -> dict[int, str]:
    with behind(file) as db:
        rows = db.execute("select seq, cast(id as blob) from job").fetchall()
    return {seq: bytes(job_id).decode(errors="replace") for seq, job_id in rows}


async def look(file: Path) -> None:
    """Everything that reads answers."""
    store = open_store(url(file))
    await store.open()
    try:
        for state in (None, *State):
            where = Filter(states=frozenset() if state is None else frozenset({state}))
            page = await store.find(where, limit=3)
            await store.get([job.id for job in page.jobs])
        await store.stats()
        await store.workers()
        await store.held("ghost")
        await store.overdue(10)
    finally:
        await store.close()


async def work(file: Path) -> None:
    """What workers and reapers do: settle lost leases, promote, expire, run, purge."""
    app = build(url(file))
    try:
        store = app.store
        await reap(store, await store.overdue(1_000))
        await store.promote(1_000)
        await store.expire(1_000)
        await app.adrain()
        await store.sweep(1_000)
    finally:
        await app.aclose()


async def reap(store: Store, overdue: Sequence[HeldLease]) -> None:
    acks = [
        settle(lease, Lost(AttemptError(lease.attempt, "lost", "its lease ran out")), RNG)
        for lease in overdue
    ]
    await store.exchange("reaper", FIRST_CALL, acks, {}, 1)


RNG = SYSTEM_CLOCK.rng


async def live(file: Path) -> None:
    """Look at the file, work, and look again, before patience is over."""
    async with asyncio.timeout(PATIENCE_S):
        await look(file)
        await work(file)
        await look(file)


def command(file: Path, *words: str, codes: frozenset[int] = frozenset({0})) -> None:
    clean(backline(*words, "--store", url(file)), codes)


def url(file: Path) -> str:
    return f"sqlite:///{file}?durability=normal"


def group_of(damage: Damage) -> str:
    """Which victims share a file."""
    column = damage.name.partition(" ")[0]
    if column in {"terms", "headers", "tags"}:
        return "what a lease carries"
    if column in {"errors", "result", "progress", "task", "unique_key", "worker", "id"}:
        return "what people see"
    return "the rest"


class Group(NamedTuple):
    """A file with a victim for each damage of a kind."""

    file: Path
    before: dict[str, str]
    """The id of each victim, by the damage."""
    fates: dict[str, Fate]
    healthy: list[Fate]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Group]:
    """Every file whose victims were harmed one by one; after all of it was looked at and run."""
    found: dict[str, Group] = {}
    for name, some in groupby(sorted(TOGETHER, key=group_of), group_of):
        folder = tmp_path_factory.mktemp("group")
        damages = list(some)
        file = make(folder / "jobs.db", len(damages) + HEALTHY)
        with behind(file) as db:
            for seq, damage in enumerate(damages, 1):
                db.execute(damage.of(seq), damage.values or None)
        for words in LOOKS:
            command(file, *words)
        untouched = folder / "before.db"
        shutil.copy(file, untouched)
        known = ids(untouched)
        asyncio.run(live(file))
        command(file, "dead", "--limit", "1000")
        ends = fates(file)
        gone = Fate("purged", "")
        found[name] = Group(
            untouched,
            {damage.name: known[seq] for seq, damage in enumerate(damages, 1)},
            {damage.name: ends.get(seq, gone) for seq, damage in enumerate(damages, 1)},
            [ends[len(damages) + 1 + at] for at in range(HEALTHY)],
        )
    return found


@pytest.mark.parametrize("damage", TOGETHER, ids=lambda damage: damage.name)
def test_what_becomes_of_a_damaged_row(groups: dict[str, Group], damage: Damage) -> None:
    group = groups[group_of(damage)]
    assert group.fates[damage.name].state == damage.fate
    if damage.kind:
        assert group.fates[damage.name].kind == damage.kind
    assert group.healthy == [Fate("succeeded", "")] * HEALTHY
    command(group.file, "job", group.before[damage.name], codes=frozenset({0, 1, 2}))


@pytest.mark.parametrize(
    "damage",
    [*ALONE, *(pytest.param(damage, marks=pytest.mark.chaos) for damage in TOGETHER)],
    ids=lambda damage: damage.name,
)
def test_one_damage_stops_nothing_else(file: Path, damage: Damage) -> None:
    with behind(file) as db:
        db.execute(damage.sql, damage.values or None)
    untouched = file.with_name("before.db")
    shutil.copy(file, untouched)
    asyncio.run(live(file))
    found = fates(file)
    assert [found[seq].state for seq in (2, 3, 4)] == [damage.healthy] * HEALTHY
    assert found.get(1, Fate("purged", "")).state == damage.fate
    if damage.kind:
        assert found[1].kind == damage.kind
    for words in (["jobs"], ["queues"], ["retry", ids(untouched)[1]]):
        command(untouched, *words, codes=frozenset({0, 1, 2}))


@pytest.mark.parametrize("state", ["zombie", ""])
def test_a_job_in_no_state_is_dead_and_can_be_started_over(file: Path, state: str) -> None:
    with behind(file) as db:
        db.execute("update job set state = ? where seq = 1", (state,))
    command(file, "retry", ids(file)[1])
    asyncio.run(live(file))
    assert fates(file)[1].state == "succeeded"


@pytest.mark.parametrize("damage", KEYS, ids=lambda damage: damage.name)
def test_a_damaged_key_stops_no_enqueue(file: Path, damage: Damage) -> None:
    with behind(file) as db:
        db.execute(damage.sql, damage.values or None)
    replacing = {"unique_key": "k", "on_conflict": OnConflict.REPLACE, "max_wait": SECOND}
    jobs = [
        JobRequest(id="a", task="t", **replacing),  # type: ignore[arg-type]
        JobRequest(id="b", task="t", idempotency_key="k"),
        JobRequest(id="c", task="t", idempotency_key="k\0k"),
        JobRequest(id="d", task="t"),
    ]

    async def ask() -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            store = open_store(url(file))
            await store.open()
            try:
                [answer] = await store.enqueue([jobs])
                assert answer == (await store.enqueue([jobs]))[0]
                found = await store.get(["a", "d"])
            finally:
                await store.close()
        assert isinstance(answer, list)
        assert answer[3] == Enqueued("d")
        return [job.state for job in found if job is not None]

    assert asyncio.run(ask())[-1] == "ready"
    asyncio.run(live(file))


def test_reports_that_cannot_be_read_hide_no_other(file: Path) -> None:
    with behind(file) as db:
        for name, (data, _) in REPORTS.items():
            db.execute("insert into report values (?, ?, cast(? as text))", (name, 2**63 - 1, data))
    command(file, "top", "--once")
    command(file, "doctor", codes=frozenset({0, 1}))
    app = build(url(file))
    known = app.wait(app.store.workers, "workers")
    app.close()
    assert len(known) == sum(reads for _, reads in REPORTS.values())


@pytest.mark.parametrize("case", CLOSED)
async def test_a_file_that_is_not_ours_to_open(file: Path, case: str) -> None:
    sql, told = CLOSED[case]
    with behind(file) as db:
        db.execute(sql)
    store = open_store(url(file))
    with pytest.raises(StoreError, match=told):
        await store.open()
    await store.close()
    assert {fate.state for fate in fates(file).values()} == {"ready"}


@pytest.mark.parametrize("case", CLOSED)
def test_a_command_says_why(file: Path, case: str) -> None:
    sql, told = CLOSED[case]
    with behind(file) as db:
        db.execute(sql)
    result = clean(backline("jobs", "--store", url(file)), {3})
    assert told in result.stderr


@pytest.mark.parametrize("column", STRICT)
def test_sqlite_keeps_wrong_types_out(file: Path, column: str) -> None:
    db = apsw.Connection(str(file))
    with pytest.raises(apsw.ConstraintError):
        db.execute(f"update job set {column} = {STRICT[column]}")
    db.close()
