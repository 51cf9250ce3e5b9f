"""A process's hold on one database: its connections, its threads, its turns and wake-ups."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, ParamSpec, TypeAlias, TypeVar

from backline.clock import Clock
from backline.errors import StoreError, StoreFull, StoreUnavailable
from backline.store import Hint
from backline.stores.sqlite import place, schema, sharing
from backline.stores.sqlite.driver import Connection
from backline.stores.sqlite.follow import follow
from backline.stores.sqlite.log import WriteAheadLog
from backline.stores.sqlite.transaction import Traffic, Transaction
from backline.stores.sqlite.turns import Turns
from backline.stores.sqlite.wakeups import Wakeups
from backline.stores.sqlite.writer import PATIENCE, Request, Writer

P = ParamSpec("P")
T = TypeVar("T")
Work: TypeAlias = Callable[[Transaction], Any]
Look: TypeAlias = Callable[[Connection], Any]


class _Write(NamedTuple):
    """What to do in a commit, unless a look at the database, just before, answers already."""

    work: Work
    look: Look | None
    synced: bool


_EARLY: Final = frozenset({Hint.WORK})
"""Told before the commit too, so that workers wake while the disk is busy with it. They look
for work only in a turn at writing, and the next turn begins after this commit."""

_log: Final = logging.getLogger("backline.sqlite")


class Session:
    """Opened, used and closed in one process; a child of a fork begins its own."""

    def __init__(self, path: Path, url: str, clock: Clock, vfs: str | None, *, full: bool) -> None:
        self.wakeups: Wakeups | None = None
        self.openers = 0
        """How many calls of `SqliteStore.open` wait for `open`; under the lock of the store."""
        self.was_open = False
        """Whether it could be used at any time."""
        self._path = path
        self._url = url
        self._clock = clock
        self._vfs = vfs
        self._full = full
        self._db: Connection | None = None
        self._readers: Connection | None = None
        self._turns: Turns | None = None
        self._files: dict[Path, place.Identity] = {}
        self._lost: str | None = None
        self._lost_lock = Lock()
        self._ended = False
        self._wal = WriteAheadLog(path, durable=full)
        self._write_executor = clock.executor("backline sqlite writer")
        self._read_executor = clock.executor("backline sqlite reader")
        self._writer: Writer[_Write] = Writer(self._write_executor, self._apply, self._afterwards)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._readers is not None and self._lost is None

    @property
    def is_lost(self) -> bool:
        """Whether its file went, so that `open` will go on with what is there now."""
        return self._lost is not None

    async def open(self) -> None:
        """Connect, migrating the file if need be. Repeated, or at the same time: once.

        After the file went, let go of it and do the same with what has its name now.
        """
        await asyncio.wrap_future(_submit(self._write_executor, self._open))

    async def close(self) -> None:
        """Finish what is under way, then disconnect.

        Whoever waits for a turn that does not come is left behind after `PATIENCE`.
        """
        self._ended = True
        try:
            await asyncio.wrap_future(self._read_executor.submit(self._close_reader))
            closing = asyncio.wrap_future(self._write_executor.submit(self._close))
            await asyncio.wait([closing], timeout=PATIENCE)
            if closing.done():
                closing.result()
            else:
                _log.warning("%s: a write still waits for its turn; left behind", self._path)
        finally:
            self.stop()

    def leave(self) -> None:
        """Nobody waits for `open` any more: undo it as soon as it is through. Never waits."""
        self._ended = True
        with suppress(RuntimeError):  # without a thread nothing was opened either
            self._write_executor.submit(self._undo_open)
        self._write_executor.shutdown(wait=False)

    def stop(self) -> None:
        """Let the threads end."""
        self._read_executor.shutdown(wait=False)
        self._write_executor.shutdown(wait=False)

    def abandon(self) -> None:
        """In the child of a fork: leave everything to the parent, give back its locks."""
        for connection in (self._db, self._readers):
            if connection is not None:
                connection.abandon()
        if self._turns is not None:
            self._turns.close()
        if self.wakeups is not None:
            self.wakeups.close()
        self._db = self._readers = self._turns = self.wakeups = None

    async def write(
        self,
        work: Callable[[Transaction], T],
        look: Callable[[Connection], T | None] | None = None,
        *,
        synced: bool = True,
    ) -> T:
        """Have `work` done in a commit; returns after it.

        What `look` answers in the turn at writing, if not None, is the result, and nothing is
        written. Without `synced` the result need not wait for the disk: a power cut in the
        next milliseconds may undo the commit, and the crash of any process cannot.
        """
        result: T = await self._writer.submit(_Write(work, look, synced))
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Have `work` done on the reading connection."""
        future = _submit(self._read_executor, self._read, work)
        return future.result() if future.done() else await asyncio.wrap_future(future)

    def _open(self) -> None:
        if self._ended:
            raise StoreUnavailable(f"{self._path} is closed")
        again = self._lost is not None
        if self._db is not None and not again:
            return
        if again:  # in its own thread: it may be reading
            _submit(self._read_executor, self._close_reader).result()
        place.check(self._path)
        turns = self._open_side_files()
        try:
            with turns.mine():
                place.remove_orphans(self._path, self._files)
                self._disconnect()
                self._turns = turns
                self._connect()
        except BaseException:
            self._close_reader()
            if self._turns is not turns:
                turns.close()
            if not again:
                self._close()
            raise

    def _open_side_files(self) -> Turns:
        try:
            if self.wakeups is None:
                token = hash((self._clock.boot(), self._clock.tick()))
                self.wakeups = Wakeups(self._path, token)
            else:
                self.wakeups.reopen()
            return Turns(self._path)
        except OSError as error:
            raise StoreUnavailable(f"a side file of {self._path}: {error}") from error

    def _connect(self) -> None:
        db = Connection(self._path, vfs=self._vfs, create=True)
        self._db = db
        schema.prepare(db, self._url, self._clock)
        db.synced = self._full
        self._wal.follow(db)
        self._files = place.identities(self._path)
        # Its thread begins now: later the system may have no room for one.
        _submit(self._read_executor, _begin)
        readers = Connection(self._path, vfs=self._vfs)
        readers.script("pragma query_only = on")
        self._lost = None
        self.was_open = True
        self._readers = readers  # last: from now on it is open

    def _undo_open(self) -> None:
        try:
            if self._readers is not None:  # in its own thread: it may be reading
                self._read_executor.submit(self._close_reader).result()
            self._close()
        finally:
            self._read_executor.shutdown(wait=False)

    def _close_reader(self) -> None:
        connection, self._readers = self._readers, None
        if connection is not None:
            connection.close(lost=self._is_gone())

    def _close(self) -> None:
        wakeups, self.wakeups = self.wakeups, None
        try:
            self._disconnect()
        finally:
            if wakeups is not None:
                wakeups.close()

    def _disconnect(self) -> None:
        connection, self._db = self._db, None
        turns, self._turns = self._turns, None
        try:
            if connection is not None:
                connection.close(lost=self._is_gone())
        finally:
            if turns is not None:
                turns.close()

    def _is_gone(self) -> bool:
        return self._lost is not None or place.changed(self._files) is not None

    def _read(self, work: Callable[[Connection], T]) -> T:
        readers = self._readers
        if readers is None:
            raise StoreUnavailable(self._lost or f"{self._path} is closed")
        self._check_files()
        return work(readers)

    def _check_files(self) -> None:
        """Whoever goes on with a file that lost its name goes deaf, or writes for nobody."""
        if self._lost is None:
            gone = place.changed(self._files)
            if gone is None:
                return
            self._lose(gone)
        raise StoreUnavailable(self._lost or f"{self._path} was opened again")

    def _lose(self, gone: Path) -> None:
        """Use the connections no more; the next call opens the file anew."""
        with self._lost_lock:
            if self._lost is not None:
                return
            self._lost = (
                f"{gone} was removed or replaced while {self._path.name} was open: its jobs and "
                "leases are out of reach; the next call opens what is there now, or a new file"
            )
        _log.warning("%s", self._lost)

    def _apply(self, batch: Sequence[Request[_Write]]) -> None:
        """Do a batch in one commit; an error that is no outage is traced to its request."""
        hints: set[Hint] = set()
        db, turns = self._db, self._turns
        if db is None or turns is None:
            raise StoreUnavailable(self._lost or f"{self._path} is closed")

        def before_waiting() -> None:
            self._check_files()  # nobody gives up the turn of a lost file
            self._wal.sync(db)  # others may have the turn for long

        with turns.mine(before_waiting):
            self._check_files()
            batch = [request for request in batch if not self._answered(db, request)]
            if batch:
                self._commit(db, batch, hints)
        if Hint.FINISHED in hints:  # what has ended is told to people, and must not come back
            self._wal.sync(db)
        if hints and self.wakeups is not None:
            self.wakeups.tell(hints)

    def _answered(self, db: Connection, request: Request[_Write]) -> bool:
        """Whether a look was enough for this one."""
        if request.item.look is None:
            return False
        try:
            request.result = request.item.look(db)
        except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
            request.error = error
            return True
        return request.result is not None

    def _commit(self, db: Connection, batch: Sequence[Request[_Write]], hints: set[Hint]) -> None:
        try:
            told = self._transact_with_room(db, batch)
        except StoreError as error:
            for request in batch:
                request.error = error
        except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
            if len(batch) == 1:
                batch[0].error = error
                return
            half = len(batch) // 2
            self._commit(db, batch[:half], hints)
            self._commit(db, batch[half:], hints)
        else:
            hints |= told

    def _transact_with_room(self, db: Connection, batch: Sequence[Request[_Write]]) -> set[Hint]:
        """Where the disk is full, the log may hold room that it needs no more."""
        try:
            return self._transact(db, batch)
        except StoreFull:
            self._wal.make_room(db)
            return self._transact(db, batch)

    def _transact(self, db: Connection, batch: Sequence[Request[_Write]]) -> set[Hint]:
        hints: set[Hint] = set()
        now, tick = self._clock.now(), self._clock.tick()
        try:
            db.synced = self._full and any(request.item.synced for request in batch)
            db.run("begin immediate")
            traffic = Traffic()
            for request in batch:
                tx = Transaction(db, now, tick, traffic)
                request.result = request.item.work(tx)
                follow(tx)
                sharing.settle(tx)
                tx.finish()
                hints |= tx.hints
            traffic.write(db, tick)
            early = hints & _EARLY
            if early and self.wakeups is not None:
                self.wakeups.tell_early(early)
            db.run("commit")
        except BaseException:
            self._undo(db)
            raise
        return hints

    def _undo(self, db: Connection) -> None:
        """Roll back; SQLite has done it itself after some errors of the disk."""
        with suppress(StoreError, ValueError):
            db.rollback()

    def _afterwards(self) -> None:
        """What can wait until the answers of a batch are out."""
        db, turns = self._db, self._turns
        if db is None or turns is None:
            return
        if self._wal.behind and not self._writer.busy:  # what comes next may be synced itself
            self._wal.sync(db)
        if self._wal.long and not self._is_gone():
            self._wal.checkpoint(db, turns)


def _begin() -> None:
    """Nothing more than to have the thread."""


def _submit(
    executor: Executor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Future[T]:
    try:
        return executor.submit(call, *args, **kwargs)
    except RuntimeError as error:  # closed, or the system has no room for a thread
        raise StoreUnavailable(f"no call can be made: {error}") from error
