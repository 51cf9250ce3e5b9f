"""Names of events, and patterns of them.

Those of AMQP's topic exchanges (AMQP 0-9-1, 3.1.3.3; RabbitMQ's `*` and `#`): words with dots
between them, `*` for exactly one word, `#` for any number of words, none included. So
`user.*` matches `user.registered` but not `user.address.changed`, and `user.#` matches both,
and `user` too.
"""

from typing import Final

from backline.display import shown
from backline.errors import ConfigError

MAX_NAME: Final = 200
"""Characters of a name or of a pattern."""
ONE: Final = "*"
ANY: Final = "#"
_WILD: Final = frozenset({ONE, ANY})


def check_name(name: object) -> str:
    """The name of an event, as a plain str. Raises ConfigError for what is none."""
    text = _words(name, "the name of an event is", "user.registered")
    if not is_exact(text):
        raise ConfigError(
            f"{shown(name)} is a pattern, and an event has a name: patterns are for @app.on"
        )
    return text


def check_pattern(pattern: object) -> str:
    """A pattern, or a name, as a plain str. Raises ConfigError for what is neither."""
    text = _words(pattern, "a pattern of events is", "user.registered, user.* or user.#")
    for word in text.split("."):
        if word not in _WILD and not _WILD.isdisjoint(word):
            raise ConfigError(
                f"{shown(pattern)} has {word!r}: a * or a # stands for whole words, as in user.*"
            )
    return text


def is_exact(pattern: str) -> bool:
    """Whether a pattern is a name, and matches it alone."""
    return _WILD.isdisjoint(pattern)


def matches(pattern: str, name: str) -> bool:
    """Whether an event of this name is one of the pattern's.

    Costs at most the product of their words.
    """
    if is_exact(pattern):
        return pattern == name
    words = name.split(".")
    reached = {0}  # how many words of the name the pattern so far may have taken
    for part in pattern.split("."):
        if part == ANY:
            reached = set(range(min(reached), len(words) + 1))
        else:
            reached = {n + 1 for n in reached if n < len(words) and part in (ONE, words[n])}
        if not reached:
            return False
    return len(words) in reached


def _words(value: object, what: str, example: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{what} text such as {example}, not {shown(value)}")
    text = str.__str__(value)
    fine = text.isprintable() and not any(char.isspace() for char in text)
    if not fine or len(text) > MAX_NAME or not all(text.split(".")):
        raise ConfigError(
            f"{what} words with dots between them, such as {example}, without spaces and of at "
            f"most {MAX_NAME} characters, not {shown(value)}"
        )
    return text
