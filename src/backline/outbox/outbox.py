"""A database of the caller's that takes jobs and completions in its own transactions."""

import os
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import unquote, urlsplit

from backline.clock import Clock
from backline.errors import ConfigError
from backline.job import JobId, Micros
from backline.outbox.turn import Turn

if TYPE_CHECKING:
    from backline.outbox.database import Database, Waiting


class Rows(Protocol):
    """What a relay asks of an outbox that is open; belongs to one thread at a time.

    Raises StoreUnavailable for what may pass, StoreRefused for what will not.
    """

    def waiting(self, limit: int, *, but_for: Collection[str] = ()) -> "list[Waiting]":
        """The oldest rows to be moved, in the order of their commits, without some queues'."""
        ...

    def settle(self, moved: Sequence[int], failed: Sequence[tuple[int, str]], now: Micros) -> None:
        """Delete rows that were moved, and set those aside that cannot be; one commit."""
        ...

    def completed_before(self, when: Micros, limit: int) -> list[JobId]:
        """Jobs that completed no later than `when`, the oldest first."""
        ...

    def forget(self, ids: Collection[JobId]) -> None:
        """Delete these jobs from the inbox."""
        ...

    def stepped(self, after: JobId, limit: int) -> list[tuple[JobId, Micros]]:
        """Jobs that did steps, in the order of their ids, and when each did its last."""
        ...

    def forget_steps(self, ids: Collection[JobId]) -> None:
        """Delete the steps of these jobs."""
        ...

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        ...


class Relayed(Protocol):
    """What can be relayed: an outbox, or the one that an isolated app has in its place."""

    @property
    def path(self) -> Path:
        """Where it is, for people."""
        ...

    def open(self) -> Rows:
        """Its rows; connects when they are first asked for."""
        ...

    def turn(self, clock: Clock) -> Turn:
        """A share in the turns of its relays."""
        ...

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every `ring` from now on, in any thread; returns what ends it."""
        ...

    def ring(self) -> None:
        """Something was written here that may be committed soon; from any thread."""
        ...


class Bell:
    """Tells relays of this process that there may soon be something to do."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def ring(self) -> None:
        """Something was written here that may be committed soon; from any thread."""
        for listener in tuple(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` at every `ring` from now on, in any thread; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class Outbox(Bell):
    """One database, as `app.outbox(url)` declares it.

    Its tables are made by `migrate`, or by `backline migrate --outbox URL`. The path in a
    relative URL is resolved now. Raises ConfigError for a URL that names no SQLite file.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.path: Final = sqlite_path(url)
        """The database file, absolute and without symbolic links."""
        self.url: Final = f"sqlite:///{self.path}"

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

    def turn(self, clock: Clock) -> Turn:
        """A share in the turns of its relays, in all processes of this host."""
        return Turn(str(self.path), clock)

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
