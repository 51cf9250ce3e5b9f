"""`drain`: works in this process until nothing is left."""

import itertools
import os
import signal
import textwrap

import pytest

NUMBERS = itertools.count()


@pytest.fixture
def app(shell):
    """The name of a module with an app; its jobs are of `NAME.ok` and so on."""
    name = f"kitchen_{next(NUMBERS)}"
    code = f"""
        import asyncio, os, signal
        from backline import App, Retry

        app = App("{shell.url}")

        @app.task(queue="mail")
        async def ok() -> None: ...

        @app.task(queue="pdf")
        def thread() -> int:
            return 1

        @app.task(max_attempts=1)
        async def broken() -> None:
            raise ValueError("no")

        @app.task(max_attempts=2, retry=Retry(delays=["10ms"]))
        async def flaky() -> None:
            raise ValueError("no")

        @app.task(executor="process")
        def alone() -> int:
            return os.getpid()

        @app.task
        async def naps() -> None:
            await asyncio.sleep(0.02)

        @app.task
        async def interrupts() -> str:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.05)
            return "finished"
    """
    (shell.folder / f"{name}.py").write_text(textwrap.dedent(code))
    shell.environ["BACKLINE_APP"] = name
    return name


def test_drain_runs_all_that_is_ready(shell, app):
    shell.enqueue(30, task=f"{app}.ok")
    shell.enqueue(3, task=f"{app}.thread", queue="pdf")
    shell.enqueue(1, task=f"{app}.ok", delay=600_000_000 * 1_000_000)
    assert shell.ok("drain") == "33 runs: 33 succeeded\n"
    assert shell.states() == {"succeeded": 33, "scheduled": 1}
    assert shell.ok("drain", app) == "0 runs\n"


def test_drain_as_json_and_some_queues_only(shell, app):
    shell.enqueue(2, task=f"{app}.ok")
    shell.enqueue(3, task=f"{app}.thread", queue="pdf")
    assert shell.json("drain", "-q", "pdf=3") == [
        {"runs": 3, "ends": {"succeeded": 3}, "complete": True}
    ]
    assert shell.states() == {"succeeded": 3, "ready": 2}


def test_drain_with_dead_jobs_is_not_all_done(shell, app):
    shell.ok("enqueue", f"{app}.broken")
    result = shell.run("drain")
    assert result.exit_code == 1
    assert result.stdout == "1 run: 1 dead\n"


def test_drain_waits_for_retries_if_asked(shell, app):
    shell.ok("enqueue", f"{app}.flaky")
    [told] = shell.json("drain", "--scheduled", code=1)
    assert told == {"runs": 2, "ends": {"scheduled": 1, "dead": 1}, "complete": True}


def test_drain_runs_what_would_have_a_process_of_its_own(shell, app):
    shell.ok("enqueue", f"{app}.alone")
    shell.ok("drain")
    assert [bytes(job.result) for job in shell.jobs()] == [str(os.getpid()).encode()]


def test_a_paused_queue_is_not_waited_for(shell, app):
    shell.enqueue(1, task=f"{app}.ok")
    shell.ok("pause", "mail")
    assert shell.ok("drain") == "0 runs\n"


def test_ctrl_c_finishes_what_runs_and_leaves_the_rest(shell, app):
    shell.enqueue(1, task=f"{app}.interrupts", queue="default")
    shell.enqueue(50, task=f"{app}.naps", queue="default")
    result = shell.run("drain", "-c", "1")
    assert result.exit_code == 1
    assert "finishing what runs" in result.stderr
    states = shell.states()
    assert shell.json("jobs", "--task", f"{app}.interrupts")[0]["result"] == "finished"
    assert states.get("ready", 0) >= 40, (states, result.output)
    assert "running" not in states
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["drain", "nowhere:app"], 4, "no module named 'nowhere'"),
        (["drain", "broken_app"], 4, "ZeroDivisionError: division by zero"),
        (["drain", "empty_app"], 4, "has no 'app'"),
        (["drain", "empty_app:x"], 4, "not a backline.App"),
        (["drain", "a b:c"], 4, "cannot load"),
        (["drain", "-q", "mail=0"], 2, "weight"),
        (["drain", "-q", "mail=x"], 2, "mail,default=3"),
        (["drain", "x:y", "-A", "x:y"], 2, "once"),
        (["worker", "-q", "mail=0"], 2, "weight"),
        (["worker", "--max-memory", "lots"], 2, "500M"),
        (["worker", "--processes", "lots"], 2, "write 4 or 1-8"),
        (["worker", "--processes", "0"], 2, "write 1, or 0-1"),
        (["worker", "--processes", "0-0"], 2, "write 1, or 0-1"),
        (["worker", "--processes", "8-1"], 2, "write 1-8"),
        (["worker", "--processes", "-1"], 2, "no number of processes"),
        (["worker", "--max-memory", "1.5"], 2, "500M"),
        (["worker", "--lease", "10ms"], 2, "at least 1 s"),
        (["worker", "x:y", "-A", "x:y"], 2, "once"),
        (["dev", "-c", "0"], 2, "0 is not in the range"),
    ],
)
def test_what_cannot_work(shell, app, words, code, told):
    (shell.folder / "broken_app.py").write_text("x = 1\n\n\ny = x / 0\n")
    (shell.folder / "empty_app.py").write_text("x = 1\n")
    result = shell.run(*words)
    assert result.exit_code == code, result.output
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    if "broken_app" in words:
        assert f"{shell.folder}/broken_app.py" in result.stderr
        assert "y = x / 0" in result.stderr
        assert "importlib" not in result.stderr


@pytest.mark.parametrize("command", ["worker", "dev", "drain"])
def test_no_app_is_named(shell, command):
    result = shell.run(command)
    assert result.exit_code == 2
    assert "BACKLINE_APP" in result.stderr


def test_a_misspelt_queue_is_told(shell, app):
    shell.enqueue(task=f"{app}.ok", queue="other")
    result = shell.run("drain", "-q", "mial")
    assert (result.exit_code, result.stdout) == (0, "0 runs\n")
    assert "no task here uses the queue mial, and the store has never had it" in result.stderr
    assert "The queues are default, mail, other, pdf" in result.stderr
    assert shell.run("drain", "-q", "other,mail").stderr.count("misspelt") == 0
