"""The stores, and how a URL names one."""

from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from backline.clock import SYSTEM_CLOCK, Clock
from backline.display import shown, without_secrets
from backline.errors import ConfigError
from backline.store import Store
from backline.stores.memory import MemoryStore

_KNOWN: Final = (
    "memory://",
    "sqlite:///relative.db",
    "sqlite:////absolute.db",
    "sqlite:///relative.db?durability=normal",
)
_IN_MEMORY: Final = {":memory:", "file::memory:"}
"""What SQLite itself would take for no file: no other process could see such a store."""


def open_store(url: str, *, clock: Clock = SYSTEM_CLOCK) -> Store:
    """The store that `url` names; `await store.open()` connects it.

    Every `memory://` is a store of its own. Raises ConfigError for a URL that names none.
    """
    found = _read(url)
    if found is None:
        return MemoryStore(clock=clock)
    # Imported here so that a program on another store never loads SQLite.
    module = import_module("backline.stores.sqlite")
    return cast("Store", module.SqliteStore(found.path, clock=clock, durability=found.durability))


def check_url(url: str) -> None:
    """Raises ConfigError for a URL that names no store; opens nothing."""
    _read(url)


class _File(NamedTuple):
    path: Path
    durability: str


def _read(url: str) -> _File | None:
    """The file that a URL names; None: a store in memory."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{shown(without_secrets(url))} is no URL: {error}") from None
    if parts.scheme == "memory" and url.rstrip("/") == "memory:":
        return None
    if parts.scheme == "sqlite":
        return _file(url, parts)
    raise ConfigError(
        f"no store answers to {shown(without_secrets(url))}; a store is one of {', '.join(_KNOWN)}"
    )


def _file(url: str, parts: SplitResult) -> _File:
    path = unquote(parts.path.removeprefix("/"))
    if parts.netloc:
        raise ConfigError(
            f"{url!r} has two slashes where a file has three (relative) or four "
            f"(absolute): sqlite:///{parts.netloc}{parts.path}"
        )
    if not (url + path).isprintable():
        raise ConfigError(f"{shown(url)}: the name of a file is of printable characters")
    if not path:
        raise ConfigError(f"{url!r} names no file; write sqlite:///backline.db")
    if path in _IN_MEMORY:
        raise ConfigError(f"{url!r} names no file; for a store in memory write memory://")
    options = parse_qs(parts.query, keep_blank_values=True)
    durability = options.pop("durability", ["full"])[-1]
    if options or durability not in {"full", "normal"}:
        raise ConfigError(f"{url!r}: the only option is durability=full or durability=normal")
    return _File(Path(path), durability)
