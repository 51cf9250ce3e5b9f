"""The SQL files keep the rules of the house, and hot statements their indexes."""

import re
from pathlib import Path

import apsw
import pytest

from backline.job import SECOND, Ack, AttemptError, JobRequest, Lane
from backline.states import State
from backline.stores import sqlite
from backline.stores.sqlite import SqliteStore, exchange
from backline.stores.sqlite.statements import migrations, statement

FOLDER = Path(sqlite.__file__).parent
FILES = sorted((FOLDER / "sql").glob("*.sql"))
INDEXES = {
    "job_id",
    "job_ready",
    "job_scheduled",
    "job_waiting",
    "job_gate",
    "job_pace",
    "pace_next",
    "job_held",
    "job_until",
    "job_expiry",
    "job_dead",
    "job_batch",
    "job_flow",
    "job_over",
    "edge_parent",
    "edge_open",
    "job_group_flow",
    "job_group_idle",
    "unique_key_orphan",
    "unique_key_predecessor",
    "purged_forget",
    "idempotency_key_until",
    "schedule_next",
    "step_name",
    "topic_subscription",
    "topic_wild",
    "event_key",
    "event_until",
}


@pytest.fixture(scope="module")
def database() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    for script in migrations():
        connection.execute(script).fetchall()
    return connection


def plan_of(database: apsw.Connection, sql: str) -> list[str]:
    """What SQLite means to do, a line a step."""
    names = set(re.findall(r":([a-z_]+)", sql))
    rows = database.execute(f"explain query plan {sql}", dict.fromkeys(names))
    return [row[3] for row in rows]


def header_of(name: str) -> str:
    text = (FOLDER / "sql" / f"{name}.sql").read_text()
    return "\n".join(line for line in text.splitlines() if line.startswith("--"))


def index_line(name: str) -> str:
    """What the header says of indexes."""
    [line] = re.findall(r"^--   index  (.*(?:\n--       .*)*)", header_of(name), re.MULTILINE)
    return str(line)


def scans(plan: list[str]) -> list[str]:
    """The steps that look at every row of a table: not at what the call itself gave, nor at
    what an earlier step has found, nor along an index, whose statement limits it."""
    ours = r"\(subquery|new|ack|level|first|aged|share|counted|CONSTANT"
    found = rf"SCAN (?!{ours})\w+(?! VIRTUAL TABLE| USING (COVERING )?INDEX)\b"
    return [step for step in plan if re.match(found, step)]


def sorts(plan: list[str]) -> list[str]:
    """The steps that sort rows, which an index could have had in order."""
    return [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_statement_is_one_and_says_what_it_does(database: apsw.Connection, name: str) -> None:
    header = header_of(name)
    assert header.startswith(f"-- {name}: ")
    assert re.findall(r"^--   (in|out|locks|index) ", header, re.MULTILINE) == [
        "in",
        "out",
        "locks",
        "index",
    ]
    assert ";" not in statement(name)
    parameters = set(re.findall(r":([a-z_]+)", statement(name)))
    told = set(re.findall(r":([a-z_]+)", header))
    assert parameters <= told, "a parameter that the header does not mention"
    assert plan_of(database, statement(name)) is not None


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_statement_uses_the_index_its_header_names(database: apsw.Connection, name: str) -> None:
    plan = "\n".join(plan_of(database, statement(name)))
    for index in INDEXES & set(re.findall(r"[a-z_]+", header_of(name).split("--   index")[1])):
        assert f"INDEX {index}" in plan, plan


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_statement_neither_scans_nor_sorts_unless_its_header_says_so(
    database: apsw.Connection, name: str
) -> None:
    header = index_line(name)
    plan = plan_of(database, statement(name))
    if not header.startswith("none"):
        assert not scans(plan), plan
    if not re.search(r"(?<!no )\b(sort|group)(s|ed)\b", header):
        assert not sorts(plan), plan


def test_a_scan_would_be_seen(database: apsw.Connection) -> None:
    """Planted: the lease without its index."""
    sql = statement("lease").replace("indexed by job_ready", "not indexed")
    plan = plan_of(database, sql)
    assert scans(plan) == ["SCAN job"]
    assert sorts(plan)


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_a_statement_leaves_the_insides_of_terms_to_who_knows_them(name: str) -> None:
    assert not re.search(r"terms\s*->|json_\w+\(\s*terms", statement(name))


async def test_how_many_errors_are_kept_is_said_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MAX_ERRORS", 2)
    store = SqliteStore(tmp_path / "jobs.db")
    await store.open()
    await store.enqueue([[JobRequest(id="a", task="t")]])
    acks: list[Ack] = []
    for n in range(1, 5):
        demand = {("default", Lane.MAIN): 1}
        [lease] = (await store.exchange("w", n, acks, demand, SECOND)).jobs
        acks = [Ack("a", lease.attempt, State.READY, error=AttemptError(n, "E", "m"))]
    await store.exchange("w", 5, acks, {}, SECOND)
    [record] = await store.get(["a"])
    assert record is not None
    assert [error.attempt for error in record.errors] == [3, 4]
    await store.close()


@pytest.mark.parametrize(
    ("one", "other", "swapped"),
    [
        *(
            (
                f"{name}_newest",
                f"{name}_oldest",
                {"id < ": "id > ", "id >= ": "id <= ", "id desc": "id asc"},
            )
            for name in ("find", "bound", "dead", "flow")
        ),
        ("gate_window", "pace_window", {"from gate": "from pace", "gates_seen": "paces_seen"}),
    ],
)
def test_two_statements_that_stand_twice_differ_in_these_words_alone(
    one: str, other: str, swapped: dict[str, str]
) -> None:
    found = statement(one)
    for before, after in swapped.items():
        found = found.replace(before, after)
    assert found == statement(other)


def test_every_statement_is_used() -> None:
    code = "".join(file.read_text() for file in FOLDER.glob("*.py"))
    assert {file.stem for file in FILES} == set(re.findall(r'statement\(\s*"([a-z_]+)"\s*\)', code))


def test_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(file.name for file in (FOLDER / "migrations").glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(migrations()) + 1))
