"""A database of the caller's that takes jobs and completions in its own transactions."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import unquote, urlsplit

from backline.errors import ConfigError

if TYPE_CHECKING:
    from backline.outbox.database import Database


class Outbox:
    """One database, as `app.outbox(url)` declares it.

    Its tables are made by `migrate`, or by `backline migrate --outbox URL`. The path in a
    relative URL is resolved now. Raises ConfigError for a URL that names no SQLite file.
    """

    def __init__(self, url: str) -> None:
        self.path: Final = sqlite_path(url)
        """The database file, absolute and without symbolic links."""
        self.url: Final = f"sqlite:///{self.path}"
        self._listeners: list[Callable[[], None]] = []

    def migrate(self) -> int:
        """Make the tables, or bring them to this version, and return its number.

        Repeated: nothing. Safe from many processes at once. Makes the database if need be.
        """
        database = self.open()
        try:
            return database.migrate()
        finally:
            database.close()

    def open(self, *, patience_s: float = 5.0) -> "Database":
        """A connection of our own; it connects when it is first used."""
        # Python's sqlite3 is loaded only where an outbox is read, not by `import backline`.
        module = import_module("backline.outbox.database")
        return cast("Database", module.Database(self.path, patience_s=patience_s))

    def holds(self, file: str) -> bool:
        """Whether `file`, as SQLite names it, is this database."""
        if not file:
            return False
        try:
            return os.path.realpath(file) == str(self.path) or self.path.samefile(file)
        except OSError:
            return False

    def ring(self) -> None:
        """Something was written here that may be committed soon; from any thread."""
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every `ring` from now on, in any thread; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def __repr__(self) -> str:
        return f"<Outbox {self.url}>"


def sqlite_path(url: str) -> Path:
    """The file that an outbox URL names. Raises ConfigError."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme.partition("+")[0] != "sqlite":
        raise ConfigError(
            f"{url!r} names no SQLite database; an outbox is sqlite:///relative.db or "
            "sqlite:////absolute.db"
        )
    if parts.netloc or not path or path == ":memory:":
        raise ConfigError(
            f"{url!r} names no file: a relay in another process has to see the outbox; "
            "write sqlite:///business.db"
        )
    return Path(os.path.realpath(path))
