"""Which Python values travel as JSON, and whether one arrives as it was sent.

JSON by msgspec: what it knows itself (dataclasses, Structs, times, UUID, Decimal, bytes,
enums, tuples, sets, TypedDict, NamedTuple, unions it can tell apart), paths, and pydantic
models, which are known by their methods, so pydantic need not be installed.
"""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, NoReturn, Protocol, cast

import msgspec
from msgspec import Raw, inspect, json

from backline.codec.links import Result


class _Model(Protocol):
    """What a pydantic model offers."""

    def model_dump_json(self, *, by_alias: bool, round_trip: bool) -> str: ...
    @classmethod
    def model_validate_json(cls, data: bytes) -> Any: ...


def _is_model(kind: type) -> bool:
    return hasattr(kind, "model_dump_json") and hasattr(kind, "model_validate_json")


def _encode_other(value: object) -> object:
    """What msgspec sends in place of a value that it does not know."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Result):
        return {"$result": value.job_id}
    if _is_model(type(value)):
        text = cast("_Model", value).model_dump_json(by_alias=True, round_trip=True)
        return Raw(text.encode())
    raise TypeError(f"{type(value).__qualname__} cannot be sent as JSON")


def _decode_other(kind: type, value: object) -> object:
    """The instance of `kind`, a type that msgspec does not know, that `value` stands for."""
    if issubclass(kind, PurePath):
        if not isinstance(value, str):
            raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
        return kind(value)
    return cast("_Model", kind).model_validate_json(json.encode(value))


ENCODER: Final = json.Encoder(enc_hook=_encode_other)


def decoder(kind: Any) -> json.Decoder[Any]:
    """A decoder for values annotated `kind`.

    Raises TypeError, or whatever resolving the annotation's own fields raises, for what
    cannot travel as JSON or cannot be told apart there.
    """
    if kind in (object, NoReturn):
        kind = Any
    for foreign in _foreign(inspect.type_info(kind)):
        if not (issubclass(foreign, PurePath) or _is_model(foreign)):
            hint = _INSTEAD.get(foreign.__name__, "annotate a type that can, or pass its key")
            raise TypeError(f"{foreign.__qualname__} does not travel as JSON: {hint}")
    return json.Decoder(kind, dec_hook=_decode_other)


_INSTEAD: Final = {
    "Iterable": "use list[...]",
    "Iterator": "use list[...]",
    "Generator": "use list[...]",
    "PathLike": "use pathlib.Path",
    "complex": "use two floats",
    "range": "use its start, stop and step",
}


def _foreign(root: inspect.Type) -> Iterator[type]:
    """The classes within a type that msgspec does not know itself."""
    seen: set[int] = set()
    rest: list[object] = [root]
    while rest:
        node = rest.pop()
        if isinstance(node, tuple):
            rest.extend(node)
        elif isinstance(node, inspect.Type | inspect.Field) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, inspect.CustomType):
                yield node.cls
            rest.extend(getattr(node, field) for field in node.__struct_fields__)


def same(sent: object, arrived: object) -> bool:
    """Whether a value came through JSON as it was: equal, or made of parts that are.

    Beyond `==`: instances of classes without `__eq__` are compared field by field, and aware
    times by the instant they mean (`==` calls two zones unequal within a repeated hour).
    """
    try:
        if bool(sent == arrived):
            return True
    except ArithmeticError:  # a signalling NaN
        return False
    if isinstance(sent, datetime) and isinstance(arrived, datetime):
        return _same_instant(sent, arrived)
    if type(sent) is not type(arrived):
        return False
    if isinstance(sent, dict) and isinstance(arrived, dict):
        return sent.keys() == arrived.keys() and all(same(sent[k], arrived[k]) for k in sent)
    if isinstance(sent, list | tuple) and isinstance(arrived, list | tuple):
        return len(sent) == len(arrived) and all(map(same, sent, arrived))
    names = _fields(sent)
    return bool(names) and all(same(getattr(sent, n), getattr(arrived, n)) for n in names)


def _same_instant(sent: datetime, arrived: datetime) -> bool:
    if sent.tzinfo is None or arrived.tzinfo is None:
        return False
    return sent.astimezone(UTC) == arrived.astimezone(UTC)


def _fields(value: object) -> tuple[str, ...]:
    """The names of the fields of a Struct or a dataclass that has no `__eq__` of its own."""
    if type(value).__eq__ is not object.__eq__:
        without = isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value)
        if not without:
            return ()
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return ()


def plain(error: BaseException) -> str:
    """A decoder's complaint as a person would say it: "expected int, got str at .size"."""
    text = str(error).replace("`", "")
    said, _, path = text.partition(" - at ")
    where = path.removeprefix("$")
    if said.startswith(("Expected", "Invalid", "Object", "Input")):
        said = said[0].lower() + said[1:]
    said = said or type(error).__name__
    return f"{said} at {where}" if where else said
