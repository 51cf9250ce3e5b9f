"""The service manager's notification protocol: sd_notify(3), without its library."""

import contextlib
import os
import socket

from backline.job import Micros


def notify(*assignments: str) -> bool:
    """Send `READY=1`, `STATUS=...`, `STOPPING=1` or `WATCHDOG=1`; False: nobody listens.

    Never blocks and never fails: a service manager that is away is no reason to stop.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
        door.setblocking(False)
        with contextlib.suppress(OSError):
            door.sendto("\n".join(assignments).encode(), address)
            return True
    return False


def watchdog_interval() -> Micros | None:
    """How often `WATCHDOG=1` is due: half the time the manager allows; None: not asked for."""
    pid = os.environ.get("WATCHDOG_PID", "")
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not allowed.isdecimal() or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) // 2 or None
