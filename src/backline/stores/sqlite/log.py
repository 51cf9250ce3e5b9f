"""The write-ahead log as one session writes it: short, and on the disk."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from backline.errors import StoreError
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.turns import Turns

CHECKPOINT: Final = 4_000
"""Pages of log (16 MiB) from which it is copied into the file after a commit."""
CHECKPOINT_ALONE: Final = 4 * CHECKPOINT
"""Pages from which it is copied while no other process may write: only then it starts anew
under writers that never pause."""
LIMIT: Final = 64 * 1024 * 1024
"""Bytes that the log is cut back to when it starts anew."""

_log: Final = logging.getLogger("backline.sqlite")


class WriteAheadLog:
    """What is known of the log of one connection that writes; for its thread alone.

    With `durable`, commits that did not wait for the disk are synced afterwards.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._pages = 0
        self._unsynced = False

    def follow(self, db: Connection) -> None:
        """Know of every commit of this connection that writes something, from now on."""
        self._pages = 0
        self._unsynced = False

        def grown(pages: int) -> None:
            self._pages = pages
            self._unsynced = self._durable and not db.synced

        db.script(f"pragma journal_size_limit = {LIMIT}")
        db.on_commit(grown)

    @property
    def long(self) -> bool:
        """It is worth a checkpoint."""
        return self._pages >= CHECKPOINT

    @property
    def behind(self) -> bool:
        """Some commit may not be on the disk."""
        return self._unsynced

    def sync(self, db: Connection) -> None:
        """Have on the disk what some commit did not wait for; never raises."""
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            db.sync()
        except FileNotFoundError:
            pass  # it was removed; the next call says so
        except (OSError, StoreError) as error:
            # What the system has given up writing may never be written, and later commits
            # stand behind it in the log: have all of it in the file, and begin the log anew.
            _log.warning("%s: the last commits are not on the disk: %s", self._path, error)
            self._pages = CHECKPOINT_ALONE

    def checkpoint(self, db: Connection, turns: Turns) -> None:
        """Copy it into the file; never raises."""
        try:
            if self._pages < CHECKPOINT_ALONE:
                db.checkpoint()
            else:
                with turns.mine():
                    db.checkpoint(restart=True)
        except (StoreError, ValueError, OSError) as error:
            _log.warning("the write-ahead log could not be copied into the file: %s", error)
        self._pages = 0

    def make_room(self, db: Connection) -> None:
        """The disk is full: give back what the log holds and needs no more. In the turn."""
        with suppress(StoreError, ValueError):
            db.checkpoint(restart=True)
            self._pages = 0
