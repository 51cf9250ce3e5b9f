"""Whether one function can be called as another one is: a key function as its task."""

import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from typing import Final

from backline.display import safe

_BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_LONGEST: Final = 200


class _LeftOut:
    """In the place of a default, of which nobody knows how it looks."""

    def __repr__(self) -> str:
        return "..."


def signature_of(function: Callable[..., object]) -> Signature | None:
    """None: a callable of C, such as `str`, that does not tell what it takes."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def in_words(signature: Signature) -> str:
    """The names that it takes, and which of them may be left out."""
    plain = [
        each.replace(
            annotation=each.empty,
            default=each.default if each.default is each.empty else _LeftOut(),
        )
        for each in signature.parameters.values()
    ]
    return safe(str(Signature(plain)), most=_LONGEST)


def fits(wants: Signature, takes: Signature) -> bool:
    """Whether there is a call of what `takes` that one that `wants` can be called with, too."""
    for count, names in _calls(wants, takes):
        try:
            wants.bind(*[None] * count, **dict.fromkeys(names))
        except TypeError:
            continue
        return True
    return False


def _calls(wants: Signature, takes: Signature) -> Iterator[tuple[int, set[str]]]:
    """The calls that may fit: with each number of arguments by position, those by name that
    `takes` requires or `wants` has."""
    kinds = {each.kind for each in takes.parameters.values()}
    places, others = _by_position(takes), _by_position(wants)
    most = len(places)
    if Parameter.VAR_POSITIONAL in kinds:
        most = max(most, len(others))
    for count in range(most + 1):
        wanted = _by_name(wants, others[:count])
        named = _by_name(takes, places[:count])
        if any(each.default is each.empty and each.name not in named for each in places[count:]):
            continue  # one by position alone is missing
        names = {
            name for name, each in named.items() if each.default is each.empty or name in wanted
        }
        if Parameter.VAR_KEYWORD in kinds:
            names |= wanted.keys() - _by_name(takes, []).keys()
        yield count, names


def _by_position(signature: Signature) -> list[Parameter]:
    return [each for each in signature.parameters.values() if each.kind in _BY_POSITION]


def _by_name(signature: Signature, given: list[Parameter]) -> dict[str, Parameter]:
    """What can be given by name beside those that were by position."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {
        name: each
        for name, each in signature.parameters.items()
        if each.kind in kinds and each not in given
    }
