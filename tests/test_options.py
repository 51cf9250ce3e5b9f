"""Options: ours checked, everybody else's explained."""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from backline import (
    App,
    BacklineError,
    Batch,
    ConfigError,
    InvalidArguments,
    JobContext,
    Retry,
    UnknownOption,
)
from backline.job import (
    DAY,
    HOUR,
    SECOND,
    Backoff,
    Lane,
    Limits,
    OnConflict,
    OnPoison,
    Pacing,
    Terms,
)
from backline.task import dialects
from backline.task.limiting import limits_of
from backline.task.options import OPTIONS, Executor, TaskOptions, instant, lane_of, with_options

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def changed(**given: Any) -> dict[str, Any]:
    """What `given` changes of the defaults."""
    before, after = TaskOptions(), with_options(TaskOptions(), given, "app.t")
    return {
        name: getattr(after, name)
        for name in after.__struct_fields__
        if getattr(after, name) != getattr(before, name)
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"queue": "mail"}, {"queue": "mail"}),
        ({"priority": -100}, {"priority": -100}),
        ({"delay": "5m"}, {"delay": 300 * SECOND}),
        ({"delay": timedelta(hours=1)}, {"delay": HOUR}),
        ({"delay": 0.5}, {"delay": SECOND // 2}),
        ({"run_at": NOON}, {"run_at": instant(NOON)}),
        ({"run_at": NOON.astimezone(timezone(timedelta(hours=5)))}, {"run_at": instant(NOON)}),
        ({"expires": "1h"}, {"expires_in": HOUR}),
        ({"expires": NOON}, {"expires_at": instant(NOON)}),
        ({"timeout": 30}, {"timeout": 30 * SECOND}),
        ({"max_attempts": 1}, {"max_attempts": 1}),
        ({"retry": Retry(base="2s")}, {"retry": Retry(base="2s")}),
        ({"unique_key": "k"}, {"unique_key": "k"}),
        ({"idempotency_key": "k"}, {"idempotency_key": "k"}),
        ({"unique_key": "k", "unique_for": "1d"}, {"unique_key": "k", "unique_for": DAY}),
        (
            {"unique_key": "k", "on_conflict": "replace"},
            {"unique_key": "k", "on_conflict": OnConflict.REPLACE},
        ),
        ({"unique_key": None}, {}),
        ({"unique_key": "{data}"}, {"unique_key": "{data}"}),
        ({"headers": {"a": "b"}}, {"headers": {"a": "b"}}),
        ({"tags": ["a", "b"]}, {"tags": ("a", "b")}),
        ({"keep": 0, "keep_dead": "1d"}, {"keep": 0, "keep_dead": DAY}),
    ],
)
def test_a_value_that_can_be_is_taken(given: Mapping[str, Any], expected: Any) -> None:
    assert changed(**given) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"queue": ""}, "queue= of app.t: 1 to 200 printable characters"),
        ({"queue": "x" * 201}, "1 to 200"),
        ({"queue": "a\r\nb"}, "printable"),
        ({"queue": "\x1b[31m"}, "printable"),
        ({"queue": " mail"}, "printable"),
        ({"queue": "\ud800"}, "printable"),
        ({"queue": 3}, "a str is wanted, not 3"),
        ({"priority": 101}, "priority= of app.t: -100 to 100 is possible, not 101"),
        ({"priority": "high"}, "an int is wanted"),
        ({"priority": True}, "an int is wanted"),
        ({"priority": 1.0}, "an int is wanted"),
        ({"delay": -1}, "between 0 and 100 years"),
        ({"delay": "soon"}, "'soon' is no duration"),
        ({"delay": float("nan")}, "between 0 and 100 years"),
        ({"delay": None}, "seconds, a timedelta or a text"),
        ({"delay": True}, "seconds, a timedelta or a text"),
        ({"run_at": NOON.replace(tzinfo=None)}, "has no time zone; give an aware datetime"),
        ({"run_at": 1764000000}, "a datetime with a time zone is wanted"),
        ({"delay": 1, "run_at": NOON}, "both delay= and run_at="),
        ({"expires": NOON.replace(tzinfo=None)}, "has no time zone"),
        ({"expires": 0}, "at least a millisecond"),
        ({"timeout": 0}, "timeout= of app.t: at least a millisecond"),
        ({"timeout": None}, "timeout= of app.t: seconds"),
        ({"max_attempts": 0}, "1 to 1,000,000 is possible, not 0"),
        ({"retry": 3}, "a Retry is wanted, not 3; max_attempts= says how often"),
        ({"unique_key": ""}, "unique_key= of app.t"),
        ({"unique_key": 7}, "a str is wanted"),
        ({"unique_for": "1h"}, "unique_for= of app.t needs a unique_key="),
        ({"max_wait": "1h"}, "max_wait= of app.t needs a unique_key= and on_conflict="),
        ({"max_wait": "1h", "unique_key": "k"}, "max_wait= of app.t needs a unique_key= and on_"),
        ({"max_wait": 0, "unique_key": "k", "on_conflict": "replace"}, "at least a millisecond"),
        ({"on_conflict": "replace"}, 'on_conflict="replace" of app.t needs a unique_key='),
        ({"on_conflict": "raise"}, 'on_conflict="raise" of app.t needs a unique_key='),
        (
            {"unique_key": "k", "on_conflict": "replace", "max_wait": "1m"},
            "max_wait= of app.t needs a delay=",
        ),
        ({"idempotency_key": ""}, "idempotency_key= of app.t"),
        ({"idempotency_key": 7}, "a str is wanted"),
        ({"on_conflict": "ignore"}, "one of skip, replace, raise is wanted, not 'ignore'"),
        ({"headers": {"a": 1}}, "'a' is 1"),
        ({"headers": [("a", "b")]}, "a mapping of str to str"),
        ({"headers": {"a": "\ud800"}}, "headers= of app.t"),
        ({"headers": {"a": "x" * 9000}}, "too many; at most 8,192"),
        ({"tags": "urgent"}, "a list of str is wanted"),
        ({"tags": [""]}, "tags= of app.t"),
        ({"tags": ["t"] * 21}, "at most 20"),
        ({"executor": "process"}, "executor= of app.t is set where the task is declared"),
        ({"name": "x"}, "name= of app.t is set where the task is declared"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_a_value_that_cannot_be_is_refused_by_name(given: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        changed(**given)


def test_a_later_time_takes_the_place_of_an_earlier_one() -> None:
    delayed = with_options(TaskOptions(), {"delay": "5m", "expires": "1h"}, "t")

    fixed = with_options(delayed, {"run_at": NOON, "expires": NOON}, "t")
    again = with_options(fixed, {"delay": 1, "expires": 2}, "t")

    assert (fixed.delay, fixed.run_at) == (0, instant(NOON))
    assert (fixed.expires_in, fixed.expires_at) == (None, instant(NOON))
    assert (again.delay, again.run_at) == (SECOND, None)
    assert (again.expires_in, again.expires_at) == (2 * SECOND, None)


LIMITED = with_options(
    TaskOptions(),
    {"rate": "10/s", "burst": 5, "rate_key": "r", "weight": 2, "concurrency": 1,
     "concurrency_key": "k", "on_poison": "block"},
    "app.t",
)  # fmt: skip


def test_a_limit_that_is_lifted_takes_along_what_belongs_to_it() -> None:
    slow = with_options(LIMITED, {"concurrency": None}, "app.t")
    assert limits_of(slow, "t", (), {}) == Limits(
        None, rate_key="r", pacing=Pacing(SECOND // 10, 5), weight=2
    )
    single = with_options(LIMITED, {"rate": None}, "app.t")
    assert limits_of(single, "t", (), {}) == Limits("k", 1, OnPoison.BLOCK)
    assert with_options(slow, {"rate": None}, "app.t") == TaskOptions()
    with pytest.raises(ConfigError, match=r"burst= of app\.t needs a rate="):
        with_options(LIMITED, {"rate": None, "burst": 3}, "app.t")


@pytest.mark.parametrize("option", ["concurrency_key", "rate_key"])
def test_the_key_of_a_limit_is_a_name_or_none(option: str) -> None:
    keyed = with_options(TaskOptions(), {option: lambda key: key, "rate": "1/s"}, "app.t")
    for key in ("", "a\nb", "x" * 201, 7, " a"):
        with pytest.raises(InvalidArguments, match=f"the {option} of t: .*wanted, not"):
            limits_of(keyed, "t", (key,), {})
    found = limits_of(keyed, "t", ("alice",), {})
    assert found is not None
    assert "alice" in {found.key, found.rate_key}
    free = limits_of(keyed, "t", (None,), {})
    assert free is None or (free.key, free.rate_key) == (None, "t")


def test_headers_add_up_and_the_later_wins() -> None:
    first = with_options(TaskOptions(), {"headers": {"a": "1", "b": "1"}}, "t")

    assert with_options(first, {"headers": {"b": "2"}}, "t").headers == {"a": "1", "b": "2"}


def test_the_defaults_are_those_of_the_job() -> None:
    assert TaskOptions().terms == Terms()


# Every option of another queue in ecosystem.md, section 3, and some more people type.
FOREIGN = {
    "countdown": "delay=", "schedule_in": "delay=", "scheduled_in": "delay=",
    "execute_after": "delay=", "_defer_by": "delay=", "start_delay": "delay=",
    "delay_seconds": "delay=", "enqueue_in": "delay=",
    "eta": "run_at=", "run_after": "run_at=", "schedule_at": "run_at=", "schedule": "run_at=",
    "scheduled_at": "run_at=", "_defer_until": "run_at=", "enqueue_at": "run_at=",
    "scheduled": "run_at=", "schedule_by_time": "run_at=",
    "queue_name": "queue=", "_queue_name": "queue=", "task_queue": "queue=",
    "at_front": "priority=",
    "max_retries": "max_attempts=", "retries": "max_attempts=", "max_tries": "max_attempts=",
    "maximum_attempts": "max_attempts=", "attempts": "max_attempts=",
    "retry_delay": "Retry(", "retry_backoff": "Retry(", "interval": "Retry(",
    "retry_policy": "Retry(", "autoretry_for": "Retry(",
    "time_limit": "timeout=", "soft_time_limit": "timeout=", "job_timeout": "timeout=",
    "execution_timeout": "timeout=", "timeout_seconds": "timeout=", "soft_timeout": "timeout=",
    "job_id": "unique_key=", "_job_id": "unique_key=", "unique": "unique_key=",
    "queueing_lock": "unique_key=", "dedupe_key": "unique_key=",
    "deduplication_id": "unique_key=", "deduplication": "unique_key=", "once": "unique_key=",
    "debounce": "max_wait=", "throttle": "unique_for=", "idempotency": "idempotency_key=",
    "lock_task": "unique_key=", "lock": "unique_key=",
    "bind": "JobContext", "context": "JobContext", "pass_context": "JobContext",
    "takes_context": "JobContext", "ctx": "JobContext",
    "task_always_eager": "app.immediate()", "is_async": "app.immediate()",
    "immediate": "app.immediate()", "in_memory": "app.immediate()",
    "result_ttl": "keep=", "failure_ttl": "keep_dead=", "ttl": "expires=",
    "acks_late": "acknowledged", "serializer": "JSON", "args": ".enqueue(",
}  # fmt: skip


@pytest.mark.parametrize(("name", "ours"), FOREIGN.items())
def test_an_option_of_another_queue_is_a_type_error_that_names_ours(name: str, ours: str) -> None:
    with pytest.raises(UnknownOption, match=re.escape(ours)) as caught:
        changed(**{name: 1})

    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, BacklineError)
    assert str(caught.value).startswith(f"unknown option {name!r} of app.t; ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("prioritty", "did you mean priority=?"),
        ("timeot", "did you mean timeout=?"),
        ("countdwn", "use delay="),
        ("zzz", "the options are after, burst, callback_url, concurrency"),
    ],
)
def test_a_typo_names_the_nearest(name: str, told: str) -> None:
    with pytest.raises(UnknownOption, match=re.escape(told)):
        changed(**{name: 1})


def test_no_option_of_ours_is_called_foreign() -> None:
    assert not OPTIONS & dialects.FOREIGN.keys()


def test_retry_as_plain_data() -> None:
    assert Retry().rule() == Backoff()
    assert Retry(base="2s", cap="1m").rule() == Backoff(base=2 * SECOND, cap=60 * SECOND)
    assert Retry(backoff="constant", base=3).rule() == Backoff(
        base=3 * SECOND, factor=1.0, jitter=False
    )
    assert Retry(delays=["1s", 60]).rule() == Backoff(jitter=False, delays=(SECOND, 60 * SECOND))
    assert Retry(delays=["1s"], jitter=True).rule().jitter


def test_retry_decides_by_exception() -> None:
    network = Retry(on=(OSError, TimeoutError), not_on=FileNotFoundError)

    assert network.allows(ConnectionError())
    assert not network.allows(FileNotFoundError())
    assert not network.allows(ValueError())
    assert Retry().allows(ValueError())
    assert Retry().allows(SystemExit())
    assert not Retry(on=()).allows(ValueError())


@pytest.mark.parametrize(
    "given",
    [
        {"backoff": "fibonacci"},
        {"base": "soon"},
        {"cap": -1},
        {"delays": "1s"},
        {"delays": ["soon"]},
        {"on": ValueError()},
        {"not_on": ("ValueError",)},
        {"on": int},
    ],
)
def test_a_retry_that_cannot_work_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="Retry: "):
        Retry(**given)


def test_only_processes_go_to_cells() -> None:
    assert [lane_of(executor) for executor in Executor] == [Lane.MAIN, Lane.MAIN, Lane.CELL]


def test_options_are_plain_values_that_do_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        TaskOptions().queue = "x"  # type: ignore[misc]
    assert msgspec.structs.replace(TaskOptions(), queue="x").queue == "x"


@pytest.mark.parametrize(
    "given",
    [
        {"unique_key": "account {x}"},
        {"idempotency_key": "account {x}"},
        {"concurrency_key": "account {x}"},
        {"rate": "1/s", "rate_key": "account {x}"},
        {"fair_key": "account {x}"},
    ],
)
def test_a_key_whose_f_was_forgotten_is_told(given: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=re.escape("lambda x: f'account {x}'")):
        App("memory://").task(name="t", **given)(lambda x: None)


@pytest.mark.parametrize(
    "option", ["unique_key", "idempotency_key", "concurrency_key", "rate_key", "fair_key"]
)
def test_a_key_function_that_takes_other_arguments_is_named(option: str) -> None:
    def fn(x: int) -> None: ...

    def wrong(other: int) -> str:
        return f"{other}"

    options: dict[str, Any] = {option: wrong} | ({"rate": "1/s"} if option == "rate_key" else {})
    task = App("memory://").task(name="app.t", **options)(fn)

    with pytest.raises(InvalidArguments, match=f"the {option} of app.t is called with") as caught:
        task.job(x=1)
    assert "missing a required argument: 'other'" in str(caught.value)


def _plain(user_id: int, name: str = "x") -> None: ...
def _two(user_id: int, name: str) -> None: ...
def _named(*, user_id: int, name: str = "x") -> None: ...
def _first(user_id: int, /, *, name: str) -> None: ...
def _any(user_id: int, *more: int, **others: int) -> None: ...
def _none() -> None: ...
def _batch(batch: Batch[int]) -> None: ...


@pytest.mark.parametrize(
    ("fn", "fitting", "wrong"),
    [
        (
            _plain,
            [lambda u: "", lambda user_id: "", lambda user_id, name: "", lambda *, user_id: "",
             lambda u, *, name: "", lambda *a, **k: "", lambda u, name="": ""],
            [lambda: "", lambda u, n, more: "", lambda *, tenant: "", lambda *, name: ""],
        ),
        (
            _two,
            [lambda u, n: "", lambda *, user_id, name: "", lambda name, **_: "", lambda **_: ""],
            [lambda user_id: "", lambda u, n, tenant: "", len],
        ),
        (
            _named,
            [lambda user_id: "", lambda *, user_id, name: "", lambda **_: ""],
            [lambda u: "", lambda name: "", lambda user_id, tenant: "", lambda u, /: ""],
        ),
        (_first, [lambda u, name: "", lambda u, **_: ""], [lambda user_id: "", lambda **_: ""]),
        (
            _any,
            [lambda u: "", lambda a, b, c: "", lambda user_id, tenant: "",
             lambda *, a, user_id: ""],
            [lambda: ""],
        ),
        (_none, [lambda: "", lambda user="x": "", lambda *a: ""], [lambda user: "", len]),
        (_batch, [lambda item: "", str], [lambda: "", lambda item, other: ""]),
    ],
)  # fmt: skip
def test_a_key_function_that_no_job_fits_is_refused_where_it_is_declared(
    fn: Callable[..., Any], fitting: list[Callable[..., str]], wrong: list[Callable[..., str]]
) -> None:
    app = App("memory://")
    batch = {"batch": 10} if fn is _batch else {}
    for number, key in enumerate([*fitting, str, operator.attrgetter("x")]):
        app.task(name=f"fits {number}", unique_key=key, **batch)(fn)
    for key in wrong:
        with pytest.raises(ConfigError, match=r"fair_key= of app\.t takes \(.*\), the task \("):
            app.task(name="app.t", fair_key=key, **batch)(fn)


def test_both_signatures_are_told() -> None:
    def by_tenant(tenant: int, *, name: str = "x" * 99) -> str:
        return f"{tenant}{name}"

    with pytest.raises(ConfigError) as caught:
        App("memory://").task(name="app.t", concurrency_key=by_tenant)(_named)
    assert str(caught.value) == (
        "concurrency_key= of app.t takes (tenant, *, name=...), the task (*, user_id, name=...): "
        "it is called with the arguments of the job, as the task is"
    )


def test_a_key_function_is_not_asked_about_the_context() -> None:
    def fn(job: JobContext, user_id: int) -> None: ...

    assert App("memory://").task(name="t", unique_key=lambda u: f"{u}")(fn).job(7).unique_key


def test_a_type_error_of_a_key_function_is_its_own() -> None:
    task = App("memory://").task(name="t", unique_key=lambda x: x + 1)(lambda x: None)

    with pytest.raises(TypeError, match="can only concatenate"):
        task.job("a")


def test_a_task_with_a_unique_key_can_be_enqueued_without_it() -> None:
    given = {"unique_key": "k", "on_conflict": "replace", "delay": "1s", "max_wait": "5s"}
    base = with_options(TaskOptions(), given, "app.t")

    without = with_options(base, {"unique_key": None}, "app.t")

    assert (without.on_conflict, without.max_wait) == (OnConflict.SKIP, None)
    assert with_options(base, {"delay": 0}, "app.t").max_wait == 5 * SECOND
