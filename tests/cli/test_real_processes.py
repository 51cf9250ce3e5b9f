"""The command as a user meets it: real processes, real signals, a real terminal."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

SECONDS = 60
APP = """
    import asyncio
    import os
    import subprocess
    from backline import App

    app = App()

    @app.task
    async def hello(name: str) -> str:
        return f"hello {name}"

    @app.task(max_attempts=1)
    def child() -> None:
        print("child has begun", flush=True)
        subprocess.run(["cat", "gate"], check=True)

    @app.task
    async def slow() -> str:
        gate = os.open("gate", os.O_RDONLY | os.O_NONBLOCK)
        opened = asyncio.Event()
        asyncio.get_running_loop().add_reader(gate, opened.set)
        print("slow has begun", flush=True)
        await opened.wait()
        return "slow has ended"
"""
"""Its tasks take until the test opens the `gate`, a FIFO."""


class Running:
    """A command that runs, and what it says."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backline", *words],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, text: str) -> str:
        """Everything it says up to the line with `text`."""
        assert self.process.stdout is not None
        said = ""
        while text not in said:
            ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
            line = os.read(self.process.stdout.fileno(), 65536).decode() if ready else ""
            assert line, f"it never said {text!r}:\n{said}"
            said += line
        return said

    def end(self) -> tuple[int, str]:
        """Its exit code, and the rest of what it says."""
        rest, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, rest


def environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("BACKLINE")}
    return {**own, "BACKLINE_APP": "app:app", "PYTHONUNBUFFERED": "1"}


def backline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backline", *words],
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP))
    os.mkfifo(tmp_path / "gate")
    return tmp_path


def open_gate(folder: Path) -> None:
    """Let the job end that has begun."""
    (folder / "gate").write_text("open")


@pytest.fixture
def start(folder: Path) -> Iterator[object]:
    started: list[Running] = []

    def run(*words: str) -> Running:
        started.append(Running(folder, *words))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def test_worker_enqueue_and_run(folder, start):
    worker = start("worker", "app:app", "--concurrency", "3")
    screen = worker.until("Ctrl-C")
    assert "store sqlite:///backline.db (SQLite 3." in screen
    assert "worker 1\N{MULTIPLICATION SIGN}3" in screen
    assert "app.child, app.hello, app.slow" in screen

    done = backline(folder, "run", "app.hello", "--text", "name=Ann")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"hello Ann"\n', "")
    assert backline(folder, "doctor").returncode == 0

    worker.process.send_signal(signal.SIGTERM)
    code, said = worker.end()
    assert code == 0
    assert "draining" in said
    assert [
        json.loads(line)["state"] for line in backline(folder, "jobs", "--json").stdout.splitlines()
    ] == ["succeeded"]


def test_a_misspelt_queue_is_told_once(folder, start):
    backline(folder, "enqueue", "app.hello", "--text", "name=Ann", "-q", "pdf")
    worker = start("worker", "-q", "defualt,pdf", "--processes", "2")
    said = worker.until("misspelt")
    assert "no task here uses the queue defualt, and the store has never had it" in said
    assert "The queues are default, pdf" in said
    worker.process.send_signal(signal.SIGTERM)
    code, rest = worker.end()
    assert (code, (said + rest).count("misspelt")) == (0, 1)


def test_ctrl_c_drains(folder, start):
    worker = start("worker")
    worker.until("Ctrl-C")
    backline(folder, "enqueue", "app.slow")
    worker.until("slow has begun")
    worker.process.send_signal(signal.SIGINT)
    worker.until("draining")
    open_gate(folder)
    code, _ = worker.end()
    assert code == 0
    [job] = map(json.loads, backline(folder, "jobs", "--json").stdout.splitlines())
    assert (job["state"], job["result"]) == ("succeeded", "slow has ended")


ON_ITS_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "backline", *sys.argv[1:]])
"""


@contextlib.contextmanager
def in_a_terminal(folder, command, *, until):
    """A command in a terminal of its own, once it has said so much; yields it and its screen."""
    screen, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, command],
        cwd=folder,
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        said = b""
        try:
            while until not in said:
                assert select.select([screen], [], [], SECONDS)[0], said
                said += os.read(screen, 65536)
            yield process, screen
        finally:
            process.kill()


def test_ctrl_c_in_a_terminal_does_not_reach_what_jobs_have_started(folder):
    backline(folder, "enqueue", "app.child")
    with in_a_terminal(folder, "dev", until=b"child has begun") as (dev, screen):
        os.write(screen, b"\x03")
        said = b""
        while b"draining" not in said:
            assert select.select([screen], [], [], SECONDS)[0], said
            said += os.read(screen, 65536)
        open_gate(folder)
        with contextlib.suppress(OSError):  # its end of the terminal is closed
            while data := os.read(screen, 65536):
                said += data
        assert dev.wait(SECONDS) == 0, said
    os.close(screen)
    [job] = map(json.loads, backline(folder, "jobs", "--json").stdout.splitlines())
    assert job["state"] == "succeeded", said


def test_a_terminal_that_closes_ends_what_was_started_in_it(folder):
    with in_a_terminal(folder, "worker", until=b"Ctrl-C") as (worker, screen):
        os.close(screen)
        assert worker.wait(SECONDS) == 0


def test_a_second_ctrl_c_quits_and_hands_back(folder, start):
    worker = start("worker")
    worker.until("Ctrl-C")
    backline(folder, "enqueue", "app.slow")
    worker.until("slow has begun")
    worker.process.send_signal(signal.SIGINT)
    worker.until("draining")
    with pytest.raises(subprocess.TimeoutExpired):
        worker.process.wait(0.4)  # sooner it would count as the first one, sent twice
    worker.process.send_signal(signal.SIGINT)
    code, _ = worker.end()
    assert code == 1
    [job] = map(json.loads, backline(folder, "jobs", "--json").stdout.splitlines())
    assert (job["state"], job["failures"]) == ("ready", 0)


def test_worker_speaks_json(folder, start):
    worker = start("worker", "--json")
    said = worker.until('"event":"started"')
    lines = [json.loads(line) for line in said.splitlines()]
    [started] = [line for line in lines if line.get("event") == "started"]
    assert started["tasks"] == ["app.child", "app.hello", "app.slow"]
    assert all("event" in line or line["logger"] == "backline.supervisor" for line in lines)


def test_dev_shows_what_happens_and_starts_afresh(folder, start):
    dev = start("dev", "--reload")
    dev.until("Ctrl-C")
    assert backline(folder, "run", "app.hello", "-t", "name=Ann").stdout == '"hello Ann"\n'
    assert '→ "hello Ann"' in dev.until("✓ app.hello")
    (folder / "app.py").write_text(textwrap.dedent(APP).replace("hello {name}", "good day, {name}"))
    dev.until("app.py changed")
    # The worker that was there may take one more job before it is replaced.
    for _ in range(50):
        done = backline(folder, "run", "app.hello", "-t", "name=Ann")
        if "good day" in done.stdout:
            break
    assert done.stdout == '"good day, Ann"\n'
    dev.process.send_signal(signal.SIGINT)
    assert dev.end()[0] == 0


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("x = 1 / 0", 4, "ZeroDivisionError: division by zero"),
        ("app = 1", 4, "not a backline.App"),
        ("from backline import App\napp = App('memory://')", 3, "memory://"),
        ("from backline import App\napp = App('nosql://x')", 4, "nosql"),
    ],
)
def test_a_worker_that_cannot_start(folder, text, code, told):
    (folder / "app.py").write_text(text)
    done = backline(folder, "worker")
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    if code == 4:
        assert " worker " not in done.stderr, "nothing but what is wrong"


def test_a_pipe_that_is_closed_early_is_no_error(folder):
    backline(folder, "enqueue", "app.hello", '"x"')
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "backline", "jobs"],
        check=False,
        cwd=folder,
        env=environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 1


def test_a_terminal_without_unicode_shows_what_it_can(folder):
    backline(folder, "enqueue", "app.hello", '"日本"')
    done = subprocess.run(
        [sys.executable, "-m", "backline", "jobs"],
        check=False,
        cwd=folder,
        env={**environment(), "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0
    assert b'"\\u65e5\\u672c"' in done.stdout


def on_terminal(folder: Path, answer: str, *words: str) -> tuple[int, str]:
    """The exit code and the screen of a command on a terminal where `answer` is typed."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "backline", *words],
        cwd=folder,
        env={**environment(), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    os.write(screen, answer.encode())
    said = b""
    try:
        while select.select([screen], [], [], SECONDS)[0]:
            data = os.read(screen, 65536)
            said += data
            if not data:
                break
    except OSError:  # the other end is closed
        pass
    code = process.wait(SECONDS)
    os.close(screen)
    return code, said.decode()


def test_on_a_terminal_bulk_work_asks_and_shows_a_bar(folder):
    many = """
        from app import app, hello
        app.enqueue_many([hello.job(str(n)) for n in range(1001)])
        app.close()
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(many)], check=True, cwd=folder, env=environment()
    )
    code, screen = on_terminal(folder, "n\n", "cancel", "--all")
    assert code == 1
    assert "cancel 1,001 jobs? [y/N]" in screen
    assert "nothing was changed" in screen
    code, screen = on_terminal(folder, "y\n", "edit", "--all", "--to-priority", "1")
    assert "edit 1,001 jobs? [y/N]" in screen
    assert "1001/1001" in screen
    assert "1,001 jobs edited" in screen
    code, screen = on_terminal(folder, "", "edit", "--all", "--to-priority", "2", "-n", "999")
    assert "?" not in screen.replace("\x1b[?25", "")
    assert "999 jobs edited" in screen
    code, screen = on_terminal(folder, "y\n", "cancel", "--all")
    assert code == 0
    assert "1001/1001" in screen
    assert "1,001 jobs cancelled" in screen
    code, screen = on_terminal(folder, "", "purge", "--all", "--yes")
    assert code == 0
    assert "?" not in screen.replace("\x1b[?25", "")
    assert "1,001 jobs purged" in screen


def test_colour_is_for_terminals_that_want_it(folder):
    backline(folder, "enqueue", "app.hello", '"x"')
    backline(folder, "cancel", "--all")
    assert "\x1b[33m" in on_terminal(folder, "", "jobs")[1]
    assert "\x1b" not in backline(folder, "jobs").stdout
