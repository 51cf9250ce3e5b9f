"""What a task or one of its steps returned, as a typed Python value and as JSON."""

from collections.abc import Callable
from functools import partial
from inspect import unwrap
from typing import Any, Final, NoReturn, TypeVar, get_type_hints

from msgspec import Raw, json

from backline.codec.wire import ENCODER, decoder, plain, same
from backline.display import shown
from backline.errors import InvalidResult
from backline.job import MAX_PAYLOAD

_SKIP: Final = json.Decoder(Raw)


class ResultCodec:
    """Values annotated `kind`; `of` names in errors what returned them.

    `decode` is for `kind`. Without it the decoder is compiled here, which raises TypeError for
    what cannot travel as JSON.
    """

    __slots__ = ("_decoder", "_of", "_typed")

    def __init__(self, kind: Any, of: str, decode: json.Decoder[Any] | None = None) -> None:
        self._of = of
        self._typed = kind not in (Any, object, NoReturn)
        self._decoder = decode or decoder(kind)

    def encode(self, value: object) -> Raw | None:
        """The value as JSON; None for None.

        Raises InvalidResult if it does not fit the annotation, would not arrive equal, or takes
        more than `MAX_PAYLOAD` bytes. Without annotation: if JSON cannot carry it.
        """
        if value is None:
            return None
        try:
            encoded = ENCODER.encode(value)
            arrived = self._decoder.decode(encoded) if self._typed else value
            _SKIP.decode(encoded)  # a Raw in it, or a model's own text, might be no JSON
        except Exception as error:
            raise InvalidResult(f"{self._of}: {complaint(error)}") from error
        if len(encoded) > MAX_PAYLOAD:
            raise InvalidResult(
                f"{self._of} takes {len(encoded):,} bytes; a job keeps at most "
                f"{MAX_PAYLOAD:,}. Store it elsewhere and return a key"
            )
        if not (arrived is value or same(value, arrived)):
            raise InvalidResult(f"{self._of}: {changed(value, arrived)}")
        return Raw(encoded)

    def decode(self, value: Raw | bytes | None) -> Any:
        """The value that was recorded. Raises InvalidResult if it does not fit any more."""
        if value is None:
            return None
        try:
            return self._decoder.decode(value)
        except Exception as error:
            raise InvalidResult(f"{self._of}: {complaint(error)}") from error


def result_of(fn: Callable[..., object], of: str) -> ResultCodec:
    """The codec of what a function returns, by its annotation; none, or one that cannot be
    resolved or is a type variable: as JSON has it. Raises InvalidResult for one that cannot
    travel as JSON.
    """
    while isinstance(fn, partial):
        fn = fn.func
    try:
        kind = get_type_hints(unwrap(fn), include_extras=True).get("return", Any)
    except Exception:  # noqa: BLE001 - of a builtin, a callable object, a name of a local scope
        kind = Any
    try:
        return ResultCodec(Any if isinstance(kind, TypeVar) else kind, of)
    except Exception as error:
        raise InvalidResult(f"{of}: {complaint(error)}") from error


def changed(sent: object, arrived: object) -> str:
    """Say what became of a value on its way."""
    expected, given = type(arrived).__qualname__, type(sent).__qualname__
    if expected != given:
        return (
            f"a {given} would arrive as the {expected} {shown(arrived)}; annotate the type that "
            "is meant, or pass what is annotated"
        )
    return f"{shown(sent)} would arrive as {shown(arrived)}"


def complaint(error: Exception) -> str:
    """What is wrong with a value, in a person's words."""
    match error:
        case RecursionError():
            return "nested too deeply, or contains itself"
        case UnicodeEncodeError():
            return "the text contains a lone surrogate, which is no Unicode"
        case ValueError() if "integer string conversion" in str(error):
            return "an int of so many digits cannot be sent; pass it as text"
        case _:
            return plain(error)
