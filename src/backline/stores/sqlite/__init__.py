"""The default store: one SQLite file."""

from backline.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
