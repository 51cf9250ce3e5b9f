"""A process that is killed between any two steps: effects and completions agree (C12, W4)."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SHOP = Path(__file__).with_name("shop.py")
DIED = 9

# Each point, and at which of its times the process ends: in the middle of things.
POINTS = {
    "business.before_commit": 27,
    "business.after_commit": 28,
    "relay.before_read": 2,
    "relay.before_enqueue": 3,
    "relay.after_enqueue": 3,
    "relay.before_delete": 2,
    "relay.after_delete": 2,
    "complete.before_insert": 20,
    "complete.after_insert": 20,
    "effect.before_commit": 20,
    "effect.after_commit": 20,
    "ack.before": 3,
    "ack.after": 3,
}


def shop(folder: Path, *words: str, code: int = 0) -> str:
    """What the shop prints; it must end with `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SHOP), str(folder), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def audited(folder: Path) -> dict[str, Any]:
    """What is there in the end; raises AssertionError for what does not agree."""
    shop(folder, "recover")
    found: dict[str, Any] = json.loads(shop(folder, "audit"))
    disagreements = list(mismatches(found))
    assert not disagreements, disagreements
    return found


def mismatches(found: dict[str, Any]) -> list[str]:
    """C12: every row of the caller's has its job, every effect its completion, each once."""
    jobs = found["jobs"]
    wrong = [f"set aside: {row}" for row in found["set_aside"]]
    if sorted(job["n"] for job in jobs) != found["orders"]:
        differ = Counter(found["orders"])
        differ.subtract(job["n"] for job in jobs)
        wrong.append(f"orders without a job (or, below 0, jobs too many): {+differ} {-differ}")
    wrong += [f"rolled back and yet there: {n}" for n in found["orders"] if n % 10 < 3]
    if [n for n, _ in found["shipped"]] != found["orders"]:
        wrong.append(f"orders {found['orders']} were shipped as {found['shipped']}")
    if sorted(job["id"] for job in jobs) != found["completed"]:
        wrong.append("the inbox and the jobs differ")
    wrong += [
        f"job {job['n']} is {job['state']} with {job['result']}"
        for job in jobs
        if (job["state"], job["result"]) != ("succeeded", 1_000 + job["n"])
    ]
    return wrong


@pytest.mark.processes
@pytest.mark.parametrize(("point", "count"), POINTS.items(), ids=POINTS)
def test_a_kill_leaves_no_mismatch(tmp_path: Path, point: str, count: int) -> None:
    shop(tmp_path, "live", point, str(count), code=DIED)
    found = audited(tmp_path)

    assert len(found["orders"]) >= 10
    if point in {"effect.after_commit", "ack.before"}:
        reran = {job["n"] for job in found["jobs"] if job["attempt"] > 1}
        first = {n for n, attempt in found["shipped"] if attempt == 1}
        assert reran & first, "some job ran again after its effect was committed"


@pytest.mark.processes
def test_kill_after_kill_on_one_database(tmp_path: Path) -> None:
    for point in POINTS:
        shop(tmp_path, "live", point, "2", code=DIED)
    found = audited(tmp_path)
    assert len(found["orders"]) > len(POINTS)


def test_every_mismatch_is_seen() -> None:
    job = {"id": "a", "n": 5, "state": "succeeded", "attempt": 1, "result": 1_005}
    good: dict[str, Any] = {
        "orders": [5],
        "shipped": [[5, 1]],
        "completed": ["a"],
        "set_aside": [],
        "jobs": [job],
    }
    assert mismatches(good) == []
    for change in (
        {"orders": [5, 6]},
        {"orders": []},
        {"orders": [1], "jobs": [job | {"n": 1, "result": 1_001}], "shipped": [[1, 1]]},
        {"shipped": [[5, 1], [5, 2]]},
        {"shipped": []},
        {"completed": []},
        {"set_aside": [["a", "conflict"]]},
        {"jobs": [job, job]},
        {"jobs": [job | {"state": "dead"}]},
        {"jobs": [job | {"result": 7}]},
    ):
        assert mismatches(good | change), change
