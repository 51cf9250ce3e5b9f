"""Where the operating system is the one who hands over: bytes, closed streams, broken pipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

slow = pytest.mark.chaos
SECONDS = 60
EVERY = [sys.executable, "-m", "backline"]


def environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("BACKLINE")}
    return {**own, **more}


def run(
    folder: Path, *words: str | bytes, stdin: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*EVERY, *words],
        check=False,
        cwd=folder,
        env=environment(**environ),
        input=stdin,
        capture_output=True,
        timeout=SECONDS,
    )


def in_shell(folder: Path, script: str) -> subprocess.CompletedProcess[bytes]:
    """The outcome of a shell's line, in which `$B` is the command."""
    return subprocess.run(
        ["/bin/sh", "-c", script],
        check=False,
        cwd=folder,
        env=environment(B=" ".join(EVERY)),
        capture_output=True,
        timeout=SECONDS,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    done = run(tmp_path, "enqueue", "app.send", '"x"')
    assert done.returncode == 0, done.stderr
    return tmp_path


def check(done: subprocess.CompletedProcess[bytes], *codes: int) -> None:
    assert done.returncode in codes, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"a bug in Backline" not in done.stderr
    assert all(line.isprintable() for line in done.stderr.decode().splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ["enqueue", "app.send", b'"\xff"'],
        pytest.param(["enqueue", b"\xff\xfe"], marks=slow),
        pytest.param(["enqueue", "app.send", "--text", b"a=\xed\xa0\x80"], marks=slow),
        pytest.param(["jobs", "--queue", b"\x80"], marks=slow),
        pytest.param(["job", b"\xc0\xaf"], marks=slow),
        pytest.param([b"\xff"], marks=slow),
    ],
    ids=repr,
)
def test_bytes_that_are_no_text(folder: Path, words: list[str | bytes]) -> None:
    done = run(folder, *words)
    check(done, 2)
    assert b"is no valid Unicode" in done.stderr
    assert done.stderr.count(b"\n") <= 2


def test_bytes_that_are_no_text_in_the_environment(folder: Path) -> None:
    done = subprocess.run(
        [*EVERY, "jobs"],
        check=False,
        cwd=folder,
        env={**os.environb, b"BACKLINE_URL": b"sqlite:///\xff.db"},
        capture_output=True,
        timeout=SECONDS,
    )
    check(done, 2, 3)


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("jobs", ">&-", 0),
        ("cancel -", "<&-", 0),
        pytest.param("nonsense", "2>&-", 2, marks=slow),
        pytest.param("jobs --json", ">&- 2>&-", 0, marks=slow),
        pytest.param("cancel --all", "<&- >&- 2>&-", 0, marks=slow),
        pytest.param("retry --all", "<&- >&- 2>&-", 0, marks=slow),
        pytest.param("top", ">&-", 0, marks=slow),
        pytest.param("doctor", "<&- >&-", 1, marks=slow),
        pytest.param("--help", "<&- >&- 2>&-", 0, marks=slow),
    ],
)
def test_closed_streams(folder: Path, words: str, closed: str, code: int) -> None:
    check(in_shell(folder, f"$B {words} {closed}"), code)


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_device(folder: Path, monkeypatch: pytest.MonkeyPatch, buffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", buffered)
    done = in_shell(folder, "$B jobs --json > /dev/full")
    check(done, 1)
    assert done.stderr == b"error: [Errno 28] No space left on device\n"


def test_a_pipe_that_breaks(folder: Path) -> None:
    done = in_shell(folder, "$B jobs --json --all | true")
    check(done, 0)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        pytest.param(b"\xff\xfe\0", 2, id="no text"),
        pytest.param(b"\0" * 1_000_000, 2, id="NULs", marks=slow),
        pytest.param(b"0" * 20_000_000, 2, id="20 MB", marks=slow),
        pytest.param(b"", 0, id="nothing", marks=slow),
    ],
)
def test_standard_input(folder: Path, stdin: bytes, code: int) -> None:
    check(run(folder, "cancel", "-", stdin=stdin), code)


@slow
def test_words_as_long_as_the_system_allows(folder: Path) -> None:
    longest = "x" * 131_000
    check(run(folder, "enqueue", longest), 2)
    check(run(folder, "jobs", "--task", longest), 0)
    check(run(folder, longest), 2)


@slow
@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_YY.nonsense"])
def test_a_locale_without_unicode(folder: Path, locale: str) -> None:
    done = run(folder, "enqueue", "app.send", '"\u65e5\u672c"', LC_ALL=locale, PYTHONUTF8="0")
    check(done, 0, 2)
    check(run(folder, "jobs", LC_ALL=locale, PYTHONIOENCODING="ascii"), 0)
