"""examples/order: its worker is killed, and the card is charged once."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from backline.testing import assert_idempotent

ORDER = Path(__file__).parents[2] / "examples/order"


@pytest.fixture
def payments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ORDER))
    monkeypatch.setenv("BACKLINE_URL", "memory://")
    module = import_module("payments")
    monkeypatch.setattr(module, "LEDGER", tmp_path / "ledger.jsonl")
    yield module
    for name in ("payments", "shop"):
        sys.modules.pop(name, None)


def test_a_crash_after_any_line_charges_once(payments: ModuleType) -> None:
    shop = import_module("shop")
    assert_idempotent(
        shop.handle,
        7,
        1_200,
        state=payments.charges,
        reset=lambda: payments.LEDGER.unlink(missing_ok=True),
        also=[shop.charge, shop.ship, payments.charge],
    )
    assert payments.charges() == [1_200]
    shop.app.close()


@pytest.mark.processes
def test_its_output_is_the_one_it_promises(tmp_path: Path) -> None:
    [promised] = re.findall(
        r"python run.py\n(.*?)```", (ORDER / "README.md").read_text(), re.DOTALL
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ORDER / "run.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, promised), done.stderr
