"""Bringing a file to this version: forward only, safe from many processes at once."""

from collections.abc import Callable
from typing import Final

from backline.clock import Clock
from backline.errors import SchemaMismatch, StoreRefused
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.statements import migrations, statement

APPLICATION: Final = 0x424B4C4E
"""What marks a SQLite file as ours (`pragma application_id`): "BKLN"."""
_MIGRATIONS: Final = migrations()
VERSION: Final = len(_MIGRATIONS)

_BOOT: Final = statement("boot")
_REBOOT: Final = (
    statement("reboot_leases"),
    statement("reboot_workers"),
    statement("reboot_reports"),
    statement("reboot_rates"),
    statement("reboot_paces"),
    statement("reboot_queues"),
    statement("reboot_meta"),
)


def prepare(db: Connection, url: str, clock: Clock) -> None:
    """Migrate the file if it is older, and end the leases of another boot.

    The caller holds the writer's turn. Raises SchemaMismatch, StoreRefused.
    """
    _check_owner(db, url)
    if db.value("pragma journal_mode") != "wal":
        db.script("pragma journal_mode = wal")
    if _version(db) < VERSION:
        _transact(db, lambda: _migrate(db, url))
    if _version(db) != VERSION:
        raise SchemaMismatch(url, found=_version(db), wanted=VERSION)
    if db.text(_BOOT) != clock.boot():
        _transact(db, lambda: _reboot(db, clock))


def _check_owner(db: Connection, url: str) -> None:
    owner = db.value("pragma application_id")
    if owner == APPLICATION:
        return
    if owner or _version(db) or db.value("select count(*) from sqlite_schema"):
        raise StoreRefused(f"{url} is a SQLite database of another program: name another file")


def _version(db: Connection) -> int:
    found: int = db.value("pragma user_version")
    return found


def _migrate(db: Connection, url: str) -> None:
    found = _version(db)  # again: another process may have been first
    if found > VERSION:
        raise SchemaMismatch(url, found=found, wanted=VERSION)
    try:
        for script in _MIGRATIONS[max(found, 0) :]:
            db.script(script)
    except ValueError as error:
        raise StoreRefused(
            f"{url} says its schema is {found}, and cannot be brought to {VERSION}: its tables "
            f"are others. Restore a backup ({error})"
        ) from error
    db.script(f"pragma application_id = {APPLICATION}; pragma user_version = {VERSION}")


def _reboot(db: Connection, clock: Clock) -> None:
    boot = clock.boot()
    if db.text(_BOOT) == boot:
        return  # another process was first
    for sql in _REBOOT:
        db.run(sql, {"boot": boot, "tick": clock.tick()})


def _transact(db: Connection, change: Callable[[], None]) -> None:
    db.run("begin immediate")
    try:
        change()
        db.run("commit")
    except BaseException:
        db.rollback()
        raise
