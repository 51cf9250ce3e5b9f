"""The caller's own connection, whatever it is: statements go through it, in its transaction.

Told apart by what they can do, so neither SQLAlchemy nor Python's sqlite3 is imported here.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from backline.errors import ConfigError
from backline.outbox import tables

Row: TypeAlias = Sequence[Any]


class Caller(Protocol):
    """A connection to a SQLite database, and the transaction it is in."""

    def read(self, sql: str, *parameters: object) -> list[Row]:
        """The rows that `sql` answers."""
        ...

    def change(self, sql: str, *parameters: object) -> int:
        """How many rows `sql` changed."""
        ...

    def change_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run `sql` once for each of the rows of parameters."""
        ...

    def driver(self) -> Any:
        """The driver's connection, to look at and not to use."""
        ...


class ThroughSqlite:
    """A connection of Python's sqlite3."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def read(self, sql: str, *parameters: object) -> list[Row]:
        cursor = self._cursor()
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
        return rows

    def change(self, sql: str, *parameters: object) -> int:
        return int(self._cursor().execute(sql, parameters).rowcount)

    def change_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._cursor().executemany(sql, rows)

    def driver(self) -> Any:
        return self._connection

    def _cursor(self) -> Any:
        cursor = self._connection.cursor()
        cursor.row_factory = None  # the caller's may make anything of a row
        return cursor


class ThroughSqlalchemy:
    """A connection of SQLAlchemy: its statements make it begin, and belong to its transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def read(self, sql: str, *parameters: object) -> list[Row]:
        rows: list[Row] = self._connection.exec_driver_sql(sql, parameters).fetchall()
        return rows

    def change(self, sql: str, *parameters: object) -> int:
        return int(self._connection.exec_driver_sql(sql, parameters).rowcount)

    def change_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.exec_driver_sql(sql, list(rows))

    def driver(self) -> Any:
        return self._connection.connection.driver_connection


def is_async(within: object) -> bool:
    """Whether `within` is one of SQLAlchemy's async connections or sessions."""
    return callable(getattr(within, "run_sync", None))


def caller_of(within: Any) -> Caller:
    """The way to the database that `within` is connected to. Raises ConfigError."""
    if is_async(within):
        raise ConfigError(
            f"within= is an {type(within).__name__}, which can only be awaited: use the async "
            "twin, such as aenqueue, aenqueue_many or acomplete"
        )
    if callable(getattr(within, "exec_driver_sql", None)):
        return ThroughSqlalchemy(within)
    if callable(getattr(within, "get_bind", None)) and hasattr(within, "connection"):
        return ThroughSqlalchemy(within.connection())
    if hasattr(within, "in_transaction") and hasattr(within, "isolation_level"):
        return ThroughSqlite(within)
    raise ConfigError(
        "within= takes an open connection of Python's sqlite3, or a Connection or Session of "
        f"SQLAlchemy, not a {type(within).__name__}"
    )


def file_of(caller: Caller) -> str:
    """The file the caller's connection is on; empty for a database in memory."""
    for _, name, file in caller.read(tables.FILES):
        if os.fsdecode(name) == "main":  # bytes if the caller's text_factory says so
            return os.fsdecode(file or "")
    return ""


def must_be_in_transaction(caller: Caller) -> None:
    """Raises ConfigError if what we write would be committed at once, by itself."""
    driver = caller.driver()
    if driver.in_transaction:
        return
    autocommit = getattr(driver, "autocommit", None)  # Python 3.12: True, False, or legacy
    if autocommit is True or (autocommit is not False and driver.isolation_level is None):
        raise ConfigError(
            "within= needs an open transaction, and this connection commits each statement by "
            "itself: execute BEGIN first"
        )
