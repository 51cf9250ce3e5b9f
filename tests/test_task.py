"""Tasks: names that mean the same everywhere, jobs that carry the options, types that stay."""

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

from backline import (
    BacklineError,
    ConfigError,
    InvalidArguments,
    Job,
    JobContext,
    Retry,
    Task,
    UnknownOption,
)
from backline.job import EMPTY_ARGS, HOUR, SECOND, JobId, JobRequest, Lane, OnConflict, Terms
from backline.task import AnyTask, Executor, Registry, make_task, remote_task
from backline.task.names import imported_as

T = TypeVar("T")


class JobClient:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[JobRequest] = []
        self.headers: dict[str, str] = {}
        self.made = 0

    def new_id(self) -> JobId:
        self.made += 1
        return f"id-{self.made}"

    def webhook(self, url: str) -> JobRequest:
        raise NotImplementedError

    def headers_now(self) -> Mapping[str, str]:
        return self.headers

    def job(self, job_id: JobId) -> Job[Any]:
        return Job(job_id, "", self)  # type: ignore[arg-type]

    async def asend(self, request: JobRequest) -> Job[Any]:
        self.sent.append(request)
        return Job(request.id, request.task, self)  # type: ignore[arg-type]

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], twin: str) -> T:
        assert twin == "welcome.aenqueue"
        return asyncio.run(work())


async def welcome(user_id: int, *, greeting: str = "hi") -> str:
    """Say hello."""
    return f"{greeting} {user_id}"


def resize(path: Path) -> int:
    return len(str(path))


def told(job: JobContext, size: int) -> int:
    return job.attempt + size


class Holder:
    @staticmethod
    def inner(x: int) -> int:
        return x


@pytest.fixture
def client() -> JobClient:
    return JobClient()


def declare(client: JobClient, fn: Callable[..., Any], **settings: Any) -> AnyTask:
    return make_task(fn, settings, client)


def test_a_task_knows_its_function(client: JobClient) -> None:
    task = declare(client, welcome)

    assert task.name == f"{__name__}.welcome"
    assert (task.is_async, task.executor) == (True, Executor.ASYNC)
    assert task.fn is welcome
    assert (task.__name__, task.__doc__) == ("welcome", "Say hello.")
    assert declare(client, resize).executor is Executor.THREAD
    assert declare(client, Holder.inner).name == f"{__name__}.Holder.inner"
    assert declare(client, told).takes_context


def test_a_call_runs_the_function_here(client: JobClient) -> None:
    resized: Any = declare(client, resize)
    welcomed: Any = declare(client, welcome)

    assert resized(Path("abc")) == 3
    assert asyncio.run(welcomed(1, greeting="yo")) == "yo 1"
    assert client.sent == []
    with pytest.raises(BacklineError, match="outside of a running job"):
        declare(client, told)(1)  # type: ignore[operator]


def test_a_job_carries_the_arguments_and_every_option(client: JobClient) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    task = declare(
        client,
        welcome,
        queue="mail",
        priority=3,
        timeout="30s",
        max_attempts=2,
        retry=Retry(base="2s"),
        keep="1h",
        keep_dead="2h",
        tags=["a"],
        headers={"h": "v"},
        expires="5m",
    ).using(run_at=noon, unique_key="k", unique_for="1s", on_conflict="raise")

    job = task.job(42, greeting="yo")

    assert bytes(job.payload) == b'[[42],{"greeting":"yo"}]'
    assert (job.id, job.task, job.queue, job.lane) == ("id-1", task.name, "mail", Lane.MAIN)
    assert (job.priority, job.delay, job.run_at) == (3, 0, int(noon.timestamp()) * SECOND)
    assert (job.expires_in, job.expires_at) == (300 * SECOND, None)
    assert job.terms == Terms(2, 30 * SECOND, Retry(base="2s").rule(), HOUR, 2 * HOUR)
    assert (job.unique_key, job.unique_for) == (f"{task.name}:k", SECOND)
    assert (job.on_conflict, job.tags, job.headers) == (OnConflict.RAISE, ("a",), {"h": "v"})


def test_a_job_without_options_is_the_default_request(client: JobClient) -> None:
    def nothing() -> None: ...

    task = declare(client, nothing, name="n")

    assert task.job().payload == EMPTY_ARGS or bytes(task.job().payload) == bytes(EMPTY_ARGS)
    job = task.job()
    default = JobRequest(id=job.id, task="n")
    assert {f: getattr(job, f) for f in job.__struct_fields__ if f != "payload"} == {
        f: getattr(default, f) for f in job.__struct_fields__ if f != "payload"
    }


def test_using_makes_a_copy(client: JobClient) -> None:
    task = declare(client, welcome, queue="mail")

    urgent = task.using(priority=9)

    assert (urgent.job(1).priority, urgent.job(1).queue) == (9, "mail")
    assert task.job(1).priority == 0
    assert type(urgent) is type(task)
    with pytest.raises(UnknownOption, match="use delay="):
        task.using(countdown=3)  # type: ignore[call-arg]


def test_a_process_task_goes_to_the_cells(client: JobClient) -> None:
    assert declare(client, resize, executor="process").job(Path("x")).lane is Lane.CELL


def test_a_unique_key_may_be_made_from_the_arguments(client: JobClient) -> None:
    def key(user_id: int, greeting: str = "hi") -> str | None:
        return f"{user_id}:{greeting}" if user_id else None

    task = declare(client, welcome, unique_key=key)

    assert task.job(7).unique_key == f"{task.name}:7:hi"
    assert task.job(7, greeting="yo").unique_key == f"{task.name}:7:yo"
    assert task.job(0).unique_key is None
    with pytest.raises(InvalidArguments, match=r"the unique_key of .*welcome: a str is wanted"):
        declare(client, welcome, unique_key=lambda user_id: user_id).job(7)


def test_equal_keys_of_two_tasks_are_two_keys(client: JobClient) -> None:
    first, second = declare(client, welcome), declare(client, resize)

    assert (
        first.using(unique_key="k").job(1).unique_key
        != second.using(unique_key="k").job(Path("x")).unique_key
    )


def test_the_tasks_own_headers_win_over_the_hooks(client: JobClient) -> None:
    client.headers = {"traceparent": "hook", "tenant": "7"}
    task = declare(client, welcome, headers={"traceparent": "own"})

    assert task.job(1).headers == {"traceparent": "own", "tenant": "7"}


def test_enqueue_and_its_aliases_send_one_job(client: JobClient) -> None:
    task = declare(client, welcome)

    handles = [task.enqueue(1), task.delay(2), asyncio.run(task.aenqueue(3))]

    assert [bytes(sent.payload) for sent in client.sent] == [b"[[1],{}]", b"[[2],{}]", b"[[3],{}]"]
    assert [handle.id for handle in handles] == ["id-1", "id-2", "id-3"]
    with pytest.raises(InvalidArguments, match=r"argument 'user_id' of .*welcome: expected int"):
        task.enqueue("4")
    assert len(client.sent) == 3


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"countdown": 2}, r"options go first: .*\.using\(delay=\.\.\.\)"),
        ({"delay": 2}, r"options go first: .*\.using\(delay=\.\.\.\)"),
        ({"max_retries": 2}, r"\.using\(max_attempts=\.\.\.\)"),
        ({"retry_backoff": 2}, r"\.using\(retry=\.\.\.\)"),
        ({"args": [1]}, "the task's own arguments and nothing else"),
    ],
)
@pytest.mark.parametrize("user", [(), (1,)])
def test_an_option_among_the_arguments_is_shown_its_place(
    client: JobClient, user: tuple[int, ...], given: dict[str, Any], told: str
) -> None:
    task = declare(client, welcome)

    for call in (task.enqueue, task.delay, task.job):
        with pytest.raises(InvalidArguments, match=told):
            call(*user, **given)
    with pytest.raises(InvalidArguments, match=r"unexpected keyword argument 'colour'$"):
        task.job(1, colour="red")
    with pytest.raises(InvalidArguments, match=r"missing a required argument: 'user_id'$"):
        task.job()
    assert client.sent == []


def test_an_argument_that_is_called_like_an_option_is_an_argument(client: JobClient) -> None:
    async def wait(delay: int, **others: str) -> None: ...

    task = declare(client, wait, name="wait")

    assert bytes(task.job(2, queue="x").payload) == b'[[2],{"queue":"x"}]'
    with pytest.raises(InvalidArguments, match=r"expected int, got str.?$"):
        task.job(delay="x", queue="x")


async def generator() -> AsyncIterator[int]:
    yield 1


def plain_generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("fn", "settings", "said"),
    [
        (lambda: None, {}, "is a lambda, which has no name in other processes: give it a name="),
        (generator, {}, "generator yields"),
        (plain_generator, {}, "plain_generator yields"),
        (Holder, {}, "a task is a function"),
        (functools.partial(resize), {}, "a task is a function"),
        (len, {}, "a task is a function"),
        (resize, {"executor": "async"}, "a def does not run on the loop"),
        (welcome, {"executor": "thread"}, "an async def runs on the loop"),
        (welcome, {"executor": "fork"}, "is one of async, thread, process, not 'fork'"),
        (welcome, {"name": ""}, "name= of a task: 1 to 200"),
        (welcome, {"max_retries": 3}, "use max_attempts="),
    ],
)
def test_what_cannot_be_a_task_is_refused(
    client: JobClient, fn: Callable[..., Any], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        declare(client, fn, **settings)


def test_a_function_within_a_function_needs_a_name(client: JobClient) -> None:
    def nested() -> None: ...

    with pytest.raises(ConfigError, match="a function within a function"):
        declare(client, nested)
    assert declare(client, nested, name="app.nested").name == "app.nested"
    with pytest.raises(ConfigError, match="is a task already"):
        declare(client, declare(client, nested, name="x"))  # type: ignore[arg-type]


def test_a_name_means_one_task(client: JobClient) -> None:
    registry = Registry()
    registry.add(declare(client, welcome, name="b"))
    registry.add(declare(client, resize, name="a"))

    with pytest.raises(ConfigError, match=r"two tasks are named 'a': .*test_task.py:\d+ and"):
        registry.add(declare(client, told, name="a"))
    assert registry.names() == ("a", "b")
    assert registry.get("zzz") is None
    assert registry.get("a") is not None
    assert (len(registry), {task.name for task in registry}) == (2, {"a", "b"})


def test_a_task_whose_code_is_elsewhere(client: JobClient) -> None:
    task = remote_task("other.task", client).using(queue="far")

    assert bytes(task.job(1, x=[2]).payload) == b'[[1],{"x":[2]}]'
    assert task.job().queue == "far"
    with pytest.raises(ConfigError, match=r"the code of other\.task is not in this process"):
        task(1)
    with pytest.raises(InvalidArguments, match="argument 'x'"):
        task.job(x=Path("p"))


def main_module(**attributes: Any) -> ModuleType:
    module = ModuleType("__main__")
    module.__dict__.update({"__spec__": None, **attributes})
    return module


def test_main_has_the_name_that_workers_import(tmp_path: Path) -> None:
    package = tmp_path / "shop" / "jobs"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()

    assert imported_as(main_module(__file__=str(tmp_path / "app.py"))) == "app"
    assert imported_as(main_module(__file__=str(package / "mail.py"))) == "shop.jobs.mail"
    assert imported_as(main_module(__spec__=sys.modules["json"].__spec__)) == "json"
    assert imported_as(main_module()) == "__main__"


@pytest.mark.processes
@pytest.mark.parametrize("how", [["app.py"], ["-m", "app"], ["-c", "import app"]])
def test_a_script_and_its_importer_name_a_task_alike(tmp_path: Path, how: list[str]) -> None:
    (tmp_path / "app.py").write_text(
        "from backline import App\n"
        "app = App('memory://')\n"
        "@app.task\n"
        "def work(x: int) -> int: return x\n"
        "print(app.registry.names())\n"
    )

    ran = subprocess.run(
        [sys.executable, *how], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )

    assert ran.stdout == "('app.work',)\n"


def test_a_generic_annotation_reads_well() -> None:
    def takes(task: Task[[int], str]) -> None: ...

    assert takes.__annotations__["task"] == Task[[int], str]
