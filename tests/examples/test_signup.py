"""The example of events runs by one command, and comes to what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "signup"
EXPECTED = """\
user 42 registered: 3 jobs
once more: nothing is added
subscribers.contact: contact 42 is Ann <ann@example.com>
subscribers.count: counted user.registered (user 42 registered)
subscribers.welcome: sent to ann@example.com
the mail server got: Welcome, Ann!
"""


@pytest.mark.processes
def test_three_subscribers_get_one_event() -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr
