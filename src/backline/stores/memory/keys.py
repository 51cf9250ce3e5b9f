"""Unique keys: who holds one, and who waits for its turn to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backline.job import JobId, Micros
from backline.states import TERMINAL, State
from backline.stores.memory.line import Line

if TYPE_CHECKING:
    from backline.stores.memory.row import Row


class Key:
    """Who holds a unique key, and until when at least.

    `predecessor` still lives, and the holder waits for its end.
    """

    __slots__ = ("holder", "mark", "name", "predecessor", "since", "until")

    def __init__(self, name: str, holder: Row, since: Micros) -> None:
        self.name = name
        self.holder = holder
        self.until: Micros = holder.window_end
        self.since = since
        """What `max_wait` counts from: when the first of the holders was added of which each
        took the place of the last, and none had started."""
        self.predecessor: Row | None = None
        self.mark = 0

    def free(self, now: Micros) -> bool:
        """Whether the next job may take the key without a conflict."""
        return self.holder.state in TERMINAL and self.until <= now


class Keys:
    """Unique keys by name, and by when those lapse that an ended job still holds."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._lapsing: Line[Key] = Line()

    def holder(self, name: str, now: Micros) -> JobId | None:
        """Who holds a key; None: the next job may."""
        key = self._keys.get(name)
        return None if key is None or key.free(now) else key.holder.id

    def take(self, name: str, row: Row, now: Micros) -> Row | None:
        """Let a job that is being added hold a key, in the place of whoever does; who is to be
        cancelled for that."""
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = Key(name, row, now)
        holder, since, replaced = key.holder, now, None
        if holder is not row:
            self._keep(key)
            if holder.state is State.RUNNING:
                key.predecessor = holder
            elif holder.state not in TERMINAL:
                replaced, holder.key = holder, None
                if not holder.attempt:
                    since = min(key.since, now)
        key.holder, row.key = row, key
        key.until, key.since = row.window_end, since
        row.due = row.request.due(now, since)
        row.state = State.SCHEDULED if row.due > now else State.READY
        if key.predecessor is not None:
            row.state = State.WAITING
        return replaced

    def take_back(self, name: str, row: Row, now: Micros) -> None:
        """A job lives again: it holds its key if nobody else does."""
        key = self._keys.get(name)
        if key is None:
            row.key = self._keys[name] = Key(name, row, now)
        elif key.holder is row or key.free(now):
            self._keep(key)
            key.holder, row.key = row, key
            key.until, key.since = row.window_end, now

    def give_back(self, row: Row, key: Key, now: Micros) -> Row | None:
        """A job that held a key, or lived on while its successor did, has ended; who waited for
        that."""
        row.key = None
        if key.predecessor is row:
            key.predecessor = None
            return key.holder
        if key.predecessor is not None:
            # The successor ended before its turn: the key is the predecessor's again.
            key.holder, key.predecessor = key.predecessor, None
            key.until = key.holder.window_end
        elif key.until > now:
            self._lapsing.push(key.until, row.seq, key)
        else:
            del self._keys[key.name]
        return None

    def lapse(self, now: Micros) -> None:
        """Forget keys that an ended job held, and whose time is over."""
        while (due := self._lapsing.due()) is not None and due <= now:
            key = self._lapsing.pop()
            if key is not None:
                del self._keys[key.name]

    def _keep(self, key: Key) -> None:
        """A key that was about to lapse is held by a live job again."""
        if key.holder.state in TERMINAL:
            key.mark += 1
            self._lapsing.drop()
