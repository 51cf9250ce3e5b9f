"""Arguments, results, progress and requests made by hand, through the Python API."""

import math
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from msgspec import Raw
from msgspec.structs import replace
from tests.bad_input.corpus.texts import HUGE, TEXTS, Text, payload

from backline import App, EnqueueError, InvalidArguments, JobContext, JobFailed, PayloadTooLarge
from backline.errors import BacklineError
from backline.job import FARTHEST, MAX_PAYLOAD, Backoff, Lane, Terms
from backline.task import AnyTask

LONGEST_MESSAGE = 300


class Value(NamedTuple):
    """A Python value in the place of an argument."""

    name: str
    value: Any
    told: str
    """What the refusal says of it; empty: it is taken, and arrives as it was."""
    too_large: bool = False


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


VALUES = [
    Value("nested 10 deep", nested(10), ""),
    Value("nested 300 deep", nested(300), ""),
    Value("nested 10,000 deep", nested(10_000), "nested too deeply"),
    Value("cyclic list", cyclic(), "contains itself"),
    Value("int of 65 bits", 2**64, ""),
    Value("int of 600 digits", 10**600, ""),
    Value("int of 5,000 digits", 10**5_000, "an int of so many digits"),
    Value("NaN", math.nan, "would arrive as the NoneType None"),
    Value("infinite", math.inf, "would arrive as the NoneType None"),
    Value("infinite below", -math.inf, "would arrive as the NoneType None"),
    Value("NaN within", {"a": [math.nan]}, "would arrive as"),
    Value("Decimal NaN", Decimal("sNaN"), "a Decimal would arrive"),
    Value("high surrogate", "\ud800", "lone surrogate"),
    Value("surrogate in a key", {"\udfff": 1}, "lone surrogate"),
    Value("NUL", "a\0b", ""),
    Value("escape sequence", "\x1b[2J", ""),
    Value("line ends", "a\r\nINFO forged", ""),
    Value("byte order mark", "\ufeffa", ""),
    Value("noncharacter", "\uffff", ""),
    Value("empty key", {"": 1}, ""),
    Value("key is an int", {1: 2}, "would arrive as {'1': 2}"),
    Value("key is a tuple", {(1, 2): 3}, "tuple cannot be sent"),
    Value("bytes", b"\xff", "a bytes would arrive"),
    Value("set", {1}, "a set would arrive"),
    Value("tuple", (1, 2), "a tuple would arrive"),
    Value("object", object(), "cannot be sent as JSON"),
    Value("object without repr", Hostile(), "cannot be sent as JSON"),
    Value("function", len, "cannot be sent as JSON"),
    Value("class", int, "cannot be sent as JSON"),
    Value("exception", ValueError("x"), "cannot be sent as JSON"),
    Value("generator", (each for each in ()), "cannot be sent as JSON"),
    Value("complex", 1j, "cannot be sent as JSON"),
    Value("broken Raw", Raw(b"{"), "truncated"),
    Value("Raw", Raw(b"1"), "a Raw would arrive"),
    Value("as large as can be", "x" * (MAX_PAYLOAD - len('[[""],{}]')), ""),
    Value("one byte too large", "x" * (MAX_PAYLOAD - len('[[""],{}]') + 1), "262,145", True),
    Value("too large once escaped", "\0" * (MAX_PAYLOAD // 5), "bytes", True),
    Value("16 MiB", "x" * 2**24, "16,777,225", True),
]


def task_of(app: App) -> AnyTask:
    task = app.registry.get("anything")
    assert task is not None
    return task


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_an_argument_arrives_or_is_refused(app: App, case: Value) -> None:
    task = task_of(app)
    if not case.told:
        record = task.enqueue(case.value).refresh()
        assert task.codec.decode(record.payload) == ([case.value], {})
        return
    kind = PayloadTooLarge if case.too_large else InvalidArguments
    for given in ({"x": case.value}, {"other": 1, "kwargs": case.value}):
        with pytest.raises(kind, match="anything") as refusal:
            task.enqueue(**given)
        assert len(str(refusal.value)) <= LONGEST_MESSAGE
    with pytest.raises(kind) as refusal:
        task.enqueue(case.value)
    assert case.told in str(refusal.value)


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.name)
def test_a_payload_made_by_hand(app: App, case: Text) -> None:
    check_payload(app, case)


@pytest.mark.chaos
@pytest.mark.parametrize("case", HUGE, ids=lambda case: case.name)
def test_a_huge_payload_made_by_hand(app: App, case: Text) -> None:
    check_payload(app, case)


def check_payload(app: App, case: Text) -> None:
    """No JSON is refused, whichever store; JSON is kept to the byte."""
    request = replace(task_of(app).job(), payload=Raw(payload(case)))
    if case.verdict == "broken" and case.name not in UNSEEN:
        with pytest.raises(EnqueueError, match="a job of 'anything' cannot be stored: its payload"):
            app.enqueue_many([request])
        assert not known(app, request.id)
        return
    [job] = app.enqueue_many([request])
    if case.name not in UNSEEN:
        assert bytes(job.refresh().payload) == payload(case)


UNSEEN = {
    *("surrogate as bytes", "no UTF-8", "overlong UTF-8", "UTF-8 cut off", "Latin-1"),
    *("nothing", "white space alone"),
}
"""Invalid UTF-8 within text is not looked for before the job is read; and an argument that is
not there makes the payload one without arguments."""


def known(app: App, job_id: str) -> bool:
    async def get() -> bool:
        [record] = await app.store.get([job_id])
        return record is not None

    return app.wait(get, "get")


REQUESTS: dict[str, dict[str, Any]] = {
    "payload is empty": {"payload": Raw(b"")},
    "payload is None": {"payload": None},
    "payload is text": {"payload": "[[],{}]"},
    "payload is bytes": {"payload": b"[[],{}]"},
    "payload is an int": {"payload": 5},
    "id is None": {"id": None},
    "id is an int": {"id": 5},
    "id is bytes": {"id": b"a"},
    "id of 41 characters": {"id": "x" * 41},
    "id of 100,000 characters": {"id": "x" * 100_000},
    "id is not ASCII": {"id": "\u00e9"},
    "id has a surrogate": {"id": "\ud800"},
    "task is None": {"task": None},
    "task is an int": {"task": 5},
    "task has a surrogate": {"task": "\ud800"},
    "queue is None": {"queue": None},
    "queue is an int": {"queue": 5},
    "queue has a surrogate": {"queue": "\udc00"},
    "key is an int": {"unique_key": 5},
    "key has a surrogate": {"unique_key": "\ud800"},
    "priority is None": {"priority": None},
    "priority is text": {"priority": "1"},
    "priority is a fraction": {"priority": 1.5},
    "priority of 65 bits": {"priority": 2**64},
    "priority of 30 digits": {"priority": 10**30},
    "priority is -2**63": {"priority": -(2**63)},
    "delay is text": {"delay": "1"},
    "delay is a fraction": {"delay": 0.5},
    "delay is NaN": {"delay": math.nan},
    "delay too far": {"delay": FARTHEST + 1},
    "run_at is text": {"run_at": "1"},
    "run_at is a fraction": {"run_at": 0.5},
    "run_at too far": {"run_at": FARTHEST + 1},
    "run_at too far back": {"run_at": -FARTHEST - 1},
    "expires_in too far": {"expires_in": FARTHEST + 1},
    "expires_in is text": {"expires_in": "1"},
    "expires_at too far": {"expires_at": FARTHEST + 1},
    "expires_at is text": {"expires_at": "x"},
    "unique_for too far": {"unique_key": "far", "unique_for": FARTHEST + 1},
    "unique_for is None": {"unique_key": "none", "unique_for": None},
    "lane that there is not": {"lane": "x"},
    "lane is None": {"lane": None},
    "on_conflict that there is not": {"on_conflict": "x"},
    "on_conflict is None": {"on_conflict": None},
    "headers are None": {"headers": None},
    "headers are a list": {"headers": []},
    "header is an int": {"headers": {"a": 1}},
    "header has a surrogate": {"headers": {"a": "\ud800"}},
    "tags are None": {"tags": None},
    "tags are a text": {"tags": "abc"},
    "tag is an int": {"tags": (1,)},
    "tag has a surrogate": {"tags": ("\ud800",)},
    "terms are None": {"terms": None},
    "terms are a list": {"terms": []},
    "attempts are text": {"terms": Terms(max_attempts="5")},  # type: ignore[arg-type]
    "timeout too long": {"terms": Terms(timeout=FARTHEST + 1)},
    "keep too long": {"terms": Terms(keep=2**63 - 1)},
    "keep_dead too long": {"terms": Terms(keep_dead=2**70)},
    "backoff too long": {"terms": Terms(backoff=Backoff(base=2**70))},
    "factor is NaN": {"terms": Terms(backoff=Backoff(factor=math.nan))},
    "factor is infinite": {"terms": Terms(backoff=Backoff(factor=math.inf))},
    "delays too long": {"terms": Terms(backoff=Backoff(delays=(2**70,)))},
}
POSSIBLE: dict[str, dict[str, Any]] = {
    "id is empty": {"id": ""},
    "id with a NUL": {"id": "a\0b"},
    "id of 40 characters": {"id": "x" * 40},
    "task is empty": {"task": ""},
    "task with a NUL": {"task": "a\0b"},
    "task of 100,000 characters": {"task": "x" * 100_000},
    "queue with an escape sequence": {"queue": "\x1b[2J"},
    "key with line ends": {"unique_key": "a\r\nb"},
    "priority as far as can be": {"priority": FARTHEST},
    "delay is negative": {"delay": -1},
    "delay as far as can be": {"delay": FARTHEST},
    "run_at as far as can be": {"run_at": FARTHEST},
    "run_at as far back as can be": {"run_at": -FARTHEST},
    "expired already": {"expires_in": -1},
    "expires as late as can be": {"expires_in": FARTHEST},
    "cell": {"lane": Lane.CELL},
    "headers with NULs": {"headers": {"a\0": "\0"}},
    "tags are a list": {"tags": ["a"]},
    "terms as far as can be": {"terms": Terms(5, FARTHEST, Backoff(cap=FARTHEST), FARTHEST)},
    "negative terms": {"terms": Terms(-1, -1, Backoff(-1, -1), -1, -1)},
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_that_could_not_be_read_back_is_refused(app: App, case: str) -> None:
    good, other = task_of(app).job(1), task_of(app).job(2)
    bad = replace(task_of(app).job(), **REQUESTS[case])
    with pytest.raises(EnqueueError, match=r"a job of .* cannot be stored: ") as refusal:
        app.enqueue_many([good, bad, other])
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) <= LONGEST_MESSAGE
    assert not known(app, good.id), "all or none"
    assert app.enqueue_many([good])[0].added


@pytest.mark.parametrize("case", POSSIBLE)
def test_a_request_that_is_odd_is_kept(app: App, case: str) -> None:
    request = replace(task_of(app).job(), **POSSIBLE[case])
    [job] = app.enqueue_many([request])
    record = job.refresh()
    for field, value in POSSIBLE[case].items():
        if field in {"task", "queue", "unique_key", "priority", "lane", "headers", "terms"}:
            assert getattr(record, field) == value
    job.cancel()


@pytest.mark.parametrize("given", [5, None, "x", [5], [None], [{}], [("a",)], {"a": 1}])
def test_enqueue_many_takes_jobs(app: App, given: Any) -> None:
    with pytest.raises(TypeError, match=r"what task\.job\(\.\.\.\) makes"):
        app.enqueue_many(given)


RESULTS = [case for case in VALUES if case.name != "one byte too large"]
"""Alone, without the brackets of arguments, that one is not."""


@pytest.mark.parametrize("case", RESULTS, ids=lambda case: case.name)
def test_a_result_is_kept_or_the_job_is_dead(case: Value) -> None:
    app = App("memory://")

    @app.task(name="returning", max_attempts=5)
    async def returning() -> Any:
        return case.value

    with app.immediate(raising=False):
        job = returning.enqueue()
        if not case.told or case.name in KEPT_OTHERWISE:
            result = job.result(timeout=0)
            assert result == case.value or case.name in KEPT_OTHERWISE
        else:
            with pytest.raises(JobFailed, match="InvalidResult: the result of returning") as dead:
                job.result(timeout=0)
            assert dead.value.attempts == 1


KEPT_OTHERWISE = {
    *("NaN", "infinite", "infinite below", "NaN within", "Decimal NaN", "key is an int"),
    *("bytes", "set", "tuple", "Raw"),
}
"""Without an annotation a result is kept as JSON carries it."""

PROGRESS: dict[str, tuple[dict[str, Any], type[Exception] | None]] = {
    "fraction": ({"done": 0.5}, None),
    "beyond the total": ({"done": 5, "total": 1}, None),
    "negative": ({"done": -5, "total": 0}, None),
    "of 300 digits": ({"done": 1e300, "total": 1e-300}, None),
    "note with an escape sequence": ({"done": 1, "note": "\x1b[2J\r\nforged"}, None),
    "note with a surrogate": ({"done": 1, "note": "\ud800"}, None),
    "note of a million characters": ({"done": 1, "note": "x" * 1_000_000}, None),
    "NaN": ({"done": math.nan}, ValueError),
    "infinite": ({"done": math.inf}, ValueError),
    "infinite total": ({"done": 1, "total": -math.inf}, ValueError),
    "int of 400 digits": ({"done": 10**400}, ValueError),
    "text": ({"done": "half"}, TypeError),
    "None": ({"done": None}, TypeError),
    "total is a list": ({"done": 1, "total": []}, TypeError),
    "note is bytes": ({"done": 1, "note": b"x"}, TypeError),
    "note is None": ({"done": 1, "note": None}, TypeError),
}


@pytest.mark.parametrize("case", PROGRESS)
def test_progress_is_told_or_refused(case: str) -> None:
    given, error = PROGRESS[case]
    app = App("memory://")

    @app.task(name="progressing", max_attempts=1)
    async def progressing(job: JobContext) -> str:
        if error is not None:
            with pytest.raises(error, match="of progress is") as refusal:
                job.progress(**given)
            assert type(refusal.value) is error
            assert len(str(refusal.value)) <= LONGEST_MESSAGE
            return "refused"
        job.progress(**given)
        return "told"

    with app.immediate():
        job = progressing.enqueue()
        assert job.result(timeout=0) == ("told" if error is None else "refused")


@pytest.mark.parametrize(
    "depth",
    [0, -1, True, 1.5, "5", 10**13, 10**30, 10**5000, [], {}],
    ids=lambda v: f"{v!s:.9}" if v != 10**5000 else "huge",
)
def test_a_depth_that_cannot_be(app: App, depth: Any) -> None:
    with pytest.raises(BacklineError, match="max_depth of queue 'deep' is an int from 1") as error:
        app.queue("deep", max_depth=depth)
    assert len(str(error.value)) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    "queues",
    ["", ",", "a=x", "a=\u0663", "a=-1", f"a={'9' * 5000}", "a=1.5", ["=3"], {"a": "x"}],
)
def test_queues_that_a_worker_cannot_serve(app: App, queues: Any) -> None:
    entering = app.worker(queues).__aenter__()
    with pytest.raises(BacklineError):
        entering.send(None)  # type: ignore[attr-defined]
