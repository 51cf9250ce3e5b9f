"""The codec: what arrives is what was sent, and what would not is refused by name."""

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from backline.codec import TaskCodec
from backline.errors import ConfigError, InvalidArguments, InvalidResult, PayloadTooLarge
from backline.job import MAX_PAYLOAD


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str
    year: int


@dataclass
class Address:
    street: str
    zip: str = "0000"


@dataclass
class Office(Address):
    floor: int = 0


@dataclass(eq=False)
class Unequal:
    at: datetime
    parts: list[Address]


class Tree(msgspec.Struct):
    value: int
    children: "list[Tree]" = []


class Model(pydantic.BaseModel):
    name: str
    when: datetime
    tags: set[str] = pydantic.Field(default_factory=set)
    size: int = pydantic.Field(default=1, alias="the_size")


class SubModel(Model):
    extra: int = 0


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    content: T


class Context:
    pass


def codec(fn: Any) -> TaskCodec:
    return TaskCodec(fn, f"app.{fn.__name__}", context=Context)


def there_and_back(fn: Any, *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    coded = codec(fn)
    return coded.decode(coded.encode(args, kwargs))


def one(annotation: Any) -> Any:
    def task(value: Any) -> None: ...

    task.__annotations__ = {"value": annotation, "return": annotation}
    return task


def label(value: object) -> str:
    return "huge" if isinstance(value, int) and value > 2**80 else repr(value)[:40]


VALUES = [
    (int, 42),
    (int, 2**70),
    (int, -(2**63) - 1),
    (float, -0.1),
    (float, 3),
    (bool, True),
    (str, 'é\n\x00 "quoted" \U0001f600'),
    (bytes, b"\x00\xff"),
    (bytearray, bytearray(b"ab")),
    (None, None),
    (datetime, datetime(2026, 3, 29, 2, 30)),  # noqa: DTZ001 - a naive one travels as such
    (datetime, datetime(2026, 11, 22, 5, 17, 1, 999_999, tzinfo=UTC)),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Paris"))),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=ZoneInfo("Europe/Paris"))),
    (datetime, datetime(1, 1, 1, tzinfo=UTC)),
    (datetime, datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    (date, date(2026, 2, 28)),
    (time, time(1, 2, 3, 4)),
    (timedelta, timedelta(days=-3, microseconds=1)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.500")),
    (Path, Path("/tmp/x y")),
    (PurePosixPath, PurePosixPath("a/b")),
    (Path | None, Path("z")),
    (Path | None, None),
    (list[Path], [Path("a"), Path("b")]),
    (Colour, Colour.BLUE),
    (Level, Level.HIGH),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (dict[str, list[int]], {"a": [1]}),
    (dict[int, str], {1: "a"}),
    (int | str | None, "x"),
    (Point, Point(1, 2)),
    (Movie, {"title": "M", "year": 1931}),
    (Address, Address("here")),
    (Unequal, Unequal(datetime(2026, 1, 1, tzinfo=UTC), [Address("x")])),
    (Tree, Tree(1, [Tree(2), Tree(3, [Tree(4)])])),
    (Box[int], Box(3)),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (Any, {"a": [1, 2.5, None, True, "x"]}),
    (object, [1]),
    (Model, Model(name="n", when=datetime(2026, 1, 1, tzinfo=UTC), tags={"b"}, the_size=4)),
    (list[Model], [Model(name="n", when=datetime(2026, 1, 1, tzinfo=UTC))]),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=label)
def test_a_value_of_the_annotated_type_arrives_as_it_was(annotation: Any, value: Any) -> None:
    [arrived], named = there_and_back(one(annotation), value)

    assert named == {}
    assert type(arrived) is type(value) or annotation is float
    if isinstance(value, Unequal):
        assert (arrived.at, arrived.parts) == (value.at, value.parts)
    elif isinstance(value, datetime) and value.tzinfo:
        assert arrived.astimezone(UTC) == value.astimezone(UTC)
    else:
        assert arrived == value


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=label)
def test_a_result_of_the_annotated_type_comes_back(annotation: Any, value: Any) -> None:
    coded = codec(one(annotation))

    arrived = coded.decode_result(coded.encode_result(value))

    assert type(arrived) is type(value) or annotation is float
    assert arrived == value or coded.encode((arrived,), {}) is not None


REFUSED = [
    (int, "1", "expected int, got str"),
    (int, True, "expected int, got bool"),
    (int, 1.5, "expected int, got float"),
    (int, None, "expected int, got null"),
    (str, 1, "expected str, got int"),
    (float, math.nan, "expected float, got null"),
    (float | None, math.inf, "inf would arrive|would arrive as the NoneType None"),
    (Any, math.nan, "would arrive as the NoneType None"),
    (Any, [1, {"a": math.nan}], "would arrive as"),
    (float, 10**16 + 1, "would arrive as the float"),
    (Any, (1, 2), "a tuple would arrive as the list"),
    (Any, {1, 2}, "a set would arrive as the list"),
    (Any, {1: "a"}, "would arrive as {'1': 'a'}"),
    (Any, b"x", "a bytes would arrive as the str"),
    (Any, datetime(2026, 1, 1, tzinfo=UTC), "a datetime would arrive as the str"),
    (Any, Path("x"), "Path would arrive as the str"),
    (Any, Address("x"), "Address would arrive as the dict"),
    (tuple[int, ...], [1], "a list would arrive as the tuple"),
    (datetime, "2026-01-01T00:00:00Z", "a str would arrive as the datetime"),
    (UUID, str(UUID(int=7)), "a str would arrive as the UUID"),
    (Decimal, Decimal("NaN"), "would arrive as"),
    (Decimal, Decimal("sNaN"), "would arrive as"),
    (Decimal, 0.1, "a float would arrive as the Decimal"),
    (Colour, "green", "'green'"),
    (Address, Office("x", floor=3), "a Office would arrive as the Address"),
    (Address, {"street": "x"}, "a dict would arrive as the Address"),
    (Model, SubModel(name="n", when=datetime(2026, 1, 1, tzinfo=UTC)), "SubModel would arrive"),
    (Movie, {"title": "M", "year": 1, "director": "L"}, "would arrive as"),
    (Movie, {"title": "M"}, "missing required field year"),
    (list[Address], [Address(street=1)], r"expected str, got int at \[0\].street"),  # type: ignore[arg-type]
    (Annotated[int, msgspec.Meta(ge=1)], 0, "expected int >= 1"),
    (Path, "x", "a str would arrive as the PosixPath"),
    (Path, 3, "expected Path, got int"),
    pytest.param(Any, object(), "object cannot be sent as JSON", id="object"),
    (Any, "\ud800", "lone surrogate"),
    (Path, Path("\udc80"), "lone surrogate"),
    (Any, 10**5000, "digits|range"),
    (int, 10**5000, "digits|range"),
    (Any, {None: 1}, "NoneType cannot be sent|keys"),
]


@pytest.mark.parametrize(("annotation", "value", "told"), REFUSED, ids=label)
def test_what_would_not_arrive_equal_is_refused_by_name(
    annotation: Any, value: Any, told: str
) -> None:
    with pytest.raises(InvalidArguments, match=told) as caught:
        codec(one(annotation)).encode((value,), {})

    assert str(caught.value).startswith("argument 'value' of app.task: ")


def test_a_value_without_end_or_bottom_is_refused_and_nothing_hangs() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    coded = codec(one(Any))

    for value in (cycle, deep, {"a": cycle}):
        with pytest.raises(InvalidArguments, match=r"argument 'value'.*nested too deeply"):
            coded.encode((value,), {})
    with pytest.raises(InvalidResult, match="nested too deeply"):
        coded.encode_result(cycle)


def many(a: int, b: str = "b", /, c: float = 1.0, *, d: bool, e: Path = Path("e")) -> None: ...


def rest(a: int, *more: Path, **others: Colour) -> None: ...


def with_context(job: Context, size: int) -> int:
    return size


async def later(size: int = 1) -> list[int]:
    return [size]


def bare(x, y=None):  # type: ignore[no-untyped-def]
    return x


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "arrived"),
    [
        (many, (1,), {"d": True}, ([1], {"d": True})),
        (many, (1, "x", 2.5), {"d": False, "e": Path("f")},
            ([1, "x", 2.5], {"d": False, "e": Path("f")})),
        (many, (1,), {"d": True, "c": 3.0}, ([1], {"d": True, "c": 3.0})),
        (rest, (1,), {}, ([1], {})),
        (rest, (1, Path("p"), Path("q")), {"x": Colour.RED},
            ([1, Path("p"), Path("q")], {"x": Colour.RED})),
        (rest, (), {"a": 1}, ([1], {})),
        (with_context, (3,), {}, ([3], {})),
        (with_context, (), {"size": 3}, ([3], {})),
        (later, (), {}, ([], {})),
        (later, (), {"size": 2}, ([2], {})),
        (bare, ("x",), {"y": [1]}, (["x", [1]], {})),
    ],
)  # fmt: skip
def test_calls_arrive_as_they_were_made(fn: Any, args: Any, kwargs: Any, arrived: Any) -> None:
    assert there_and_back(fn, *args, **kwargs) == arrived


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "told"),
    [
        (many, (1,), {}, "missing a required .*argument: 'd'"),
        (many, (), {"d": True}, "missing a required .*argument: 'a'"),
        (many, (1, "b", 1.0, 2), {"d": True}, "too many positional arguments"),
        (with_context, (1, 2), {}, "too many positional arguments"),
        (with_context, (), {"job": 1, "size": 1}, "unexpected keyword argument 'job'"),
        (later, (), {"sise": 1}, "unexpected keyword argument 'sise'"),
        (later, (1,), {"size": 1}, "multiple values for argument 'size'"),
        (rest, (1, "p"), {}, r"argument 'more\[0\]' of app.rest: a str would arrive"),
        (rest, (1,), {"x": "red"}, "argument 'x' of app.rest: a str would arrive"),
        (many, (1,), {"d": 1}, "argument 'd' of app.many: expected bool, got int"),
    ],
)
def test_a_call_that_does_not_fit_the_signature_is_refused(
    fn: Any, args: Any, kwargs: Any, told: str
) -> None:
    with pytest.raises(InvalidArguments, match=told):
        codec(fn).encode(args, kwargs)


@pytest.mark.parametrize(
    ("payload", "arrived"),
    [
        (b'[[3],{}]', ([3], {})),
        (b'[[],{"size":3}]', ([3], {})),
        (b' [ [ ] , { } ] ', ([], {})),
    ],
)  # fmt: skip
def test_the_worker_takes_any_form_the_signature_allows(payload: bytes, arrived: Any) -> None:
    assert codec(later).decode(Raw(payload)) == arrived


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "not \\[\\[arguments\\]"),
        (b"[[3]", "not \\[\\[arguments\\]"),
        (b"\x80\x04\x95pickle", "not \\[\\[arguments\\]"),
        (b"\xff\xfe[\x00", "not \\[\\[arguments\\]"),
        (b"null", "not \\[\\[arguments\\]"),
        (b"[[3]]", "not \\[\\[arguments\\]"),
        (b"[[3],{},1]", "not \\[\\[arguments\\]"),
        (b'[{"size":3},{}]', "not \\[\\[arguments\\]"),
        (b"[[3],{}] trailing", "not \\[\\[arguments\\]"),
        (b'[["\\ud800"],{}]', "argument 'size'|not \\[\\[arguments"),
        (b"[[1e400],{}]", "argument 'size'"),
        (b'[["3"],{}]', "argument 'size' of app.later: expected int, got str"),
        (b'[[3],{"x":1}]', "unexpected keyword argument 'x'"),
        (b"[[3,4],{}]", "too many positional"),
        (b"[[" + b"1" * 5_000 + b"],{}]", "argument 'size' of app.later"),
        (b"[[" + b"[" * 100_000 + b"]" * 100_000 + b"],{}]", "argument|nested|not"),
    ],
    ids=label,
)
def test_a_payload_that_is_none_is_refused_and_nothing_crashes(payload: bytes, told: str) -> None:
    with pytest.raises(InvalidArguments, match=told):
        codec(later).decode(Raw(payload))


def test_a_payload_may_fill_the_limit_and_not_exceed_it() -> None:
    coded = codec(one(str))
    largest = "x" * (MAX_PAYLOAD - len('[[""],{}]'))

    assert len(bytes(coded.encode((largest,), {}))) == MAX_PAYLOAD
    with pytest.raises(PayloadTooLarge) as caught:
        coded.encode((largest + "x",), {})
    assert (caught.value.task, caught.value.size) == ("app.task", MAX_PAYLOAD + 1)
    assert coded.encode_result("x" * (MAX_PAYLOAD - 2)) is not None
    with pytest.raises(InvalidResult, match="takes 262,145 bytes"):
        coded.encode_result("x" * (MAX_PAYLOAD - 1))


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        (str | datetime, "more than one str-like"),
        (Address | Movie, "more than one dict-like|more than one"),
        (str | Path, "custom type"),
        (complex, "complex does not travel as JSON"),
        (Iterable[int], "Iterable does not travel as JSON: use list"),
        (dict[str, Context], "Context does not travel as JSON"),
        ("Missing", "the annotation 'Missing' cannot be resolved"),
        (enum.Enum("Odd", {"A": (1, 2)}), "[Ee]nums must contain"),
    ],
)
def test_an_annotation_that_cannot_work_fails_where_the_task_is_declared(
    annotation: Any, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        codec(one(annotation))

    assert "argument 'value' of app.task" in str(caught.value)


def test_a_return_annotation_that_cannot_work_is_named_too() -> None:
    def task() -> complex: ...  # type: ignore[empty-body]

    with pytest.raises(ConfigError, match=r"the result of app\.task: complex does not travel"):
        codec(task)


def test_context_is_known_by_its_annotation_alone() -> None:
    assert codec(with_context).takes_context
    assert not codec(later).takes_context


def test_results_are_checked_when_annotated_and_as_they_are_when_not() -> None:
    assert codec(later).encode_result(None) is None
    assert codec(later).decode_result(None) is None
    with pytest.raises(InvalidResult, match=r"the result of app\.later: expected array, got int"):
        codec(later).encode_result(3)
    assert bytes(codec(bare).encode_result((1, 2)) or b"") == b"[1,2]"
    with pytest.raises(InvalidResult, match="cannot be sent as JSON"):
        codec(bare).encode_result(object())
    with pytest.raises(InvalidResult, match="expected array, got str"):
        codec(later).decode_result(Raw(b'"x"'))


def untyped(name: str) -> TaskCodec:
    def anything(*args: Any, **kwargs: Any) -> Any: ...

    return TaskCodec(anything, name)


def test_a_task_whose_code_is_elsewhere_takes_what_json_can_carry() -> None:
    coded = untyped("other.task")

    assert bytes(coded.encode((1,), {"a": [None]})) == b'[[1],{"a":[null]}]'
    with pytest.raises(InvalidArguments, match=r"argument 'a' of other\.task"):
        coded.encode((), {"a": datetime(2026, 1, 1, tzinfo=UTC)})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(args=st.lists(JSON_VALUES, max_size=4), kwargs=st.dictionaries(st.text("abc"), JSON_VALUES))
def test_whatever_json_can_carry_arrives_equal(args: list[Any], kwargs: dict[str, Any]) -> None:
    coded = untyped("t")

    assert coded.decode(coded.encode(tuple(args), kwargs)) == (args, kwargs)


ZONES = [timezone(timedelta(hours=h, minutes=m)) for h in (-11, 0, 5, 14) for m in (0, 30)]


def typed(
    number: int,
    price: Decimal,
    at: datetime,
    wait: timedelta,
    data: bytes,
    path: PurePosixPath,
    pair: tuple[int, Colour],
    flags: frozenset[Level],
    *,
    maybe: UUID | None = None,
) -> None: ...


@given(
    number=st.integers(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    at=st.datetimes(timezones=st.just(UTC) | st.none() | st.sampled_from(ZONES)),
    wait=st.timedeltas(),
    data=st.binary(max_size=50),
    path=st.text("ab/.", min_size=1).map(PurePosixPath),
    pair=st.tuples(st.integers(), st.sampled_from(Colour)),
    flags=st.frozensets(st.sampled_from(Level)),
    maybe=st.none() | st.uuids(),
)
def test_typed_arguments_arrive_equal(**sent: Any) -> None:
    [*args], named = there_and_back(typed, **sent)

    arrived = dict(zip(sent, args, strict=False)) | named
    at, sent_at = arrived.pop("at"), sent.pop("at")
    assert arrived == sent
    assert at.replace(tzinfo=None) == sent_at.replace(tzinfo=None)
    assert at.utcoffset() == sent_at.utcoffset()


def test_a_zone_with_seconds_in_its_offset_is_refused_for_it_would_shift() -> None:
    local_mean_time = datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))

    with pytest.raises(InvalidArguments, match="argument 'value'"):
        codec(one(datetime)).encode((local_mean_time,), {})
