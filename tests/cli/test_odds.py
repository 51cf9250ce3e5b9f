"""`migrate`, `top`, `demo`, the store's options, and what happens when things go wrong."""

import asyncio
import importlib
import subprocess
import sys
import types

import pytest

from backline.cli import reload
from backline.errors import SchemaMismatch, StoreRefused, StoreUnavailable
from backline.stores import open_store


def test_migrate_makes_a_store_and_can_be_repeated(shell):
    url = f"sqlite:///{shell.folder}/new.db"
    first = shell.run("migrate", "--store", url)
    assert first.exit_code == 0
    assert first.stdout.startswith(f"{url} (")
    [told] = shell.json("migrate", "--store", url)
    assert told["store"] == url
    assert told["schema"] >= 1


def test_the_store_of_the_option_wins_over_the_environment(shell):
    url = f"sqlite:///{shell.folder}/other.db"
    shell.ok("migrate", "--store", url)
    shell.ok("enqueue", "x", "--store", url)
    assert shell.json("jobs") == []
    assert len(shell.json("jobs", "--store", url)) == 1


def test_the_store_of_an_app(shell):
    url = f"sqlite:///{shell.folder}/of_app.db"
    (shell.folder / "with_store.py").write_text(f"from backline import App\napp = App({url!r})\n")
    shell.ok("enqueue", "x", "--store", url)
    assert len(shell.json("jobs", "--app", "with_store")) == 1
    around = {"BACKLINE_APP": "with_store:app"}
    assert len(shell.run("jobs", "--json", environ=around).stdout.splitlines()) == 1
    assert shell.run("jobs", "--app", "nowhere").exit_code == 4


def test_without_any_name_it_is_the_file_here(shell):
    shell.enqueue()
    assert len(shell.run("jobs", "--json", environ={}).stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("nosql://host", 2, "no store answers"),
        ("sqlite://backline.db", 2, "slashes"),
        ("sqlite:///", 2, "names no file"),
        ("sqlite:///x.db?durability=maybe", 2, "durability"),
        ("memory://", 3, "inside one process"),
        (
            "sqlite:///there.db",
            3,
            "no such file\n  try: the same command with -A MODULE:APP, for the store",
        ),
        ("sqlite:///not/there.db", 3, "no such folder\n  try: mkdir -p not, or name another"),
        ("sqlite:////dev/null", 3, "no plain file"),
    ],
)
def test_a_store_that_cannot_be(shell, url, code, told):
    for command in ("jobs", "doctor"):
        result = shell.run(command, "--store", url)
        assert result.exit_code == code, result.output
        assert told in result.output
        assert len(result.output.splitlines()) <= 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("disk on fire"), 3),
        (StoreRefused("not on NFS"), 3),
        (SchemaMismatch("sqlite:///x", found=9, wanted=1), 3),
        (OSError("no luck"), 1),
        (ZeroDivisionError("oops"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_are_told_in_a_line_or_two(shell, monkeypatch, error, code):
    async def fail(self):
        raise error

    monkeypatch.setattr(type(open_store(shell.url)), "stats", fail)
    result = shell.run("queues")
    assert result.exit_code == code
    assert result.stdout == ""
    told = [line for line in result.stderr.splitlines() if line]
    assert 1 <= len(told) <= 2
    assert told[0].startswith("error: ")
    assert str(error) in result.stderr


def test_a_bug_can_be_traced(shell, monkeypatch):
    async def fail(self):
        raise ZeroDivisionError

    monkeypatch.setattr(type(open_store(shell.url)), "stats", fail)
    assert "BACKLINE_TRACEBACK" in shell.run("queues").stderr
    monkeypatch.setenv("BACKLINE_TRACEBACK", "1")
    assert isinstance(shell.run("queues").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "words", [["nonsense"], ["jobs", "--nonsense"], ["job"], ["jobs", "extra"], ["pause"]]
)
def test_bad_usage_names_the_help(shell, words):
    result = shell.run(*words)
    assert result.exit_code == 2
    assert "--help" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_top_prints_one_picture_without_a_terminal(shell):
    shell.enqueue(3, task="app.send\x1b[2J")
    shell.lease(count=1)
    shell.clock.advance("2s")
    out = shell.ok("top", "--once")
    assert "2 jobs queued   1 running" in out
    assert "QUEUE" in out
    assert "app.send\\x1b[2J" in out
    assert "\x1b" not in out


def test_top_on_a_terminal_draws_until_it_is_interrupted(shell, monkeypatch):
    module = importlib.import_module("backline.cli.top")
    drawn = []

    async def sleep(seconds):
        if len(drawn) == 3:
            raise asyncio.CancelledError
        if len(drawn) == 2:
            monkeypatch.setattr(module, "picture", fail)

    async def fail(session):
        raise StoreUnavailable("gone")

    terminal = types.SimpleNamespace(isatty=lambda: True, write=drawn.append, flush=lambda: None)
    shell.enqueue()
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(stdout=terminal))
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    result = shell.run("top")
    assert result.exit_code == 0
    assert drawn[0] == "\x1b[?1049h\x1b[?25l"
    assert "mail" in drawn[1]
    assert "gone" in drawn[2]
    assert drawn[-1] == "\x1b[?25h\x1b[?1049l"


def test_the_demo_without_its_extra_says_how_to_get_it(shell, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'PIL'", name="PIL")

    monkeypatch.setattr(importlib, "import_module", missing)
    result = shell.run("demo")
    assert result.exit_code == 1
    assert "the demo needs PIL" in result.stderr
    assert 'pip install "backline[demo]"' in result.stderr


def test_the_demo_gets_its_options_and_its_status_is_passed_on(shell, monkeypatch):
    calls = []
    fake = types.SimpleNamespace(main=lambda *given: calls.append(given) or 1)
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    (shell.folder / "pictures").mkdir()
    result = shell.run("demo", "--photos", "pictures", "--port", "8000", "--no-serve")
    assert result.exit_code == 1
    [(photos, output, port, serve)] = calls
    assert (str(photos), str(output), port, serve) == ("pictures", "demo-output", 8000, False)


@pytest.mark.processes
def test_python_m_backline():
    command = [sys.executable, "-m", "backline", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "backline" in done.stdout


def test_reload_sees_new_changed_and_deleted_files(tmp_path):
    (tmp_path / "a.py").write_text("1")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "b.py").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    before = reload.stamps(tmp_path)
    assert set(before) == {"a.py"}
    assert reload.difference(before, reload.stamps(tmp_path)) is None
    (tmp_path / "a.py").write_text("22")
    assert reload.difference(before, reload.stamps(tmp_path)) == "a.py"
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "c.py").write_text("1")
    after = reload.stamps(tmp_path)
    assert reload.difference({**before, "a.py": after["a.py"]}, after) == "pkg/c.py"
    assert reload.difference(after, {}) == "a.py"


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "-q", "\udcff"],
        ["pause", "--new", "\udcff"],
        ["job", "\udcff"],
        ["migrate", "--store", "sqlite:///\udcff.db"],
        ["worker", "\udcff:app"],
        ["\udcff"],
    ],
)
def test_bytes_that_are_no_text_are_refused_everywhere(shell, words):
    result = shell.run(*words)
    assert result.exit_code == 2
    assert "is no valid Unicode: " in result.stderr


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J", "x" * 201, " a"])
def test_a_name_that_no_queue_can_have(shell, name):
    result = shell.run("pause", "--new", name)
    assert result.exit_code == 2
    assert shell.json("queues") == []


def test_names_of_any_length_may_be_asked_for(shell):
    shell.enqueue()
    for option in ("-q", "--task", "--tag"):
        assert shell.json("jobs", option, "x" * 100_000) == []


def test_backline_alone_shows_its_help(shell):
    result = shell.run()
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == shell.run("--help").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["worker", "-Q", "mail"], "try: -q"),
        (["worker", "--loglevel", "info"], "try: --log-level info"),
        (["worker", "--burst"], "try: backline drain"),
        (["-A", "app", "worker"], "try: -A after the command: backline worker -A ..."),
        (["beat"], "try: leave it out: every worker looks after schedules"),
        (["inspect", "active"], "try: backline top, or: backline jobs --state running"),
        (["wroker"], "try: backline --help"),
        (["worker", "--nothing"], "try: backline worker --help"),
    ],
)
def test_who_comes_from_another_queue_hears_what_it_is_called_here(shell, words, told):
    result = shell.run(*words)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize("name", ["./by_file_1.py", "./by_file_2", "by_file_3.py"])
def test_an_app_may_be_named_by_its_file(shell, name):
    file = shell.folder / f"{name.removesuffix('.py')}.py"
    file.write_text(f"from backline import App\napp = App({shell.url!r})\n")
    shell.enqueue()
    assert len(shell.json("jobs", "--app", name)) == 1


@pytest.mark.parametrize("name", ["../app", ".app:app", "/"])
def test_a_name_that_no_module_can_have_is_said_to_be_none(shell, name):
    result = shell.run("jobs", "--app", name)
    assert result.exit_code == 4
    assert "names no app: write module:attribute" in result.stderr
