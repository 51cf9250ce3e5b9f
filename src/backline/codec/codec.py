"""A task's arguments and result, as typed Python values and as JSON.

Arguments are checked where they are given away: at enqueue, by encoding them and decoding
them again with the very decoder the worker will use. What does not arrive equal is refused
there, with the name of the argument.

The payload is `[[positional arguments], {keyword arguments}]`. The encoder passes what it
can by position; the decoder takes any form that the signature allows, so that a producer in
another language, or one that runs an older version of the task, need not know ours.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Final, NoReturn, get_type_hints

import msgspec
from msgspec import UNSET, Raw, json
from msgspec.structs import astuple

from backline.codec.links import Result, filled
from backline.codec.result import ResultCodec, changed, complaint
from backline.codec.wire import ENCODER, decoder, plain, same
from backline.errors import ConfigError, InvalidArguments, PayloadTooLarge
from backline.job import MAX_PAYLOAD, JobId

_SKIP: Final = json.Decoder(Raw)
_SPLIT: Final = json.Decoder(tuple[list[Raw], dict[str, Raw]])
_Kind = inspect.Parameter
_BY_POSITION: Final = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No keyword arguments."""


class TaskCodec:
    """The codec of one task: its decoders are compiled once, when it is declared.

    `context` is the class of a first parameter that is handed over by the worker and does
    not travel. Raises ConfigError, naming task and argument, for an annotation that cannot be
    resolved, cannot travel as JSON, or is a union whose members look alike there.
    """

    def __init__(
        self, fn: Callable[..., object], name: str, *, context: type | None = None
    ) -> None:
        self.name = name
        hints = hints_of(fn, name)
        parameters = list(inspect.signature(fn).parameters.values())
        self.takes_context = bool(
            context and parameters and hints.get(parameters[0].name) is context
        )
        if self.takes_context:
            del parameters[0]
        self.signature = inspect.Signature(parameters)
        """What a job of the task takes."""
        self.first_type: Any = hints.get(parameters[0].name, Any) if parameters else Any
        """The annotation of the first argument; Any without one."""
        self._decoders = {p.name: self._compile(p.name, hints) for p in parameters}
        self._positions = [p.name for p in parameters if p.kind in _BY_POSITION]
        self._rest = _name_of(parameters, _Kind.VAR_POSITIONAL)
        self._others = _name_of(parameters, _Kind.VAR_KEYWORD)
        kind = hints.get("return", Any)
        self._result = ResultCodec(kind, f"the result of {name}", self._compile("return", hints))
        self._plan(parameters, hints)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Raw:
        """The payload for a call of the task with these arguments.

        Raises InvalidArguments if they do not fit the signature or would not arrive equal
        (NaN, a subclass with more fields, a tuple for an argument without annotation, ...),
        PayloadTooLarge if they take more than `MAX_PAYLOAD` bytes.
        """
        if kwargs or not self._fewest <= len(args) <= self._most:
            args, kwargs = self._bind(args, kwargs)
        try:
            payload = ENCODER.encode((args, kwargs))
            if len(payload) > MAX_PAYLOAD:
                raise PayloadTooLarge(self.name, size=len(payload), limit=MAX_PAYLOAD)
            arrived, named = self._read(payload)
            if tuple(arrived) == args and named == kwargs:
                return Raw(payload)
        except (ValueError, TypeError, RecursionError, ArithmeticError, msgspec.MsgspecError):
            pass  # told below, with the name of the argument
        return self._encode_slowly(args, kwargs)

    def decode(
        self, payload: Raw | bytes, results: Mapping[JobId, Raw] | None = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a payload, positional and keyword, typed as annotated; `results` take
        the places that it keeps for them.

        Raises InvalidArguments if it is no payload or does not fit the signature.
        """
        if results:
            payload = filled(payload, results)
        try:
            return self._read(payload)
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            return self._decode_slowly(payload)

    def encode_result(self, value: object) -> Raw | None:
        """A return value as JSON; None for None. Raises InvalidResult (see `ResultCodec`)."""
        return None if value is None else self._result.encode(value)

    def decode_result(self, result: Raw | bytes | None) -> Any:
        """The return value that was recorded, typed by the return annotation.

        Raises InvalidResult if it does not fit: the annotation changed since the job ran.
        """
        return self._result.decode(result)

    def _plan(self, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> None:
        """Compile the decoder for payloads in our own form: all positions in order."""
        required = [p for p in parameters if p.default is p.empty]
        self._most = len(self._positions) if self._rest is None else MAX_PAYLOAD
        self._fewest = sum(p.kind in _BY_POSITION for p in required)
        self._optional = self._fewest < len(self._positions)
        if any(p.kind is _Kind.KEYWORD_ONLY for p in required):
            self._fewest = self._most + 1  # no call by position alone is complete
        self._keywords = tuple(p.name for p in parameters if p.kind is _Kind.KEYWORD_ONLY)
        self._fast: json.Decoder[Any] | None = None
        if self._rest is not None or self._others is not None:
            return  # Structs have no place for arguments without a name
        positional = msgspec.defstruct(
            "Positional",
            [_field(f"a{n}", p, hints) for n, p in enumerate(self._of(parameters, _BY_POSITION))],
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        only = self._of(parameters, (_Kind.KEYWORD_ONLY,))
        keywords = msgspec.defstruct(
            "Keywords",
            [_field(f"k{n}", p, hints) for n, p in enumerate(only)],
            rename={f"k{n}": p.name for n, p in enumerate(only)},
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        form: Any = tuple[positional, keywords if only else _Nothing]  # type: ignore[misc, valid-type]
        self._fast = decoder(form)

    @staticmethod
    def _of(parameters: list[inspect.Parameter], kinds: tuple[Any, ...]) -> list[inspect.Parameter]:
        return [p for p in parameters if p.kind in kinds]

    def _compile(self, argument: str, hints: Mapping[str, Any]) -> json.Decoder[Any]:
        try:
            return decoder(hints.get(argument, Any))
        except Exception as error:
            raise ConfigError(f"{_of_task(argument, self.name)}: {complaint(error)}") from error

    def takes(self, count: int) -> bool:
        """Whether the task can be called with so many arguments by position, and no others."""
        try:
            self.signature.bind(*[None] * count)
        except TypeError:
            return False
        return True

    def strangers(self, keywords: Iterable[str]) -> list[str]:
        """Those of the keywords that the signature has no parameter for."""
        if self._others is not None:
            return []
        return [name for name in keywords if name not in self.signature.parameters]

    def _read(self, payload: Raw | bytes) -> tuple[list[Any], dict[str, Any]]:
        """Decode a payload in our own form; raises whatever the decoder raises for another."""
        if self._fast is None:
            return self._decode_slowly(payload)
        positional, keywords = self._fast.decode(payload)
        args = list(astuple(positional))
        if self._optional:
            while args and args[-1] is UNSET:
                args.pop()
        if not self._keywords:
            return args, {}
        given = zip(self._keywords, astuple(keywords), strict=True)
        return args, {name: value for name, value in given if value is not UNSET}

    def _decode_slowly(self, payload: Raw | bytes) -> tuple[list[Any], dict[str, Any]]:
        """Decode a payload of any form, argument by argument, to know whose fault an error is."""
        try:
            raw_args, raw_kwargs = _SPLIT.decode(payload)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidArguments(
                f"the payload of {self.name} is not [[arguments], {{keywords}}]: {plain(error)}"
            ) from error
        args, kwargs = self._bind(tuple(raw_args), raw_kwargs)
        return (
            [self._decode_one(*self._at(n), raw) for n, raw in enumerate(args)],
            {name: self._decode_one(name, self._named(name), raw) for name, raw in kwargs.items()},
        )

    def _encode_slowly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Raw:
        """Check argument by argument, to know whose fault an error is."""
        for n, value in enumerate(args):
            self._check(*self._at(n), value)
        for name, value in kwargs.items():
            self._check(name, self._named(name), value)
        return Raw(ENCODER.encode((args, kwargs)))

    def _check(self, argument: str, decode: json.Decoder[Any], value: object) -> None:
        if isinstance(value, Result):
            return  # checked by the worker, when it is there
        try:
            arrived = decode.decode(ENCODER.encode(value))
            fits = same(value, arrived)
        except Exception as error:
            raise InvalidArguments(
                f"{_of_task(argument, self.name)}: {complaint(error)}"
            ) from error
        if not fits:
            raise InvalidArguments(f"{_of_task(argument, self.name)}: {changed(value, arrived)}")

    def _decode_one(self, argument: str, decode: json.Decoder[Any], raw: Raw) -> Any:
        try:
            return decode.decode(raw)
        except Exception as error:
            raise InvalidArguments(
                f"{_of_task(argument, self.name)}: {complaint(error)}"
            ) from error

    def _bind(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call in our own form: by position as far as there is no gap, the rest by name."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(f"{self.name}: {error}") from None
        return bound.args, bound.kwargs

    def _at(self, position: int) -> tuple[str, json.Decoder[Any]]:
        if position < len(self._positions):
            name = self._positions[position]
            return name, self._decoders[name]
        assert self._rest is not None, "bind refuses more arguments than there are places"
        return f"{self._rest}[{position - len(self._positions)}]", self._decoders[self._rest]

    def _named(self, name: str) -> json.Decoder[Any]:
        own = self._decoders.get(name) if name not in (self._rest, self._others) else None
        if own is not None:
            return own
        assert self._others is not None, "bind refuses names that there is no parameter for"
        return self._decoders[self._others]


def encode_alone(value: object, where: str) -> Raw:
    """A value of any type as JSON; `where` names it, for errors.

    Raises InvalidArguments for what JSON cannot carry, PayloadTooLarge.
    """
    try:
        encoded = ENCODER.encode(value)
        _SKIP.decode(encoded)  # a Raw in it, or a model's own text, might be no JSON
    except Exception as error:
        raise InvalidArguments(f"the payload of {where}: {complaint(error)}") from error
    if len(encoded) > MAX_PAYLOAD:
        raise PayloadTooLarge(where, size=len(encoded), limit=MAX_PAYLOAD)
    return Raw(encoded)


def hints_of(fn: Callable[..., object], name: str) -> dict[str, Any]:
    """The resolved annotations. Raises ConfigError, naming the one that cannot be resolved."""
    try:
        return get_type_hints(fn, include_extras=True)
    except Exception as error:
        scope = getattr(inspect.unwrap(fn), "__globals__", {})
        for argument, annotation in getattr(fn, "__annotations__", {}).items():
            try:
                alone = SimpleNamespace(__annotations__={argument: annotation})
                get_type_hints(alone, globalns=scope)
            except Exception as cause:
                raise ConfigError(
                    f"{_of_task(argument, name)}: the annotation {annotation!r} cannot be "
                    f"resolved ({cause}); workers read annotations, so import what they name at "
                    "run time, before the task is declared"
                ) from cause
        raise ConfigError(f"the annotations of {name} cannot be resolved: {error}") from error


def _field(alias: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> tuple[Any, ...]:
    """The field of a generated Struct that takes the place of a parameter."""
    kind = hints.get(parameter.name, Any)
    kind = Any if kind in (object, NoReturn) else kind
    return (alias, kind) if parameter.default is parameter.empty else (alias, kind, UNSET)


def _name_of(parameters: list[inspect.Parameter], kind: object) -> str | None:
    return next((p.name for p in parameters if p.kind is kind), None)


def _of_task(argument: str, name: str) -> str:
    return f"the result of {name}" if argument == "return" else f"argument {argument!r} of {name}"
