"""`backline publish`, `backline subscriptions`, and what `doctor` says of them."""

import json
import re

import pytest

from backline.cli.common import ExitCode
from backline.cli.screen import first_screen
from backline.fanout import SubscriptionChange, SubscriptionSpec
from backline.job import HOUR, JobRequest, Lane
from backline.store import WorkerReport
from backline.stores.memory import MemoryStore
from backline.supervisor.messages import Hello
from backline.supervisor.settings import SupervisorSettings

APP = """
from backline import App
app = App()

@app.on("user.*", queue="mail")
def welcome(payload: dict) -> None: ...
"""


def subscribe(shell, name: str, *patterns: str, **fields) -> None:
    job = JobRequest(**{"id": "", "task": name, "queue": "mail", **fields})
    spec = SubscriptionSpec(patterns=patterns or ("user.registered",), job=job)
    change = SubscriptionChange(name, 0, spec)
    assert shell.on(lambda store: store.subscribe([change])) == [True]


def report(shell, *tasks: str) -> None:
    """Have a worker report that it lives."""
    worker = WorkerReport(
        worker="host-1", host="host", pid=7, queues=("mail",), lane=Lane.MAIN, concurrency=10,
        tasks=tasks, started_at=shell.clock.now(), version="0.1.0",
    )  # fmt: skip
    shell.on(lambda store: store.report([worker], HOUR))


def damage(shell, name: str) -> None:
    shell.plant("update subscription set spec = '{' where name = ?", name)


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_an_event_is_published_to_those_the_store_knows(shell):
    subscribe(shell, "app.mail")
    subscribe(shell, "app.crm", "user.*")
    subscribe(shell, "app.other", "order.*")
    told = shell.ok("publish", "user.registered", '{"id": 42}', "--id", "u42", "--json")
    event = json.loads(told)
    assert (event["id"], event["added"]) == ("u42", True)
    assert sorted(event["jobs"]) == ["app.crm", "app.mail"]
    assert len(shell.jobs()) == 2
    again = shell.run("publish", "user.registered", "1", "--id", "u42")
    assert again.stdout == "u42\n"
    assert "published before" in again.stderr
    assert len(shell.jobs()) == 2
    nobody = shell.run("publish", "nobody.listens", "--key", "k", "--event-ttl", "1h")
    assert nobody.exit_code == ExitCode.OK
    assert "nobody subscribes to nobody.listens" in nobody.stderr
    [kept] = shell.on(lambda store: store.events([("nobody.listens", "k")]))
    assert kept.until - kept.at == HOUR


def test_an_app_declares_before_it_publishes(shell):
    (shell.folder / "shop_events.py").write_text(APP)
    told = shell.ok("publish", "user.gone", "--app", "shop_events:app", "--json")
    assert list(json.loads(told)["jobs"]) == ["shop_events.welcome"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["user.*"], "pattern"),
        (["a b"], "words with dots"),
        (["a", "{"], "no JSON"),
        (["a", "--event-ttl", "soon"], "duration"),
        (["a", "--event-ttl", "0"], "event_ttl"),
        (["a", "--id", ""], "id="),
        (["a", "--store", "sqlite:///x.db", "--app", "x:y"], "not both"),
    ],
)
def test_what_cannot_be_published_is_refused(shell, words, complaint):
    result = shell.run("publish", *words)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.stderr
    assert shell.jobs() == []


def test_subscriptions_are_listed_and_dropped(shell):
    assert "no subscriptions yet" in shell.run("subscriptions").stderr
    subscribe(shell, "app.mail", "user.registered", "user.gone")
    subscribe(shell, "app.crm", "user.#", queue="crm")
    report(shell, "app.mail")
    head, crm, mail = shell.ok("subscriptions").splitlines()
    assert cells(head) == ["SUBSCRIPTION", "EVENTS", "QUEUE"]
    assert cells(crm) == ["app.crm", "user.#", "crm", "no worker knows its task"]
    assert cells(mail) == ["app.mail", "user.registered, user.gone", "mail"]
    first, _ = map(json.loads, shell.ok("subscriptions", "--json").splitlines())
    assert first == {
        "subscription": "app.crm", "patterns": ["user.#"], "task": "app.crm", "queue": "crm",
        "whole_event": False, "task_known": False,
    }  # fmt: skip
    missing = shell.run("subscriptions", "drop", "app.crn")
    assert missing.exit_code == ExitCode.NOT_DONE
    assert "did you mean 'app.crm'?" in missing.stderr
    assert shell.ok("subscriptions", "drop", "app.crm") == "app.crm: dropped\n"
    dropped = shell.ok("subscriptions", "drop", "app.mail", "--json")
    assert json.loads(dropped) == {"subscription": "app.mail", "dropped": True}
    assert shell.ok("subscriptions", "--json") == ""
    assert shell.run("subscriptions", "--json", "drop", "x").exit_code == ExitCode.USAGE


def test_doctor_finds_what_gets_no_event_or_does_nothing_with_it(shell):
    assert "events" not in shell.run("doctor").stdout
    subscribe(shell, "app.mail")
    report(shell, "app.mail")
    assert "1 subscription" in shell.ok("doctor")
    subscribe(shell, "app.gone")
    damage(shell, "app.mail")
    result = shell.run("doctor")
    assert result.exit_code == ExitCode.NOT_DONE
    assert "what is stored of subscription app.mail cannot be read" in result.stdout
    assert "no live worker knows the task of subscription app.gone" in result.stdout
    assert "backline subscriptions drop app.gone" in result.stdout
    assert "damaged" in shell.ok("subscriptions")


def test_the_first_screen_names_who_hears_of_what():
    hello = Hello(
        url="memory://", queues=("mail",), tasks=("app.mail",), concurrency=1,
        subscriptions=(("app.mail", "user.*, user"),),
    )  # fmt: skip
    assert "app.mail (user.*, user)" in first_screen(
        hello, MemoryStore(), SupervisorSettings(target="app:app")
    )
