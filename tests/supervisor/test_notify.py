"""The service manager's protocol, against a socket of our own."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backline.job import SECOND
from backline.supervisor.notify import notify, watchdog_interval


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.settimeout(10)
        yield door


def test_it_tells_the_manager(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    manager.bind(address)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert notify("READY=1", "STATUS=2 workers")
    assert manager.recv(100) == b"READY=1\nSTATUS=2 workers"


def test_the_manager_may_be_in_the_abstract_namespace(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"backline-test-{os.getpid()}"
    manager.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    assert notify("STOPPING=1")
    assert manager.recv(100) == b"STOPPING=1"


def test_without_a_manager_or_with_one_that_is_away_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [
        ("20000000", "", 10 * SECOND),
        pytest.param("20000000", str(os.getpid()), 10 * SECOND, id="own"),
        ("20000000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(
    usec: str, pid: str, interval: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval() == interval
