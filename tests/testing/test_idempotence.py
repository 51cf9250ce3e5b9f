"""`assert_idempotent`: tasks that may run again pass, others fail with the line and the reason."""

import asyncio
import gc
import inspect
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backline import (
    App,
    BacklineError,
    Batch,
    ConfigError,
    InvalidArguments,
    JobContext,
    Retry,
    testing,
)
from backline.faults import fault, hooked
from backline.testing.idempotence import assert_idempotent

Log = list[Any]


@pytest.fixture
def app() -> Iterator[App]:
    app = App("memory://")
    yield app
    app.close()


@pytest.fixture
def log() -> Log:
    """What the outside received."""
    return []


def line_of(task: Any, text: str) -> int:
    """The number of the only line of the task that has this text."""
    lines, first = inspect.getsourcelines(task.fn)
    [found] = [number for number, line in enumerate(lines, first) if text in line]
    return found


def why_not(task: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        assert_idempotent(task, *args, **options)
    return str(raised.value)


def broken_by(message: str) -> str:
    [line] = [line for line in message.splitlines() if line.startswith("Broken by")]
    return line


def test_its_name_is_public() -> None:
    assert testing.assert_idempotent is assert_idempotent
    assert testing.__all__ == ["assert_idempotent"]


# What is idempotent.


def test_a_task_that_keeps_the_jobs_id_passes(app: App, log: Log) -> None:
    done: dict[str, int] = {}

    @app.task(name="t")
    def pay(job: JobContext, amount: int) -> None:
        if job.id not in done:
            job.progress(1, 2)
            done[job.id] = amount

    assert_idempotent(pay, 5, state=lambda: done, reset=done.clear)
    assert list(done.values()) == [5]


async def _pay(done: dict[str, int], job: JobContext, amount: int) -> None:
    await asyncio.sleep(1)
    done.setdefault(job.id, amount)
    await asyncio.sleep(1)


def test_an_async_task_passes_on_virtual_time(app: App) -> None:
    done: dict[str, int] = {}

    @app.task(name="t")
    async def pay(job: JobContext, amount: int) -> None:
        await _pay(done, job, amount)

    assert_idempotent(pay, amount=5, state=lambda: done, reset=done.clear)


def test_a_task_that_upserts_passes(app: App, tmp_path: Path) -> None:
    path = tmp_path / "business.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table orders (id integer primary key, state text)")
    connection.close()

    @app.task(name="t")
    def ship(order: int) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(
                "insert into orders values (?, 'new') on conflict do nothing", [order]
            )
            connection.execute("update orders set state = 'shipped' where id = ?", [order])
        connection.close()

    def rows(statement: str = "select * from orders") -> list[Any]:
        with sqlite3.connect(path) as connection:
            found = connection.execute(statement).fetchall()
        connection.close()
        return found

    assert_idempotent(ship, 7, state=rows, reset=lambda: rows("delete from orders"))
    assert rows() == [(7, "shipped")]


def counting(app: App, path: Path, *, within: bool) -> Any:
    """A task that counts in a database, and completes in the same transaction or not."""

    @app.task(name="t")
    def count(job: JobContext) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("begin immediate")
            connection.execute("update counter set n = n + 1")
            if within:
                job.complete(within=connection)
            connection.execute("commit")
        finally:
            connection.close()

    return count


@pytest.mark.parametrize("within", [True, False])
def test_complete_within_makes_a_counter_idempotent(app: App, tmp_path: Path, within: bool) -> None:
    path = tmp_path / "business.db"
    app.outbox(f"sqlite:///{path}")

    def ask(statement: str) -> list[Any]:
        connection = sqlite3.connect(path, isolation_level=None)
        found = connection.execute(statement).fetchall()
        connection.close()
        return found

    ask("create table counter (n integer)")
    ask("insert into counter values (0)")
    count = counting(app, path, within=within)

    def check() -> None:
        assert_idempotent(
            count,
            state=lambda: ask("select n from counter"),
            reset=lambda: ask("update counter set n = 0"),
        )

    if within:
        check()
    else:
        with pytest.raises(AssertionError, match=f"after line {line_of(count, 'commit')} of"):
            check()


@pytest.mark.parametrize("lasting", [True, False])
def test_a_follow_up_with_a_key_that_lasts_passes(app: App, log: Log, lasting: bool) -> None:
    key, day = (lambda order: f"{order}"), "1d"
    unique = {"unique_key": key, "unique_for": day} if lasting else {"idempotency_key": key}

    @app.task(name="mail", **unique)  # type: ignore[arg-type]
    def mail(order: int) -> None:
        log.append(order)

    @app.task(name="t")
    def ship(order: int) -> None:
        mail.enqueue(order)

    assert_idempotent(ship, 7, state=lambda: log, reset=log.clear)


def test_retries_of_the_tasks_own_take_no_time(app: App, log: Log) -> None:
    @app.task(name="t", retry=Retry(delays=["1h"]))
    def flaky(job: JobContext) -> None:
        if job.failures < 2:
            raise OSError("not yet")
        if job.id not in log:
            log.append(job.id)

    assert_idempotent(flaky, state=lambda: log, reset=log.clear)


def test_every_line_is_a_moment_at_which_it_dies(app: App) -> None:
    """Planted: each line is the last one of some run, in the order of the lines."""
    runs: list[list[str]] = []
    kept = {"value": 0}

    @app.task(name="t")
    def abc() -> None:
        runs.append(["a"])
        runs[-1].append("b")
        runs[-1].append("c")
        kept["value"] = 1

    assert_idempotent(abc, state=lambda: kept, reset=lambda: kept.update(value=0))

    whole = ["a", "b", "c"]
    assert runs == [whole] * 2 + [  # the clean runs
        *(["a"], whole),
        *(["a", "b"], whole),
        *(whole, whole),
        *(whole, whole),  # the second delivery
        *(whole, whole, whole),
    ]


# What is not, and how it is told.


def increment(app: App, log: Log) -> Any:
    log.append(0)

    @app.task(name="t")
    def task() -> None:
        value = log[0]
        log[0] = value + 1  # here
        del value

    return task


def mail_twice(app: App, log: Log) -> Any:
    @app.task(name="t")
    async def task() -> None:
        await asyncio.sleep(1)
        log.append("mail")  # here
        await asyncio.sleep(1)

    return task


def charge_before_check(app: App, log: Log) -> Any:
    @app.task(name="t")
    def task(job: JobContext) -> None:
        log.append("charge")  # here
        if job.id in log:
            return
        log.append(job.id)

    return task


def mark_before_effect(app: App, log: Log) -> Any:
    @app.task(name="t")
    def task(job: JobContext) -> None:
        if job.id in log:
            return
        log.append(job.id)  # here
        log.append("shipped")

    return task


def half_of_a_pair(app: App, log: Log) -> Any:
    log.extend([10, 0])

    @app.task(name="t")
    async def task() -> None:
        if log[1] == 0:
            log[0] -= 4  # here
            await asyncio.sleep(0)
            log[1] += 4

    return task


def each_of_many(app: App, log: Log) -> Any:
    @app.task(name="t")
    def task() -> None:
        for number in range(50):
            log.append(number)  # here

    return task


def swallowed(app: App, log: Log) -> Any:
    @app.task(name="t")
    def task() -> None:
        try:
            log.append("mail")  # here
            log.sort()
        except BaseException:
            pass

    return task


def keyed_by_attempt(app: App, log: Log) -> Any:
    @app.task(name="t")
    def task(job: JobContext) -> None:
        if job.attempt == 1:  # here
            log.append("mail")

    return task


def only_once(app: App, log: Log) -> Any:
    @app.task(name="t", max_attempts=1)
    def task(job: JobContext) -> None:
        if job.id in log:
            raise ValueError("it exists already")
        log.append(job.id)  # here
        job.progress(1)

    return task


@pytest.mark.parametrize(
    "make",
    [
        increment,
        mail_twice,
        charge_before_check,
        mark_before_effect,
        half_of_a_pair,
        each_of_many,
        swallowed,
        keyed_by_attempt,
        only_once,
    ],
)
def test_the_first_line_that_breaks_it_is_named(
    app: App, log: Log, make: Callable[[App, Log], Any]
) -> None:
    task = make(app, log)
    start = list(log)

    def reset() -> None:
        log[:] = start

    message = why_not(task, state=lambda: log, reset=reset)

    assert message.startswith("t is not idempotent: ")
    place = f"a crash after line {line_of(task, '# here')} of test_idempotence.py"
    assert broken_by(message) == f"Broken by {place}:"
    assert "# here" in message.splitlines()[message.splitlines().index(broken_by(message)) + 1]
    assert "job.id" in message


def test_a_file_that_grows_fails_by_its_second_delivery(app: App, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"

    @app.task(name="t")
    def report() -> None:
        with path.open("a") as file:
            file.write("one\n")

    message = why_not(
        report,
        state=lambda: path.read_text() if path.exists() else "",
        reset=lambda: path.unlink(missing_ok=True),
    )

    number = line_of(report, "file.write")
    assert broken_by(message).startswith("Broken by a")
    assert f"line {number} of test_idempotence.py" in broken_by(message)
    assert "  -'one\\n'" in message
    assert "  +'one\\none\\n'" in message


def test_a_follow_up_without_a_key_fails_though_state_sees_nothing(app: App) -> None:
    @app.task(name="mail")
    def mail(order: int) -> None:
        del order

    @app.task(name="t")
    def ship(order: int) -> None:
        send(order)

    def send(order: int) -> None:
        mail.enqueue(order)

    message = why_not(ship, 7, state=lambda: None)

    place = f"line {line_of(ship, 'send(order)')} of test_idempotence.py"
    assert broken_by(message) == f"Broken by a crash right after a job was enqueued, in {place}:"
    assert "  +mail [[7],{}]" in message.splitlines()
    assert "idempotency_key=" in message


@pytest.mark.parametrize("many", [False, True])
def test_an_async_follow_up_without_a_key_fails(app: App, many: bool) -> None:
    @app.task(name="mail")
    async def mail(order: int) -> None:
        del order

    @app.task(name="t")
    async def ship(order: int) -> None:
        await (app.aenqueue_many([mail.job(order)]) if many else mail.aenqueue(order))

    message = why_not(ship, 7, state=lambda: None)

    assert "a crash right after a job was enqueued" in message
    assert "a crash right before" not in message


def test_what_is_half_done_while_it_waits_is_seen(app: App, log: Log) -> None:
    async def send(job: JobContext) -> None:
        log.append("sent")
        await asyncio.sleep(1)
        log.append(job.id)

    @app.task(name="t")
    async def mail(job: JobContext) -> None:
        if job.id not in log:
            await send(job)

    message = why_not(mail, state=lambda: log, reset=log.clear)

    place = f"line {line_of(mail, 'await send')} of test_idempotence.py"
    assert broken_by(message) == f"Broken by a crash while it waited in {place}:"


def test_lines_of_helpers_count_if_named(app: App, log: Log) -> None:
    def send(job: JobContext) -> None:
        if job.id not in log:
            log.append("sent")
            log.append(job.id)

    @app.task(name="t")
    def mail(job: JobContext) -> None:
        send(job)

    assert_idempotent(mail, state=lambda: log, reset=log.clear)
    message = why_not(mail, state=lambda: log, reset=log.clear, also=[send])
    assert 'log.append("sent")' in message.splitlines()[3]


def test_the_diff_is_of_the_lines_that_differ(app: App, log: Log) -> None:
    @app.task(name="t")
    def mail() -> None:
        log.append("x" * 80)

    message = why_not(mail, state=lambda: {"mails": log, "rows": ["r" * 80]}, reset=log.clear)

    assert "- one clean run, + this history" in message
    assert len([line for line in message.splitlines() if line.startswith("  +")]) <= 2


def test_threads_and_real_time_are_there_if_asked_for(app: App, log: Log) -> None:
    @app.task(name="t")
    async def mail() -> None:
        await asyncio.to_thread(log.append, "mail")
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

    message = why_not(mail, state=lambda: log, reset=log.clear, real_time=True)

    place = f"line {line_of(mail, 'to_thread')} of test_idempotence.py"
    assert place in broken_by(message)


def test_two_checks_say_the_same(app: App, log: Log) -> None:
    task = each_of_many(app, log)

    def message() -> str:
        return why_not(task, state=lambda: log, reset=log.clear)

    assert message() == message()


@pytest.fixture
def thawed() -> Iterator[None]:
    gc.unfreeze()  # see tests/conftest.py
    yield
    gc.freeze()


@pytest.mark.usefixtures("thawed")
@pytest.mark.parametrize("by_caller", [False, True])
def test_the_heap_of_a_long_test_run_is_not_searched_at_each_death(
    app: App, log: Log, by_caller: bool
) -> None:
    frozen: list[int] = []

    @app.task(name="t")
    async def look() -> None:
        frozen.append(gc.get_freeze_count())
        log.append("done")

    if by_caller:
        gc.freeze()
    before = gc.get_freeze_count()
    why_not(look, state=lambda: log, reset=log.clear)

    assert min(frozen) > 10_000  # all that was there when it began
    assert (gc.get_freeze_count() > 0) == by_caller
    assert gc.get_freeze_count() <= before


# What it leaves behind.


@pytest.mark.parametrize("make", [increment, mail_twice])
def test_nothing_is_left_behind(app: App, log: Log, make: Callable[[App, Log], Any]) -> None:
    task = make(app, log)
    fn, clock, start = task.fn, app.clock, list(log)
    points: list[str] = []

    def tracer(*_: object) -> None: ...

    outside = sys.gettrace()
    sys.settrace(tracer)
    try:
        with hooked(points.append):
            why_not(task, state=lambda: log, reset=lambda: log.__setitem__(slice(None), start))
            assert sys.gettrace() is tracer
            assert points == []
            fault("seen")
    finally:
        sys.settrace(outside)

    assert points == ["seen"]
    assert task.fn is fn
    assert app.clock is clock
    assert app.drain() == 0


# What cannot be checked says what to do.


def test_it_takes_a_task(app: App) -> None:
    with pytest.raises(ConfigError, match=r"the function under @app\.task"):
        assert_idempotent(print, state=list)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give the task itself"):
        assert_idempotent(app.remote("elsewhere"), state=list)


def test_it_takes_no_batches(app: App) -> None:
    def many(batch: Batch[int]) -> None: ...

    with pytest.raises(ConfigError, match="many has batch="):
        assert_idempotent(app.task(name="many", batch=10)(many), 1, state=list)


def test_it_takes_plain_functions(app: App, log: Log) -> None:
    async def later() -> Log:
        return log

    task = increment(app, log)
    with pytest.raises(ConfigError, match="state= is a function that"):
        assert_idempotent(task, state=log)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"state=lambda: asyncio.run\(later\(\)\)"):
        assert_idempotent(task, state=later)
    with pytest.raises(ConfigError, match="reset= is a function that"):
        assert_idempotent(task, state=list, reset=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="also= takes functions written in Python"):
        assert_idempotent(task, state=list, also=[len])


def test_arguments_are_checked_as_ever(app: App, log: Log) -> None:
    task = mark_before_effect(app, log)
    with pytest.raises(InvalidArguments):
        assert_idempotent(task, 1, 2, 3, state=lambda: log, reset=log.clear)


def test_a_change_without_a_reset_asks_for_one(app: App, log: Log) -> None:
    with pytest.raises(ConfigError, match="give reset="):
        assert_idempotent(increment(app, log), state=lambda: log)


def test_a_state_that_sees_nothing_says_so(app: App, log: Log) -> None:
    with pytest.raises(BacklineError, match="same before and after a clean run"):
        assert_idempotent(mark_before_effect(app, log), state=lambda: None, reset=log.clear)


def test_a_state_that_is_new_each_time_says_so(app: App, log: Log) -> None:
    with pytest.raises(BacklineError, match="two clean runs of t leave different states"):
        assert_idempotent(increment(app, log), state=lambda: log, reset=lambda: None)


def test_a_state_that_cannot_be_kept_says_so(app: App, log: Log) -> None:
    with pytest.raises(ConfigError, match="return plain data"):
        assert_idempotent(increment(app, log), state=lambda: (one for one in log), reset=log.clear)


def test_a_task_that_fails_by_itself_says_so(app: App) -> None:
    @app.task(name="t", max_attempts=1)
    def broken() -> None:
        raise ValueError("no such order")

    with pytest.raises(BacklineError, match=r"does not succeed without any crash, .*no such order"):
        assert_idempotent(broken, state=list)


def test_what_needs_sockets_says_so(app: App, log: Log) -> None:
    @app.task(name="t")
    async def stuck() -> None:
        await asyncio.open_connection("127.0.0.1", 1)

    with pytest.raises(BacklineError, match="real_time=True"):
        assert_idempotent(stuck, state=lambda: log, reset=log.clear)


async def test_on_a_loop_it_says_where_to_call_it(app: App, log: Log) -> None:
    task = increment(app, log)
    with pytest.raises(BacklineError, match="plain def test"):
        assert_idempotent(task, state=lambda: log, reset=log.clear)
