"""Child processes of tests."""

import select
import subprocess


def started(command: list[str]) -> subprocess.Popen[bytes]:
    """A child that is told what to do by its standard input."""
    return subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )


def await_ready(process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait until a child says so, for this many seconds of real time."""
    assert process.stdout is not None
    assert process.stderr is not None
    readable, _, _ = select.select([process.stdout], [], [], patience)
    assert readable, "a child did not open the store in time"
    if process.stdout.readline() != b"ready\n":
        raise AssertionError(process.stderr.read().decode())
