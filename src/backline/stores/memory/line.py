"""Jobs in order of time, with removal from the middle for free."""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from backline.job import Micros


class Marked(Protocol):
    """What a line holds: an entry counts only while the mark it was pushed with is current."""

    mark: int


M = TypeVar("M", bound=Marked)
_Entry: TypeAlias = tuple[Micros, int, int, int, M]
"""When, seq, which push it was, the mark at that time, the item. Two entries may be of one
(when, seq), a stale one among them, so the push decides: the items are never compared."""

_FEW: Final = 64
"""Fewer stale entries than this are not worth a sweep."""


class Line(Generic[M]):
    """A priority queue by (when, seq) whose entries go stale when their item's mark moves.

    Entries mostly come in order, and those go to a plain queue that costs O(1) at both ends;
    the others go to a heap, and the head is the lesser of two heads. Stale entries are
    dropped when they reach a head, or all at once when they are the majority, so the line
    never holds more than twice what lives (amortised O(1)).
    """

    __slots__ = ("_heap", "_pushed", "_run", "_stale")

    def __init__(self) -> None:
        self._run: deque[_Entry[M]] = deque()
        self._heap: list[_Entry[M]] = []
        self._pushed = 0
        self._stale = 0

    def __len__(self) -> int:
        """How many live entries there are."""
        return len(self._run) + len(self._heap) - self._stale

    def push(self, when: Micros, seq: int, item: M) -> None:
        """Add `item` under its present mark; it must have no live entry here."""
        self._pushed += 1
        entry = (when, seq, self._pushed, item.mark, item)
        run = self._run
        if not run or entry > run[-1]:
            run.append(entry)
        else:
            heappush(self._heap, entry)

    def pop(self) -> M | None:
        """Take out the first live item."""
        run, heap = self._run, self._heap
        while True:
            if run and (not heap or run[0] < heap[0]):
                entry = run.popleft()
            elif heap:
                entry = heappop(heap)
            else:
                return None
            item = entry[4]
            if entry[3] == item.mark:
                return item
            self._stale -= 1

    def due(self) -> Micros | None:
        """The time of the first live item."""
        entry = self._head()
        return None if entry is None else entry[0]

    def is_due(self, now: Micros) -> bool:
        """Whether the time of the first live item has come."""
        due = self.due()
        return due is not None and due <= now

    def first(self) -> M | None:
        """The first live item; it stays."""
        entry = self._head()
        return None if entry is None else entry[4]

    def _head(self) -> _Entry[M] | None:
        run, heap = self._run, self._heap
        while run and run[0][3] != run[0][4].mark:
            run.popleft()
            self._stale -= 1
        while heap and heap[0][3] != heap[0][4].mark:
            heappop(heap)
            self._stale -= 1
        if run and heap:
            return min(run[0], heap[0])
        return run[0] if run else heap[0] if heap else None

    def drop(self) -> None:
        """An item of this line had its mark moved: one more entry is stale."""
        self._stale += 1
        if self._stale > _FEW and self._stale > len(self):
            self._run = deque(self._live(self._run))
            self._heap = list(self._live(self._heap))
            heapify(self._heap)
            self._stale = 0

    @staticmethod
    def _live(entries: Iterable[_Entry[M]]) -> Iterator[_Entry[M]]:
        return (entry for entry in entries if entry[3] == entry[4].mark)
