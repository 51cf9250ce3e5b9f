"""Both type checkers see the signatures of tasks as their authors wrote them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIGNATURES = "tests/typing/signatures.py"


def check(*command: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.processes
def test_mypy_sees_the_signatures() -> None:
    check("mypy", "--config-file=pyproject.toml", SIGNATURES)


@pytest.mark.processes
def test_pyright_sees_the_signatures(tmp_path: Path) -> None:
    settings = tmp_path / "pyright.json"
    settings.write_text(
        f'{{"include": ["{ROOT / SIGNATURES}"], "typeCheckingMode": "standard",'
        f' "pythonVersion": "3.11", "venvPath": "{ROOT}", "venv": ".venv",'
        ' "enableTypeIgnoreComments": false, "reportUnnecessaryTypeIgnoreComment": "error"}'
    )
    check("basedpyright", "--project", str(settings))
