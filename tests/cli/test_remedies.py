"""What helps is a command that works as it stands: on the app and the store that were named."""

import sys
from pathlib import Path

import click
import pytest

from backline.child import options_for
from backline.cli.remedies import command

APP = """
from backline import App

app = App({url!r})

@app.task(name="app.send", queue="mail")
def send(n: int) -> None: ...
"""


@pytest.fixture
def shop(shell, monkeypatch: pytest.MonkeyPatch):
    """A shell beside `shop.py`, whose app has a store that nothing else names."""
    Path("shop.py").write_text(APP.format(url=shell.url))
    monkeypatch.syspath_prepend(shell.folder)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    shell.environ = {}
    yield shell
    sys.modules.pop("shop", None)


def fixes(shell, *words: str) -> dict[str, str]:
    """What `doctor` says to do, by check."""
    found = shell.json("doctor", *words, code=shell.run("doctor", *words).exit_code)
    return {each["check"]: each["fix"] for each in found if each["fix"]}


def test_doctor_names_the_app_that_it_was_given(shop) -> None:
    shop.enqueue()
    assert fixes(shop, "-A", "shop:app")["workers"] == "backline worker shop:app"
    assert fixes(shop, "--app", "shop")["workers"] == "backline worker shop"
    shop.environ = {"BACKLINE_APP": "shop:app"}
    assert fixes(shop)["workers"] == "backline worker shop:app"
    shop.environ = {"BACKLINE_URL": shop.url}
    assert fixes(shop)["workers"] == "backline worker MODULE:APP"


def test_a_command_that_helps_works_on_the_same_store(shop) -> None:
    shop.dead()
    app, url = ["-A", "shop:app"], ["--store", shop.url]
    assert fixes(shop, *app)["dead"] == (
        "backline dead -q mail -A shop:app, then: backline redrive mail -A shop:app"
    )
    assert f"redrive mail --store {shop.url}" in fixes(shop, *url)["dead"]
    shop.environ = {"BACKLINE_APP": "shop:app"}
    assert fixes(shop)["dead"].endswith("backline redrive mail"), "the environment is still there"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["job", "{dead}"], "run it again: backline retry {dead} -A shop:app"),
        (["job", "{ready}"], "cancel it: backline cancel {ready} -A shop:app"),
        (["job", "f-1"], "try: backline flow f-1 -A shop:app"),
        (["job", "ffffffff"], "try: backline jobs -A shop:app"),
        (["dead"], "one in full: backline job ID -A shop:app "),
        (["redrive", "nosuch"], "try: backline queues -A shop:app"),
        (["schedules", "pause", "nosuch"], "try: backline schedules -A shop:app"),
        (["subscriptions", "drop", "nosuch"], "try: backline subscriptions -A shop:app"),
        (["run", "app.send", "1", "--wait", "0s"], "start one: backline worker shop:app"),
    ],
)
def test_so_does_every_other_hint(shop, words: list[str], told: str) -> None:
    [dead], [ready] = shop.dead(), shop.enqueue()
    result = shop.run(*(word.format(dead=dead, ready=ready) for word in words), "-A", "shop:app")
    assert told.format(dead=dead, ready=ready) in result.output


def test_what_a_shell_would_read_otherwise_is_quoted(shop) -> None:
    shop.dead()
    odd = shop.folder / "it's here.db"
    shop.file.rename(odd)
    assert "redrive mail --store 'sqlite:////" in fixes(shop, "--store", f"sqlite:///{odd}")["dead"]


def test_a_secret_at_the_end_of_a_url_does_not_take_the_quote_with_it() -> None:
    given = click.Context(click.Command("doctor"))
    given.params = {"store_url": "redis://here/0?password=hidden"}
    with given:
        assert command("jobs") == "backline jobs --store 'redis://here/0?password=***'"


def test_the_doctor_makes_no_store_where_there_is_none(shop) -> None:
    """A newcomer looks before anything was enqueued, or from another directory."""
    shop.file.unlink()
    result = shop.run("doctor", "-A", "shop:app")
    assert result.exit_code == 3
    assert f"there is no store at {shop.url} yet" in result.output
    assert "  try: backline worker shop:app, which makes it (so does the first enqueue)\n" in (
        result.output
    )
    for environ, words in (({}, []), ({"BACKLINE_URL": shop.url}, []), ({}, ["--store", shop.url])):
        shop.environ = environ
        told = shop.run("doctor", *words).output
        assert "the same command with -A MODULE:APP, for the store of your app" in told
        assert "migrate" not in told
    assert not shop.file.exists()


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, " -A 'shop:make app'"),
        ({"BACKLINE_URL": "sqlite:///shop.db"}, ""),
        (
            {"BACKLINE_URL": "sqlite:///other.db", "BACKLINE_APP": "shop:make app"},
            " -A 'shop:make app'",
        ),
        ({"BACKLINE_APP": "shop:make app"}, ""),
    ],
)
def test_dev_says_where_else_to_look(environ: dict[str, str], where: str) -> None:
    assert options_for("sqlite:///shop.db", "shop:make app", environ) == where
    assert options_for("sqlite:///backline.db", "shop:app", {}) == ""


def test_an_app_that_nothing_names_is_asked_for(shop) -> None:
    told = shop.run("worker").output
    assert "try: the same command with -A MODULE:APP" in told
    assert "app:app" not in told.replace("shop:app", "")
