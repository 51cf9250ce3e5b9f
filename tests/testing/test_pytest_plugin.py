"""The fixtures that pytest finds by itself."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from backline import App

SHOP = """
from backline import App

app = App("sqlite:///not-touched.db")

@app.task
async def welcome(name: str) -> str:
    return f"hello {name}"
"""
TESTS = """
import pytest
from shop import app, welcome

@pytest.fixture(params=["first", "second"])
def name(request):
    return request.param

def test_waits_for_drain(backline_app, name):
    assert backline_app is app
    job = welcome.enqueue(name)
    assert job.status() == "ready"
    assert backline_app.drain() == 1
    assert job.result() == f"hello {name}"

def test_a_worker_runs_it(backline_worker, name):
    assert backline_worker is app
    assert welcome.enqueue(name).result(timeout=20) == f"hello {name}"
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_shop.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:asyncio", *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_pytest_finds_the_plugin_by_itself() -> None:
    [found] = entry_points(group="pytest11", name="backline")
    assert found.value == "backline.testing.pytest_plugin"


def test_a_fresh_app_without_a_name(backline_app: App) -> None:
    async def double(x: int) -> int:
        return 2 * x

    job = backline_app.task(name="double")(double).enqueue(21)
    assert job.status() == "ready"
    assert backline_app.drain() == 1
    assert job.result() == 42


def test_a_worker_beside_the_test(backline_worker: App) -> None:
    def double(x: int) -> int:
        return 2 * x

    assert backline_worker.task(name="double")(double).enqueue(21).result(timeout=20) == 42


async def test_a_worker_beside_an_async_test(backline_worker: App) -> None:
    async def double(x: int) -> int:
        return 2 * x

    job = await backline_worker.task(name="double")(double).aenqueue(21)
    assert await job.aresult(timeout=20) == 42


@pytest.mark.processes
def test_the_named_app_keeps_its_own_store_out_of_it(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-o", "backline_app=shop:app")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert not (tmp_path / "not-touched.db").exists()


@pytest.mark.processes
def test_an_app_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-o", "backline_app=shop:shop")
    assert done.returncode == 1
    assert "did you mean shop:app?" in done.stdout


def test_a_task_for_a_process_of_its_own_runs_in_the_worker_of_a_test(backline_worker: App) -> None:
    def double(x: int) -> int:
        return 2 * x

    task = backline_worker.task(name="double", executor="process")(double)
    jobs = [task.enqueue(n) for n in (1, 2)]
    assert [job.result(timeout=20) for job in jobs] == [2, 4]
