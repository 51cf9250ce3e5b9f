"""A payment service with a ledger of its own: it takes an idempotency key, as real ones do."""

import fcntl
import json
import os
import signal
from pathlib import Path

LEDGER = Path(os.environ.get("ORDER_LEDGER", "ledger.jsonl"))


def charge(key: str, amount: int) -> str:
    """Charge `amount` cents once for each key; returns the number of the receipt."""
    with LEDGER.open("a+") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        ledger.seek(0)
        charges = [json.loads(line) for line in ledger]
        for number, known in enumerate(charges, 1):
            if known["key"] == key:
                return f"receipt-{number}"
        ledger.write(json.dumps({"key": key, "amount": amount}) + "\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    _fail_on_purpose()
    return f"receipt-{len(charges) + 1}"


def charges() -> list[int]:
    """The amounts that were charged."""
    if not LEDGER.exists():
        return []
    return [json.loads(line)["amount"] for line in LEDGER.read_text().splitlines()]


def _fail_on_purpose() -> None:
    """The worker dies at the worst moment: the money is taken, and nobody else knows."""
    if os.environ.get("ORDER_KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
