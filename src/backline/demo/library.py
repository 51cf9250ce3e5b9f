"""The service's own data: photographs on disk, their rows and the profiles in SQLite.

Nothing in here knows of jobs but the column that says which job makes the thumbnails.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from backline.demo.thumbnails import SIZES
from backline.job import Micros

_SCHEMA: Final = """
pragma journal_mode = wal;
create table if not exists profile (name text primary key, motto text not null);
create table if not exists photo (
    number integer primary key, id text not null unique, title text not null,
    owner text not null, job text
);
create index if not exists photo_owner on photo (owner);
"""
_MOTTOS: Final = (
    "The best camera is the one you have with you.",
    "I wait for the light.",
    "Clouds, mostly.",
    "Cats, exclusively.",
    "Film is not dead; it is drying.",
)
USERS: Final = tuple(f"user-{number:02}" for number in range(1, 51))


class Photo(NamedTuple):
    """A photograph somebody shared."""

    id: str
    title: str
    owner: str
    job: str | None
    """The job that makes its thumbnails; None if the request made them itself."""


class Profile(NamedTuple):
    """What the service knows of a user."""

    name: str
    motto: str
    photos: int
    """How many they have shared."""


class Library:
    """Everything below one directory. Blocking calls; safe from any thread or process."""

    def __init__(self, home: Path) -> None:
        self.originals = home / "originals"
        self.thumbnails = home / "thumbnails"
        self._database = home / "photos.db"

    def prepare(self) -> None:
        """Make the directories, the tables and the users. Repeated: nothing."""
        for folder in (self.originals, self.thumbnails):
            folder.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(_SCHEMA)
            mottos = [_MOTTOS[number % len(_MOTTOS)] for number in range(len(USERS))]
            db.executemany(
                "insert or ignore into profile values (?, ?)", zip(USERS, mottos, strict=True)
            )

    def original(self, photo_id: str) -> Path:
        """Where the photograph is kept as it was uploaded."""
        return self.originals / f"{photo_id}.jpg"

    def folder(self, photo_id: str) -> Path:
        """Where its thumbnails go."""
        return self.thumbnails / photo_id

    def keep(self, photo_id: str, data: bytes) -> None:
        """Save an original, in place of the former one if there is one, down to the disk."""
        unfinished = self.originals / f"{photo_id}.unfinished"
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.original(photo_id))

    def discard(self, photo_id: str) -> None:
        """Delete an original that is not to be shared after all."""
        self.original(photo_id).unlink(missing_ok=True)

    def share(self, photo: Photo) -> None:
        """Add a photograph to the list that everybody sees."""
        with self._open() as db:
            db.execute("insert into photo (id, title, owner, job) values (?, ?, ?, ?)", photo)

    def latest(self, count: int) -> list[Photo]:
        """The photographs shared last, newest first."""
        with self._open() as db:
            rows = db.execute(
                "select id, title, owner, job from photo order by number desc limit ?", (count,)
            )
            return [Photo(*row) for row in rows]

    def count(self) -> int:
        """How many photographs were shared."""
        with self._open() as db:
            [count] = db.execute("select count(*) from photo").fetchone()
        return int(count)

    def saved(self) -> int:
        """How many originals are kept, those whose request is still under way included."""
        return sum(path.suffix == ".jpg" for path in self.originals.iterdir())

    def made(self, photo_id: str) -> frozenset[int]:
        """The sizes in which it can be had by now."""
        folder = self.folder(photo_id)
        return frozenset(size for size in SIZES if (folder / f"{size}.jpg").exists())

    def made_at(self, photo_id: str) -> Micros | None:
        """When the last of its thumbnails was written (wall time); None if one is missing."""
        if len(self.made(photo_id)) < len(SIZES):
            return None
        newest = max(path.stat().st_mtime_ns for path in self.folder(photo_id).iterdir())
        return newest // 1_000

    def profile(self, name: str) -> Profile | None:
        """Look a user up in the database."""
        with self._open() as db:
            row = db.execute(
                "select name, motto, (select count(*) from photo where owner = profile.name)"
                " from profile where name = ?",
                (name,),
            ).fetchone()
        return Profile(*row) if row else None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._database, timeout=30)) as db, db:
            yield db
