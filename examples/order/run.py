"""Orders, has the worker killed right after the charge, and shows that it charged once."""

import os
import subprocess
import sys
from pathlib import Path

import payments
from shop import app, handle

HERE = Path(__file__).parent


def main() -> None:
    """Run it: `python run.py`, in a folder that may get a database and a ledger."""
    killed = {**os.environ, "ORDER_KILL": "1", "PYTHONPATH": str(HERE)}
    worker = [sys.executable, "-m", "backline", "worker", "shop:app", "-c", "1"]
    job = handle.enqueue(7, 1_200)
    print("ordered")
    with subprocess.Popen(worker, env=killed, stdout=subprocess.DEVNULL) as supervisor:
        try:
            print(job.result(timeout=60))
        finally:
            supervisor.terminate()
    record = job.refresh()
    print(f"runs: {record.attempt}, of which the worker died in {record.attempt - 2}")
    print(f"charged: {payments.charges()}")
    app.close()


if __name__ == "__main__":
    main()
