"""Ids in order, for pages: cheap to add to, put in order only when somebody looks."""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator
from typing import Final

from backline.job import JobId

_FEW: Final = 64
"""Fewer ids than this that are gone are not worth a sweep."""


class Ids:
    """The ids of a store in ascending order, kept as a sorted list and what came since.

    Ids are UUIDv7, so newcomers mostly follow what is there: adding is an append, and the
    look that comes next appends them to the list; only ids of producers whose clocks differ
    cost a merge. Ids that are gone are skipped, and dropped once they are the majority.
    """

    __slots__ = ("_gone", "_known", "_new", "_sorted")

    def __init__(self, known: Container[JobId]) -> None:
        self._known = known
        self._sorted: list[JobId] = []
        self._new: list[JobId] = []
        self._gone = 0

    def add(self, job_id: JobId) -> None:
        """Another id; it is in `known` from now on."""
        self._new.append(job_id)

    def drop(self) -> None:
        """An id is no longer in `known`."""
        self._gone += 1
        if self._gone > _FEW and self._gone * 2 > len(self._sorted) + len(self._new):
            self._sorted = sorted({i for i in (*self._sorted, *self._new) if i in self._known})
            self._new = []
            self._gone = 0

    def walk(self, after: JobId | None, *, oldest_first: bool) -> Iterator[JobId]:
        """The known ids beyond `after`, newest first unless `oldest_first`."""
        self._settle()
        ids = self._sorted
        if oldest_first:
            start = 0 if after is None else bisect_right(ids, after)
            places = range(start, len(ids))
        else:
            end = len(ids) if after is None else bisect_left(ids, after)
            places = range(end - 1, -1, -1)
        last = ""
        for place in places:
            job_id = ids[place]
            if job_id != last and job_id in self._known:
                yield job_id
            last = job_id

    def _settle(self) -> None:
        if not self._new:
            return
        self._new.sort()
        follows = not self._sorted or self._new[0] >= self._sorted[-1]
        self._sorted += self._new
        self._new = []
        if not follows:
            self._sorted.sort()
