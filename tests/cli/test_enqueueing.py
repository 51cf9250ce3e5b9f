"""`enqueue` and `run`: arguments are JSON, nothing is guessed, and every refusal is clear."""

import asyncio
import itertools
import textwrap

import pytest

from backline.cli.enqueue import Producer
from backline.states import State
from backline.store import QueueSettings
from backline.task import Job

NUMBERS = itertools.count()


@pytest.fixture
def app(shell):
    """An app in the working directory, as a module of its own."""
    name = f"shop_{next(NUMBERS)}"
    code = f"""
        from datetime import datetime
        from backline import App

        app = App("{shell.url}")

        @app.task(queue="mail", max_attempts=3)
        async def welcome(user: int, name: str = "", at: datetime | None = None) -> str:
            if name == "broken":
                raise ValueError("no such\\nuser")
            return f"{{name}} {{user}}"
    """
    (shell.folder / f"{name}.py").write_text(textwrap.dedent(code))
    shell.environ["BACKLINE_APP"] = name
    return name


def carried(shell):
    """The newest job, as its JSON."""
    return shell.json("jobs")[0]


def test_enqueue_by_name_alone(shell):
    out = shell.ok("enqueue", "other.task", "42", '"x"', "--kw", "a=[1,2]", "--text", "b=hi there")
    job = carried(shell)
    assert out.strip() == job["id"]
    assert (job["task"], job["queue"], job["state"]) == ("other.task", "default", "ready")
    assert (job["args"], job["kwargs"]) == ([42, "x"], {"a": [1, 2], "b": "hi there"})


def test_without_an_app_the_tasks_own_policy_is_not_known(shell, app):
    told = "the task's own policy is not known without --app"
    alone = shell.run("enqueue", "other.task", environ={"BACKLINE_URL": shell.url})
    assert alone.exit_code == 0
    assert alone.stderr.count(told) == 1
    assert len(alone.stderr.splitlines()) == 1
    assert told not in shell.run("enqueue", f"{app}.welcome", "42").stderr
    assert "Failures that make the job dead; 1: no retry." in " ".join(
        shell.ok("enqueue", "--help").split()
    )


def test_enqueue_takes_every_option(shell):
    shell.ok(
        *("enqueue", "other.task", "-q", "mail", "--priority", "-5", "--delay", "1m"),
        *("--expires", "1h", "--timeout", "5s", "--max-attempts", "2", "--tag", "eu"),
        *("--tag", "big", "--header", "trace=1=2", "--unique-key", "k", "--unique-for", "1h"),
    )
    job = carried(shell)
    assert (job["queue"], job["priority"], job["state"]) == ("mail", -5, "scheduled")
    assert job["due_at"] == "2026-01-01T00:01:00.000000Z"
    assert job["expires_at"] == "2026-01-01T01:00:00.000000Z"
    assert (job["timeout_seconds"], job["max_attempts"]) == (5.0, 2)
    assert (job["tags"], job["headers"]) == (["eu", "big"], {"trace": "1=2"})
    assert job["unique_key"] == "other.task:k"


def test_enqueue_for_a_time(shell):
    shell.ok("enqueue", "other.task", "--run-at", "2026-03-29T03:00:00+02:00")
    assert carried(shell)["due_at"] == "2026-03-29T01:00:00.000000Z"


def test_enqueue_tells_programs_what_it_added(shell):
    [first] = shell.json("enqueue", "other.task", "--unique-key", "k", "-q", "mail")
    assert first == {"id": first["id"], "task": "other.task", "queue": "mail", "added": True}
    [second] = shell.json("enqueue", "other.task", "--unique-key", "k")
    assert (second["id"], second["added"]) == (first["id"], False)
    result = shell.run("enqueue", "other.task", "--unique-key", "k", "--on-conflict", "raise")
    assert result.exit_code == 1
    assert first["id"] in result.stderr


def test_enqueue_once_under_an_idempotency_key(shell):
    words = ("enqueue", "other.task", "--idempotency-key", "k")
    [first] = shell.json(*words, "1")
    again = shell.run(*words, "1")
    assert first["id"] in again.stdout
    assert "not added: this job was enqueued under the idempotency key" in again.stderr
    result = shell.run(*words, "2")
    assert result.exit_code == 1
    assert first["id"] in result.stderr
    both = shell.run(*words, "1", "--unique-key", "k")
    assert "holds the unique key or was enqueued under the idempotency key" in both.stderr


def test_enqueue_puts_off_no_further_than_asked(shell):
    words = ("--unique-key", "k", "--on-conflict", "replace", "--delay", "1h", "--max-wait", "1m")
    shell.ok("enqueue", "other.task", *words)
    shell.clock.advance("50s")
    shell.ok("enqueue", "other.task", *words)
    job = carried(shell)
    assert (job["state"], job["due_at"]) == ("scheduled", "2026-01-01T00:01:00.000000Z")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hello"], "argument 1 is no JSON: hello"),
        (["1", "0123"], "argument 2 is no JSON: 0123"),
        (["NaN"], "no JSON"),
        ([""], "no JSON"),
        (["1e999"], "out of range"),
        (["[" * 100_000], "nested too deeply"),
        (['{"a": 1'], "no JSON"),
        (["--bogus"], "no such option: --bogus"),
        (["--kw", "x"], "has not the form --kw name=JSON"),
        (["--kw", "x=y"], "x is no JSON: y"),
        (["--kw", "a b=1"], "has not the form"),
        (["--kw", "x=1", "--text", "x=1"], "x is given twice"),
        (["--text", "x=\udc80"], "is no valid Unicode: x=\\udc80"),
        (["--priority", "101"], "-100 to 100"),
        (["--priority", "high"], "not a valid integer"),
        (["--delay", "soon"], "is no duration"),
        (["--delay", "-5"], "duration"),
        (["--delay", "1m", "--run-at", "2026-03-29T03:00:00Z"], "give one"),
        (["--run-at", "tomorrow"], "is no time"),
        (["--run-at", "2026-03-29T03:00:00"], "time zone"),
        (["--run-at", "9999-12-31T23:59:59Z", "--max-attempts", "0"], "max_attempts"),
        (["--unique-for", "1h"], "unique_key"),
        (["--max-wait", "1h"], "needs a unique_key= and on_conflict="),
        (["--header", "x"], "NAME=TEXT"),
        (["--tag", "a\nb"], "printable"),
        (["--queue", ""], "printable"),
        (["--queue", "x" * 201], "1 to 200"),
        (["--queue", "a\x1b[2J"], "printable"),
        (["--on-conflict", "explode"], "explode"),
    ],
)
def test_bad_usage_is_told_and_enqueues_nothing(shell, words, told):
    result = shell.run("enqueue", "other.task", *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert all(line.isprintable() for line in result.stderr.splitlines())
    assert shell.states() == {}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "\x1b[2J", " a"])
def test_a_name_that_cannot_be_a_task(shell, name):
    result = shell.run("enqueue", name)
    assert result.exit_code == 2
    assert shell.states() == {}


def test_too_much(shell):
    result = shell.run("enqueue", "other.task", "--text", f"x={'y' * 300_000}")
    assert result.exit_code == 2
    assert "262,144" in result.stderr


def test_integers_of_any_size_arrive_as_they_were(shell):
    number = 10**40 + 1
    shell.ok("enqueue", "other.task", str(number))
    assert carried(shell)["args"] == [number]


def test_a_full_queue(shell):
    shell.on(lambda store: store.configure([QueueSettings(queue="mail", max_depth=1)]))
    shell.enqueue()
    result = shell.run("enqueue", "other.task", "-q", "mail")
    assert result.exit_code == 1
    assert "queue 'mail' is full: 1 of 1 jobs" in result.stderr


def test_a_queue_that_sheds(shell, app):
    with (shell.folder / f"{app}.py").open("a") as code:
        code.write('app.queue("mail", max_depth=1, on_full="shed")\n')
    shell.ok("enqueue", f"{app}.welcome", "1")
    result = shell.run("enqueue", f"{app}.welcome", "2")
    assert result.exit_code == 1
    assert (result.stdout, len(shell.jobs())) == ("", 1)
    assert "is full and sheds" in result.stderr


def test_with_an_app_its_code_checks_and_gives_the_policy(shell, app):
    shell.ok("enqueue", f"{app}.welcome", "42", "-t", "name=Ann", "-t", "at=2026-03-29T03:00:00Z")
    job = carried(shell)
    assert (job["queue"], job["max_attempts"]) == ("mail", 3)
    assert job["args"][:2] == [42, "Ann"] or job["kwargs"]["name"] == "Ann"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (['"x"'], "argument 'user'"),
        ([], "user"),
        (["1", '""', "null", "4"], "too many positional arguments"),
        (["1", "--kw", "colour=1"], "colour"),
        (["1", "-t", "at=never"], "argument 'at'"),
    ],
)
def test_arguments_that_do_not_fit_the_task(shell, app, words, told):
    result = shell.run("enqueue", f"{app}.welcome", *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert shell.states() == {}


def test_a_task_that_the_app_has_not(shell, app):
    for name in (f"{app}.welcom", "welcome"):
        result = shell.run("enqueue", name, "1")
        assert result.exit_code == 2
        assert f"did you mean '{app}.welcome'?" in result.stderr


def test_a_store_and_an_app_do_not_go_together(shell, app):
    assert shell.run("enqueue", "x", "--store", shell.url, "--app", app).exit_code == 2
    shell.ok("enqueue", "unknown.here", "--store", shell.url)
    assert carried(shell)["task"] == "unknown.here"


# run


def serve_in_place(monkeypatch):
    """Have the app itself work as soon as somebody waits for a job."""
    enqueue = Producer.enqueue

    async def enqueue_and_work(self):
        job = await enqueue(self)
        await self._app.adrain()
        return job

    monkeypatch.setattr(Producer, "enqueue", enqueue_and_work)


def interrupting(run):
    """`asyncio.run`, as it ends after Ctrl-C."""

    def run_interrupted(work, **options):
        try:
            return run(work, **options)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    return run_interrupted


def test_run_prints_the_result(shell, app, monkeypatch):
    serve_in_place(monkeypatch)
    assert shell.ok("run", f"{app}.welcome", "42", "-t", "name=Ann") == '"Ann 42"\n'
    [job] = shell.json("run", f"{app}.welcome", "7")
    assert (job["state"], job["result"]) == ("succeeded", " 7")


def test_run_of_a_job_that_dies_shows_why(shell, app, monkeypatch):
    serve_in_place(monkeypatch)
    result = shell.run("run", f"{app}.welcome", "1", "-t", "name=broken", "--max-attempts", "1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "ValueError: no such" in result.stderr
    assert "raise ValueError" in result.stderr
    assert f"try: backline job {shell.jobs()[0].id}" in result.stderr


def test_run_gives_up_waiting_and_the_job_goes_on(shell, app):
    result = shell.run("run", f"{app}.welcome", "42", "--wait", "50ms")
    assert result.exit_code == 1
    assert "no worker is alive yet" in result.stderr
    assert "still ready after 0.05 s" in result.stderr
    assert [job.state for job in shell.jobs()] == [State.READY]


def test_run_of_a_job_that_is_cancelled(shell, app, monkeypatch):
    aresult = Job.aresult

    async def cancelled_meanwhile(self, timeout=None):
        await self.acancel()
        return await aresult(self, timeout)

    monkeypatch.setattr(Job, "aresult", cancelled_meanwhile)
    result = shell.run("run", f"{app}.welcome", "1")
    assert result.exit_code == 1
    assert "was cancelled" in result.stderr


def test_ctrl_c_while_waiting_says_that_the_job_goes_on(shell, app, monkeypatch):
    async def interrupted(self, timeout=None):
        raise asyncio.CancelledError

    monkeypatch.setattr(Job, "aresult", interrupted)
    monkeypatch.setattr(asyncio, "run", interrupting(asyncio.run))
    result = shell.run("run", f"{app}.welcome", "1")
    assert result.exit_code == 130
    assert f"the job goes on: backline job {shell.jobs()[0].id}" in result.stderr


def test_memory_is_refused_with_the_reason(shell):
    (shell.folder / "inmemory.py").write_text("from backline import App\napp = App('memory://')\n")
    for words in (["enqueue", "x", "-A", "inmemory"], ["jobs", "-A", "inmemory"]):
        result = shell.run(*words)
        assert result.exit_code == 3
        assert "inside one process" in result.stderr
