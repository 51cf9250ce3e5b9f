"""`migrate --outbox`, `relay` and what `doctor` says of outboxes."""

import sqlite3
import sys
from pathlib import Path

import pytest

from backline.states import State

APP = """
from backline import App

app = App({url!r})
app.outbox("sqlite:///business.db")

@app.task(name="app.send", queue="mail")
def send(n: int) -> None: ...
"""


@pytest.fixture
def business(shell, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """The caller's database, with an app that declares it as `business_app:app`."""
    Path("business_app.py").write_text(APP.format(url=shell.url))
    monkeypatch.syspath_prepend(shell.folder)
    monkeypatch.delitem(sys.modules, "business_app", raising=False)
    connection = sqlite3.connect("business.db")
    yield connection
    connection.close()
    sys.modules.pop("business_app", None)


def write(shell, connection: sqlite3.Connection, job: str | None = None) -> str:
    job_id = shell.clock.new_id()
    text = (
        job or f'{{"id": "{job_id}", "task": "app.send", "payload": [[1],{{}}], "queue": "mail"}}'
    )
    with connection:
        connection.execute(
            "insert into backline_outbox (id, queue, job, written_at) values (?, 'mail', ?, ?)",
            (job_id, text, shell.clock.now()),
        )
    return job_id


def findings(shell, check: str) -> list[tuple[str, str]]:
    result = shell.run("doctor", "--json", "--app", "business_app:app")
    found = shell.json("doctor", "--app", "business_app:app", code=result.exit_code)
    return [(one["level"], one["message"]) for one in found if one["check"] == check]


def test_the_tables_are_made_by_migrate(shell, business) -> None:
    [(level, message)] = findings(shell, "outbox")
    assert level == "wrong"
    assert "backline migrate --outbox sqlite:///" in message
    assert "an outbox and an inbox, version 1" in shell.ok(
        "migrate", "--outbox", "sqlite:///business.db"
    )
    [made] = shell.json("migrate", "--outbox", "sqlite:///business.db")
    assert made["version"] == 1
    [(level, message)] = findings(shell, "outbox")
    assert (level, message.split(": ")[1]) == ("ok", "what is committed is relayed")


def test_migrate_refuses_what_is_no_sqlite_file(shell) -> None:
    result = shell.run("migrate", "--outbox", "postgresql://db")
    assert result.exit_code == 2
    assert "an outbox is sqlite:///relative.db" in result.stderr


def test_relay_once_moves_what_is_committed(shell, business) -> None:
    shell.ok("migrate", "--outbox", "sqlite:///business.db")
    first, bad = write(shell, business), write(shell, business, job="{")

    result = shell.run("relay", "business_app:app", "--once")
    assert (result.exit_code, result.stdout) == (1, "1 row relayed, 1 set aside\n")
    assert [job.id for job in shell.jobs(states=frozenset({State.READY}))] == [first]

    [(level, message), _] = findings(shell, "outbox")
    assert level == "wrong"
    assert "1 job in sqlite:///" in message
    assert "malformed" in message
    with business:
        business.execute(
            "update backline_outbox set job = replace(?, 'x', id) where id = ?",
            ('{"id": "x", "task": "app.send"}', bad),
        )
    result = shell.run("relay", "business_app:app", "--once", "--retry", "--json")
    assert (result.exit_code, result.stdout) == (0, '{"relayed":1,"set_aside":0}\n')


def test_relay_needs_an_outbox(shell) -> None:
    Path("plain.py").write_text(f"from backline import App\napp = App({shell.url!r})")
    result = shell.run("relay", "plain:app", "--once")
    assert result.exit_code == 1
    assert "the app declares no outbox" in result.stderr


def test_doctor_sees_jobs_that_nobody_relays(shell, business) -> None:
    shell.ok("migrate", "--outbox", "sqlite:///business.db")
    write(shell, business)
    for wait, level in ((1, "ok"), (30, "note"), (600, "wrong")):
        shell.clock.advance(wait)
        assert [found for found, _ in findings(shell, "outbox")] == [level]


def test_doctor_sees_a_dead_job_whose_effect_is_committed(shell, business) -> None:
    shell.ok("migrate", "--outbox", "sqlite:///business.db")
    [dead, _] = shell.dead(2)
    assert findings(shell, "inbox") == []
    with business:
        business.execute("insert into backline_inbox values (?, 1, null, 1)", (dead,))
    [(level, message)] = findings(shell, "inbox")
    assert level == "wrong"
    assert message.startswith(f"job {dead} is dead, but")
